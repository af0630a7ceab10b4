"""What one policy allows and another does not.

Owns the comparison of two policies by what they decide, never by how they are encoded.
Must not read files.  Every difference comes with a shortest question that a kernel can
really be asked and that the two answer differently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import NamedTuple

from phoenix_hypervisor.policy import constants, perms
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.grammar import Grammar, path
from phoenix_hypervisor.policy.kinds import network, userns
from phoenix_hypervisor.policy.product import Search, Side
from phoenix_hypervisor.policy.profile import Mode, PathFlag, Policy, Profile
from phoenix_hypervisor.policy.queries import (
    CapabilityQuery,
    LinkQuery,
    NetworkQuery,
    Query,
    RawQuery,
    UsernsQuery,
    show,
)
from phoenix_hypervisor.policy.sockets import Asks
from phoenix_hypervisor.policy.spaces import KINDS, Grant, Kind, Space
from phoenix_hypervisor.values import dataclass, replace

TARGETS = 5000
"""How many states are tried for the target of a link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that two profiles decide differently."""

    profile: str
    kind: str
    only_a: str
    """What only A allows, in the words of the kind; a setting's value; empty for nothing."""
    only_b: str
    witness: str
    """A shortest question on which they differ, as `policy query` takes it."""
    query: Query | RawQuery | None = None
    count: int = 1
    """How many different situations differ like this; the witness is of the first."""

    def __str__(self) -> str:
        parts = [f"only A: {self.only_a}"] if self.only_a else []
        parts += [f"only B: {self.only_b}"] if self.only_b else []
        more = f"  (and {self.count - 1} more)" if self.count > 1 else ""
        return f"{self.profile}: {self.kind}: {'; '.join(parts)}  {self.witness}{more}".rstrip()

    def as_json(self) -> dict[str, object]:
        return {
            "profile": self.profile,
            "kind": self.kind,
            "only_a": self.only_a,
            "only_b": self.only_b,
            "witness": self.witness,
            "count": self.count,
        }


def diff_policies(a: Policy, b: Policy, *, logging: bool = False, asks: Asks = Asks.TYPE) -> list[Difference]:
    """Everything that the profiles of A and B decide differently, by their names.

    Two policies of one profile each are compared whatever their names are.  `logging`
    also reports what is only logged or kept quiet differently.
    """
    if len(a.profiles) == len(b.profiles) == 1:
        return list(diff_profiles(a.profiles[0], b.profiles[0], logging=logging, asks=asks))
    ours = {profile.extent.full_name: profile for profile in a.profiles}
    theirs = {profile.extent.full_name: profile for profile in b.profiles}
    found: list[Difference] = []
    for name in dict.fromkeys([*ours, *theirs]):
        here, there = ours.get(name), theirs.get(name)
        if here is not None and there is not None:
            found += diff_profiles(here, there, logging=logging, asks=asks)
        else:
            label = show(name)
            found.append(
                Difference(
                    profile=label,
                    kind="profile",
                    only_a="defined" if here else "",
                    only_b="defined" if there else "",
                    witness=f"profile {label}",
                )
            )
    return found


def equal(a: Policy, b: Policy) -> bool:
    """Whether the policies decide and log everything alike; stops at the first difference."""
    if [p.extent.full_name for p in a.profiles] != [p.extent.full_name for p in b.profiles]:
        return False
    return not any(
        next(diff_profiles(one, two, logging=True), None)
        for one, two in zip(a.profiles, b.profiles, strict=True)
    )


def diff_profiles(
    a: Profile, b: Profile, *, logging: bool = False, asks: Asks = Asks.TYPE
) -> Iterator[Difference]:
    """What the two profiles decide differently on a kernel that `asks` so; nothing where they are equal."""
    name = a.label if a.label == b.label else f"{a.label} / {b.label}"
    yield from _settings(name, a, b)
    yield from _capabilities(name, a, b)
    yield from _networks(name, a, b, asks)
    yield from _userns(name, a, b)
    for kind in KINDS:
        yield from _searched(name, kind, a, b, logging)


class Key(NamedTuple):
    """One way in which two profiles differ within a class."""

    only_a: int
    only_b: int
    words_a: str
    words_b: str
    tag: str


