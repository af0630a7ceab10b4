"""Bad habits in profile sources.

Owns the checks, their codes and their waivers (`# lint: allow CODE reason`).  Must not
compile by itself, nor judge files that are not ours: rules of distribution includes are
left alone.  The codes are explained in docs/internals/policy-engine.md.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.policy import constants, perms
from phoenix_hypervisor.policy.alone import Compile
from phoenix_hypervisor.policy.diff import equal
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.grammar import COMMON_TYPES, mount
from phoenix_hypervisor.policy.product import Search, Side
from phoenix_hypervisor.policy.profile import Policy, Profile
from phoenix_hypervisor.policy.queries import SignalQuery
from phoenix_hypervisor.policy.reader import read_policy
from phoenix_hypervisor.policy.source import Source, Statement, waived
from phoenix_hypervisor.policy.spaces import kind
from phoenix_hypervisor.values import dataclass

CODES: dict[str, str] = {
    "redundant-rule": "the policy is the same without it, for the features compiled for",
    "bare-mount": "`mount,` makes every other mount rule redundant; a second procfs escapes path rules",
    "covered-by-file": "`file,` in the same profile already allows it",
    "change-profile-out": "the container may leave its confinement",
    "no-signal-receive": "neither lxc-stop nor the host's kill can end the container",
    "start-container": "abstractions/lxc/start-container is for lxc-start, not for a container",
    "profile-name": "LXC may only change to profiles whose names begin with lxc-",
    "compiler-widens": "this host's compiler makes more of the rule than it says",
    "owner-open": "this compiler makes it a rule for everybody, on kernels from 6.17 on",
    "unmediated-class": "the compiler was told too little about the kernel: all of it is allowed",
    "slow-compile": "compiling takes longer than the budget",
    "large-policy": "the compiled policy is larger than the budget",
}

MAX_SECONDS = 1.5
MAX_BYTES = 460_000

_NAME = re.compile(r"lxc-[A-Za-z0-9_.-]+")
_OPTIONS = re.compile(r"\boptions?\s*(=|\sin\s)\s*(\([^)]*\)|[^\s,]+)")
_PLAIN = re.compile(r"(?:[rwamkl]|ix)+")
"""File permissions that `file,` grants as well: no change of profile."""


@dataclass(frozen=True, slots=True)
class Habit:
    """One bad habit in one place."""

    code: str
    message: str
    place: str
    """file:line, or the file."""
    rule: str = ""
    waived: str | None = None
    """The reason given for living with it; such a finding counts as clean."""

    def __str__(self) -> str:
        rule = f"\n    {self.rule}" if self.rule else ""
        tail = f" (waived: {self.waived})" if self.waived is not None else ""
        return f"{self.place}: {self.code}: {self.message}{tail}{rule}"

    def as_json(self) -> dict[str, object]:
        return {
            "code": self.code,
            "message": self.message,
            "place": self.place,
            "rule": self.rule,
            "waived": self.waived,
        }


@dataclass(frozen=True, slots=True)
class _Hit:
    code: str
    statement: Statement | None
    detail: str = ""


def lint(
    source: Source,
    compile: Compile,
    *,
    name: str,
    own: Callable[[str], bool] = lambda file: True,
    thorough: bool = True,
) -> list[Habit]:
    """Everything to object to in `source` (the file `name`), waived findings included.

    `own` tells our files from those of the distribution.  Without `thorough` nothing is
    compiled a second time: redundant rules and widened ones are not looked for.
    Raises PhoenixError where the source does not compile.
    """
    started = time.perf_counter()
    blob = compile(source.text)
    seconds = time.perf_counter() - started
    policy = read_policy(blob)
    mine = [s for s in source.statements if own(s.file)]
    hits = [*_text(mine), *_behaviour(mine, policy)]
    known = {hit.statement.start for hit in hits if hit.statement is not None and hit.code in _COVERING}
    if thorough:
        rules = [s for s in mine if s.kind == "rule" and s.profile]
        widened = list(_widened(source, compile, rules))
        if widened:
            # What a widened rule covers by mistake is not superfluous.
            known |= {rule.start for rule in rules if _meant(rule) is not None}
        hits += [
            *_redundant(source, compile, policy, [rule for rule in rules if rule.start not in known]),
            *widened,
        ]
    if seconds > MAX_SECONDS:
        hits.append(_Hit("slow-compile", None, f"{seconds:.1f} s, budget {MAX_SECONDS:.0f} s"))
    if len(blob) > MAX_BYTES:
        hits.append(_Hit("large-policy", None, f"{len(blob)} bytes, budget {MAX_BYTES}"))
    findings = [_finding(source, hit, name) for hit in hits]
    return sorted(findings, key=lambda finding: (_line(finding.place), finding.code))


_COVERING = {"covered-by-file"}


def _finding(source: Source, hit: _Hit, name: str) -> Habit:
    waiver = waived(source, hit.code, hit.statement)
    detail = f": {hit.detail}" if hit.detail else ""
    return Habit(
        hit.code,
        CODES[hit.code] + detail,
        hit.statement.place if hit.statement is not None else name,
        hit.statement.text if hit.statement is not None else "",
        waiver.reason if waiver is not None else None,
    )


def _line(place: str) -> tuple[str, int]:
    file, _, line = place.rpartition(":")
    return (file, int(line)) if line.isdigit() else (place, 0)


def _text(mine: list[Statement]) -> Iterator[_Hit]:
    """What can be told from the text alone."""
    with_file = {s.profile for s in mine if s.kind == "rule" and s.text in ("file,", "allow file,")}
    for statement in mine:
        words = statement.text.rstrip(",").split()
        if statement.kind == "include" and "lxc/start-container" in statement.text:
            yield _Hit("start-container", statement)
        elif statement.kind == "block" and "//" not in statement.profile and statement.profile:
            if not _NAME.fullmatch(statement.profile):
                yield _Hit("profile-name", statement, statement.profile)
        elif statement.kind != "rule" or not statement.profile or statement.denies:
            continue
        elif words == ["mount"]:
            yield _Hit("bare-mount", statement)
        elif "change_profile" in words[:2]:
            target = words[words.index("->") + 1] if "->" in words[:-1] else "anything"
            if not target.strip('"').startswith("lxc-"):
                yield _Hit("change-profile-out", statement, target)
        elif statement.profile in with_file and _is_covered_path(words):
            yield _Hit("covered-by-file", statement)


def _is_covered_path(words: list[str]) -> bool:
    """An allow rule for a path without a change of profile and without audit."""
    if words and words[0] in ("allow", "owner", "file"):
        words = words[1:]
    if len(words) != 2:
        return False
    path = next((word for word in words if word.strip('"').startswith(("/", "@{"))), None)
    letters = words[1] if path == words[0] else words[0]
    return path is not None and _PLAIN.fullmatch(letters) is not None


def _behaviour(mine: list[Statement], policy: Policy) -> Iterator[_Hit]:
    """What has to be asked of the compiled profile."""
    for statement in mine:
        if statement.kind != "block" or not statement.profile or "//" in statement.profile:
            continue
        profile = next((p for p in policy.profiles if p.label == statement.profile), None)
        kill = constants.signal("kill")
        if profile is not None and profile.unmediated():
            yield _Hit("unmediated-class", statement, ", ".join(profile.unmediated()))
        if profile is not None and not Evaluator(profile).ask(SignalQuery(kill, 0x4, b"unconfined")).allowed:
            yield _Hit("no-signal-receive", statement)
        if profile is not None and profile.own_file is not None and profile.own_file.table is not None:
            yield from () if profile.own_file.flagged else _of_owners(mine, statement.profile)


def _of_owners(mine: list[Statement], name: str) -> Iterator[_Hit]:
    """The rules of profile `name` that are for a file's owner alone."""
    for statement in mine:
        of_it = statement.kind == "rule" and statement.profile == name
        if of_it and not statement.denies and "owner" in statement.text.split()[:3]:
            yield _Hit("owner-open", statement)


def _redundant(source: Source, compile: Compile, policy: Policy, rules: list[Statement]) -> Iterator[_Hit]:
    """Rules without which the policy stays equal, logging included."""
    for rule in rules:
        try:
            without = read_policy(compile(source.without([rule])))
        except PhoenixError:
            continue
        if equal(policy, without):
            yield _Hit("redundant-rule", rule)


def _widened(source: Source, compile: Compile, rules: list[Statement]) -> Iterator[_Hit]:
    """Mount rules that, compiled alone, allow another kind of mount than they name."""
    inner = [s for s in source.statements if s.profile and s.kind != "block"]
    for rule in rules:
        meant = _meant(rule)
        if meant is None:
            continue
        try:
            alone = read_policy(compile(source.without([s for s in inner if s.start != rule.start])))
            profile = alone.get(rule.profile)
        except PhoenixError:
            continue
        example = _beyond(profile, meant)
        if example:
            yield _Hit("compiler-widens", rule, f"it allows `{example}`")


def _meant(rule: Statement) -> set[str] | None:
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
