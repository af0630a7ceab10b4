"""Reading the host, once, for a rollback.

Owns what undoing a transaction is decided from: the frozen facts of `plan.rollback`.  Nothing is
decided here.
"""

from __future__ import annotations

from collections.abc import Sequence

from phoenix_hypervisor.containers import conf as codec
from phoenix_hypervisor.containers.current import Containers, conf_fault
from phoenix_hypervisor.containers.runtime import Runtime
from phoenix_hypervisor.containers.seccomp import COMPANION
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.plan.actions import (
    MANAGED_KEYS,
    SECCOMP_KEY,
    Action,
    AssignLines,
    InstallFile,
    LoadProfile,
    RemoveFile,
    RestartContainer,
    StartContainer,
    UnloadProfile,
)
from phoenix_hypervisor.plan.inverse import Step
from phoenix_hypervisor.plan.rollback import Line, Restart, RollbackFacts
from phoenix_hypervisor.profiles import records
from phoenix_hypervisor.profiles.drift import known_policy
from phoenix_hypervisor.profiles.includes import APPARMOR_D
from phoenix_hypervisor.profiles.installed import closure_with, includers


def gather_rollback(
    session: Session,
    runtime: Runtime,
    steps: Sequence[Step],
    earlier: int | None = None,
    begun: Sequence[Action] = (),
) -> RollbackFacts:
    """What undoing `steps` decides from; `earlier` is what could be undone in their place.

    The containers that `begun` started are to be started again.

    Raises PhoenixError for a host that cannot be read.
    """
    host = session.host
    manifest, _ = records.read(host)
    loaded = host.kernel.loaded_profiles() or {}
    backs = [step.back for step in steps]
    files = [back for back in backs if isinstance(back, InstallFile | RemoveFile)]
    loads = [back.target for back in backs if isinstance(back, LoadProfile)]
    unloads = [back.target for back in backs if isinstance(back, UnloadProfile)]
    paths = [back.path for back in files] + [f"{APPARMOR_D}/{name}" for name in loads]
    changed = {back.path: back.after if isinstance(back, InstallFile) else None for back in files}
    including = {back.path: includers(host, manifest, back.path) for back in files if back.profile is None}
    again = sorted({name for names in including.values() for name in names})
    return RollbackFacts(
        steps=steps,
        live=host.is_live,
        kernel=host.is_live and host.kernel.has_apparmor(),
        read_only=runtime.read_only(),
        files={path: host.read(path) for path in paths},
        lines={back.target: _line(runtime, back) for back in backs if isinstance(back, AssignLines)},
        former={name: known_policy(host, name, loaded.get(name)) for name in (*loads, *unloads, *again)},
        recorded=manifest.loaded,
        loaded=loaded,
        labels=host.kernel.labels() if unloads else {},
        assignments=Containers(host, runtime).assignments(),
        includers=including,
        naming={COMPANION: _naming(runtime, manifest)} if COMPANION in changed else {},
        closures={name: closure_with(host, name, changed) for name in again},
        earlier=earlier,
        restarts=_restarts(runtime, begun),
        argv=session.kernel_argv(),
    )


def _restarts(runtime: Runtime, done: Sequence[Action]) -> dict[str, Restart]:
    """What restarts each container that `done` started and that runs now."""
    started = [one.target for one in done if isinstance(one, StartContainer | RestartContainer)]
    running = (runtime.processes() or {}) if started else {}
    return {
        ctid: Restart(runtime.restart_argv(ctid), frozenset(process.pid for process in running[ctid]))
        for ctid in dict.fromkeys(started)
        if ctid in running
    }


def _naming(runtime: Runtime, manifest: records.Manifest) -> tuple[str, ...]:
    """The containers to which Phoenix gave the companion, and whose configuration still names it."""
    given = [ctid for ctid, lines in manifest.lines.items() if lines.get(SECCOMP_KEY) == COMPANION]
    found = []
    for ctid in given:
        data = runtime.read_conf(ctid)
        if data is not None:
            conf = codec.parse(data, runtime.dialect)
            if codec.counting(conf, (SECCOMP_KEY,))[SECCOMP_KEY] == COMPANION:
                found.append(ctid)
    return tuple(found)


def _line(runtime: Runtime, back: AssignLines) -> Line:
    """A configuration as it is now, and as it is with only its lines put back."""
    ctid, dialect = back.target, runtime.dialect
    try:
        data = runtime.read_conf(ctid)
        if data is None:
            return Line()
        conf = codec.parse(data, dialect)
        codec.check_editable(conf)
        if back.after is None:
            merged = codec.with_lines(data, {line.key: line.value for line in back.lines}, dialect)
        else:
            merged = codec.lines_put_back(data, back.after, [line.key for line in back.lines], dialect)
    except PhoenixError as error:
        return Line(fault=conf_fault(runtime.conf_path(ctid), error))
    return Line(
        data=data,
        values=codec.counting(conf, [*MANAGED_KEYS, *(line.key for line in back.lines)]),
        merged=merged,
        lock=runtime.locked(ctid, conf.lock) if conf.lock is not None else None,
    )