def _searched(name: str, kind: Kind, a: Profile, b: Profile, logging: bool) -> Iterator[Difference]:
    known: dict[Key, int] = {}
    for other in (False, True) if kind.by_owner else (False,):
        space_a, space_b = kind.space(a, other), kind.space(b, other)
        if space_a.free and space_b.free:
            continue
        one, two = space_a.database, space_b.database
        if one is not None and two is not None and (one is two or one.same(two)):
            continue
        if kind.whole and space_a.free != space_b.free:
            query = kind.query(b"", perms.ALL, other)
            yield Difference(
                profile=name,
                kind=kind.name,
                only_a="unmediated" if space_a.free else "",
                only_b="" if space_a.free else "unmediated",
                witness=str(query),
                query=query,
            )
            continue
        groups = _groups(kind.grammar(), space_a, space_b, logging)
        plain = _groups(kind.plain(), space_a, space_b, logging) if kind.plain and groups else {}
        for key, (string, count) in groups.items():
            string, _ = plain.get(key, (string, 0))
            if known.get(key) != count:  # others differ exactly as the owner does: said already
                found = _report(name, kind, key, string, count, other)
                yield _with_target(found, a, b) if isinstance(found.query, LinkQuery) else found
            known[key] = count


def _groups(grammar: Grammar, a: Space, b: Space, logging: bool) -> dict[Key, tuple[bytes, int]]:
    """Each way in which the two differ, with a shortest string and how often it occurs."""
    reads, grants_a, grants_b = grammar.reads, _Cache(a.grants), _Cache(b.grants)
    search = Search(grammar, a.side, b.side)
    groups: dict[Key, tuple[bytes, int]] = {}
    for node in search:
        mask = reads[node[0]]
        if not mask:
            continue
        one, two = grants_a(node[1]), grants_b(node[2])
        if one == two:
            continue
        key = _difference(one, two, mask, logging, grammar.tags[node[0]])
        if key is not None:
            string, count = groups.get(key) or (search.string(node), 0)
            groups[key] = string, count + 1
    return groups


class _Cache:
    """Permissions of states, computed once."""

    def __init__(self, grants: Callable[[int], Grant]) -> None:
        self._grants = grants
        self._found: dict[int, Grant] = {}

    def __call__(self, state: int) -> Grant:
        grant = self._found.get(state)
        if grant is None:
            grant = self._found[state] = self._grants(state)
        return grant


def _difference(one: Grant, two: Grant, mask: int, logging: bool, tag: str) -> Key | None:
    """Bits only A and only B allow, and the differing ways of execution or logging."""
    only_a, only_b = one.allow & ~two.allow & mask, two.allow & ~one.allow & mask
    words_a = words_b = ""
    both_execute = one.allow & two.allow & mask & perms.EXEC and one.transition and two.transition
    if both_execute and one.transition != two.transition:
        words_a, words_b = one.transition, two.transition
    if logging and not (only_a or only_b or words_a):
        shared = one.allow & two.allow & mask
        refused = ~one.allow & ~two.allow & mask
        audit_a, audit_b = one.audit & shared, two.audit & shared
        quiet_a, quiet_b = one.quiet & refused, two.quiet & refused
        if (audit_a, quiet_a) != (audit_b, quiet_b):
            words_a = f"logs {audit_a:#x} keeps quiet {quiet_a:#x}"
            words_b = f"logs {audit_b:#x} keeps quiet {quiet_b:#x}"
    if only_a or only_b or words_a or words_b:
        return Key(only_a, only_b, words_a, words_b, tag)
    return None


def _report(name: str, kind: Kind, key: Key, string: bytes, count: int, other: bool) -> Difference:
    only_a, only_b, words_a, words_b, tag = key
    # Bits of one side only: of both together neither policy would allow all.
    query = kind.query(string, only_a or only_b or perms.EXEC, other)
    parts_a = [kind.words(only_a)] if only_a else []
    parts_b = [kind.words(only_b)] if only_b else []
    return Difference(
        profile=name,
        kind=f"{kind.name} ({tag})" if tag else kind.name,
        only_a=", ".join([*parts_a, words_a] if words_a else parts_a),
        only_b=", ".join([*parts_b, words_b] if words_b else parts_b),
        witness=str(query),
        query=query,
        count=count,
    )


