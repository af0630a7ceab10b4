"""Bad habits in profile sources.

Owns the codes, their waivers (`# lint: allow CODE reason`) and putting a source's findings together.  Must
not compile by itself, nor judge files that are not ours: rules of distribution includes are left alone.
The codes are explained in docs/guide/policy.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator

from phoenix_hypervisor.policy import constants
from phoenix_hypervisor.policy.alone import Compile, rules_alone
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.habits import Hit, in_text, is_for_lxc
from phoenix_hypervisor.policy.profile import Policy
from phoenix_hypervisor.policy.queries import SignalQuery
from phoenix_hypervisor.policy.reader import read_policy
from phoenix_hypervisor.policy.source import Source, Statement, waived
from phoenix_hypervisor.policy.surplus import left_over, mounts_meant, redundant, widened
from phoenix_hypervisor.values import dataclass

CODES: dict[str, str] = {
    "redundant-rule": "the policy is the same without it, for the features compiled for",
    "accepted-not-needed": "the profile allows the same without this accepted rule: take it out",
    "left-beside-deny": "the rule denies reading and writing, but not all that other rules allow",
    "unconfined-exec": "the program runs without confinement, or may",
    "bare-all": "`all,` allows everything that no rule denies",
    "bare-mount": "`mount,` makes every other mount rule redundant; a second procfs escapes path rules",
    "bare-ptrace": "`ptrace,` allows tracing every process, whatever its profile",
    "bare-capability": "`capability,` allows every capability that no rule denies",
    "bare-change-profile": "it may change to any profile, or to none",
    "complain-flag": "the profile denies nothing that no rule denies: it only logs",
    "unconfined-flag": "the profile allows everything that no rule denies, or confines nothing",
    "covered-by-file": "`file,` in the same profile already allows it",
    "change-profile-out": "the container may leave its confinement",
    "no-signal-receive": "neither lxc-stop nor the host's kill can end the container",
    "start-container": "abstractions/lxc/start-container is for lxc-start, not for a container",
    "profile-name": "LXC may only change to profiles whose names begin with lxc-",
    "compiler-widens": "this host's compiler makes more of the rule than it says",
    "owner-open": "this compiler makes it a rule for everybody, on kernels from 6.17 on",
    "unmediated-class": "the compiler was told too little about the kernel: all of it is allowed",
    "slow-compile": "compiling takes more of the processor's time than the budget",
    "large-policy": "the compiled policy is larger than the budget",
}

MAX_SECONDS = 5.0
"""Of the processor.  A busy machine doubles them: the largest shipped profile takes 1.3 to 2.7."""
MAX_BYTES = 460_000


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


def lint(
    source: Source,
    compile: Compile,
    *,
    name: str,
    own: Callable[[str], bool] = lambda file: True,
    thorough: bool = True,
    lxc: bool = False,
    needed: Collection[str] = (),
) -> list[Habit]:
    """Everything to object to in `source` (the file `name`), waived findings included.

    `own` tells our files from those of the distribution.  Without `thorough` nothing is compiled a second
    time: redundant rules, widened ones and what is left beside deny rules are not looked for.  `lxc`: the
    source is for containers whatever it says itself.  `needed`: places of rules that are known not to be
    redundant.  Raises PhoenixError where the source does not compile.
    """
    started = _busy()
    blob = compile(source.text)
    seconds = _busy() - started
    policy = read_policy(blob)
    mine = [s for s in source.statements if own(s.file)]
    lxc = lxc or is_for_lxc(source.statements)
    hits = [*in_text(mine, lxc=lxc), *_behaviour(mine, policy, lxc=lxc)]
    if thorough:
        hits += _compiled_again(source, compile, policy, mine, hits, name, needed)
    if seconds > MAX_SECONDS:
        hits.append(Hit("slow-compile", None, f"{seconds:.1f} s, budget {MAX_SECONDS} s"))
    if len(blob) > MAX_BYTES:
        hits.append(Hit("large-policy", None, f"{len(blob)} bytes, budget {MAX_BYTES}"))
    findings = [_finding(source, hit, name) for hit in hits]
    return sorted(findings, key=lambda finding: (_line(finding.place), finding.code))


def _busy() -> float:
    """Seconds of the processor that this process and those it waited for took: a busy machine is no fault."""
    return sum(os.times()[:4])


def _compiled_again(
    source: Source,
    compile: Compile,
    policy: Policy,
    mine: list[Statement],
    hits: list[Hit],
    name: str,
    needed: Collection[str],
) -> list[Hit]:
    """What takes a look at each rule by itself, and compiling without some."""
    inner = [s for s in source.statements if s.profile and s.kind != "block"]
    rules = [s for s in mine if s.kind == "rule" and s.profile]
    alone = rules_alone(source, compile, inner)
    by_name = {profile.label: profile for profile in policy.profiles}
    found = []
    for rule in rules:
        one = alone.profiles.get(rule.start)
        example = widened(rule, one) if one is not None else None
        if example:
            found.append(Hit("compiler-widens", rule, f"it allows `{example}`"))
        profile = by_name.get(rule.profile)
        if rule.denies and one is not None and profile is not None:
            left = left_over(profile, one)
            if left:
                found.append(Hit("left-beside-deny", rule, f"{left[0]} stays allowed, as in `{left[1]}`"))
    known = {
        hit.statement.start for hit in hits if hit.statement is not None and hit.code == "covered-by-file"
    }
    if any(hit.code == "compiler-widens" for hit in found):
        # What a widened rule covers by mistake is not superfluous.
        known |= {rule.start for rule in rules if mounts_meant(rule) is not None}
    # From the end on, the source's own rules first: of two that are alike the later one is told.
    # Accepted rules before all others: it is they that are not needed any more.
    asked = sorted(rules, key=lambda rule: (not _accepted(rule), rule.file != name, -rule.start))
    asked = [rule for rule in asked if rule.start not in known and rule.place not in needed]
    return [*found, *(Hit("redundant-rule", r) for r in redundant(source, compile, policy, alone, asked))]


def _accepted(rule: Statement) -> bool:
    """Whether it stands in a file of accepted rules, `accepted/PROFILE`."""
    return rule.file.rpartition("/")[0].endswith("/accepted")


def _finding(source: Source, hit: Hit, name: str) -> Habit:
    code = hit.code
    if code in ("redundant-rule", "covered-by-file") and hit.statement and _accepted(hit.statement):
        code = "accepted-not-needed"
    waiver = waived(source, code, hit.statement)
    detail = f": {hit.detail}" if hit.detail else ""
    return Habit(
        code,
        CODES[code] + detail,
        hit.statement.place if hit.statement is not None else name,
        hit.statement.text if hit.statement is not None else "",
        waiver.reason if waiver is not None else None,
    )


def _line(place: str) -> tuple[str, int]:
    file, _, line = place.rpartition(":")
    return (file, int(line)) if line.isdigit() else (place, 0)


def _behaviour(mine: list[Statement], policy: Policy, *, lxc: bool) -> Iterator[Hit]:
    """What has to be asked of the compiled profile."""
    for statement in mine:
        if statement.kind != "block" or not statement.profile or "//" in statement.profile:
            continue
        profile = next((p for p in policy.profiles if p.label == statement.profile), None)
        kill = constants.signal("kill")
        if profile is not None and profile.unmediated():
            yield Hit("unmediated-class", statement, ", ".join(profile.unmediated()))
        asked = SignalQuery(kill, 0x4, b"unconfined")
        if lxc and profile is not None and not Evaluator(profile).ask(asked).allowed:
            yield Hit("no-signal-receive", statement)
        if profile is not None and profile.own_file is not None and profile.own_file.table is not None:
            yield from () if profile.own_file.flagged else _of_owners(mine, statement.profile)


def _of_owners(mine: list[Statement], name: str) -> Iterator[Hit]:
    """The rules of profile `name` that are for a file's owner alone."""
    for statement in mine:
        of_it = statement.kind == "rule" and statement.profile == name
        if of_it and not statement.denies and "owner" in statement.prefixes:
            yield Hit("owner-open", statement)
