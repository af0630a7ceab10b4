"""Is what runs what was declared?

Owns the verdict on each container and profile.  Pure: facts in, verdicts out.  A container
is as declared when declared, assigned and running agree and the loaded policy is the
compiled source.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from phoenix_hypervisor.plan.declared import ContainerSpec
from phoenix_hypervisor.plan.labels import carries, parse
from phoenix_hypervisor.plan.model import ContainerState, FileState, Obstacle, Ownership, ProfileState


@dataclass(frozen=True, slots=True)
class Finding:
    """One way in which something is not as declared; `code` is stable."""

    code: str
    cause: str
    hint: str
    fault: bool = True
    """False: worth saying, and yet as declared."""


@dataclass(frozen=True, slots=True)
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
    notes: tuple[str, ...] = ()

    @property
    def as_declared(self) -> bool:
        return not any(finding.fault for finding in self.findings)


@dataclass(frozen=True, slots=True)
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
    what = f"transaction {number} of {time} ({command})"
    if under_way:
        hint = "wait, then look again"
        return Finding("transaction-under-way", f"{what} is being applied", hint, fault=False)
    cause = f"{what} was cut short"
    return Finding(
        "unfinished-transaction", cause, "the next phoenix setup, apply or rollback undoes it first"
    )


def judge_host(live: bool, apparmor: bool, no_runtime: Obstacle | None = None) -> list[Finding]:
    """What is wrong with the host itself."""
    findings = []
    if live and not apparmor:
        cause = "AppArmor is off in this kernel: nothing is confined"
        findings.append(Finding("apparmor-off", cause, "boot with apparmor=1 security=apparmor"))
    if no_runtime is not None:
        findings.append(Finding("no-runtime", no_runtime.text, no_runtime.hint or ""))
    return findings


def judge_container(
    spec: ContainerSpec | None, state: ContainerState, *, live: bool, node: str | None = None
) -> ContainerVerdict:
    """The verdict on one container of this `node`; `spec` None: not declared, so nothing is expected."""
    findings: list[Finding] = []
    notes: list[str] = []
    ctid = state.ctid
    if spec is None:
        notes.append("not declared")
    elif state.fault is not None:
        findings.append(Finding("conf-unusable", state.fault, state.hint or "correct the file"))
    elif state.data is None:
        findings.append(_missing(spec, state, node))
    elif state.assigned != state.wanted or state.after is not state.data:
        findings.append(_not_assigned(state))
    if spec is not None:
        if live and spec.start and state.data is not None:
            findings += _stopped(state)
        findings += _running(state)
        if state.next_start is not None:
            findings.append(Finding("pending-raw", state.next_start.text, state.next_start.hint or ""))
        notes += state.warnings
    label = state.init.label if state.init is not None else ""
    confined = None if not state.running or not label else _confined(state)
    return ContainerVerdict(
        ctid,
        spec.name if spec is not None else "",
        spec.profile if spec is not None else None,
        state.wanted,
        state.assigned,
        state.data is not None,
        state.running,
        label,
        state.init.pid if state.init is not None else None,
        confined,
        tuple(findings),
        tuple(notes),
    )


def _missing(spec: ContainerSpec, state: ContainerState, node: str | None) -> Finding:
    """There is no container of that id here: whose it is, or who creates it."""
    other = state.elsewhere
    if other is not None and not other.is_container:
        return Finding("is-vm", f"the id belongs to a {other.text}", "declare another id")
    if other is not None:
        cause = f"is a {other.text}, whose Phoenix looks after it"
        return Finding("on-another-node", cause, other.hint, fault=False)
    if spec.node is not None and spec.node != node:
        cause = f"does not exist, and node {spec.node} creates it"
        return Finding("on-another-node", cause, f"run phoenix on {spec.node}", fault=False)
    return Finding("missing", "the container does not exist", f"phoenix apply {state.ctid}")


def _not_assigned(state: ContainerState) -> Finding:
    """The line is not as declared: why, as far as can be told."""
    hint = f"phoenix apply {state.ctid}"
    have, want = state.assigned or "no line", state.wanted or "no line"
    if state.sections and state.assigned != state.wanted:
        where = ", ".join(f"[{name}]" for name in state.sections)
        cause = f"the line {want} stands in {where}, where it does not count; above it: {have}"
        return Finding("line-in-snapshot", cause, hint)
    if state.was_written:
        cause = f"Phoenix wrote {want}, now there is {have}: edited by hand, or brought back by a rollback"
        return Finding("conf-edited", cause, hint)
    return Finding("not-assigned", f"assigned {have}, declared {want}", hint)


def judge_cache(path: str, newer: bool) -> Finding:
    """A boot-time cache entry that was not made from the files as they are now."""
    if newer:
        cause = f"{path} is newer than its files and not what they compile to: the next boot would load it"
        return Finding("stale-cache", cause, "phoenix setup")
    cause = f"{path} is older than its files: the next boot compiles them anew"
    return Finding("stale-cache", cause, "nothing needs to be done", fault=False)


def judge_switch(path: str) -> Finding:
    """An entry below /etc/apparmor.d/disable or force-complain."""
    hint = f"rm {path}, then phoenix setup"
    if "/force-complain/" in path:
        cause = f"{path}: the boot loads it in complain mode, where nothing is refused"
        return Finding("force-complain", cause, hint)
    return Finding("disabled", f"{path}: the boot does not load it", hint)


def _confined(state: ContainerState) -> bool:
    return all(parse(process.label).confined for process in state.processes if process.label)


def _stopped(state: ContainerState) -> list[Finding]:
    """Declared to run and stopped; a fault where apply would start it."""
    if state.running is not False or state.is_template:
        return []
    if state.lock is not None:
        cause = f"is declared to run and stopped, and {state.lock.text}"
        return [Finding("not-running", cause, state.lock.hint or "wait for that task", fault=False)]
    hint = f'phoenix apply {state.ctid}, or "start": false'
    return [Finding("not-running", "is declared to run and stopped", hint)]


def _running(state: ContainerState) -> list[Finding]:
    """What the labels of a running container say against its declaration."""
    ctid, wanted = state.ctid, state.wanted
    if not state.running or state.init is None:
        return []
    if not state.init.label:
        if wanted == "unconfined":
            return []
        cause = f"PID {state.init.pid} has no label that can be read, so nothing says that it is confined"
        return [Finding("label-unknown", cause, "phoenix doctor says whether AppArmor is on")]
    findings = []
    label = state.init.label
    if not carries(label, wanted, state.own_profiles):
        if parse(label).mode == "complain":
            cause = f"PID {state.init.pid} runs under {label}: nothing is refused in complain mode"
            findings.append(Finding("complain", cause, "aa-enforce the profile"))
        else:
            cause = f"PID {state.init.pid} runs under {label}"
            findings.append(Finding("old-label", cause, f"phoenix apply {ctid} --restart"))
        return findings
    strays = [p for p in state.processes if p.label and not carries(p.label, wanted, state.own_profiles)]
    if strays:
        shown = ", ".join(f"PID {p.pid} under {p.label}" for p in strays[:3])
        cause = f"{len(strays)} of its processes run otherwise: {shown}"
        findings.append(Finding("stray-process", cause, f"end them, or phoenix apply {ctid} --restart"))
    return findings


def judge_profiles(
    files: Iterable[FileState],
    profiles: Sequence[ProfileState],
    users: Mapping[str, Sequence[str]],
    boot: Mapping[str, Sequence[Finding]] | None = None,
) -> list[ProfileVerdict]:
    """The verdict on each shipped profile; `users` are the containers assigned to it, `boot` says
    what the next boot would do otherwise."""
    by_path = {state.path: state for state in files}
    verdicts = []
    for profile in profiles:
        own = by_path[f"/etc/apparmor.d/{profile.name}"]
        findings = []
        stale = [p for p in profile.includes if by_path[p].installed != by_path[p].wanted]
        if own.installed is None:
            findings.append(Finding("not-installed", "has no installed file", "phoenix setup"))
        elif stale:
            findings += _differing([by_path[path] for path in stale])
        loaded = "unknown" if not profile.kernel_known else profile.mode or "no"
        if loaded == "no":
            findings.append(Finding("not-loaded", "is not in the kernel", "phoenix setup"))
        elif loaded == "complain":
            findings.append(Finding("complain", "is loaded in complain mode", f"aa-enforce {profile.name}"))
        elif loaded not in ("unknown", "enforce", "kill"):
            cause = f"is loaded in {loaded} mode, which enforces nothing that can be relied on"
            findings.append(Finding("not-enforced", cause, f"aa-enforce {profile.name}"))
        elif profile.kernel_known and profile.loaded_closure != profile.closure:
            findings.append(Finding("stale-policy", "the kernel has an older version", "phoenix setup"))
        elif profile.differs is not None:
            cause = f"what the kernel has of {profile.differs} is not what Phoenix loaded"
            findings.append(Finding("policy-differs", cause, "phoenix setup"))
        findings += (boot or {}).get(profile.name, ())
        installed = "missing" if own.installed is None else "differs" if stale else "same"
        used = tuple(users.get(profile.name, ()))
        verdicts.append(
            ProfileVerdict(profile.name, profile.source, installed, loaded, used, tuple(findings))
        )
    return verdicts


def _differing(files: Sequence[FileState]) -> list[Finding]:
    """Installed files that are not their sources: edited there, or older than the sources."""
    findings = []
    edited = [f for f in files if f.ownership is Ownership.FOREIGN and f.installed is not None]
    older = [f.path for f in files if f not in edited]
    for one in edited:
        name = one.profile or one.path.removeprefix("/etc/apparmor.d/")
        cause = f"{one.path} was edited: it is neither the source nor what Phoenix installed"
        hint = f"keep the change in /etc/apparmor.d/local, then phoenix setup --adopt {name}"
        findings.append(Finding("file-edited", cause, hint))
    if older:
        cause = f"{', '.join(older)} differs from the source"
        findings.append(Finding("file-differs", cause, "phoenix setup"))
    return findings
