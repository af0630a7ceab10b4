"""Accepting rules: from denials to a source file.

Owns the order: the denials are found and judged anew, all rules are proven together, and only then is a file
beside the configuration written.  Must not judge a denial (`engine.proposals` does) nor load anything.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from phoenix_hypervisor.audit.meaning import means, printable
from phoenix_hypervisor.audit.verdict import Verdict
from phoenix_hypervisor.engine.denials import Denial, Watch
from phoenix_hypervisor.engine.places import accepted_beside
from phoenix_hypervisor.engine.proposals import Judge
from phoenix_hypervisor.errors import PhoenixError, Problem, ProblemsError, UsageError
from phoenix_hypervisor.host.files import Directory
from phoenix_hypervisor.host.trust import require_given
from phoenix_hypervisor.plan.fault_codes import Fault
from phoenix_hypervisor.profiles.accepted import Entry, added, entries, removed
from phoenix_hypervisor.profiles.sources import ACCEPTED, MAX_SOURCE
from phoenix_hypervisor.values import dataclass

if TYPE_CHECKING:
    from phoenix_hypervisor.engine.policy_sources import PolicySources
    from phoenix_hypervisor.engine.requests import AcceptRequest
    from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.engine.shared import writing


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedRule:
    """A rule in a file of accepted rules."""

    profile: str
    path: str
    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What accepting, removing or listing rules came to."""

    rules: tuple[AcceptedRule, ...]
    """Those that were accepted, taken out, or listed."""
    already: tuple[str, ...] = ()
    """Ids whose rules stand there already."""
    opens: Mapping[str, tuple[str, ...]] | None = None
    """By id, what else the rule opens."""


def accept(session: Session, sources: PolicySources, request: AcceptRequest) -> Accepted:
    """Write the rules that the denials of these ids are offered, each with its evidence.

    Raises UsageError for an id that no log holds, ProblemsError where one of them is offered no rule or
    where the rules do not hold together; nothing is written then.
    """
    folder = accepted_beside(session.config_path)
    standing = {rule.entry.id: rule for rule in _standing(folder)}
    already = tuple(one for one in request.ids if one in standing)
    wanted = tuple(dict.fromkeys(one for one in request.ids if one not in standing))
    if not wanted:
        return Accepted(rules=(), already=already)
    found = _found(session, sources, request, wanted)
    by_profile: dict[str, list[Denial]] = {}
    for denial in found:
        assert denial.judged.proposal is not None
        by_profile.setdefault(denial.judged.proposal.profile, []).append(denial)
    _check_together(sources, by_profile)
    rules: list[AcceptedRule] = []
    for profile, some in by_profile.items():
        new = [_entry(denial, request.by) for denial in _once(some)]
        path = os.path.join(folder, profile)
        with writing(session, path):
            before = _read(folder, profile)
            _write(session, folder, profile, added(before, profile, new), before)
        rules += [AcceptedRule(profile=profile, path=path, entry=entry) for entry in new]
    opens = {one.group.id: one.judged.proposal.opens for one in found if one.judged.proposal is not None}
    return Accepted(rules=tuple(rules), already=already, opens=opens)


def listed(session: Session) -> Accepted:
    """All accepted rules, also those that were written by hand."""
    return Accepted(rules=tuple(_standing(accepted_beside(session.config_path))))


def remove(session: Session, ids: Sequence[str]) -> Accepted:
    """Take rules out again.  Raises UsageError for an id that none of them has; nothing is written then."""
    folder = accepted_beside(session.config_path)
    standing = list(_standing(folder))
    known = {rule.entry.id for rule in standing if rule.entry.id}
    missing = [one for one in ids if one not in known]
    if missing:
        raise UsageError(f"no rule was accepted for {missing[0]}", hint="`phoenix accept --list` lists them")
    gone = [rule for rule in standing if rule.entry.id in ids]
    for profile in dict.fromkeys(rule.profile for rule in gone):
        with writing(session, os.path.join(folder, profile)):
            before = _read(folder, profile)
            if before is not None:
                _write(session, folder, profile, removed(before, ids), before)
    return Accepted(rules=tuple(gone))


def _found(
    session: Session, sources: PolicySources, request: AcceptRequest, ids: Sequence[str]
) -> list[Denial]:
    """The denials of these ids, each with an offered rule."""
    watch = Watch(session, sources, request.denials)
    watch.open()
    for _ in watch.count(watch.events()):
        pass
    everything = {denial.group.id: denial for denial in watch.denials(frozenset(ids))}
    missing = [one for one in ids if one not in everything]
    if missing:
        hint = "`phoenix denials` lists them; an older one may be in a file: --file FILE"
        raise UsageError(f"no log holds a denial {missing[0]}", hint=hint)
    found = [everything[one] for one in ids]
    problems = [_not_offered(denial) for denial in found if denial.judged.verdict is not Verdict.OFFERED]
    if problems:
        raise ProblemsError("nothing was accepted", problems)
    return found


