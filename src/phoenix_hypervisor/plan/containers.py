"""What has to happen to the containers: declared against assigned and running.

Owns when one is created, assigned, started or refused.  Pure: facts in, a plan out.  Must not
read a configuration: `containers` already says what each would be as declared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from phoenix_hypervisor.plan.actions import (
    PROFILE_KEY,
    AssignLines,
    CreateContainer,
    LineChange,
    LoadProfile,
    ReloadService,
    RestartContainer,
    StartContainer,
)
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.declared import ContainerSpec
from phoenix_hypervisor.plan.facts import ContainerFacts
from phoenix_hypervisor.plan.labels import carries
from phoenix_hypervisor.plan.model import ContainerState, Note, Plan, because, container

Start = StartContainer | RestartContainer


def decide_containers(facts: ContainerFacts, so_far: Plan) -> Plan:
    """Create, assign, then start or restart, in that order over all containers."""
    creates: list[CreateContainer] = []
    assigns: list[AssignLines] = []
    starts: list[Start] = []
    skipped: list[Note] = []
    warnings: list[Note] = []
    refusals: list[Note] = []
    asked: dict[str, dict[str, None]] = {}
    ok = 0
    for spec, state in facts.pairs:
        if state.data is None:
            note = _absent(spec, state, facts)
            if note is not None:
                (refusals if _refuses(note, facts) else skipped).append(note)
                continue
            creation = facts.creations[spec.ctid]
            creates.append(CreateContainer(target=spec.ctid, name=spec.name, processes=(creation.process,)))
            refusals += creation.problems
            if state.wanted is not None or state.lines:
                assigns.append(_assign(state))
            if spec.start and facts.wish.start:
                starts.append(_start(state, facts))
            continue
        changes = state.after is not state.data
        refusal = _refusal(state, changes, facts)
        if refusal is not None:
            refusals.append(refusal)
            continue
        warnings += state.warnings
        if facts.refused is not None:
            warnings += features_lost(state, facts.refused)
        elif state.asks and state.wanted is not None:
            asked.setdefault(state.wanted, {}).update(dict.fromkeys(state.asks))
        if changes:
            assigns.append(_assign(state))
        follow = _follow(spec, state, changes, facts)
        if state.next_start is not None:
            why = because(Code.PENDING_RAW, container(spec.ctid), state.next_start)
            if isinstance(follow, Start):
                refusals.append(why)
                continue
            warnings.append(why)
        if isinstance(follow, Note):
            skipped.append(follow)
        elif follow is not None:
            starts.append(follow)
        elif not changes:
            ok += 1
    if facts.no_runtime:
        told = Note(Code.NO_RUNTIME, "this host", {"programs": facts.no_runtime})
        if creates:
            return Plan(refusals=(told,))
        warnings.append(told)
    refusals += _unloaded(starts, facts, so_far)
    refusals += _without_file(starts, facts)
    return Plan(
        actions=(*creates, *assigns, *starts),
        skipped=tuple(skipped),
        warnings=tuple(warnings),
        refusals=tuple(refusals),
        ok=ok,
        asked=tuple((name, tuple(kinds)) for name, kinds in asked.items()),
    )


def _unloaded(starts: Iterable[Start], facts: ContainerFacts, so_far: Plan) -> list[Note]:
    """Refuse starts under a profile that the kernel will not have; LXC's own error is unclear."""
    if any(isinstance(action, ReloadService) for action in so_far.actions):
        return []
    arriving = {action.target for action in so_far.actions if isinstance(action, LoadProfile)}
    code = Code.START_UNLOADED if facts.loaded is not None else Code.START_KERNEL_OFF
    return [
        Note(code, container(action.target), {"name": name})
        for action in starts
        if action.profile is not None and action.profile not in ("unconfined", "generated")
        for name in action.profile.split("//&")
        if not name.startswith(":") and name not in arriving and name not in (facts.loaded or {})
    ]


def _without_file(starts: Iterable[Start], facts: ContainerFacts) -> list[Note]:
    """Refuse starts of containers whose seccomp file is not there; LXC's own error names no cause."""
    missing = {state.ctid: state.missing_file for _, state in facts.pairs if state.missing_file is not None}
    return [
        Note(Code.START_WITHOUT_FILE, container(action.target), {"file": missing[action.target]})
        for action in starts
        if action.target in missing
    ]


