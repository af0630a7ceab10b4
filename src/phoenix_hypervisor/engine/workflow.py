"""setup, plan and apply, put together from the rooms' own parts.

Owns the order in which they are asked: configuration, profiles, proof, containers,
retirement; then one transaction.  What is to be done is decided in `plan`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from phoenix_hypervisor.containers.current import Containers
from phoenix_hypervisor.engine.recovery import locked, recover, run
from phoenix_hypervisor.engine.results import Recovered
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.errors import PhoenixError, Problem, ProblemsError, UsageError
from phoenix_hypervisor.plan.actions import (
    Action,
    CreateContainer,
    RestartContainer,
    StartContainer,
    SweepWhy,
)
from phoenix_hypervisor.plan.containers import Argv, Mode, container_actions, unloaded_starts
from phoenix_hypervisor.plan.declared import ContainerSpec
from phoenix_hypervisor.plan.model import Note, Plan
from phoenix_hypervisor.plan.profiles import (
    LoadPolicy,
    file_actions,
    load_actions,
    load_reason,
    name_refusals,
    retire_actions,
    sweep_action,
    switch_refusal,
    to_prove,
)
from phoenix_hypervisor.plan.verify import judge_container
from phoenix_hypervisor.profiles.prove import foreign_definitions, prove
from phoenix_hypervisor.profiles.retire import find
from phoenix_hypervisor.profiles.sources import OPTIONAL

CONFIRM_TIMEOUT = 10.0
"""Seconds until a started container must run under its profile."""


@dataclass(frozen=True, slots=True)
class Request:
    """What apply, plan or setup was asked."""

    ctids: tuple[str, ...] | None = ()
    """None: all declared; (): none, `setup` only."""
    start: bool = True
    restart: bool = False
    adopt: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan, with the proven policy in the actions that load it."""

    plan: Plan
    recovered: Recovered | None = None
    """What a run that was killed meanwhile had left, and is undone now."""
    unconfirmed: tuple[Note, ...] = ()
    """What was applied and is not as declared nevertheless."""


def prepare(session: Session, request: Request) -> Prepared:
    """Work out the whole plan; nothing is written.

    Raises ProblemsError when the configuration, a proof or anything else refuses.
    """
    specs = _chosen(session, request)
    profiles = _profile_plan(session, request)
    containers = _container_plan(session, request, specs, profiles)
    retired = _retire_plan(session, request, containers)
    plan = profiles + containers + retired
    if plan.refusals:
        raise ProblemsError(
            "refused, and nothing was changed",
            [Problem(note.text, note.target, hint=note.hint) for note in plan.refusals],
        )
    return Prepared(plan)


def execute(
    session: Session, request: Request, prepared: Prepared, progress: Callable[[Action], None]
) -> Prepared:
    """Apply under Phoenix's own lock; the plan is made anew there, so that it is never stale."""
    if not prepared.plan.actions:
        return prepared
    with locked(session):
        fresh = session.again()
        recovered = recover(fresh)
        prepared = replace(prepare(fresh, request), recovered=recovered)
        if prepared.plan.actions:
            run(fresh, prepared.plan, progress)
    return replace(prepared, unconfirmed=_unconfirmed(session, prepared.plan))


def _unconfirmed(session: Session, plan: Plan) -> tuple[Note, ...]:
    """What a start has not brought about: `pct start` succeeds too where HA is only asked to start it."""
    started = [a.target for a in plan.actions if isinstance(a, StartContainer | RestartContainer)]
    end = time.monotonic() + CONFIRM_TIMEOUT
    while started:
        specs = [session.desired.containers[ctid] for ctid in started]
        states = Containers(session.host, session.runtime).declared(specs, session.desired)
        verdicts = [
            judge_container(spec, state, live=True) for spec, state in zip(specs, states, strict=True)
        ]
        started = [verdict.ctid for verdict in verdicts if not verdict.as_declared]
        if started and time.monotonic() > end:
            found = [(v.ctid, f) for v in verdicts for f in v.findings if f.fault]
            return tuple(Note(f"container {ctid}", f"{f.code}: {f.cause}", f.hint) for ctid, f in found)
        if started:
            time.sleep(0.2)
    return ()


def _chosen(session: Session, request: Request) -> list[ContainerSpec]:
    declared = session.desired.containers
    if request.ctids is None:
        return list(declared.values())
    missing = [ctid for ctid in request.ctids if ctid not in declared]
    if missing:
        known = ", ".join(list(declared)[:10]) or "none"
        raise PhoenixError(
            f"container {', '.join(missing)} is not declared",
            where=session.config_path,
            hint=f"declared: {known}",
        )
    return [declared[ctid] for ctid in dict.fromkeys(request.ctids)]


