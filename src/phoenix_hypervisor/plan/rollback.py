"""What undoing an old transaction would do, and why it must not.

Owns the comparison of three states: what the transaction left, what is there now, what
would be there.  Pure: facts in, a plan out, as for setup and apply.  Must not perform anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_never

from phoenix_hypervisor.plan.actions import (
    PROFILE_KEY,
    SECCOMP_KEY,
    Action,
    AssignLines,
    InstallFile,
    LoadProfile,
    LoadWhy,
    ReloadService,
    RemoveFile,
    RestartContainer,
    Stays,
    UnloadProfile,
)
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.entries import COMMITTED, Entry
from phoenix_hypervisor.plan.facts import KernelArgv
from phoenix_hypervisor.plan.inverse import Step
from phoenix_hypervisor.plan.labels import carriers
from phoenix_hypervisor.plan.model import (
    Assignments,
    AtWork,
    ConfFault,
    Conflict,
    Note,
    Plan,
    ReadOnly,
    because,
    container,
    profile,
)
from phoenix_hypervisor.values import dataclass, field, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A container's configuration now; `data` None where it has none here."""

    data: bytes | None = None
    values: Mapping[str, str | None] = field(default_factory=dict)
    """What counts of each managed line; None: no such line."""
    merged: bytes | None = None
    """The configuration as it is now, with the lines put back."""
    lock: AtWork | None = None
    fault: ConfFault | None = None
    """Why it cannot be edited."""


@dataclass(frozen=True, slots=True)
class Restart:
    """How a container that runs is restarted."""

    processes: tuple[tuple[str, ...], ...]
    pids: frozenset[int]
    """Those that end with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackFacts:
    """The host now, as far as a rollback of `steps` asks."""

    steps: Sequence[Step]
    live: bool
    """A running system, not a directory."""
    kernel: bool
    """It has AppArmor, and its policy may be changed."""
    read_only: ReadOnly | None = None
    """Why no configuration can be written now."""
    files: Mapping[str, bytes | None] = field(default_factory=dict)
    """By path: every file that goes back, and the file of every profile that is loaded."""
    lines: Mapping[str, Line] = field(default_factory=dict)
    """By container: every one whose lines go back."""
    former: Mapping[str, bytes | None] = field(default_factory=dict)
    """By profile: what the kernel has of it, where that is known."""
    recorded: Mapping[str, str] = field(default_factory=dict)
    """By profile: the closure of what Phoenix last loaded."""
    loaded: Mapping[str, str] = field(default_factory=dict)
    """Mode by name of all that the kernel has."""
    labels: Mapping[int, str] = field(default_factory=dict)
    """The label of every process; empty where nothing would be unloaded."""
    assignments: Assignments = field(default_factory=lambda: Assignments({}))
    includers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By an include's path: the installed profiles of ours that pull it in."""
    naming: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By a seccomp file's path: the containers whose configuration names it."""
    closures: Mapping[str, str | None] = field(default_factory=dict)
    """By profile that pulls in a file of `steps`: its closure once all of them are back."""
    earlier: int | None = None
    """The transaction before this one that can be undone."""
    restarts: Mapping[str, Restart] = field(default_factory=dict)
    """By container that the transaction started and that runs: how it is restarted."""
    argv: KernelArgv


@dataclass(slots=True)
class _Result:
    """The plan as it grows."""

    actions: list[Action] = field(default_factory=list)
    skipped: list[Note] = field(default_factory=list)
    refusals: list[Note] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    ok: int = 0

    def plan(self) -> Plan:
        return Plan(
            actions=tuple(self.actions),
            skipped=tuple(self.skipped),
            refusals=tuple(self.refusals),
            conflicts=tuple(self.conflicts),
            ok=self.ok,
        )


def undone_by(entries: Sequence[Entry]) -> dict[int, int]:
    """Rollback by the transaction that it undid; `entries` newest first.

    A rollback that was itself rolled back undoes nothing any more.
    """
    found: dict[int, int] = {}
    for entry in entries:
        undoes = entry.header.undoes
        if undoes is not None and entry.state == COMMITTED and entry.id not in found:
            found[undoes] = entry.id
    return found