def _absent(spec: ContainerSpec, state: ContainerState, facts: ContainerFacts) -> Note | None:
    """Why a container without a configuration is not created."""
    target = container(spec.ctid)
    other = state.elsewhere
    if state.fault is not None:
        return because(Code.CONF_UNUSABLE, target, state.fault)
    if other is not None:
        code = Code.ON_ANOTHER_NODE if other.is_container else Code.IS_VM
        return Note(code, target, {"kind": other.kind, "node": other.node})
    if spec.node is not None and spec.node != facts.node:
        return Note(Code.MADE_ELSEWHERE, target, {"node": spec.node, "here": facts.node})
    if not facts.live:
        return Note(Code.NO_CONFIGURATION, target)
    if facts.read_only is not None:
        return because(Code.READ_ONLY, target, facts.read_only)
    return None


def _refuses(note: Note, facts: ContainerFacts) -> bool:
    """Whether a container that is not created ends the run: where it was named, it was meant."""
    if note.code in (Code.ON_ANOTHER_NODE, Code.NO_CONFIGURATION):
        return facts.wish.named
    return note.code is not Code.MADE_ELSEWHERE


def _refusal(state: ContainerState, changes: bool, facts: ContainerFacts) -> Note | None:
    """Why an existing container cannot be made as declared."""
    target = container(state.ctid)
    if state.fault is not None:
        return because(Code.CONF_UNUSABLE, target, state.fault)
    if changes and state.lock is not None:
        return because(Code.LOCKED, target, state.lock)
    if changes and facts.read_only is not None:
        return because(Code.READ_ONLY, target, facts.read_only)
    return None


def _assign(state: ContainerState) -> AssignLines:
    profile: tuple[LineChange, ...] = (LineChange(key=PROFILE_KEY, value=state.wanted, old=state.assigned),)
    if state.lines and state.assigned == state.wanted and not state.several:
        profile = ()
    return AssignLines(
        target=state.ctid,
        path=state.path,
        before=state.data,
        after=state.after,
        lines=(*profile, *state.lines),
    )


def _start(state: ContainerState, facts: ContainerFacts) -> StartContainer:
    processes = facts.starts[state.ctid]
    return StartContainer(target=state.ctid, profile=state.wanted, processes=processes)


def _restart(state: ContainerState, facts: ContainerFacts) -> RestartContainer:
    processes = facts.restarts[state.ctid]
    return RestartContainer(target=state.ctid, profile=state.wanted, processes=processes)


def _follow(
    spec: ContainerSpec, state: ContainerState, changes: bool, facts: ContainerFacts
) -> Start | Note | None:
    """The start that follows, or why there is none although one is due."""
    wanted = spec.start and facts.wish.start and not state.is_template
    if state.running is None or state.is_template:
        return _files_only(spec) if wanted and not facts.live and changes else None
    if not state.running:
        if not wanted:
            return None
        if not facts.live:
            return _files_only(spec)
        if state.lock is not None:
            return because(Code.START_LOCKED, container(spec.ctid), state.lock)
        return _start(state, facts)
    label = state.init.label if state.init is not None else ""
    if not label or carries(label, state.wanted, state.own_profiles):
        return None
    if facts.wish.restart and facts.live and state.lock is None:
        return _restart(state, facts)
    return Note(Code.RESTART_NEEDED, container(spec.ctid), {"ctid": spec.ctid, "label": label})


def _files_only(spec: ContainerSpec) -> Note:
    return Note(Code.FILES_ONLY, container(spec.ctid), {"what": "start"})


def features_lost(state: ContainerState, refused: Mapping[str, frozenset[str] | None]) -> tuple[Note, ...]:
    """A warning of the mounts that its features allow, and its profile, by what that refuses, does not.

    A named profile makes Proxmox's generated rules inert (PVE::LXC::make_apparmor_config); where the
    profile itself allows the same, nothing is lost and nothing is said.
    """
    if not state.asks or state.wanted is None:
        return ()
    of_it = refused[state.wanted]
    lost = tuple(kind for kind in state.asks if of_it is None or kind in of_it)
    if not lost:
        return ()
    data = {"profile": state.wanted, "kinds": lost, "known": of_it is not None}
    return (Note(Code.FEATURES_LOST, container(state.ctid), data),)
