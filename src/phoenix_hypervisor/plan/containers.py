"""What has to happen to the containers: declared against assigned and running.

Owns when one is created, assigned, started or refused.  Pure: facts in, a plan out.  Must not
read a configuration: `containers` already says what each would be as declared.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

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
from phoenix_hypervisor.plan.gpu_codes import GpuCode
from phoenix_hypervisor.plan.labels import carries
from phoenix_hypervisor.plan.model import ContainerState, Note, Plan, because, container

Start = StartContainer | RestartContainer


def decide_containers(facts: ContainerFacts, so_far: Plan) -> Plan:
    """Create, assign, then start or restart, in that order over all containers.

    A container that is refused has no action: the others' plan can be done without it.
    """
    creates: list[CreateContainer] = []
    assigns: list[AssignLines] = []
    starts: list[Start] = []
    skipped: list[Note] = []
    warnings: list[Note] = []
    refusals: list[Note] = []
    refused: list[Note] = []
    asked: dict[str, dict[str, None]] = {}
    coming = _coming(so_far)
    ok, left_out, creating = 0, 0, False
    for spec, state in facts.pairs:
        if spec.ctid in facts.trials:
            from phoenix_hypervisor.plan.trials import on_trial

            # Who named it meant it; among all others it is left alone.
            (refused if facts.wish.named else skipped).append(on_trial(facts.trials[spec.ctid]))
            left_out += facts.wish.named
            continue
        if state.data is None:
            note = _absent(spec, state, facts)
            if note is not None:
                of_host = refusals if note.code is Code.READ_ONLY else refused
                refuses = _refuses(note, facts)
                (of_host if refuses else skipped).append(note)
                left_out += refuses
                continue
            creation = facts.creations[spec.ctid]
            start = _start(state, facts) if spec.start and facts.wish.start else None
            creating = True
            unknown = [_unknown(spec)] if spec.unknown else []
            against: Sequence[Note] = [
                *unknown,
                *creation.problems,
                *_no_start(start, state, facts, coming),
            ]
            if against:
                refused += against
                left_out += 1
                continue
            warnings += _told(state, facts, asked)
            creates.append(CreateContainer(target=spec.ctid, name=spec.name, processes=(creation.process,)))
            if state.wanted is not None or state.lines:
                assigns.append(_assign(state))
            if start is not None:
                starts.append(start)
            continue
        changes = state.after is not state.data
        follow = _follow(spec, state, changes, facts)
        against = _against(spec, state, changes, follow, facts, coming)
        if against:
            (refusals if against[0].code is Code.READ_ONLY else refused).extend(against)
            left_out += 1
            continue
        warnings += state.warnings
        warnings += facts.gpus.get(spec.ctid, ())
        if state.wishes is not None:
            warnings += _told(state, facts, asked)
        if changes:
            assigns.append(_assign(state))
        if state.next_start is not None:
            warnings.append(because(Code.PENDING_RAW, container(spec.ctid), state.next_start))
        if isinstance(follow, Note):
            skipped.append(follow)
        elif follow is not None:
            starts.append(follow)
        elif not changes and state.next_start is None:
            ok += 1
    if facts.no_runtime:
        told = Note(Code.NO_RUNTIME, "this host", {"programs": facts.no_runtime})
        if creating:
            return Plan(refusals=(told,))
        warnings.append(told)
    return Plan(
        actions=(*creates, *assigns, *starts),
        skipped=tuple(skipped),
        warnings=tuple(warnings),
        refusals=tuple(refusals),
        refused=tuple(refused),
        others=len(facts.pairs) - left_out,
        ok=ok,
        asked=tuple((name, tuple(kinds)) for name, kinds in asked.items()),
    )


def refused_now(
    spec: ContainerSpec, state: ContainerState, facts: ContainerFacts, shipped: Collection[str]
) -> tuple[Note, ...]:
    """What `apply` of this one container would be refused for; the `shipped` profiles are loaded first.

    One that the runtime is at work on counts also where only a start is due, which would be left out.
    """
    if state.lock is not None:
        return (because(Code.LOCKED, container(state.ctid), state.lock),)
    if state.data is None:
        note = _absent(spec, state, facts)
        if note is not None:
            return (note,) if _refuses(note, facts) else ()
        start = _start(state, facts) if spec.start and facts.wish.start else None
        return (*facts.creations[spec.ctid].problems, *_no_start(start, state, facts, shipped))
    changes = state.after is not state.data
    return tuple(_against(spec, state, changes, _follow(spec, state, changes, facts), facts, shipped))


def _coming(so_far: Plan) -> Collection[str] | None:
    """The profiles that the kernel gets in this plan; None: not known, with a service or after refusals."""
    if so_far.refusals or any(isinstance(action, ReloadService) for action in so_far.actions):
        return None
    return frozenset(action.target for action in so_far.actions if isinstance(action, LoadProfile))


def _against(
    spec: ContainerSpec,
    state: ContainerState,
    changes: bool,
    follow: Start | Note | None,
    facts: ContainerFacts,
    coming: Collection[str] | None,
) -> Sequence[Note]:
    """Why an existing container cannot be made as declared."""
    target = container(state.ctid)
    if state.fault is not None:
        return (because(Code.CONF_UNUSABLE, target, state.fault),)
    if state.refusals:
        return state.refusals
    if changes and spec.unknown:
        return (_unknown(spec),)
    if changes and state.lock is not None:
        return (because(Code.LOCKED, target, state.lock),)
    if changes and facts.read_only is not None:
        return (because(Code.READ_ONLY, target, facts.read_only),)
    if follow is None or isinstance(follow, Note):
        return ()
    if state.next_start is not None:
        return (because(Code.PENDING_RAW, target, state.next_start),)
    return _no_start(follow, state, facts, coming)


def _unknown(spec: ContainerSpec) -> Note:
    """A profile that nobody here knows may stand in a line that was there, and is written in none."""
    return Note(Code.PROFILE_UNKNOWN, container(spec.ctid), {"profile": spec.profile})


def _no_start(
    start: Start | None, state: ContainerState, facts: ContainerFacts, coming: Collection[str] | None
) -> list[Note]:
    """Why a start would fail: under a profile that the kernel will not have, or without a file that the
    configuration names.  LXC's own errors are unclear."""
    if start is None:
        return []
    found: list[Note] = []
    target = container(state.ctid)
    if start.profile not in (None, "unconfined", "generated") and coming is not None:
        code = Code.START_UNLOADED if facts.loaded is not None else Code.START_KERNEL_OFF
        found += [
            Note(code, target, {"name": name})
            for name in start.profile.split("//&")
            if not name.startswith(":") and name not in coming and name not in (facts.loaded or {})
        ]
    if state.missing_file is not None:
        found.append(Note(Code.START_WITHOUT_FILE, target, {"file": state.missing_file}))
    return found


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
        if facts.nodes is not None and spec.node not in facts.nodes:
            return Note(Code.NODE_UNKNOWN, target, {"node": spec.node, "known": facts.nodes})
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
    return note.code not in (Code.MADE_ELSEWHERE, Code.NODE_UNKNOWN)


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
    asks = None if state.manager is None else state.manager.by
    return StartContainer(target=state.ctid, profile=state.wanted, processes=processes, asks=asks)


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
        if state.manager is not None and not state.manager.starts:
            # To start it all the same would tell the manager otherwise.
            return because(Code.HA_STOPPED, container(spec.ctid), state.manager)
        return _start(state, facts)
    label = state.init.label if state.init is not None else ""
    target = container(spec.ctid)
    agrees = not label or carries(label, state.wanted, state.own_profiles)
    if agrees and not state.changes_devices:
        return None
    if facts.wish.restart and facts.live and state.lock is None:
        return _restart(state, facts)
    if agrees:
        return Note(GpuCode.NEXT_START, target, {"ctid": spec.ctid})
    blocked = [] if state.lock is None else [because(Code.LOCKED, target, state.lock)]
    blocked += [] if state.next_start is None else [because(Code.PENDING_RAW, target, state.next_start)]
    data = {"ctid": spec.ctid, "label": label}
    return Note(Code.RESTART_NEEDED, target, data, blocked_by=tuple(blocked))


def _told(state: ContainerState, facts: ContainerFacts, asked: dict[str, dict[str, None]]) -> Sequence[Note]:
    """What it loses and risks, or nothing yet: compiled policy must be `asked` first."""
    # Most runs change no profile line.
    from phoenix_hypervisor.plan.risks import asked_of, risks

    if facts.refused is not None:
        return risks(state, facts.refused)
    whats = asked_of(state)
    if not whats or state.wanted is None:
        return risks(state, {})
    asked.setdefault(state.wanted, {}).update(dict.fromkeys(whats))
    return ()


def _files_only(spec: ContainerSpec) -> Note:
    return Note(Code.FILES_ONLY, container(spec.ctid), {"what": "start"})