def decide_rollback(facts: RollbackFacts, so_far: Plan) -> Plan:
    """What takes a committed transaction back, given the host as it is now."""
    result = _Result()
    for step in facts.steps:
        _step(step, facts, result)
    if facts.kernel:
        _includers(facts, result)
    _restarts(facts, result)
    _in_use(facts, result)
    if not result.actions and not result.refusals and not result.conflicts:
        result.skipped.append(Note(Code.NOTHING_TO_UNDO, "rollback", {"earlier": facts.earlier}))
    return result.plan()


def _step(step: Step, facts: RollbackFacts, result: _Result) -> None:
    back = step.back
    match back:
        case InstallFile() | RemoveFile():
            _file(back, facts, result)
        case AssignLines():
            _lines(back, facts, result)
        case LoadProfile() | UnloadProfile() | ReloadService() if not facts.kernel:
            code = Code.KERNEL_OFF if facts.live else Code.FILES_ONLY
            result.skipped.append(Note(code, back.target, {"what": "undo"}))
        case ReloadService():
            result.actions.append(back)
        case LoadProfile():
            _load(step.done, back, facts, result)
        case UnloadProfile():
            _unload(step.done, back, facts, result)
        case Stays():
            pass  # Takes nothing back.
        case _:
            assert_never(back)


def _file(back: InstallFile | RemoveFile, facts: RollbackFacts, result: _Result) -> None:
    now, wanted = facts.files[back.path], back.after if isinstance(back, InstallFile) else None
    if now == wanted:
        result.ok += 1
    elif now == back.before:
        result.actions.append(back)
    else:
        result.conflicts.append(Conflict(back.path, back.before, now, wanted))


def _lines(back: AssignLines, facts: RollbackFacts, result: _Result) -> None:
    now, target = facts.lines[back.target], container(back.target)
    is_back = all(now.values.get(c.key) == c.value for c in back.lines)
    as_left = all(now.values.get(c.key) == c.old for c in back.lines)
    if now.fault is not None:
        result.refusals.append(because(Code.CONF_UNUSABLE, target, now.fault))
    elif now.data is None:
        result.skipped.append(Note(Code.CONTAINER_GONE, target))
    elif now.data == back.after or (is_back and not as_left):
        result.ok += 1
    elif now.data != back.before and not as_left:
        result.conflicts.append(Conflict(back.path, back.before, now.data, back.after))
    elif now.lock is not None:
        result.refusals.append(because(Code.LOCKED, target, now.lock))
    elif facts.read_only is not None:
        result.refusals.append(because(Code.READ_ONLY, target, facts.read_only))
    elif now.data == back.before and back.after is not None:
        result.actions.append(back)
    elif now.merged == now.data:
        result.ok += 1
    else:
        result.actions.append(replace(back, before=now.data, after=now.merged, alone=True))


def _load(done: Action, back: LoadProfile, facts: RollbackFacts, result: _Result) -> None:
    name = back.target
    if isinstance(done, UnloadProfile) and name in facts.loaded:
        result.ok += 1
    elif back.after is None and not _has_file(name, facts, result):
        result.skipped.append(Note(Code.POLICY_UNKNOWN, profile(name)))
    elif isinstance(done, UnloadProfile):
        result.actions.append(back)
    elif not _was_replaced(done, facts, result):
        result.actions.append(replace(back, before=facts.former.get(name)))


def _unload(done: Action, back: UnloadProfile, facts: RollbackFacts, result: _Result) -> None:
    if back.target not in facts.loaded:
        result.ok += 1
    elif not _was_replaced(done, facts, result):
        result.actions.append(replace(back, before=facts.former.get(back.target)))


def _was_replaced(done: Action, facts: RollbackFacts, result: _Result) -> bool:
    """Whether a later transaction loaded the profile again: then this one is not the next to go."""
    if not isinstance(done, LoadProfile) or facts.recorded.get(done.target) == done.closure:
        return False
    result.refusals.append(Note(Code.LOADED_LATER, profile(done.target)))
    return True


def _has_file(name: str, facts: RollbackFacts, result: _Result) -> bool:
    """Whether the profile's file is there once the planned actions are done."""
    path = f"/etc/apparmor.d/{name}"
    for action in result.actions:
        if isinstance(action, InstallFile | RemoveFile) and action.path == path:
            return isinstance(action, InstallFile)
    return facts.files[path] is not None


