"""Trials: a container runs for a while under a copy of a profile that lets more through, and logs it.

Owns the record of one, and what begins and ends it.  Pure: facts in, a plan out.  Must not know how a copy is
made (`policy.trial_rules`) nor read anything.

What is on disk never lets more through than the profile does: the file holds a plain copy, and the kernel
alone has the other one.  So a boot, or a reload of the profiles, ends a trial; the container still starts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.plan.actions import (
    MANAGED_KEYS,
    PROFILE_KEY,
    Action,
    AssignLines,
    InstallFile,
    LineChange,
    LoadProfile,
    LoadWhy,
    RemoveFile,
    RestartContainer,
    TrialTimer,
    UnloadProfile,
)
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.declared import is_ctid
from phoenix_hypervisor.plan.facts import KernelArgv, Processes
from phoenix_hypervisor.plan.model import Finding, Note, Plan, container
from phoenix_hypervisor.plan.trial_codes import TrialCode
from phoenix_hypervisor.values import dataclass, field, replace

TRIALS_DIR = "/var/lib/phoenix/trials"
"""The records' place: a record for each trial, `CTID.json`."""
PREFIX = "lxc-trial-"
APPARMOR_D = "/etc/apparmor.d"


def trial_name(ctid: str) -> str:
    """The profile that a container on trial runs under."""
    return f"{PREFIX}{ctid}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One trial, as it is on record."""

    ctid: str
    profile: str
    """The profile that is tried."""
    begun: int
    until: int
    """Seconds since 1970, both."""
    by: str
    boot: str
    """The boot in which it began; empty where that is not known."""
    policy: str = ""
    """SHA-256 of the compiled copy that lets more through."""
    lets: tuple[str, ...] = ()
    """The rules that were added to the profile."""
    lines: tuple[LineChange, ...] = ()
    """What its beginning made of the container's lines."""

    @property
    def name(self) -> str:
        return trial_name(self.ctid)

    @property
    def path(self) -> str:
        """The record."""
        return f"{TRIALS_DIR}/{self.ctid}.json"

    @property
    def file(self) -> str:
        """The file of the plain copy."""
        return f"{APPARMOR_D}/{self.name}"

    @property
    def ends(self) -> str:
        return stamp(self.until)

    def to_bytes(self) -> bytes:
        lines = [{"key": one.key, "value": one.value, "old": one.old} for one in self.lines]
        document = {
            "version": 1,
            "ctid": self.ctid,
            "profile": self.profile,
            "begun": self.begun,
            "until": self.until,
            "by": self.by,
            "boot": self.boot,
            "policy": self.policy,
            "lets": list(self.lets),
            "lines": lines,
        }
        return (json.dumps(document, indent=1) + "\n").encode()


