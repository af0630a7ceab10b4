"""Reading the host, once, into frozen facts.

Owns what a decision is made from: nothing is decided here, and nothing is read after it but
for the two returns that ARCHITECTURE.md names.
"""

from __future__ import annotations

from collections.abc import Sequence

from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.errors import PhoenixError, UsageError
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.decide import HostFacts
from phoenix_hypervisor.plan.declared import ContainerSpec
from phoenix_hypervisor.plan.facts import (
    ContainerFacts,
    Creation,
    ProfileFacts,
    RetirementFacts,
    Wish,
)
from phoenix_hypervisor.plan.model import Assignments, ContainerState, FileState, Note
from phoenix_hypervisor.profiles.includes import APPARMOR_D
from phoenix_hypervisor.profiles.retirement import find
from phoenix_hypervisor.profiles.sources import OPTIONAL, edited_in_vain
from phoenix_hypervisor.values import TYPE_CHECKING, dataclass, field, replace

if TYPE_CHECKING:
    from phoenix_hypervisor.containers.runtime import Runtime
    from phoenix_hypervisor.engine.requests import ApplyRequest, SetupRequest


@dataclass(frozen=True, slots=True)
class Request:
    """What apply, plan or setup was asked."""

    ctids: tuple[str, ...] | None = ()
    """CTIDs, names and ranges, as `plan.chosen.read` returns them; None: all declared; (): none, `setup`
    only."""
    start: bool = True
    restart: bool = False
    adopt: frozenset[str] = field(default_factory=frozenset)
    skip_refused: bool = False
    """Go on without the containers that are refused."""

    def wish(self) -> Wish:
        return Wish(
            named=self.ctids is not None,
            setup=self.ctids == (),
            start=self.start,
            restart=self.restart,
            adopt=self.adopt,
        )


def wanted_of(request: ApplyRequest | SetupRequest) -> Request:
    """What a program asked, in the words of a plan.  Raises UsageError where it names nothing."""
    from phoenix_hypervisor.engine.requests import SetupRequest

    if isinstance(request, SetupRequest):
        return Request((), adopt=request.adopt)
    if request.ctids is None:
        return Request(None, request.start, request.restart, skip_refused=request.skip_refused)
    if not request.ctids:
        raise UsageError("the request names no container", hint="ctids=None asks for all, setup for none")
    from phoenix_hypervisor.plan.chosen import read

    return Request(read(request.ctids), request.start, request.restart, skip_refused=request.skip_refused)


def gather(session: Session, request: Request) -> HostFacts:
    """All that setup, plan and apply decide from.

    Raises PhoenixError for a configuration or a host that cannot be read, and for a request
    that names what is not declared.
    """
    specs = _chosen(session, request)
    needed = request.ctids == () or bool(request.adopt) or session.profiles_needed(specs)
    profiles = _profiles(session, request, needed=needed)
    containers = _containers(session, request, specs)
    return HostFacts(
        profiles=profiles, containers=containers, retirement=_retirement(session, request, containers)
    )


def _chosen(session: Session, request: Request) -> list[ContainerSpec]:
    declared = session.desired.containers
    if request.ctids is None:
        return list(declared.values())
    chosen = session.chosen(request.ctids)
    missing = [ctid for ctid in chosen if ctid not in declared]
    if missing:
        raise _undeclared(session, missing)
    return [declared[ctid] for ctid in chosen]


def _undeclared(session: Session, missing: Sequence[str]) -> PhoenixError:
    """Only what is declared can be changed; what stands can be declared."""
    from phoenix_hypervisor.plan.chosen import shortest

    known = ", ".join(list(session.desired.containers)[:10]) or "none"
    more = len(session.desired.containers) - 10
    known += f" and {more} more" if more > 0 else ""
    standing = {*missing} & {*session.runtime.ctids()}
    declare = f"`phoenix import --merge` declares {shortest(standing)}; " if standing else ""
    return PhoenixError(
        f"container {shortest(missing)} is not declared",
        where=session.config_path,
        hint=f"{declare}declared: {known}",
    )


def _profiles(session: Session, request: Request, *, needed: bool) -> ProfileFacts:
    store, host = session.store, session.host
    files = store.files() if needed else []
    _check_adopted(request, files)
    kernel = host.is_live and host.kernel.has_apparmor()
    profiles = store.profiles() if needed else []
    new = tuple(f.profile for f in files if f.profile and f.installed != f.wanted and not f.recorded)
    new = tuple(name for name in new if f"{APPARMOR_D}/{name}" not in store.manifest.files)
    accepted = not needed or store.optional_accepted()[0]
    return ProfileFacts(
        wish=request.wish(),
        live=host.is_live,
        kernel=kernel,
        service=session.desired.reload_service,
        files=tuple(files),
        profiles=tuple(profiles),
        no_longer_accepted=tuple(store.no_longer_accepted()) if needed else (),
        loaded=store.loaded or {},
        recorded=store.manifest.loaded,
        former={p.name: store.in_kernel(p.name) for p in profiles if kernel and p.why is not None},
        new=new,
        defined=_defined(session, new),
        leftovers=(*store.leftovers(), *session.runtime.leftovers()),
        stale_caches=tuple(cache.path for cache in store.caches() if cache.newer),
        not_shipped=tuple(store.not_shipped()),
        blockers=(*session.open_places(), *_switches(store.switched_off())),
        in_vain=tuple(edited_in_vain(session.sources)) if accepted else (),
        left_out=() if accepted else tuple(f"{OPTIONAL}/{name}" for name in sorted(session.sources.optional)),
        argv=session.kernel_argv(),
    )


