"""What is declared, assigned and running: the facts of `status` and `verify`.

Owns gathering them once and having them judged; the verdicts are `plan.verify`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from phoenix_hypervisor.engine.gather import Request, cluster_nodes, container_facts
from phoenix_hypervisor.engine.losses import told
from phoenix_hypervisor.engine.places import no_configuration
from phoenix_hypervisor.engine.recovery import judge_journal
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.files import AS_ROOT
from phoenix_hypervisor.plan.chosen import listed, shortest
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.containers import refused_now
from phoenix_hypervisor.plan.declared import ContainerSpec
from phoenix_hypervisor.plan.mediation import Gap, gaps, read_dump
from phoenix_hypervisor.plan.model import ContainerState, Finding, Note
from phoenix_hypervisor.plan.verify import (
    HOST,
    ContainerVerdict,
    ProfileVerdict,
    judge_cache,
    judge_companion,
    judge_container,
    judge_host,
    judge_profiles,
    judge_switch,
)
from phoenix_hypervisor.profiles.features import pinned
from phoenix_hypervisor.profiles.includes import APPARMOR_D, abi
from phoenix_hypervisor.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One look at a host: each container, each profile, the host itself."""

    containers: tuple[ContainerVerdict, ...]
    profiles: tuple[ProfileVerdict, ...]
    host: tuple[Finding, ...]
    """What is wrong with the host, not with one container or profile."""
    unmediated: tuple[Gap, ...] | None
    """What AppArmor cannot mediate here; None where no kernel says."""
    without_line: str
    """What applies to a container that has no profile line."""
    configuration: str | None
    """The file that declares; None: there is none, so nothing is declared."""

    @property
    def confined(self) -> int:
        """How many containers run confined now."""
        return sum(1 for verdict in self.containers if verdict.confined)

    @property
    def faults(self) -> tuple[tuple[str, Finding], ...]:
        """Everything that is not as declared: the container, the profile or `host`, and what it is."""
        return (
            *(("host", finding) for finding in self.host if finding.fault),
            *((v.ctid, finding) for v in self.containers for finding in v.findings if finding.fault),
            *((p.name, finding) for p in self.profiles for finding in p.findings if finding.fault),
        )

    @property
    def as_declared(self) -> bool:
        return not self.faults


def gather(session: Session, words: tuple[str, ...], *, strict: bool = False) -> Status:
    """The named containers, or all that are declared or on this host; and every shipped profile.

    Raises PhoenixError for a container that is neither, UsageError for words that name none, and with
    `strict` NoConfiguration where nothing is declared because there is no configuration.
    """
    if strict and session.configuration is None:
        raise no_configuration(session.host)
    hidden = not strict and session.forgo_records()
    ctids = session.chosen(words)
    desired, store, containers = session.declared, session.store, session.containers
    present = containers.runtime.ctids()
    unknown = [c for c in ctids if c not in desired.containers and c not in set(present)]
    if unknown:
        raise PhoenixError(
            f"container {shortest(unknown)} is neither declared nor on this host",
            hint=listed({*desired.containers, *present}),
        )
    chosen = ctids or tuple(sorted({*desired.containers, *present}, key=int))
    trials = session.trials
    specs = [desired.containers[c] for c in chosen if c in desired.containers and c not in trials]
    found = containers.declared(specs, desired, in_full=bool(ctids))
    # All that a container risks is asked of compiled policy: for those who look at it, not for an overview.
    states = {s.ctid: s for s in (told(session, found) if ctids else found)}
    refused = _refused(session, specs, [states[spec.ctid] for spec in specs])
    if hidden:
        # Nor may the kernel's list of profiles be read.
        refused = {c: tuple(n for n in notes if n.code not in _BY_KERNEL) for c, notes in refused.items()}
    left = [c for c in chosen if c not in states and c not in trials]
    states.update({s.ctid: s for s in containers.found(left)})
    tried = {c: _on_trial(session, c) for c in chosen if c in trials}
    states.update({ctid: state for ctid, (_, state) in tried.items()})
    if hidden and states and all(s.fault is not None and s.fault.next == AS_ROOT for s in states.values()):
        raise PhoenixError(
            "root alone may read the containers' configurations, so nothing can be said of them",
            where=session.host.root.shown(containers.runtime.conf_dir),
            hint=AS_ROOT,
        )
    live = session.host.is_live
    node, nodes = containers.runtime.node(), cluster_nodes(containers.runtime, specs)
    details = containers.details(states.values())
    gpus = _gpus(session, specs, states)
    verdicts = [
        judge_container(
            tried[c][0] if c in tried else desired.containers.get(c),
            states[c],
            details.get(c),
            live=live,
            node=node,
            nodes=nodes,
            undeclared=desired.undeclared,
            refused=refused.get(c, ()),
            gpus=gpus.get(c, ()),
        )
        for c in chosen
    ]
    if tried:
        from phoenix_hypervisor.engine.on_trial import on_trial

        verdicts = [on_trial(session, v) if v.ctid in tried else v for v in verdicts]
    users: dict[str, list[str]] = {}
    assigned = containers.assignments().values if ctids else {c: s.assigned for c, s in states.items()}
    for ctid, value in assigned.items():
        for name in (value or "").split("//&"):
            users.setdefault(name, []).append(ctid)
    boot: dict[str, list[Finding]] = {}
    for cache in store.caches():
        boot.setdefault(cache.profile, []).append(judge_cache(cache.profile, cache.path, cache.newer))
    for name, path in store.switched_off():
        boot.setdefault(name, []).append(judge_switch(name, path))
    # Where there are records, something was installed.
    needed = hidden or session.profiles_needed(desired.containers.values())
    return Status(
        containers=tuple(verdicts),
        profiles=tuple(judge_profiles(store.files(), store.profiles(), users, boot, needed=needed)),
        host=(
            *judge_host(live, session.host.kernel.has_apparmor(), session.no_runtime),
            *(_without_records(session) if hidden else judge_journal(session)),
            *judge_companion(store.companion() if needed and not hidden else None),
        ),
        unmediated=unmediated(session),
        without_line=session.runtime.without_line(),
        configuration=session.configuration,
    )