def stamp(seconds: int) -> str:
    """A time as journals have it."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_trial(data: bytes, where: str) -> Trial:
    """Read a record's bytes.  Raises PhoenixError, naming `where`, for anything else."""
    try:
        found = json.loads(data)
        lines = tuple(
            LineChange(key=one["key"], value=one["value"], old=one["old"]) for one in found["lines"]
        )
        texts = (found["ctid"], found["profile"], found["by"], found["boot"], found["policy"], *found["lets"])
        values = [value for one in lines for value in (one.value, one.old)]
        if found["version"] != 1 or not is_ctid(found["ctid"]) or not all(isinstance(t, str) for t in texts):
            raise ValueError("not a record of version 1")
        if any(one.key not in MANAGED_KEYS for one in lines) or not all(
            value is None or isinstance(value, str) for value in values
        ):
            raise ValueError("it names a line that is not ours")
        return Trial(
            ctid=found["ctid"],
            profile=found["profile"],
            begun=int(found["begun"]),
            until=int(found["until"]),
            by=found["by"],
            boot=found["boot"],
            policy=found["policy"],
            lets=tuple(found["lets"]),
            lines=lines,
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        hint = "set the container's profile line by hand, then remove this file"
        raise PhoenixError(f"is not a trial's record: {error}", where=where, hint=hint) from error


class Stage(Enum):
    """How far a trial is."""

    OPEN = "open"
    """The kernel lets through what the trial lets through."""
    OVERDUE = "overdue"
    """So it does, and the trial's time is over."""
    ENDED = "ended"
    """The kernel refuses what the profile refuses; only the container's line is still the trial's."""


def stage(trial: Trial, now: float, *, in_kernel: bool) -> Stage:
    """How far it is at `now`; `in_kernel`: the kernel has the copy that lets more through."""
    if not in_kernel:
        return Stage.ENDED
    return Stage.OVERDUE if now >= trial.until else Stage.OPEN


def judge_trial(trial: Trial, at: Stage) -> Finding:
    """What `status` and `verify` say of a trial."""
    target, data = container(trial.ctid), {"ctid": trial.ctid, "profile": trial.profile}
    if at is Stage.ENDED:
        return Finding(TrialCode.ENDED, target, data)
    code = TrialCode.ON_TRIAL if at is Stage.OPEN else TrialCode.OVERDUE
    return Finding(code, target, {**data, "until": trial.ends}, fault=at is Stage.OVERDUE)


def on_trial(trial: Trial) -> Note:
    """Why nothing else changes that container."""
    data = {"ctid": trial.ctid, "profile": trial.profile, "until": trial.ends}
    return Note(TrialCode.ON_TRIAL, container(trial.ctid), data)


# Beginning --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginFacts:
    """What a trial begins with."""

    trial: Trial
    text: bytes
    """The plain copy's source."""
    closed: bytes
    """What it compiles to."""
    open: bytes
    """What the kernel gets: the copy that lets more through."""
    closure: str
    installed: bytes | None = None
    """What is in the copy's place in /etc/apparmor.d: of an earlier trial of ours."""
    loaded: bool = False
    """The kernel already has a profile of that name."""
    former: bytes | None = None
    """What it has of it, where that is known."""
    old_closure: str | None = None
    timer: Processes = ()
    """What lets systemd end it; empty: there is no systemd."""
    stays_closed: tuple[tuple[tuple[str, ...], str], ...] = ()
    """Rules that are not added, each with the question that they would answer wrongly, or the fault."""
    argv: KernelArgv


def begin_loads(facts: BeginFacts) -> tuple[LoadProfile, LoadProfile]:
    """The plain copy, then the one that lets more through: taking it back loads the plain one again.

    A process may run under the name already, or by then.  So the last thing that undoing leaves in the kernel
    never lets more through than the profile.
    """
    trial = facts.trial
    argv = (facts.argv.load(trial.name),)
    closed = LoadProfile(
        target=trial.name,
        before=facts.former,
        after=facts.closed,
        processes=argv,
        closure=facts.closure,
        old_closure=facts.old_closure,
        replaces=facts.loaded,
        why=LoadWhy.NEW,
    )
    opened = LoadProfile(
        target=trial.name,
        before=facts.closed,
        after=facts.open,
        processes=argv,
        closure=facts.closure,
        old_closure=facts.closure,
        replaces=True,
        why=LoadWhy.TRIAL,
    )
    return closed, opened


def decide_begin(facts: BeginFacts, lines: Plan) -> Plan:
    """Begin a trial; `lines` is what becomes of the container's lines, as for any profile."""
    if lines.refusals or lines.refused:
        return lines
    changes = next((a.lines for a in lines.actions if isinstance(a, AssignLines)), ())
    trial = replace(facts.trial, lines=changes)
    closed, opened = begin_loads(facts)
    record = InstallFile(
        target=trial.path, path=trial.path, before=None, after=trial.to_bytes(), profile=None
    )
    file = InstallFile(
        target=trial.name, path=trial.file, before=facts.installed, after=facts.text, profile=trial.name
    )
    # Nothing is open before something is there that ends it.
    ends = TrialTimer(target=trial.ctid, until=trial.ends, processes=facts.timer)
    actions: list[Action] = [record, file, closed, *([ends] if facts.timer else ()), opened, *lines.actions]
    target = container(trial.ctid)
    warnings = [
        Note(TrialCode.STAYS_CLOSED, target, {"rules": rules, "question": question})
        for rules, question in facts.stays_closed
    ]
    if not trial.lets:
        warnings.append(Note(TrialCode.NOTHING_OPENED, target))
    if not facts.timer:
        warnings.append(Note(TrialCode.NO_TIMER, target, {"ctid": trial.ctid, "until": trial.ends}))
    return Plan(
        actions=tuple(actions),
        skipped=tuple(_at_start(note) for note in lines.skipped),
        warnings=(*lines.warnings, *warnings),
        ok=lines.ok,
    )


def _at_start(note: Note) -> Note:
    if note.code is not Code.RESTART_NEEDED:
        return note
    return Note(TrialCode.AT_START, note.target, note.data, blocked_by=note.blocked_by)


# Ending -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class EndFacts:
    """What a trial ends from."""

    trial: Trial
    closed: bytes | None
    """What the plain copy compiles to; None where the kernel has no profile of that name."""
    is_closed: bool = False
    """The kernel has just that already: a second try, after the configuration could not be written."""
    closure: str | None = None
    recorded: str | None = None
    """The closure of what Phoenix last loaded of it."""
    record: bytes = b""
    file: bytes | None = None
    """The plain copy's file; None where it is gone."""
    data: bytes | None = None
    """The container's configuration; None where it is gone."""
    path: str = ""
    values: Mapping[str, str | None] = field(default_factory=dict)
    """What counts of each of its lines."""
    after: bytes | None = None
    """The configuration with the trial's lines taken back."""
    blocked: tuple[Note, ...] = ()
    """Why it cannot be written now."""
    carried: bool = False
    """Processes run under the copy."""
    timer: Processes = ()
    restart: Processes = ()
    """What restarts the container, where that was asked for and it runs under the copy."""
    argv: KernelArgv


def back_lines(trial: Trial, values: Mapping[str, str | None]) -> tuple[LineChange, ...]:
    """The lines to take back: those that are as the trial made them."""
    return tuple(one.swapped() for one in trial.lines if values.get(one.key) == one.value)


def decide_end(facts: EndFacts) -> Plan:
    """End a trial: the kernel first, which takes effect at once; then line, file and record.

    A configuration that cannot be written now keeps none of the dangers open: then only the kernel's part is
    done, and the rest is `refused`.
    """
    trial = facts.trial
    actions: list[Action] = []
    if facts.closed is not None and not facts.is_closed:
        # `before` is the same: taking this back must not open it again.
        closes = LoadProfile(
            target=trial.name,
            before=facts.closed,
            after=facts.closed,
            processes=(facts.argv.load(trial.name),),
            closure=facts.closure,
            old_closure=facts.recorded,
            replaces=True,
            why=LoadWhy.TRIAL_OVER,
        )
        actions.append(closes)
    if facts.blocked:
        return Plan(actions=tuple(actions), refused=facts.blocked)
    if facts.timer:
        actions.append(TrialTimer(target=trial.ctid, until=None, processes=facts.timer))
    target = container(trial.ctid)
    skipped: list[Note] = []
    lines = back_lines(trial, facts.values)
    if lines and facts.data is not None:
        before, after = facts.data, facts.after
        actions.append(
            AssignLines(target=trial.ctid, path=facts.path, before=before, after=after, lines=lines)
        )
    if facts.data is not None and PROFILE_KEY not in {one.key for one in lines}:
        data = {"assigned": facts.values.get(PROFILE_KEY)}
        skipped.append(Note(TrialCode.LINE_STAYS, target, data))
    restarts = bool(facts.restart and lines)
    if restarts:
        profile = next((one.value for one in lines if one.key == PROFILE_KEY), None)
        actions.append(RestartContainer(target=trial.ctid, profile=profile, processes=facts.restart))
    if facts.file is not None:
        # While it stays in the kernel, what was loaded stays on record.
        gone = None if facts.carried else trial.name
        actions.append(RemoveFile(target=trial.name, path=trial.file, before=facts.file, profile=gone))
    actions.append(RemoveFile(target=trial.path, path=trial.path, before=facts.record, profile=None))
    if facts.closed is not None and not facts.carried:
        actions.append(
            UnloadProfile(
                target=trial.name,
                before=facts.closed,
                processes=(facts.argv.unload,),
                old_closure=facts.closure,
            )
        )
    elif facts.carried and not restarts:
        data = {"ctid": trial.ctid, "profile": trial.profile}
        skipped.append(Note(TrialCode.RUNS_ON, target, data))
    return Plan(actions=tuple(actions), skipped=tuple(skipped))