def _check_adopted(request: Request, files: Sequence[FileState]) -> None:
    names = {f.path for f in files} | {f.path.removeprefix(f"{APPARMOR_D}/") for f in files}
    unknown = request.adopt - names
    if unknown:
        raise UsageError(f"--adopt {min(unknown)}: no profile source or include has that name")


def _defined(session: Session, names: Sequence[str]) -> dict[str, str]:
    if not names:
        return {}
    # The policy room is imported where something is compiled: a run that changes nothing needs none of it.
    from phoenix_hypervisor.profiles.foreign import foreign_definitions

    return foreign_definitions(session.store, names)


def _switches(found: Sequence[tuple[str, str]]) -> list[Note]:
    """A profile that somebody switched off looks installed, and is not there after the next boot."""
    return [
        Note(Code.FORCE_COMPLAIN if "/force-complain/" in path else Code.DISABLED, path, {"name": name})
        for name, path in found
    ]


def _containers(session: Session, request: Request, specs: Sequence[ContainerSpec]) -> ContainerFacts:
    live = session.host.is_live
    if not specs:
        return ContainerFacts(wish=request.wish(), live=live, no_runtime=session.no_runtime)
    if live:
        session.runtime.require()
    states = session.containers.declared(specs, session.desired)
    facts = container_facts(session, request, specs, states)
    if not any(spec.gpus_named for spec in specs):
        return facts
    return replace(facts, gpus=_gpus(session, facts))


def _gpus(session: Session, facts: ContainerFacts) -> dict[str, tuple[Note, ...]]:
    """What is told of GPUs, of containers whose assignment was declared."""
    from phoenix_hypervisor.containers.gpu_nodes import has_gpus

    if not has_gpus(session.host):
        return {}
    from phoenix_hypervisor.engine.gpu_faults import gpu_faults

    found = gpu_faults(session, [pair for pair in facts.pairs if pair[0].gpus_named], after=True)
    return {
        ctid: tuple(Note(one.code, one.target, one.data) for one in findings if one.fault)
        for ctid, findings in found.items()
    }


def container_facts(
    session: Session, request: Request, specs: Sequence[ContainerSpec], states: Sequence[ContainerState]
) -> ContainerFacts:
    """What is decided about declared containers is decided from this; `states` are theirs."""
    runtime = session.runtime
    wish, live = request.wish(), session.host.is_live
    pairs = tuple(zip(specs, states, strict=True))
    absent = [spec for spec, state in pairs if live and state.data is None and state.elsewhere is None]
    return ContainerFacts(
        wish=wish,
        live=live,
        node=runtime.node(),
        nodes=cluster_nodes(runtime, specs),
        no_runtime=session.no_runtime,
        read_only=runtime.read_only(),
        pairs=pairs,
        creations={spec.ctid: _creation(runtime, spec) for spec in absent},
        starts={
            state.ctid: (runtime.start_argv(state.ctid),)
            for state in (states if wish.start else ())
            if not state.running
        },
        restarts={
            state.ctid: runtime.restart_argv(state.ctid)
            for state in (states if wish.restart else ())
            if state.running
        },
        loaded=session.store.loaded,
        trials=session.trials,
    )


def cluster_nodes(runtime: Runtime, specs: Sequence[ContainerSpec]) -> tuple[str, ...] | None:
    """The nodes of the cluster, where a declaration names one; None: there is no cluster, or none does."""
    if not any(spec.node for spec in specs):
        return None
    from phoenix_hypervisor.containers.runtime import Clustered

    own = runtime.node()
    if own is None or not isinstance(runtime, Clustered):
        return None
    return tuple(sorted({own, *runtime.other_nodes()}))


def _creation(runtime: Runtime, spec: ContainerSpec) -> Creation:
    return Creation(process=runtime.create_argv(spec), problems=tuple(runtime.creation_problems(spec)))


def _retirement(session: Session, request: Request, containers: ContainerFacts) -> RetirementFacts:
    found = tuple(find(session.store, session.desired.deprecated))
    return RetirementFacts(
        wish=request.wish(),
        live=session.host.is_live,
        retirements=found,
        # Every configuration of the node is read for these: only where they are asked for.
        assignments=session.containers.assignments() if found else Assignments({}),
        declared=frozenset(session.desired.containers),
        pids={
            state.ctid: frozenset(process.pid for process in state.processes)
            for _, state in (containers.pairs if found else ())
        },
        argv=session.kernel_argv(),
    )
