"""Gathering what containers there are and what they run under.

Owns reading configurations and /proc into `ContainerState`.  The only reader of
containers; must not write, and must not judge whether what it finds is wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from phoenix_hypervisor.containers import conf as codec
from phoenix_hypervisor.containers.generated import flag
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.kernel import Process, init_of
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.plan.actions import SECCOMP_KEY, LineChange
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.declared import ContainerSpec, Desired
from phoenix_hypervisor.plan.gpu_codes import GpuCode
from phoenix_hypervisor.plan.lines import LineFacts, beside_and_kept, means, variant
from phoenix_hypervisor.plan.model import (
    Assignments,
    ConfFault,
    ContainerState,
    Details,
    Elsewhere,
    Managed,
    NextStart,
    Note,
    ProcessLabel,
    Wishes,
    container,
)
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from phoenix_hypervisor.containers.managed_gpus import GpuLines
    from phoenix_hypervisor.containers.runtime import Runtime


class Containers:
    """The containers of a host, read through one runtime."""

    def __init__(
        self,
        host: Host,
        runtime: Runtime,
        written: Mapping[str, str | None] | None = None,
        beside: Mapping[str, Mapping[str, str]] | None = None,
        companion: str | None = None,
    ) -> None:
        """`written` is the profile line's value that Phoenix last wrote, by CTID, `beside` the other lines
        that it wrote; `companion` is where the host's seccomp companion is, or will be."""
        self._host = host
        self._written = written or {}
        self._beside = beside or {}
        self._companion = companion
        self.runtime = runtime
        self._elsewhere: Mapping[str, Elsewhere] | None = None
        self._processes: dict[str, list[Process]] | None = None
        self._asked = False
        self._gpus: GpuLines | None = None

    def _running(self) -> dict[str, list[Process]] | None:
        if not self._asked:
            self._processes, self._asked = self.runtime.processes(), True
        return self._processes

    def declared(
        self, specs: Iterable[ContainerSpec], desired: Desired, *, in_full: bool = False
    ) -> list[ContainerState]:
        """The state of each declared container, with its configuration as it would be.

        What it asks for is read where its profile line would change; `in_full`: of all.
        """
        return [self._state(spec.ctid, spec, desired, in_full=in_full) for spec in specs]

    def found(self, ctids: Iterable[str]) -> list[ContainerState]:
        """The state of containers that are not declared; nothing is wanted of them."""
        return [self._state(ctid) for ctid in ctids]

    def details(self, states: Iterable[ContainerState]) -> dict[str, Details]:
        """What is only shown of containers that were read: by those that show it, never at rest."""
        from phoenix_hypervisor.containers.details import details

        return {s.ctid: details(s.data, self.runtime.dialect) for s in states if s.data is not None}

    def hostnames(self, ctids: Iterable[str]) -> dict[str, str]:
        """What each container calls itself; empty where its configuration says nothing or cannot be read."""
        from phoenix_hypervisor.containers.details import hostname

        found = {}
        for ctid in ctids:
            data, _ = self._read(ctid)
            found[ctid] = "" if data is None else hostname(data, self.runtime.dialect)
        return found

    def differs(self, spec: ContainerSpec, desired: Desired, conf: codec.Conf) -> bool:
        """Whether the lines are not those that Phoenix would write.  Raises ConfError."""
        value, lines, kept = self._wanted(spec, desired, conf)
        return bool(lines or kept) or codec.edit(conf, value) is not None

    def profile_line(self, spec: ContainerSpec, desired: Desired, conf: codec.Conf) -> str | None:
        """The value that Phoenix would write into the profile line; None: no line."""
        return self._wanted(spec, desired, conf)[0]

    def is_running(self, ctid: str) -> bool:
        """Whether the container is known to run."""
        return bool((self._running() or {}).get(ctid))

    def assignments(self) -> Assignments:
        """The assigned profile of every container on this node, also of those that are no CTID."""
        found: dict[str, str | None] = {}
        unknown: list[str] = []
        kept: list[tuple[str, str, str]] = []
        for name in self.runtime.names():
            data, error = self._read(name)
            if data is not None:
                assigned = codec.parse(data, self.runtime.dialect).assigned
                found[name] = None if assigned is None else codec.unquoted(assigned)
                below = codec.lines_below(data, self.runtime.dialect)
                kept += [(name, where, profile) for where, profile in below]
            elif error is not None:
                unknown.append(name)
        return Assignments(found, tuple(unknown), tuple(kept))

    def pids(self, ctids: Iterable[str]) -> frozenset[int]:
        """The processes of some containers."""
        running = self._running() or {}
        return frozenset(process.pid for ctid in ctids for process in running.get(ctid, ()))

    def _read(self, ctid: str) -> tuple[bytes | None, PhoenixError | None]:
        try:
            return self.runtime.read_conf(ctid), None
        except PhoenixError as error:
            return None, error

    def _wanted(
        self, spec: ContainerSpec, desired: Desired, conf: codec.Conf | None
    ) -> tuple[str | None, tuple[LineChange, ...], tuple[str, ...]]:
        """What is declared of a container's lines: the profile's value, and the changes beside it."""
        unprivileged = spec.unprivileged if conf is None else conf.unprivileged
        profile = variant(spec.profile, unprivileged, desired.shipped)
        if spec.scope and f"{profile}-{spec.scope}" in desired.shipped:
            profile = f"{profile}-{spec.scope}"
        value = self.runtime.line_value(profile, desired.explicit_unconfined)
        if spec.keep and conf is not None:
            standing = _standing(conf)
            return (standing if means(standing, spec.profile, value) else value), (), ()
        features = spec.features if conf is None else conf.features
        facts = LineFacts(
            profile=value,
            shipped=desired.shipped,
            unprivileged=unprivileged,
            # Plain LXC knows no features; what it is created with brings nesting by an include.
            nesting=self.runtime.dialect is codec.Dialect.PVE and flag(features, "nesting"),
            companion=self._companion if spec.seccomp else None,
            now={} if conf is None else conf.beside,
            written=self._beside.get(spec.ctid, {}),
        )
        return value, *beside_and_kept(facts)

    def _missing(self, conf: codec.Conf | None, lines: tuple[LineChange, ...]) -> str | None:
        """The seccomp file that the configuration will name, where it is not there and not ours to bring."""
        name = None if conf is None else conf.beside.get(SECCOMP_KEY)
        for line in lines:
            if line.key == SECCOMP_KEY:
                name = line.value
        if name is None or name == self._companion or not name.startswith("/"):
            return None
        return None if self._host.exists(name) else name

    def _state(
        self,
        ctid: str,
        spec: ContainerSpec | None = None,
        desired: Desired | None = None,
        *,
        in_full: bool = False,
    ) -> ContainerState:
        path = self.runtime.conf_path(ctid)
        data, error = self._read(ctid)
        conf = None if data is None else codec.parse(data, self.runtime.dialect)
        wanted: str | None = None
        lines: tuple[LineChange, ...] = ()
        other_lines: tuple[str, ...] = ()
        if spec is not None and desired is not None:
            wanted, lines, other_lines = self._wanted(spec, desired, conf)
        gpus = Managed()
        if spec is not None and conf is not None and spec.manage_gpus:
            gpus = self._managed(spec, conf)
            lines = (*lines, *gpus.lines)
        running, init, processes = self._activity(ctid)
        if error is not None or data is None or conf is None:
            other = self._other(ctid) if error is None else None
            return ContainerState(
                ctid=ctid,
                path=path,
                wanted=wanted,
                own_profiles=self.runtime.own_profiles(ctid),
                fault=conf_fault(path, error) if error is not None else None,
                elsewhere=other,
                unprivileged=spec is not None and spec.unprivileged,
                features=spec.features if spec is not None else "",
                wishes=None if spec is None else _planned(spec, wanted, self.runtime.dialect),
                lines=lines,
                running=running,
                init=init,
                processes=processes,
            )
        after, fault = data, None
        assigned = _standing(conf) if spec is not None and spec.keep else conf.assigned
        if spec is not None:
            try:
                if spec.keep and wanted == _standing(conf):
                    codec.check_editable(conf)
                else:
                    after = codec.assign_parsed(conf, wanted)
                if lines:
                    changes = {line.key: line.value for line in lines}
                    after = codec.with_lines(after, changes, self.runtime.dialect)
            except PhoenixError as problem:
                fault = conf_fault(path, problem)
        warnings = () if spec is None else _warnings(ctid, conf, wanted, other_lines) + gpus.warnings
        if spec is not None and spec.scope_gpus and not (spec.scope and (wanted or "").endswith(spec.scope)):
            warnings += (Note(GpuCode.NOT_SCOPED, container(ctid), {"profile": wanted or spec.profile}),)
        return ContainerState(
            ctid=ctid,
            path=path,
            data=data,
            after=after,
            wanted=wanted,
            own_profiles=self.runtime.own_profiles(ctid),
            assigned=assigned,
            fault=fault,
            lock=self.runtime.locked(ctid, conf.lock) if conf.lock is not None else None,
            manager=self.runtime.manager(ctid),
            next_start=_next_start(conf, wanted, path) if spec is not None else None,
            is_template=conf.is_template,
            warnings=warnings,
            refusals=gpus.refusals,
            running=running,
            init=init,
            processes=processes,
            sections=codec.sections_with(data, wanted) if wanted is not None and after is not data else (),
            was_written=ctid in self._written and self._written[ctid] == wanted,
            unprivileged=conf.unprivileged,
            features=conf.features,
            wishes=_wishes(conf, wanted) if spec is not None and (in_full or assigned != wanted) else None,
            several=len(conf.values) > 1,
            lines=lines,
            kept_lines=other_lines,
            missing_file=self._missing(conf, lines) if spec is not None else None,
        )

    def _managed(self, spec: ContainerSpec, conf: codec.Conf) -> Managed:
        from phoenix_hypervisor.containers.managed_gpus import GpuLines

        if self._gpus is None:
            self._gpus = GpuLines(self._host)
        return self._gpus.of(spec, conf, self.runtime.conf_path(spec.ctid))

    def _activity(self, ctid: str) -> tuple[bool | None, ProcessLabel | None, tuple[ProcessLabel, ...]]:
        """Whether it runs (None: not known), its init, and all its processes."""
        running = self._running()
        if running is None:
            return None, None, ()
        processes = running.get(ctid, [])
        init = init_of(processes)
        return (
            bool(processes),
            None if init is None else ProcessLabel(init.pid, init.label),
            tuple(ProcessLabel(p.pid, p.label) for p in processes),
        )

    def _other(self, ctid: str) -> Elsewhere | None:
        if self._elsewhere is None:
            self._elsewhere = self.runtime.elsewhere()
        return self._elsewhere.get(ctid)