def _gpus(
    session: Session, specs: Sequence[ContainerSpec], states: Mapping[str, ContainerState]
) -> Mapping[str, Sequence[Finding]]:
    """By CTID, what of its GPUs is not as assigned; nothing is loaded for that where there is no GPU."""
    from phoenix_hypervisor.containers.gpu_nodes import has_gpus

    if not specs or not has_gpus(session.host):
        return {}
    from phoenix_hypervisor.engine.gpu_faults import gpu_faults

    return gpu_faults(session, [(spec, states[spec.ctid]) for spec in specs], after=False)


_BY_KERNEL = (Code.START_UNLOADED, Code.START_KERNEL_OFF)


def _on_trial(session: Session, ctid: str) -> tuple[ContainerSpec, ContainerState]:
    """What a container on trial is to be, and what it is."""
    from phoenix_hypervisor.engine.on_trial import desired_for, spec_of

    spec = spec_of(session, ctid)
    return spec, session.containers.declared([spec], desired_for(session, ctid))[0]


def _without_records(session: Session) -> list[Finding]:
    """What is said of the host to who may not read our records."""
    others = [one for one in judge_journal(session) if one.code is not Code.JOURNAL_UNREADABLE]
    return [Finding(Code.RECORDS_HIDDEN, HOST), *others]


def _refused(
    session: Session, specs: Sequence[ContainerSpec], states: Sequence[ContainerState]
) -> dict[str, tuple[Note, ...]]:
    """By CTID, what `apply --restart` of that container would be refused for: it is not advised then."""
    facts = container_facts(session, Request(tuple(spec.ctid for spec in specs), restart=True), specs, states)
    shipped = session.declared.shipped
    return {spec.ctid: refused_now(spec, state, facts, shipped) for spec, state in facts.pairs}


def unmediated(session: Session) -> tuple[Gap, ...] | None:
    """None where no kernel says: there is no securityfs below the root."""
    kernel = session.host.kernel.features()
    if kernel is None:
        return None
    found: dict[str, Gap] = {}
    for data in _pins(session):
        try:
            written_for = read_dump(data) if data is not None else None
        except ValueError:
            written_for = None
        for gap in gaps(kernel, written_for):
            found.setdefault(gap.code, gap)
    return tuple(found.values())


def _pins(session: Session) -> list[bytes | None]:
    """The feature lists that the shipped profiles are written for: their ABI, else parser.conf's pin."""
    store = session.store
    found: list[bytes | None] = []
    for source in store.sources.profiles.values():
        named = abi(source)
        data = store.include(named[0].removeprefix(f"{APPARMOR_D}/")) if named else None
        found.append(data if isinstance(data, bytes) else pinned(session.host))
    return list(dict.fromkeys(found)) or [pinned(session.host)]