def _not_offered(denial: Denial) -> Problem:
    judged = denial.judged
    where = f" ({judged.where})" if judged.where else ""
    text = f"{judged.verdict.value}: {judged.reason}{where}"
    return Problem(printable(text), f"denial {denial.group.id}", code=Fault.NOT_OFFERED)


def _check_together(sources: PolicySources, by_profile: Mapping[str, Sequence[Denial]]) -> None:
    """Raise PhoenixError where a source takes no accepted rules, or where rules open a danger together."""
    judge = Judge(sources)
    for profile, some in by_profile.items():
        if not sources.takes_accepted(profile):
            hint = f"write `include if exists <{ACCEPTED}/{profile}>` into it, before the closing brace"
            raise PhoenixError("takes no accepted rules", where=sources.source(profile)[0], hint=hint)
        rules = [one.judged.proposal.rule for one in some if one.judged.proposal is not None]
        refused = judge.refused(profile, rules) if len(rules) > 1 else None
        if refused is not None:
            where = f" ({refused.where})" if refused.where else ""
            problem = Problem(f"{refused.reason}{where}", f"profile {profile}", code=Fault.NOT_OFFERED)
            raise ProblemsError("nothing was accepted: the rules do not hold together", [problem])


def _once(some: Sequence[Denial]) -> list[Denial]:
    """One denial for each rule: several may be offered the same."""
    found: dict[str, Denial] = {}
    for denial in some:
        assert denial.judged.proposal is not None
        found.setdefault(denial.judged.proposal.rule, denial)
    return list(found.values())


def _entry(denial: Denial, by: str) -> Entry:
    group, judged = denial.group, denial.judged
    assert judged.proposal is not None
    line = group.event.line
    comm = printable(line.fields.get("comm", b""))
    whose = f"container {denial.ctid}" if denial.ctid is not None else "container not known"
    times = "once" if group.count == 1 else f"{group.count} times"
    when = (
        f", {_utc(group.first)}"
        if group.first == group.last
        else f", {_utc(group.first)} to {_utc(group.last)}"
    )
    seen = f"seen {times}{when if group.last is not None else ''}"
    what = means(line, group.kind, group.object, group.requested)
    evidence = [
        f"{_utc(time.time())} by {printable(by)}",
        f"{f'{comm}: ' if comm else ''}{what}; {whose}",
        seen + (f"; audit({group.event.id})" if group.event.id else ""),
        *(f"also opens {one}" for one in judged.proposal.opens),
    ]
    return Entry(id=group.id, rule=judged.proposal.rule, evidence=tuple(evidence))


def _utc(seconds: float | None) -> str:
    if seconds is None or not 0 <= seconds < 253402300800:
        return "at a time not known"
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


# Files ------------------------------------------------------------------------------


def _standing(folder: str) -> list[AcceptedRule]:
    if not os.path.isdir(folder):
        return []
    require_given(folder)
    found: list[AcceptedRule] = []
    with Directory(folder, folder, folder) as directory:
        for name in sorted(directory.names()):
            data = None if name.startswith(".") else directory.read(name, MAX_SOURCE)
            path = os.path.join(folder, name)
            found += [AcceptedRule(profile=name, path=path, entry=one) for one in entries(data or b"")]
    return found


def _read(folder: str, name: str) -> bytes | None:
    if not os.path.isdir(folder):
        return None
    with Directory(folder, folder, folder) as directory:
        return directory.read(name, MAX_SOURCE)


def _write(session: Session, folder: str, name: str, data: bytes | None, before: bytes | None) -> None:
    """Put the file there as a whole, or take it away."""
    try:
        os.makedirs(folder, 0o755, exist_ok=True)
    except OSError as error:
        raise PhoenixError(f"cannot be made: {error.strerror}", where=folder) from error
    require_given(folder)
    # pmxcfs gives its files a mode of its own, and takes no other.
    shared = os.path.realpath(folder).startswith(session.host.root.locate("/etc/pve") + "/")
    with Directory(folder, folder, folder) as directory:
        if data is None:
            directory.remove(name, before=before)
        else:
            mode = 0o644 if before is None and not shared else None
            directory.replace(name, data, before=before, mode=mode)
