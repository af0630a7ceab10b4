"""What undoing an old transaction would do, and why it must not.

Owns the comparison of three states: what the transaction left, what is there now, what
would be there.  Pure: facts come through callbacks.  Must not perform anything; the plan
it makes is applied as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from phoenix_hypervisor.plan.actions import (
    Action,
    AssignLines,
    InstallFile,
    LoadProfile,
    LoadWhy,
    ReloadService,
    RemoveFile,
    Stays,
    UnloadProfile,
)
from phoenix_hypervisor.plan.entries import COMMITTED, Entry
from phoenix_hypervisor.plan.inverse import Step
from phoenix_hypervisor.plan.model import Assignments, Note, Obstacle, Plan


@dataclass(frozen=True, slots=True)
class Line:
    """A container's configuration now."""

    data: bytes | None
    values: Mapping[str, str | None] = field(default_factory=dict)
    """What counts of each managed line; None: no such line."""
    lock: Obstacle | None = None
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """The host now, as far as a rollback asks."""

    live: bool
    """There is a kernel with AppArmor that may be changed."""
    no_kernel: str
    """Why not, where not."""
    read_only: Obstacle | None
    """Why no configuration can be written now."""
    file: Callable[[str], bytes | None]
    line: Callable[[str], Line]
    with_lines: Callable[[bytes, AssignLines], bytes]
    """A configuration with the lines that an action puts back.  Raises PhoenixError."""
    in_kernel: Callable[[str], bytes | None]
    """What the kernel has of a profile, where that is known."""
    closures: Mapping[str, str]
    """What Phoenix last loaded, by profile name."""
    loaded: Mapping[str, str]
    carriers: Callable[[str], Sequence[int]]
    assignments: Assignments
    includers: Callable[[str], Sequence[str]]
    """The installed profiles of ours that pull in a file."""
    closure: Callable[[str, Mapping[str, bytes | None]], str | None]
    """Of an installed profile, once some files hold other bytes."""
    load: Callable[[str], tuple[str, ...]]
    """Profile name -> process that loads our compiled copy of it."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """A file that is no longer what the transaction left."""

    path: str
    then: bytes | None
    now: bytes | None
    becomes: bytes | None


@dataclass(slots=True)
class Rollback:
    """A plan, or what stands in its way."""

    actions: list[Action] = field(default_factory=list)
    skipped: list[Note] = field(default_factory=list)
    refusals: list[Note] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    ok: int = 0

    def plan(self) -> Plan:
        return Plan(tuple(self.actions), tuple(self.skipped), refusals=tuple(self.refusals), ok=self.ok)


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


def plan_rollback(steps: Sequence[Step], facts: Facts) -> Rollback:
    """What takes a committed transaction back, given the host as it is now."""
    result = Rollback()
    for step in steps:
        _step(step, facts, result)
    if facts.live:
        _includers(facts, result)
    _in_use(facts, result)
    if not result.actions and not result.refusals and not result.conflicts:
        result.skipped.append(Note("rollback", "everything is already as it was before that transaction"))
    return result


def _step(step: Step, facts: Facts, result: Rollback) -> None:
    back = step.back
    match back:
        case InstallFile() | RemoveFile():
            _file(back, facts, result)
        case AssignLines():
            _lines(back, facts, result)
        case LoadProfile() | UnloadProfile() | ReloadService() if not facts.live:
            result.skipped.append(Note(back.target, f"not done: {facts.no_kernel}"))
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


def _file(back: InstallFile | RemoveFile, facts: Facts, result: Rollback) -> None:
    now, wanted = facts.file(back.path), back.after if isinstance(back, InstallFile) else None
    if now == wanted:
        result.ok += 1
    elif now == back.before:
        result.actions.append(back)
    else:
        result.conflicts.append(Conflict(back.path, back.before, now, wanted))


def _lines(back: AssignLines, facts: Facts, result: Rollback) -> None:
    now = facts.line(back.target)
    target = f"container {back.target}"
    is_back = all(now.values.get(c.key) == c.value for c in back.lines)
    as_left = all(now.values.get(c.key) == c.old for c in back.lines)
    if now.fault is not None:
        result.refusals.append(Note(target, now.fault))
    elif now.data is None:
        result.skipped.append(Note(target, "does not exist on this node any more"))
    elif now.data == back.after or (is_back and not as_left):
        result.ok += 1
    elif now.data != back.before and not as_left:
        result.conflicts.append(Conflict(back.path, back.before, now.data, back.after))
    elif now.lock is not None:
        result.refusals.append(Note(target, now.lock.text, now.lock.hint))
    elif facts.read_only is not None:
        result.refusals.append(Note(target, facts.read_only.text, facts.read_only.hint))
    elif now.data == back.before and back.after is not None:
        result.actions.append(back)
    else:
        after = facts.with_lines(now.data, back)
        if after == now.data:
            result.ok += 1
            return
        result.actions.append(replace(back, before=now.data, after=after, alone=True))


def _load(done: Action, back: LoadProfile, facts: Facts, result: Rollback) -> None:
    name = back.target
    if isinstance(done, UnloadProfile) and name in facts.loaded:
        result.ok += 1
    elif back.after is None and not _has_file(name, facts, result):
        result.skipped.append(
            Note(f"profile {name}", "stays as it is: what the kernel had of it is not known")
        )
    elif isinstance(done, UnloadProfile):
        result.actions.append(back)
    elif not _was_replaced(done, facts, result):
        result.actions.append(replace(back, before=facts.in_kernel(name)))


def _unload(done: Action, back: UnloadProfile, facts: Facts, result: Rollback) -> None:
    if back.target not in facts.loaded:
        result.ok += 1
    elif not _was_replaced(done, facts, result):
        result.actions.append(replace(back, before=facts.in_kernel(back.target)))


def _was_replaced(done: Action, facts: Facts, result: Rollback) -> bool:
    """Whether a later transaction loaded the profile again: then this one is not the next to go."""
    if not isinstance(done, LoadProfile) or facts.closures.get(done.target) == done.closure:
        return False
    text = "a later transaction loaded another version of it"
    hint = "`phoenix history` lists it: roll that back first"
    result.refusals.append(Note(f"profile {done.target}", text, hint))
    return True


def _has_file(name: str, facts: Facts, result: Rollback) -> bool:
    """Whether the profile's file is there once the planned actions are done."""
    path = f"/etc/apparmor.d/{name}"
    for action in result.actions:
        if isinstance(action, InstallFile | RemoveFile) and action.path == path:
            return isinstance(action, InstallFile)
    return facts.file(path) is not None