def _profile_plan(session: Session, request: Request) -> Plan:
    store = session.store
    host = session.host
    kernel = host.is_live and host.kernel.has_apparmor()
    files = store.files()
    unknown = (
        request.adopt - {f.path for f in files} - {f.path.removeprefix("/etc/apparmor.d/") for f in files}
    )
    if unknown:
        raise UsageError(f"--adopt {min(unknown)}: no profile source or include has that name")
    profiles = store.profiles()
    stale = (sweep_action(cache.path, SweepWhy.CACHE) for cache in store.caches() if cache.newer)
    left = (*store.sweep(), *stale, *(sweep_action(path) for path in session.runtime.leftovers()))
    off = [switch_refusal(name, path) for name, path in store.switched_off()]
    plan = Plan(left, warnings=tuple(store.orphans()), refusals=(*session.open_places(), *off))
    plan += file_actions(files, request.adopt)
    new = [f.profile for f in files if f.profile and f.installed != f.wanted and not f.recorded]
    new = [n for n in new if f"/etc/apparmor.d/{n}" not in store.manifest.files]
    foreign = foreign_definitions(store, new)
    plan += name_refusals(new, foreign, store.loaded or {}, store.manifest.loaded, request.adopt)
    if plan.refusals:
        # Refuse before compiling: what others own is not ours to prove.
        return plan
    changed = to_prove(plan, profiles, kernel)
    tests = session.policy_tests(optional=store.optional_accepted()[0]) if changed else ()
    proof = prove(store, changed, tests, session.proven)
    service = session.desired.reload_service
    policy = LoadPolicy(kernel, service, store.load_argv, store.in_kernel, proof.blobs)
    plan += load_actions(profiles, policy)
    warnings = [Note(path, text) for path, text in proof.warnings]
    skipped = []
    if changed and not store.optional_accepted()[0]:
        left_out = ", ".join(f"{OPTIONAL}/{name}" for name in sorted(session.sources.optional))
        skipped.append(Note(left_out, "not installed: this parser does not know its rules"))
    pending = [p.name for p in profiles if load_reason(p) is not None]
    if not kernel and pending and host.is_live:
        skipped.append(Note("profiles", "not loaded: AppArmor is off in this kernel", "boot with apparmor=1"))
    elif not host.is_live and changed:
        skipped.append(Note("profiles", "not loaded: --root touches no kernel"))
    return plan + Plan(warnings=tuple(warnings), skipped=tuple(skipped), proofs=tuple(proof.argv))


def _container_plan(
    session: Session, request: Request, specs: Sequence[ContainerSpec], profiles: Plan
) -> Plan:
    missing = session.no_runtime
    told = () if missing is None else (Note("this host", missing.text, missing.hint),)
    if not specs:
        return Plan(warnings=told)
    runtime = session.runtime
    if session.host.is_live:
        runtime.require()
    mode = Mode(
        live=session.host.is_live,
        node=runtime.node(),
        read_only=runtime.read_only(),
        start=request.start,
        restart=request.restart,
        named=request.ctids is not None,
    )
    argv = Argv(runtime.create_argv, runtime.start_argv, runtime.restart_argv)
    states = session.containers.declared(specs, session.desired)
    plan = container_actions(zip(specs, states, strict=True), mode, argv)
    created = {a.target for a in plan.actions if isinstance(a, CreateContainer)}
    if created and told:
        return Plan(refusals=told)
    problems = runtime.creation_problems(s for s in specs if s.ctid in created)
    refusals = [Note(p.pointer, p.message, p.hint) for p in problems]
    refusals += unloaded_starts(plan, profiles, session.store.loaded)
    return plan + Plan(refusals=tuple(refusals))


def _retire_plan(session: Session, request: Request, containers: Plan) -> Plan:
    retirements = find(session.store, session.desired.deprecated)
    if not retirements:
        return Plan()
    assigned = session.containers.assignments().after(containers.actions)
    restarted = [a.target for a in containers.actions if isinstance(a, RestartContainer)]
    ending = session.containers.pids(restarted)
    return retire_actions(
        [replace(r, processes=tuple(p for p in r.processes if p not in ending)) for r in retirements],
        assigned,
        frozenset(session.desired.containers),
        refuse_declared=request.ctids == (),
        live=session.host.is_live,
        unload_argv=session.parser.unload_argv(),
    )
