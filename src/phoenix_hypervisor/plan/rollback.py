"""What undoing an old transaction would do, and why it must not.

Owns the comparison of three states: what the transaction left, what is there now, what
would be there.  Pure: facts come through callbacks.  Must not perform anything; the plan
it makes is applied as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from phoenix_hypervisor.plan.entries import COMMITTED, Entry
from phoenix_hypervisor.plan.inverse import Step
from phoenix_hypervisor.plan.model import Action, Assignments, Kind, Note, Plan


@dataclass(frozen=True, slots=True)
class Line:
    """A container's configuration now."""

    data: bytes | None
    assigned: str | None = None
    lock: str | None = None
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """The host now, as far as a rollback asks."""

    live: bool
    """There is a kernel with AppArmor that may be changed."""
    no_kernel: str
    """Why not, where not."""
    quorate: bool
    file: Callable[[str], bytes | None]
    line: Callable[[str], Line]
    with_line: Callable[[bytes, Action], bytes]
    """A configuration with the line that an action puts back.  Raises PhoenixError."""
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
        kind = step.back.kind
        if kind in (Kind.INSTALL, Kind.REMOVE):
            _file(step.back, facts, result)
        elif kind is Kind.ASSIGN:
            _assignment(step.back, facts, result)
        elif not facts.live:
            result.skipped.append(Note(step.back.target, f"not done: {facts.no_kernel}"))
        elif kind is Kind.RELOAD_SERVICE:
            result.actions.append(step.back)
        else:
            _policy(step, facts, result)
    if facts.live:
        _includers(facts, result)
    _in_use(facts, result)
    if not result.actions and not result.refusals and not result.conflicts:
        result.skipped.append(Note("rollback", "everything is already as it was before that transaction"))
    return result


def _file(back: Action, facts: Facts, result: Rollback) -> None:
    now = facts.file(back.path)
    if now == back.after:
        result.ok += 1
    elif now == back.before:
        result.actions.append(back)
    else:
        result.conflicts.append(Conflict(back.path, back.before, now, back.after))


def _assignment(back: Action, facts: Facts, result: Rollback) -> None:
    line = facts.line(back.target)
    target = f"container {back.target}"
    if line.fault is not None:
        result.refusals.append(Note(target, line.fault))
    elif line.data is None:
        result.skipped.append(Note(target, "does not exist on this node any more"))
    elif line.data == back.after or (line.assigned == back.value and line.assigned != back.old_value):
        result.ok += 1
    elif line.data != back.before and line.assigned != back.old_value:
        result.conflicts.append(Conflict(back.path, back.before, line.data, back.after))
    elif line.lock is not None:
        hint = f"wait for that task, or see `pct unlock {back.target}`"
        result.refusals.append(Note(target, f"is locked by Proxmox ({line.lock})", hint))
    elif not facts.quorate:
        hint = "`pvecm status` shows which nodes miss"
        result.refusals.append(Note(target, "the cluster has no quorum, so /etc/pve is read-only", hint))
    elif line.data == back.before and back.after is not None:
        result.actions.append(back)
    else:
        summary = f"{back.summary}; others changed the file since, so its line alone"
        after = facts.with_line(line.data, back)
        if after == line.data:
            result.ok += 1
            return
        result.actions.append(replace(back, summary=summary, before=line.data, after=after))


def _policy(step: Step, facts: Facts, result: Rollback) -> None:
    back, name = step.back, step.back.target
    if step.done.kind is Kind.UNLOAD and name in facts.loaded:
        result.ok += 1
        return
    if back.kind is Kind.LOAD and back.after is None and not _has_file(name, facts, result):
        result.skipped.append(
            Note(f"profile {name}", "stays as it is: what the kernel had of it is not known")
        )
        return
    if step.done.kind is Kind.UNLOAD:
        result.actions.append(back)
        return
    if name not in facts.loaded and back.kind is Kind.UNLOAD:
        result.ok += 1
        return
    if step.done.kind is Kind.LOAD and facts.closures.get(name) != step.done.value:
        text = "a later transaction loaded another version of it"
        result.refusals.append(
            Note(f"profile {name}", text, "`phoenix history` lists it: roll that back first")
        )
        return
    result.actions.append(replace(back, before=facts.in_kernel(name)))


def _has_file(name: str, facts: Facts, result: Rollback) -> bool:
    """Whether the profile's file is there once the planned actions are done."""
    path = f"/etc/apparmor.d/{name}"
    for action in result.actions:
        if action.path == path:
            return action.kind is Kind.INSTALL
    return facts.file(path) is not None


def _includers(facts: Facts, result: Rollback) -> None:
    """Load what a later transaction installed and what includes a file that goes back."""
    kinds = {a.kind for a in result.actions}
    changed = {a.path: a.after for a in result.actions if a.kind in (Kind.INSTALL, Kind.REMOVE)}
    includes = [a.path for a in result.actions if a.kind is Kind.INSTALL and a.value is None]
    handled = {a.target for a in result.actions if a.kind in (Kind.LOAD, Kind.UNLOAD)}
    if Kind.RELOAD_SERVICE in kinds:
        return  # It loads all there is.
    for name in sorted({n for path in includes for n in facts.includers(path)} - handled):
        if name not in facts.loaded or changed.get(f"/etc/apparmor.d/{name}", b"") is None:
            continue
        result.actions.append(
            Action(
                Kind.LOAD,
                name,
                "load again (what it includes goes back)",
                before=facts.in_kernel(name),
                processes=(facts.load(name),),
                value=facts.closure(name, changed),
                old_value=facts.closures.get(name),
                replaces=True,
            )
        )


def _in_use(facts: Facts, result: Rollback) -> None:
    """Nothing goes that somebody still needs: a process, a container, another profile."""
    assigned = facts.assignments.after(result.actions)
    removed = {a.path for a in result.actions if a.kind is Kind.REMOVE}
    leaving: dict[str, bool] = {}
    for action in result.actions:
        if action.kind is Kind.UNLOAD:
            leaving[action.target] = True
        elif action.kind is Kind.REMOVE and action.value is not None:
            leaving.setdefault(action.value, False)
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
        if action.kind is Kind.REMOVE and action.value is None:
            names = [n for n in facts.includers(action.path) if f"/etc/apparmor.d/{n}" not in removed]
            if names:
                text = f"would go, but profile {', '.join(names)} includes it"
                hint = "roll back the transaction that installed that profile first"
                result.refusals.append(Note(action.path, text, hint))