def _includers(facts: RollbackFacts, result: _Result) -> None:
    """Load what a later transaction installed and what includes a file that goes back."""
    changed: dict[str, bytes | None] = {}
    handled: set[str] = set()
    for action in result.actions:
        if isinstance(action, ReloadService):
            return  # It loads all there is.
        if isinstance(action, InstallFile):
            changed[action.path] = action.after
        elif isinstance(action, RemoveFile):
            changed[action.path] = None
        elif isinstance(action, LoadProfile | UnloadProfile):
            handled.add(action.target)
    includes = [a.path for a in result.actions if isinstance(a, InstallFile) and a.profile is None]
    for name in sorted({n for path in includes for n in facts.includers[path]} - handled):
        if name not in facts.loaded or changed.get(f"/etc/apparmor.d/{name}", b"") is None:
            continue
        result.actions.append(
            LoadProfile(
                target=name,
                before=facts.former.get(name),
                after=None,
                processes=(facts.argv.load(name),),
                closure=facts.closures[name],
                old_closure=facts.recorded.get(name),
                replaces=True,
                why=LoadWhy.INCLUDE,
            )
        )


def _restarts(facts: RollbackFacts, result: _Result) -> None:
    """Restart what runs under the lines that go back: after the loads, before anything is unloaded."""
    found: list[Action] = []
    for back in result.actions:
        how = facts.restarts.get(back.target) if isinstance(back, AssignLines) else None
        if how is None or not isinstance(back, AssignLines):
            continue
        line = back.change(PROFILE_KEY)
        value = facts.lines[back.target].values.get(PROFILE_KEY) if line is None else line.value
        found.append(RestartContainer(target=back.target, profile=value, processes=how.processes))
    if found:
        unloads = [action for action in result.actions if isinstance(action, UnloadProfile)]
        others = [action for action in result.actions if not isinstance(action, UnloadProfile)]
        result.actions = [*others, *found, *unloads]


def _in_use(facts: RollbackFacts, result: _Result) -> None:
    """Nothing goes that somebody still needs: a process, a container, another profile."""
    assigned = facts.assignments.after(result.actions)
    removed = {a.path for a in result.actions if isinstance(a, RemoveFile)}
    restarted = [a.target for a in result.actions if isinstance(a, RestartContainer)]
    ending = {pid for ctid in restarted for pid in facts.restarts[ctid].pids}
    leaving: dict[str, bool] = {}
    for action in result.actions:
        if isinstance(action, UnloadProfile):
            leaving[action.target] = True
        elif isinstance(action, RemoveFile) and action.profile is not None:
            leaving.setdefault(action.profile, False)
    for name, unloads in leaving.items():
        users = assigned.users(name)
        if users:
            result.refusals.append(Note(Code.ASSIGNED, profile(name), {"containers": users}))
        elif assigned.unknown:
            data = {"containers": assigned.unknown}
            result.refusals.append(Note(Code.PERHAPS_ASSIGNED, profile(name), data))
        pids = tuple(pid for pid in carriers(facts.labels, name) if pid not in ending) if unloads else ()
        if pids:
            result.refusals.append(Note(Code.CARRIED, profile(name), {"pids": pids[:5]}))
    for action in result.actions:
        if isinstance(action, RemoveFile) and action.profile is None:
            naming = _still_naming(action.path, facts, result)
            if naming:
                result.refusals.append(Note(Code.STILL_NAMED, action.path, {"containers": naming}))
            names = tuple(n for n in facts.includers[action.path] if f"/etc/apparmor.d/{n}" not in removed)
            if names:
                result.refusals.append(Note(Code.INCLUDED, action.path, {"profiles": names}))


def _still_naming(path: str, facts: RollbackFacts, result: _Result) -> tuple[str, ...]:
    """The containers that name a file, and whose line does not go in the same rollback."""
    changes = {a.target: a.change(SECCOMP_KEY) for a in result.actions if isinstance(a, AssignLines)}
    freed = {ctid for ctid, line in changes.items() if line is not None and line.value != path}
    return tuple(ctid for ctid in facts.naming.get(path, ()) if ctid not in freed)
