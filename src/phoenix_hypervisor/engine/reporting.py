"""All that a report says of a host.

Owns gathering it once: status, each container's walls, what compiled policy lets be written below /proc and
/sys (asked once for each profile), accepted rules, history; and the facts that are kept for the next report.
What becomes of them is the report room's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from phoenix_hypervisor.containers import conf as codec
from phoenix_hypervisor.containers.device_lines import Guests
from phoenix_hypervisor.containers.gpu_nodes import Nodes, hardware
from phoenix_hypervisor.containers.seccomp import COMPANION
from phoenix_hypervisor.engine.condition import Status
from phoenix_hypervisor.engine.condition import gather as status_of
from phoenix_hypervisor.engine.losses import judge_of
from phoenix_hypervisor.engine.opening import Policies
from phoenix_hypervisor.engine.policy_sources import PolicySources
from phoenix_hypervisor.engine.undo import read_history
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.gpu.access import GpuAccess, Judge
from phoenix_hypervisor.gpu.device_rules import Program
from phoenix_hypervisor.gpu.guest import Guest
from phoenix_hypervisor.gpu.hardware import NO_TENANT, SHARED, Hardware
from phoenix_hypervisor.host.files import ChangedMeanwhile
from phoenix_hypervisor.plan.actions import SECCOMP_KEY
from phoenix_hypervisor.plan.lines import names_a_profile
from phoenix_hypervisor.plan.model import Finding
from phoenix_hypervisor.plan.verify import ContainerVerdict
from phoenix_hypervisor.policy.many_names import Names
from phoenix_hypervisor.profiles.records import STATE_DIR
from phoenix_hypervisor.report import report_changes, report_facts
from phoenix_hypervisor.values import dataclass, replace

if TYPE_CHECKING:
    from phoenix_hypervisor.engine.session import Session
    from phoenix_hypervisor.policy.profile import Profile

NAME = "report.json"
MAX_KEPT = 64 * 1024 * 1024
TREES = ("/proc/", "/sys/")


def look(session: Session, version: str, words: report_facts.Words, *, keep: bool) -> report_facts.Report:
    """The host as it is now, beside the last report; `keep`: the next one is compared with this one.

    Raises PhoenixError where nothing can be said of the host.  What alone cannot be looked at is in the
    result's `not_read`.
    """
    return _Look(session, words).report(version, keep=keep)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Walls:
    """What stands around one container beside its profile."""

    seccomp: str | None = None
    guest: Guest | None = None
    gpus: tuple[GpuAccess, ...] = ()


class _Look:
    def __init__(self, session: Session, words: report_facts.Words) -> None:
        self._session = session
        self._words = words
        self._not_read: list[str] = []

    def report(self, version: str, *, keep: bool) -> report_facts.Report:
        session = self._session
        status = status_of(session, ())
        nodes = Nodes(session.host)
        found = hardware(session.host, nodes)
        walls, shared = self._walls(status, found, nodes)
        report = report_facts.Report(
            phoenix=version,
            time=_utc(session.host.now()),
            host=session.runtime.node() or session.host.root.shown("/"),
            kernel=session.host.kernel.release(),
            configuration=status.configuration,
            without_line=status.without_line,
            as_declared=status.as_declared,
            confined=status.confined,
            findings=self._said(status.host),
            containers=tuple(
                self._container(one, walls.get(one.ctid, _Walls())) for one in status.containers
            ),
            profiles=self._profiles(status),
            gpus=tuple(
                report_facts.Gpu(gpu=one.number, called=one.model or one.vendor, node=one.needs)
                for one in found.gpus
            ),
            shared_nodes=tuple(
                report_facts.SharedNode(
                    path=one.path,
                    means=SHARED.get(one.kind, ""),
                    tenants=one.kind not in NO_TENANT,
                    users=tuple(shared.get(one.path, ())),
                )
                for one in found.shared
            ),
            accepted=self._accepted(),
            history=self._history(),
            unmediated=None
            if status.unmediated is None
            else tuple(
                report_facts.Gap(code=one.code, what=one.what, by=one.by, means=one.means)
                for one in status.unmediated
            ),
            not_read=(),
            compared=report_facts.Compared(last=None, changed=False, found=(), not_kept=None),
        )
        compared = self._compared(report, keep=keep)
        return replace(report, not_read=tuple(self._not_read), compared=compared)

    def _said(self, findings: Iterable[Finding]) -> tuple[report_facts.Said, ...]:
        found = []
        for one in findings:
            text, following = self._words.note(one)
            found.append(report_facts.Said(code=str(one.code), text=text, next=following, fault=one.fault))
        return tuple(found)

    def _without(self, what: str, error: PhoenixError) -> None:
        where = f" ({error.where})" if error.where else ""
        self._not_read.append(f"{what}: {error.message}{where}")

    # Containers --------------------------------------------------------------------

    def _walls(
        self, status: Status, found: Hardware, nodes: Nodes
    ) -> tuple[dict[str, _Walls], dict[str, list[str]]]:
        """By CTID, what its configuration says; and who can open each node that is shared."""
        session = self._session
        runtime = session.runtime
        guests = Guests(session.host, runtime, nodes)
        judge = Judge(found, nodes.at, Policies(session))
        walls: dict[str, _Walls] = {}
        users: dict[str, list[str]] = {}
        for one in status.containers:
            try:
                data = runtime.read_conf(one.ctid)
            except PhoenixError:
                continue  # it has a finding that says so
            if data is None:
                continue
            guest = guests.of_data(one.ctid, data)
            beside = codec.parse(data, runtime.dialect).beside
            gpus = () if guest.fault is not None else judge.judge(guest)
            walls[one.ctid] = _Walls(seccomp=beside.get(SECCOMP_KEY), guest=guest, gpus=gpus)
            for node in () if guest.fault is not None else judge.shared(guest):
                if node.can_open:
                    users.setdefault(node.node, []).append(one.ctid)
        return walls, users

    def _container(self, one: ContainerVerdict, walls: _Walls) -> report_facts.Container:
        file = walls.seccomp
        return report_facts.Container(
            ctid=one.ctid,
            name=one.name,
            unprivileged=one.unprivileged,
            template=one.is_template,
            exists=one.exists,
            running=one.running,
            confined=one.confined,
            declared=one.declared,
            assigned=one.assigned,
            label=one.label,
            as_declared=one.as_declared,
            seccomp=report_facts.DEFAULT
            if file is None
            else report_facts.COMPANION
            if file == COMPANION
            else report_facts.OWN,
            seccomp_file=file,
            devices=None if walls.guest is None else _devices(walls.guest.program),
            gpus=tuple(_cell(access) for access in walls.gpus),
            findings=self._said(one.findings),
            notes=tuple(self._words.note(note)[0] for note in one.notes),
        )

    # Profiles ----------------------------------------------------------------------

    def _profiles(self, status: Status) -> tuple[report_facts.Profile, ...]:
        """Those that are shipped, then others that containers are assigned."""
        sources = PolicySources(self._session, self._session.configuration)
        names = Names(one for one in sources.kernel_names() if one.startswith(TREES))
        users: dict[str, list[str]] = {}
        for container in status.containers:
            for part in (container.assigned or "").split("//&"):
                if part not in ("", "unconfined") and names_a_profile(part) and not part.startswith(":"):
                    users.setdefault(part, []).append(container.ctid)
        found = []
        for verdict in status.profiles:
            users.pop(verdict.name, None)
            # One that nobody uses would have to be compiled for this, where it is not loaded.
            asked = partial(self._ours, verdict.name) if verdict.used_by else None
            mode, places = self._writes(names, asked)
            found.append(
                report_facts.Profile(
                    name=verdict.name,
                    ours=True,
                    installed=verdict.installed,
                    loaded=verdict.loaded,
                    used_by=verdict.used_by,
                    findings=self._said(verdict.findings),
                    mode=mode,
                    places=places,
                )
            )
        loaded = self._session.host.kernel.loaded_profiles()
        for name, ctids in users.items():
            mode, places = self._writes(names, partial(_theirs, sources, name))
            found.append(
                report_facts.Profile(
                    name=name,
                    ours=False,
                    installed="foreign",
                    loaded="unknown" if loaded is None else loaded.get(name, "no"),
                    used_by=tuple(ctids),
                    findings=(),
                    mode=mode,
                    places=places,
                )
            )
        return tuple(found)

    def _ours(self, name: str) -> Profile | None:
        judge = judge_of(self._session, name)
        return None if judge is None else judge.profile

    def _writes(
        self, names: Names, compiled: Callable[[], Profile | None] | None
    ) -> tuple[str | None, tuple[report_facts.Place, ...]]:
        """The mode of a profile, and where it lets anything be written; None where it is not known."""
        try:
            profile = None if compiled is None else compiled()
            if profile is None:
                return None, ()
            return profile.mode.name.lower(), _places(names.all, names.allowed(profile))
        except PhoenixError:
            # What does not compile has a finding; what is another's may not be shown by the kernel.
            return None, ()

    # The rest ----------------------------------------------------------------------

    def _accepted(self) -> tuple[report_facts.AcceptedRule, ...]:
        from phoenix_hypervisor.engine.accepting import listed

        if self._session.configuration is None:
            return ()
        try:
            return tuple(
                report_facts.AcceptedRule(
                    profile=one.profile, id=one.entry.id, rule=one.entry.rule, evidence=one.entry.evidence
                )
                for one in listed(self._session).rules
            )
        except PhoenixError as error:
            self._without("accepted rules", error)
            return ()

    def _history(self) -> tuple[report_facts.Transaction, ...]:
        try:
            found = read_history(self._session)
        except PhoenixError as error:
            self._without("history", error)
            return ()
        for unreadable in found.unreadable:
            self._without("a transaction", unreadable)
        return tuple(
            report_facts.Transaction(
                id=one.entry.id,
                time=one.entry.header.time,
                user=one.entry.header.user,
                command=" ".join(one.entry.header.command),
                state=one.entry.state
                if one.rolled_back_by is None
                else f"rolled back by {one.rolled_back_by}",
                what=self._words.entry(one.entry),
            )
            for one in found.transactions
        )

    # Beside the last one -------------------------------------------------------------

    def _compared(self, report: report_facts.Report, *, keep: bool) -> report_facts.Compared:
        """What changed since the facts that are kept; they are replaced where anything did."""
        host = self._session.host
        now = report_changes.facts_of(report)
        last: report_changes.Kept | None = None
        try:
            data = host.read(f"{STATE_DIR}/{NAME}", MAX_KEPT)
            try:
                last = None if data is None else report_changes.read(data)
            except ValueError as error:
                self._not_read.append(f"the last report: {error} ({host.root.shown(f'{STATE_DIR}/{NAME}')})")
            found = () if last is None else last.found
            differ = last is not None and report_changes.differences(last.facts, now)
            if last is not None and differ:
                found = (report_facts.Changes(since=last.time, until=report.time, changes=differ), *found)
            if keep and (last is None or differ):
                self._keep(
                    report_changes.written(report_changes.Kept(time=report.time, facts=now, found=found)),
                    data,
                )
            not_kept = None if keep else "it was not asked for"
        except ChangedMeanwhile:
            not_kept = "another report was made at the same time"
        except PhoenixError as error:
            found, differ = (), False
            not_kept = f"{error.message} ({error.where})"
        return report_facts.Compared(
            last=None if last is None else last.time,
            changed=bool(differ),
            found=found[: report_changes.KEPT],
            not_kept=not_kept,
        )

    def _keep(self, data: bytes, before: bytes | None) -> None:
        directory = self._session.host.directory(STATE_DIR, create=True, mode=0o700)
        assert directory is not None  # it is made where it is missing
        with directory:
            directory.replace(NAME, data, before=before, mode=0o600)


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _devices(program: Program) -> report_facts.Devices:
    if program.fault:
        return report_facts.Devices(state=report_facts.BROKEN, rules=0, own=(program.fault,))
    counting = [rule for rule in reversed(program.rules) if rule.allow is program.blocks]
    state = report_facts.CLOSED if program.blocks and program.rules else report_facts.OPEN
    own = tuple(dict.fromkeys(rule.line for rule in counting if rule.own))
    return report_facts.Devices(state=state, rules=len(counting), own=own)


def _cell(access: GpuAccess) -> report_facts.GpuCell:
    node = access.deciding
    if access.can_open:
        return report_facts.GpuCell(gpu=access.gpu.number, access=report_facts.OPENS, by=tuple(node.by))
    if access.can_make:
        return report_facts.GpuCell(gpu=access.gpu.number, access=report_facts.MAKES, by=tuple(node.by))
    return report_facts.GpuCell(gpu=access.gpu.number, access=report_facts.SHUT, by=tuple(node.walls))


def _theirs(sources: PolicySources, name: str) -> Profile | None:
    """A profile that is not ours, where the kernel shows what it was loaded from."""
    from phoenix_hypervisor.policy.reader import read_policy

    return read_policy(sources.blob(f"loaded:{name}")).get(name)


def _places(names: Sequence[str], writable: frozenset[str]) -> tuple[report_facts.Place, ...]:
    known: dict[str, list[str]] = {}
    for name in names:
        known.setdefault(_place(name), []).append(name)
    found = []
    for path, there in sorted(known.items()):
        some = [name.removeprefix(f"{path}/") for name in there if name in writable]
        if some:
            listed = () if len(some) == len(there) else tuple(some)
            found.append(report_facts.Place(path=path, known=len(there), writable=len(some), names=listed))
    return tuple(found)


def _place(name: str) -> str:
    """The directory under which a name is told: /proc/sys/net, /proc/[0-9]*, /sys/fs/cgroup, /proc."""
    folders = name.split("/")[:-1]
    depth = 4 if name.startswith(("/proc/sys/", "/sys/")) else 3
    return "/".join(folders[:depth])
