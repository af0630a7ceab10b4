"""Is what runs what was declared?

Owns the verdict on each container and profile.  Pure: facts in, verdicts out.  A container
is as declared when declared, assigned and running agree and the loaded policy is the
compiled source.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.declared import ContainerSpec, Undeclared
from phoenix_hypervisor.plan.labels import carries, parse
from phoenix_hypervisor.plan.model import (
    AtWork,
    ContainerState,
    Details,
    FileState,
    Finding,
    Note,
    Ownership,
    ProfileState,
    cause_data,
    container,
    profile,
)
from phoenix_hypervisor.values import dataclass, field, replace

HOST = "host"
"""The target of what is wrong with the host, not with one container or profile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerVerdict:
    """All that status shows of one container."""

    ctid: str
    name: str
    declared: str | None
    wanted: str | None
    assigned: str | None
    exists: bool
    running: bool | None
    label: str
    pid: int | None
    confined: bool | None
    """None: not known."""
    findings: tuple[Finding, ...]
    notes: tuple[Note, ...] = ()
    unprivileged: bool = False
    path: str = ""
    """Host path of its configuration."""
    features: str = ""
    lock: AtWork | None = None
    is_template: bool = False
    processes: int = 0
    details: Details = field(default_factory=Details)

    @property
    def as_declared(self) -> bool:
        return not any(finding.fault for finding in self.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileVerdict:
    """All that status shows of one profile."""

    name: str
    source: str
    installed: str
    """`same`, `differs` or `missing`."""
    loaded: str
    """The kernel's mode, `no`, or `unknown`."""
    used_by: tuple[str, ...]
    findings: tuple[Finding, ...]


def judge_unfinished(number: int, time: str, command: str, under_way: bool) -> Finding:
    """A transaction that has not ended: another Phoenix is at work, or was killed."""
    code = Code.UNDER_WAY if under_way else Code.UNFINISHED
    data = {"transaction": number, "time": time, "command": command}
    return Finding(code, HOST, data, fault=not under_way)


def judge_host(live: bool, apparmor: bool, no_runtime: tuple[str, ...] = ()) -> list[Finding]:
    """What is wrong with the host itself."""
    findings = [] if not live or apparmor else [Finding(Code.APPARMOR_OFF, HOST)]
    if no_runtime:
        findings.append(Finding(Code.NO_RUNTIME, HOST, {"programs": no_runtime}))
    return findings


def judge_container(
    spec: ContainerSpec | None,
    state: ContainerState,
    details: Details | None = None,
    *,
    live: bool,
    node: str | None = None,
    nodes: tuple[str, ...] | None = None,
    undeclared: Undeclared = Undeclared.NOTE,
    refused: tuple[Note, ...] = (),
    gpus: Sequence[Finding] = (),
) -> ContainerVerdict:
    """The verdict on one container of this `node`; `spec` None: not declared, so little is expected.

    `refused` is what `apply` of it would be refused for, `gpus` what of its GPUs is not as assigned.
    """
    details = Details() if details is None else details
    findings = (
        _undeclared(state, undeclared) if spec is None else _container(spec, state, live, (node, nodes))
    )
    findings += gpus
    if refused:
        findings = [
            replace(one, blocked_by=tuple(note for note in refused if note.code is not one.code))
            for one in findings
        ]
    notes = state.warnings
    if spec is None:
        told = undeclared is Undeclared.NOTE
        notes = (Note(Code.NOT_DECLARED, container(state.ctid)),) if told else ()
    label = state.init.label if state.init is not None else ""
    confined = None if not state.running or not label else _confined(state)
    return ContainerVerdict(
        ctid=state.ctid,
        name=(spec.name if spec is not None else "") or details.hostname,
        declared=spec.profile if spec is not None else None,
        wanted=state.wanted,
        assigned=state.assigned,
        exists=state.data is not None,
        running=state.running,
        label=label,
        pid=state.init.pid if state.init is not None else None,
        confined=confined,
        findings=tuple(findings),
        notes=notes,
        unprivileged=state.unprivileged,
        path=state.path,
        features=state.features,
        lock=state.lock,
        is_template=state.is_template,
        processes=len(state.processes),
        details=details,
    )


def _undeclared(state: ContainerState, undeclared: Undeclared) -> list[Finding]:
    """What is wrong with a container that nobody declared.

    An unconfined one is a fault whatever the operator wants to hear: nothing would say so otherwise.
    So is one whose line cannot be read.
    """
    target = container(state.ctid)
    findings = []
    if state.fault is not None:
        findings.append(Finding(Code.CONF_UNUSABLE, target, cause_data(state.fault)))
    line = state.assigned if (state.assigned or "").strip("'\"") == "unconfined" else None
    label = state.init.label if state.running and state.init is not None else ""
    runs_so = label != "" and all(part.name == "unconfined" for part in parse(label).components)
    if line is not None or runs_so:
        data = {"ctid": state.ctid, "line": line, "label": label}
        findings.append(Finding(Code.UNDECLARED_UNCONFINED, target, data))
    elif undeclared is Undeclared.FAULT:
        findings.append(Finding(Code.UNDECLARED, target))
    return findings


def _container(spec: ContainerSpec, state: ContainerState, live: bool, here: Here) -> list[Finding]:
    """All that is not as declared."""
    findings = _configured(spec, state, here)
    if live and spec.start and state.data is not None:
        findings += _stopped(state)
    findings += _running(state)
    if state.next_start is not None:
        data = cause_data(state.next_start)
        findings.append(Finding(Code.PENDING_RAW, container(state.ctid), data))
    return findings


Here = tuple[str | None, tuple[str, ...] | None]
"""What this node is called, and all nodes of its cluster; None: not known."""


def _configured(spec: ContainerSpec, state: ContainerState, here: Here) -> list[Finding]:
    """What the configuration says, where there is one."""
    if state.fault is not None:
        return [Finding(Code.CONF_UNUSABLE, container(state.ctid), cause_data(state.fault))]
    if state.data is None:
        return [_missing(spec, state, *here)]
    if state.assigned != state.wanted or state.after is not state.data:
        return [_not_assigned(state)]
    return []


def _missing(
    spec: ContainerSpec, state: ContainerState, node: str | None, nodes: tuple[str, ...] | None
) -> Finding:
    """There is no container of that id here: whose it is, or who creates it."""
    target, other = container(state.ctid), state.elsewhere
    if other is not None:
        data = {"kind": other.kind, "node": other.node}
        if not other.is_container:
            return Finding(Code.IS_VM, target, data)
        return Finding(Code.ON_ANOTHER_NODE, target, data, fault=False)
    if spec.node is not None and nodes is not None and spec.node not in nodes:
        return Finding(Code.NODE_UNKNOWN, target, {"node": spec.node, "known": nodes})
    if spec.node is not None and spec.node != node:
        return Finding(Code.MADE_ELSEWHERE, target, {"node": spec.node, "here": node}, fault=False)
    return Finding(Code.MISSING, target, {"ctid": state.ctid})


def _not_assigned(state: ContainerState) -> Finding:
    """The line is not as declared: why, as far as can be told."""
    target = container(state.ctid)
    if state.lines and state.assigned == state.wanted and not state.several:
        return Finding(Code.LINE_BESIDE, target, {"keys": tuple(line.key for line in state.lines)})
    data = {"assigned": state.assigned, "declared": state.wanted}
    if state.sections and state.assigned != state.wanted:
        return Finding(Code.LINE_IN_SNAPSHOT, target, {**data, "sections": state.sections})
    return Finding(Code.CONF_EDITED if state.was_written else Code.NOT_ASSIGNED, target, data)


def judge_cache(name: str, path: str, newer: bool) -> Finding:
    """A boot-time cache entry of a profile that was not made from the files as they are now."""
    return Finding(Code.STALE_CACHE, path, {"newer": newer}, fault=newer)


def judge_companion(state: FileState | None) -> list[Finding]:
    """The seccomp companion of privileged containers; `state` None: this host has no use for one."""
    if state is None or (state.installed == state.wanted and state.fault is None):
        return []
    if state.fault is not None:
        return [Finding(Code.SECCOMP_RULES, state.source, {"why": state.fault})]
    if state.installed is None:
        return [Finding(Code.SECCOMP_MISSING, state.path)]
    if state.ownership is Ownership.FOREIGN:
        return [Finding(Code.FILE_EDITED, state.path, {"path": state.path, "name": state.path})]
    return [Finding(Code.FILE_DIFFERS, state.path, {"paths": (state.path,)})]


def judge_switch(name: str, path: str) -> Finding:
    """An entry for a profile below /etc/apparmor.d/disable or force-complain."""
    code = Code.FORCE_COMPLAIN if "/force-complain/" in path else Code.DISABLED
    return Finding(code, path, {"name": name})


def _confined(state: ContainerState) -> bool:
    return all(parse(process.label).confined for process in state.processes if process.label)


def judge_started(state: ContainerState, waited: float = 0) -> list[Finding]:
    """What a container that was just started is not, after all; `waited` are seconds."""
    if state.manager is not None and state.running is False:
        data = {"by": state.manager.by, "service": state.manager.service, "seconds": round(waited)}
        return [Finding(Code.HA_NOT_STARTED, container(state.ctid), data)]
    return [*_stopped(state), *_running(state)]


def _stopped(state: ContainerState) -> list[Finding]:
    """Declared to run and stopped; a fault where apply would start it."""
    if state.running is not False or state.is_template:
        return []
    lock, manager = state.lock, state.manager
    if lock is None and manager is not None and not manager.starts:
        return [Finding(Code.HA_STOPPED, container(state.ctid), cause_data(manager), fault=False)]
    at_work = {"by": None, "reason": None, "command": None} if lock is None else cause_data(lock)
    data = {"ctid": state.ctid, **at_work}
    return [Finding(Code.NOT_RUNNING, container(state.ctid), data, fault=lock is None)]


def _running(state: ContainerState) -> list[Finding]:
    """What the labels of a running container say against its declaration."""
    ctid, wanted, init, target = state.ctid, state.wanted, state.init, container(state.ctid)
    if not state.running or init is None:
        return []
    if not init.label:
        return [] if wanted == "unconfined" else [Finding(Code.LABEL_UNKNOWN, target, {"pid": init.pid})]
    if not carries(init.label, wanted, state.own_profiles):
        data = {"pid": init.pid, "label": init.label}
        if parse(init.label).mode == "complain":
            return [Finding(Code.COMPLAIN, target, data)]
        return [Finding(Code.OLD_LABEL, target, {"ctid": ctid, **data})]
    strays = tuple(
        (process.pid, process.label)
        for process in state.processes
        if process.label and not carries(process.label, wanted, state.own_profiles)
    )
    if not strays:
        return []
    data = {"ctid": ctid, "count": len(strays), "processes": strays[:3]}
    return [Finding(Code.STRAY_PROCESS, target, data)]


def judge_profiles(
    files: Iterable[FileState],
    profiles: Sequence[ProfileState],
    users: Mapping[str, Sequence[str]],
    boot: Mapping[str, Sequence[Finding]] | None = None,
    *,
    needed: bool = True,
) -> list[ProfileVerdict]:
    """The verdict on each shipped profile; `users` are the containers assigned to it, `boot` says
    what the next boot would do otherwise.  Where none is needed, none is missing."""
    by_path = {state.path: state for state in files}
    verdicts = []
    for one in profiles:
        own = by_path[f"/etc/apparmor.d/{one.name}"]
        stale = [by_path[path] for path in one.includes if by_path[path].installed != by_path[path].wanted]
        verdicts.append(
            ProfileVerdict(
                name=one.name,
                source=one.source,
                installed="missing" if own.installed is None else "differs" if stale else "same",
                loaded="unknown" if not one.kernel_known else one.mode or "no",
                used_by=tuple(users.get(one.name, ())),
                findings=tuple(
                    finding if needed or finding.code not in _ABSENT else replace(finding, fault=False)
                    for finding in (
                        *_installed(one, own, stale),
                        *_loaded(one),
                        *(boot or {}).get(one.name, ()),
                    )
                ),
            )
        )
    return verdicts


_ABSENT = (Code.NOT_INSTALLED, Code.NOT_LOADED)


def _installed(one: ProfileState, own: FileState, stale: Sequence[FileState]) -> list[Finding]:
    """What the files in /etc/apparmor.d say."""
    target = profile(one.name)
    if own.installed is None:
        return [Finding(Code.NOT_INSTALLED, target)]
    edited = [f for f in stale if f.ownership is Ownership.FOREIGN and f.installed is not None]
    older = tuple(f.path for f in stale if f not in edited)
    findings = [
        Finding(
            Code.FILE_EDITED,
            target,
            {"path": f.path, "name": f.profile or f.path.removeprefix("/etc/apparmor.d/")},
        )
        for f in edited
    ]
    return findings + ([Finding(Code.FILE_DIFFERS, target, {"paths": older})] if older else [])


def _loaded(one: ProfileState) -> list[Finding]:
    """What the kernel says."""
    target = profile(one.name)
    if not one.kernel_known:
        return []
    if one.mode is None:
        return [Finding(Code.NOT_LOADED, target)]
    if one.mode == "complain":
        return [Finding(Code.COMPLAIN, target, {"pid": None, "label": None})]
    if one.mode not in ("enforce", "kill"):
        return [Finding(Code.NOT_ENFORCED, target, {"mode": one.mode})]
    if one.loaded_closure != one.closure:
        return [Finding(Code.STALE_POLICY, target)]
    if one.differs is not None:
        return [Finding(Code.POLICY_DIFFERS, target, {"part": one.differs})]
    return []