def _with_target(found: Difference, a: Profile, b: Profile) -> Difference:
    """The same with a target on which the two differ.

    A pair of paths may also ask for the target to have the permissions of the link, which no
    automaton of pairs knows; then what is behind a shortest pair is mostly a target without any.
    """
    assert isinstance(found.query, LinkQuery)
    one, two = Evaluator(a), Evaluator(b)
    for target in chain((found.query.target, found.query.path), _targets(a), _targets(b)):
        query = replace(found.query, target=target)
        answers = one.ask(query), two.ask(query)
        if len({answer.allowed and not answer.complain for answer in answers}) == 2:
            return replace(found, query=query, witness=str(query))
    return found


def _targets(profile: Profile) -> Iterator[bytes]:
    """A path for every state of the file automaton, as far as TARGETS goes."""
    if profile.file is not None:
        side = Side.of(profile.file.dfa, profile.file_start)
        grammar = path(perms.ALL)
        search = Search(grammar, side, Side.constant(alive=False))
        for node in islice(search, TARGETS):
            if grammar.reads[node[0]]:
                yield search.string(node)


def _settings(name: str, a: Profile, b: Profile) -> Iterator[Difference]:
    def setting(word: str, one: str, two: str) -> Iterator[Difference]:
        if one != two:
            yield Difference(profile=name, kind=word, only_a=one, only_b=two, witness="")

    yield from setting("mode", a.mode.name.lower(), b.mode.name.lower())
    yield from setting("audit", str(a.audit).lower(), str(b.audit).lower())
    yield from setting("path flags", _path_flags(a.path_flags), _path_flags(b.path_flags))
    yield from setting("disconnected path", show(a.disconnected or b""), show(b.disconnected or b""))
    for index in sorted({*a.rlimits, *b.rlimits}):
        word = constants.RLIMITS[index]
        yield from setting(f"rlimit {word}", _limit(a.rlimits.get(index)), _limit(b.rlimits.get(index)))
    yield from setting("secmark", str(a.secmark or ""), str(b.secmark or ""))


def _path_flags(flags: int) -> str:
    return ",".join(flag.name.lower() for flag in PathFlag if flags & flag) or "none"


def _limit(value: int | None) -> str:
    if value is None:
        return "unset"
    return "infinity" if value == 2**64 - 1 else str(value)


def _capabilities(name: str, a: Profile, b: Profile) -> Iterator[Difference]:
    known = (1 << len(constants.CAPABILITIES)) - 1
    one, two = (known if p.mode is Mode.UNCONFINED else p.capabilities.allow & known for p in (a, b))
    for number, word in enumerate(constants.CAPABILITIES):
        if (one ^ two) >> number & 1:
            query = CapabilityQuery(number)
            ours = bool(one >> number & 1)
            yield Difference(
                profile=name,
                kind="capability",
                only_a=word * ours,
                only_b=word * (not ours),
                witness=str(query),
                query=query,
            )


def _networks(name: str, a: Profile, b: Profile, asks: Asks) -> Iterator[Difference]:
    """Sockets one by one: the old table and the new automaton answer the same questions."""
    judge_a, judge_b = Evaluator(a, asks), Evaluator(b, asks)
    found: dict[tuple[str, str], list[NetworkQuery]] = {}
    for family in range(len(constants.FAMILIES)):
        for kind in constants.SOCKET_TYPES.values():
            one, two = network.granted(judge_a, family, kind), network.granted(judge_b, family, kind)
            if one != two:
                query = NetworkQuery(family=family, type=kind, access=one & ~two or two & ~one)
                words = _access(one & ~two), _access(two & ~one)
                found.setdefault(words, []).append(query)
    for (only_a, only_b), queries in found.items():
        first = queries[0]
        if first.access & 0x10:
            first = NetworkQuery(family=first.family, type=first.type)
        yield Difference(
            profile=name,
            kind="network",
            only_a=only_a,
            only_b=only_b,
            witness=str(first),
            query=first,
            count=len(queries),
        )


def _access(mask: int) -> str:
    return ",".join(word for word, bit in constants.NETWORK_ACCESS.items() if mask & bit)


def _userns(name: str, a: Profile, b: Profile) -> Iterator[Difference]:
    one, two = (userns.granted(Evaluator(p)) for p in (a, b))
    if one != two:
        query = UsernsQuery()
        yield Difference(
            profile=name,
            kind="userns",
            only_a="create" * one,
            only_b="create" * two,
            witness=str(query),
            query=query,
        )
