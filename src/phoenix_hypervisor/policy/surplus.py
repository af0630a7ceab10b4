"""Rules that do nothing, less, or more than they say.

Owns what takes a second compile: rules without which the policy stays equal, permissions left over beside
a deny rule, and rules that the compiler widens.  Must not name codes, nor say what to do about it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.policy import constants, perms
from phoenix_hypervisor.policy.alone import Alone, Compile, rules_together
from phoenix_hypervisor.policy.answers import Reason
from phoenix_hypervisor.policy.diff import equal
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.grammar import COMMON_TYPES, mount, path
from phoenix_hypervisor.policy.product import Search, Side
from phoenix_hypervisor.policy.profile import Policy, Profile
from phoenix_hypervisor.policy.queries import CapabilityQuery, FileQuery, NetworkQuery, Query, UsernsQuery
from phoenix_hypervisor.policy.reader import read_policy
from phoenix_hypervisor.policy.source import Source, Statement
from phoenix_hypervisor.policy.spaces import KINDS, kind

_OPTIONS = re.compile(r"\boptions?\s*(=|\sin\s)\s*(\([^)]*\)|[^\s,]+)")
_TRIED = 200
"""How many questions are tried to show that a rule is needed."""
_SEARCHED = 4000
"""How many states of a deny rule are looked at, those with the shortest paths first."""
_SHUT = perms.READ | perms.WRITE
_KINDS: dict[str | None, str] = {
    **{word: word for word in ("capability", "signal", "ptrace", "dbus", "mqueue", "io_uring", "userns")},
    **dict.fromkeys(("mount", "remount", "umount", "pivot_root"), "mount"),
    **dict.fromkeys(("network", "unix"), "network"),
}
"""What rules are for, by their first word: a rule changes no answer of another kind."""
_MODES = re.compile(r"\b(?:audit|complain|unconfined|default_allow|kill|prompt)\b")
"""Flags that give a rule another meaning."""
_LEFT = {"x": perms.EXEC, "m": perms.MMAP_EXEC, "k": perms.LOCK}
"""`l` is not among them: it makes a name, and what that may do is asked of the name."""


def redundant(
    source: Source, compile: Compile, policy: Policy, alone: Alone, rules: Iterable[Statement]
) -> Iterator[Statement]:
    """Those of `rules` without which the policy stays equal, logging included.

    In their order; each is left out from then on, so that of two that stand for each other one is told.
    """
    gone: list[Statement] = []
    for rule in rules:
        if _needed(source, policy, alone, rule, gone):
            continue
        same = _same_by_kind(source, compile, rule, gone)
        if same is None:
            try:
                same = equal(policy, read_policy(compile(source.without([*gone, rule]))))
            except PhoenixError:
                continue
        if same:
            gone.append(rule)
            yield rule


def _same_by_kind(source: Source, compile: Compile, rule: Statement, gone: list[Statement]) -> bool | None:
    """Whether the rules of its kind come to the same without it; None where only the whole profile can tell.

    A small compile, where leaving the rule out of everything takes a large one.
    """
    kind = _KINDS.get(_keyword(rule))
    header = next((block for block in source.blocks() if block.profile == rule.profile), None)
    if kind is None or header is None or _MODES.search(header.text):
        return None
    left_out = {one.start for one in (*gone, rule)}
    others = [
        one
        for one in source.statements
        if one.profile == rule.profile and one.kind != "block" and one.start not in left_out
    ]
    if any(_keyword(one) == "all" for one in others):
        return None
    # What an include brings in counts, whatever it is.
    others = [one for one in others if one.kind == "include" or _KINDS.get(_keyword(one)) == kind]
    alike = [
        one for one in others if one.kind != "include" and not one.denies and one.priority == rule.priority
    ]
    # Where such rules grant all that it does, denied or outranked alike, nothing else matters.
    groups = [others] if rule.denies or "audit" in rule.prefixes else [alike, others]
    for group in groups:
        found = rules_together(source, compile, [group, [*group, rule]])
        if found is None:
            return None
        if equal(*found):
            return True
    return False


def _keyword(rule: Statement) -> str | None:
    """The first word of a rule that has one of its own; None for files, whose rules name a path first."""
    words = [word.rstrip(",") for word in rule.text.split()]
    words = [word for word in words if word not in rule.prefixes and not word.startswith("priority=")]
    return words[0] if words and words[0].isalpha() and words[0].islower() and words[0] != "file" else None


def _needed(source: Source, policy: Policy, alone: Alone, rule: Statement, gone: list[Statement]) -> bool:
    """Whether a question is known that the policy answers by this rule, and would not without it.

    Of the rules that do anything to a question the highest priority decides, and among equals a deny rule.
    """
    mine = alone.profiles.get(rule.start)
    profile = next((p for p in policy.profiles if p.label == rule.profile), None)
    if mine is None or profile is None or "audit" in rule.prefixes:
        return False  # An audited deny rule alone is no rule to the kernel.
    left_out = {one.start for one in (*gone, rule)}
    others: list[tuple[Statement, Evaluator]] = []
    for other in source.statements:
        if other.profile == rule.profile and other.kind != "block" and other.start not in left_out:
            found = alone.profiles.get(other.start)
            if found is None:
                return False
            others.append((other, Evaluator(found)))
    reason = Reason.DENY_RULE if rule.denies else Reason.RULE
    one, whole, nothing = Evaluator(mine), Evaluator(profile), Evaluator(alone.nothing)
    for query in islice(_questions(alone.nothing, mine), _TRIED):
        if one.ask(query).reason is reason and whole.ask(query).reason is reason:
            plain = nothing.ask(query)
            touching = [other for other, judge in others if judge.ask(query) != plain]
            if _decides(rule, touching):
                return True
    return False


def _decides(rule: Statement, others: list[Statement]) -> bool:
    """Whether `others` by themselves decide other than with the rule, which decides."""
    if any(other.kind == "include" for other in others):
        return False  # It may bring in either.
    allows = [other.priority for other in others if not other.denies]
    denies = [other.priority for other in others if other.denies]
    if rule.denies:
        return not denies or (bool(allows) and max(denies) < max(allows))
    return not allows or (bool(denies) and max(allows) <= max(denies))


def _questions(nothing: Profile, one: Profile) -> Iterator[Query]:
    """Questions to which `one` may have an answer of its own, shortest first within a class."""
    capabilities = one.capabilities.allow | one.capabilities.quiet
    yield from (CapabilityQuery(n) for n in range(len(constants.CAPABILITIES)) if capabilities >> n & 1)
    if one.policy is not None and nothing.policy is not None and not one.policy.same(nothing.policy):
        for family in range(len(constants.FAMILIES)):
            for type_ in constants.SOCKET_TYPES.values():
                query = NetworkQuery(family=family, type=type_)
                if Evaluator(one).ask(query) != Evaluator(nothing).ask(query):
                    yield query
        yield UsernsQuery()
    for class_ in KINDS:
        space, empty = class_.space(one, False), class_.space(nothing, False)
        mine, other = space.database, empty.database
        if space.free or mine is None or (other is not None and mine.same(other)):
            continue
        grammar = class_.grammar()
        search = Search(grammar, space.side, Side.constant(alive=False))
        for node in search:
            grant = space.grants(node[1])
            bits = grammar.reads[node[0]] & (grant.allow | grant.quiet)
            for bit in (1 << n for n in range(32) if bits >> n & 1):
                query_of = class_.query(search.string(node), bit, False)
                if isinstance(query_of, Query):
                    yield query_of


def left_over(profile: Profile, deny: Profile) -> tuple[str, FileQuery] | None:
    """What `profile` still allows on a path that a rule (`deny`, by itself) shuts for reading and writing.

    The letters, and a question that is allowed.  A shortest path is tried for each state that the rule leads
    to; None where nothing is left on those.
    """
    if deny.file is None or profile.file is None:
        return None
    database, whole = deny.file, Evaluator(profile)
    every = path(perms.ALL)
    search = Search(every, Side.of(database.dfa, deny.file_start), Side.constant(alive=False))
    left, first = 0, None
    for node in islice(search, _SEARCHED):
        shut = every.reads[node[0]] and database.file_perms(node[1], owner=True).quiet
        if shut & _SHUT != _SHUT:
            continue
        string = search.string(node)
        allowed = profile.file.file_perms(whole.file_state(string), owner=True).allow & sum(_LEFT.values())
        if allowed and first is None:
            first = FileQuery(string, allowed)
        left |= allowed
    return ("".join(word for word, bit in _LEFT.items() if left & bit), first) if first is not None else None


def widened(rule: Statement, alone: Profile) -> str | None:
    """A mount of another kind than the rule names that it allows by itself; None where there is none."""
    meant = mounts_meant(rule)
    return None if meant is None else _beyond(alone, meant)


def mounts_meant(rule: Statement) -> set[str] | None:
    """The kinds of mount that a rule's options stand for, or None where it does not say."""
    words = rule.text.split()
    if rule.denies or not {"mount", "remount"} & set(words[:3]):
        return None
    options = _OPTIONS.findall(rule.text)
    if not options:
        return None
    meant: set[str] = set()
    for operator, listed in options:
        names = [word for word in re.split(r"[\s,()]+", listed) if word]
        try:
            flags = constants.mount_flags(names)
        except PhoenixError:
            return None
        if "remount" in words[:3]:
            flags |= constants.MS_REMOUNT
        kinds = [
            word
            for word, bits in (
                ("remount", constants.MS_REMOUNT),
                ("bind", constants.MS_BIND),
                ("propagation", constants.MS_PROPAGATION),
                ("move", constants.MS_MOVE),
            )
            if flags & bits
        ] or ["new"]
        meant.update(kinds[:1] if operator == "=" else [*kinds, "new"])
    return meant


def _beyond(profile: Profile, meant: set[str]) -> str | None:
    """A shortest mount of another kind that the profile allows."""
    one = kind("mount")
    grammar = mount(COMMON_TYPES)
    space = one.space(profile, False)
    search = Search(grammar, space.side, Side.constant(alive=False))
    for node in search:
        tag = grammar.tags[node[0]]
        if grammar.reads[node[0]] and tag not in meant and space.grants(node[1]).allow & perms.MAY_MOUNT:
            return str(one.query(search.string(node), perms.MAY_MOUNT, False))
    return None