def _includers(facts: Facts, result: Rollback) -> None:
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
    for name in sorted({n for path in includes for n in facts.includers(path)} - handled):
        if name not in facts.loaded or changed.get(f"/etc/apparmor.d/{name}", b"") is None:
            continue
        result.actions.append(
            LoadProfile(
                target=name,
                before=facts.in_kernel(name),
                after=None,
                processes=(facts.load(name),),
                closure=facts.closure(name, changed),
                old_closure=facts.closures.get(name),
                replaces=True,
                why=LoadWhy.INCLUDE,
            )
        )


def _in_use(facts: Facts, result: Rollback) -> None:
    """Nothing goes that somebody still needs: a process, a container, another profile."""
    assigned = facts.assignments.after(result.actions)
    removed = {a.path for a in result.actions if isinstance(a, RemoveFile)}
    leaving: dict[str, bool] = {}
    for action in result.actions:
        if isinstance(action, UnloadProfile):
            leaving[action.target] = True
        elif isinstance(action, RemoveFile) and action.profile is not None:
            leaving.setdefault(action.profile, False)
    for name, unloads in leaving.items():
        users = assigned.users(name)
        if users:
            text = f"would go, but is assigned to container {', '.join(users)}"
            result.refusals.append(Note(f"profile {name}", text, "assign another profile first"))
        elif assigned.unknown:
            text = f"would go, but container {', '.join(assigned.unknown)} may be assigned to it"
            hint = "its configuration cannot be read: correct it"
            result.refusals.append(Note(f"profile {name}", text, hint))
        pids = facts.carriers(name) if unloads else ()
        if pids:
            text = f"would be unloaded, but PID {', '.join(map(str, pids[:5]))} runs under it"
            result.refusals.append(Note(f"profile {name}", text, "stop the container first"))
    for action in result.actions:
        if isinstance(action, RemoveFile) and action.profile is None:
            names = [n for n in facts.includers(action.path) if f"/etc/apparmor.d/{n}" not in removed]
            if names:
                text = f"would go, but profile {', '.join(names)} includes it"
                hint = "roll back the transaction that installed that profile first"
                result.refusals.append(Note(action.path, text, hint))
