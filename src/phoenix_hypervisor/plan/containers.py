"""What has to happen to the containers: declared against assigned and running.

Pure: facts in, a plan out.  Must not read a configuration: `containers` already says what
each would be as declared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from phoenix_hypervisor.plan.actions import (
    PROFILE_KEY,
    Action,
    AssignLines,
    CreateContainer,
    LineChange,
    LoadProfile,
    ReloadService,
    RestartContainer,
    StartContainer,
)
from phoenix_hypervisor.plan.declared import ContainerSpec
from phoenix_hypervisor.plan.labels import carries
from phoenix_hypervisor.plan.model import ContainerState, Note, Obstacle, Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """How `apply` was asked to run, and where."""

    live: bool
    node: str | None = None
    """What this node is called; None: not known."""
    read_only: Obstacle | None = None
    """Why no configuration can be written now."""
    start: bool = True
    restart: bool = False
    named: bool = False
    """Containers were named on the command line, not taken from `--all`."""


@dataclass(frozen=True, slots=True)
class Argv:
    """The processes of the runtime in use."""

    create: Callable[[ContainerSpec], tuple[str, ...]]
    start: Callable[[str], tuple[str, ...]]
    restart: Callable[[str], tuple[tuple[str, ...], ...]]


def container_actions(pairs: Iterable[tuple[ContainerSpec, ContainerState]], mode: Mode, argv: Argv) -> Plan:
    """Create, assign, then start or restart, in that order over all containers."""
    creates: list[Action] = []
    assigns: list[Action] = []
    starts: list[Action] = []
    skipped: list[Note] = []
    warnings: list[Note] = []
    refusals: list[Note] = []
    ok = 0
    for spec, state in pairs:
        if state.data is None:
            note = _absent(spec, state, mode)
            if note is not None:
                (refusals if note[0] else skipped).append(note[1])
                continue
            creates.append(CreateContainer(target=spec.ctid, name=spec.name, processes=(argv.create(spec),)))
            if state.wanted is not None:
                assigns.append(_assign(state))
            if spec.start and mode.start:
                starts.append(_start(state, argv))
            continue
        changes = state.after is not state.data
        refusal = _refusal(state, changes, mode)
        if refusal is not None:
            refusals.append(refusal)
            continue
        warnings += [Note(f"container {spec.ctid}", text) for text in state.warnings]
        if changes:
            assigns.append(_assign(state))
        follow = _follow(spec, state, mode, changes, argv)
        if state.next_start is not None:
            why = Note(f"container {spec.ctid}", state.next_start.text, state.next_start.hint)
            if follow is not None and not isinstance(follow, Note):
                refusals.append(why)
                continue
            warnings.append(why)
        if isinstance(follow, Note):
            skipped.append(follow)
        elif follow is not None:
            starts.append(follow)
        elif not changes:
            ok += 1
    return Plan((*creates, *assigns, *starts), tuple(skipped), tuple(warnings), tuple(refusals), ok)


def unloaded_starts(plan: Plan, profiles: Plan, loaded: Mapping[str, str] | None) -> list[Note]:
    """Refuse starts under a profile that the kernel will not have; LXC's own error is unclear."""
    arriving = {a.target for a in profiles.actions if isinstance(a, LoadProfile)}
    service = any(isinstance(a, ReloadService) for a in profiles.actions)
    refusals = []
    for action in plan.actions:
        if not isinstance(action, StartContainer | RestartContainer):
            continue
        if action.profile is None or action.profile in ("unconfined", "generated"):
            continue
        for name in (n for n in action.profile.split("//&") if not n.startswith(":")):
            if name in arriving or service or name in (loaded or {}):
                continue
            refusals.append(
                Note(
                    f"container {action.target}",
                    f"cannot start under {name}: the profile is not loaded"
                    + ("" if loaded is not None else " (AppArmor is off in this kernel)"),
                    "load it with `apparmor_parser -r FILE`, or use --no-start"
                    if loaded is not None
                    else "boot with apparmor=1 security=apparmor, or use --no-start",
                )
            )
    return refusals


def _absent(spec: ContainerSpec, state: ContainerState, mode: Mode) -> tuple[bool, Note] | None:
    target = f"container {spec.ctid}"
    if state.fault is not None:
        return True, Note(target, state.fault, state.hint)
    other = state.elsewhere
    if other is not None and not other.is_container:
        return True, Note(target, f"the id belongs to {other.text}", other.hint)
    if other is not None:
        return mode.named, Note(target, f"is a {other.text}", other.hint)
    if spec.node is not None and spec.node != mode.node:
        here = "whose name is not known" if mode.node is None else mode.node
        text = f"is created by node {spec.node}; this is node {here}"
        return False, Note(target, text, f"run phoenix on {spec.node}")
    if not mode.live:
        return mode.named, Note(target, "has no configuration; it would be created on a live host")
    if mode.read_only is not None:
        return True, Note(target, mode.read_only.text, mode.read_only.hint)
    return None


def _refusal(state: ContainerState, changes: bool, mode: Mode) -> Note | None:
    target = f"container {state.ctid}"
    if state.fault is not None:
        return Note(target, state.fault, state.hint)
    if not changes:
        return None
    if state.lock is not None:
        return Note(target, state.lock.text, state.lock.hint)
    if mode.read_only is not None:
        return Note(target, mode.read_only.text, mode.read_only.hint)
    return None


def _assign(state: ContainerState) -> AssignLines:
    return AssignLines(
        target=state.ctid,
        path=state.path,
        before=state.data,
        after=state.after,
        lines=(LineChange(key=PROFILE_KEY, value=state.wanted, old=state.assigned),),
    )


def _start(state: ContainerState, argv: Argv) -> StartContainer:
    return StartContainer(target=state.ctid, profile=state.wanted, processes=(argv.start(state.ctid),))


def _restart(state: ContainerState, argv: Argv) -> RestartContainer:
    return RestartContainer(target=state.ctid, profile=state.wanted, processes=argv.restart(state.ctid))


def _follow(
    spec: ContainerSpec, state: ContainerState, mode: Mode, changes: bool, argv: Argv
) -> StartContainer | RestartContainer | Note | None:
    target = f"container {spec.ctid}"
    if state.running is None or state.is_template:
        if spec.start and mode.start and not state.is_template and not mode.live and changes:
            return Note(target, "not started: --root touches files only")
        return None
    if not state.running:
        if not (spec.start and mode.start):
            return None
        if not mode.live:
            return Note(target, "not started: --root touches files only")
        if state.lock is not None:
            return Note(target, f"not started: it {state.lock.text}", state.lock.hint)
        return _start(state, argv)
    label = state.init.label if state.init is not None else ""
    if not label or carries(label, state.wanted, state.own_profiles):
        return None
    if mode.restart and mode.live and state.lock is None:
        return _restart(state, argv)
    return Note(target, f"restart needed: it runs under {label}", f"`phoenix apply {spec.ctid} --restart`")