def _standing(conf: codec.Conf) -> str | None:
    """What LXC takes the profile line that counts for; None without one."""
    return None if conf.assigned is None else codec.unquoted(conf.assigned)


def _wishes(conf: codec.Conf, wanted: str | None) -> Wishes:
    # Most runs change no profile line.
    from phoenix_hypervisor.containers.wishes import wishes

    return wishes(conf, wanted)


def _planned(spec: ContainerSpec, wanted: str | None, dialect: codec.Dialect) -> Wishes:
    from phoenix_hypervisor.containers.wishes import of_declared

    features = spec.features if dialect is codec.Dialect.PVE else ""
    return of_declared(wanted, features, [f"/dev/nvidia{word}" for word in spec.gpus if word.isdecimal()])


def conf_fault(path: str, error: PhoenixError) -> ConfFault:
    """Why the configuration at `path` cannot be read or edited."""
    reason = error.reason if isinstance(error, codec.ConfError) else "unreadable"
    return ConfFault(path=path, reason=reason, why=error.message, next=error.hint)


def _next_start(conf: codec.Conf, wanted: str | None, path: str) -> NextStart | None:
    """What stands in the way of `wanted` at the next start: Proxmox replaces the raw lines first."""
    if conf.pending is None or conf.next_assigned == wanted:
        return None
    return NextStart(path, conf.next_assigned)


def _warnings(
    ctid: str, conf: codec.Conf, wanted: str | None, kept_lines: tuple[str, ...]
) -> tuple[Note, ...]:
    if not (kept_lines or conf.includes or conf.old_key) and conf.pending is None:
        # As nearly all are.
        return ()
    target = container(ctid)
    found = [Note(Code.LINE_KEPT, target, {"key": key}) for key in kept_lines]
    if conf.includes:
        found.append(Note(Code.CONF_INCLUDE, target))
    if conf.pending is not None and conf.next_assigned == wanted:
        found.append(Note(Code.PENDING_SAME, target))
    if conf.old_key:
        found.append(Note(Code.OLD_KEY, target))
    return tuple(found)
