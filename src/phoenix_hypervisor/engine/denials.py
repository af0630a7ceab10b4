"""What was denied on a host, to whom, and what may be done.

Owns putting that together: logs read as one, the container of each denial, its verdict.  Must not judge
(`engine.proposals` does), nor guess a container.
"""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress

from phoenix_hypervisor.audit.event import Doubt, Event
from phoenix_hypervisor.audit.groups import TRIAL, Group, Groups
from phoenix_hypervisor.audit.logs import Once, Reader
from phoenix_hypervisor.audit.verdict import Judged, Verdict
from phoenix_hypervisor.engine import log_places
from phoenix_hypervisor.engine.held import and_held
from phoenix_hypervisor.engine.log_places import Place
from phoenix_hypervisor.errors import PhoenixError, UsageError
from phoenix_hypervisor.plan.declared import is_ctid
from phoenix_hypervisor.values import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from phoenix_hypervisor.engine.policy_sources import PolicySources
    from phoenix_hypervisor.engine.requests import DenialsRequest
    from phoenix_hypervisor.engine.session import Session

DOUBTS: Mapping[Doubt, str] = {
    Doubt.PLACE: "it was read where others than the kernel can write",
    Doubt.USER: "a program wrote it, not the kernel",
    Doubt.FORM: "it is not as the kernel's log holds it",
    Doubt.CUT: "its end may be missing: the kernel's log cuts long lines, auditd's does not",
    Doubt.NODE: "it names another machine",
}
"""Why a line is not believed, in one clause."""
_REFRESH = 1.0
"""Seconds between two looks at the processes of containers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """One group of denials, its container and its verdict."""

    group: Group
    ctid: str | None
    """The container, where that is certain."""
    candidates: tuple[str, ...]
    """Where it is not: the containers that it may have been, as far as is known."""
    judged: Judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Denials:
    """What the logs hold."""

    denials: tuple[Denial, ...]
    """Newest last."""
    lines: int
    unread: int
    """Lines that look like AppArmor's and cannot be read."""
    repeated: int
    """Events that came by more than one way; each is counted once."""
    left_out: int
    """Events of groups that are not shown, because there were too many."""
    places: tuple[str, ...]
    """The logs that were read."""
    failed: tuple[PhoenixError, ...] = ()
    """Those of the host's that could not be read to their end."""


class Containers:
    """Which container a denial is of."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._live = session.host.is_live
        self._pids: dict[int, str] = {}
        self._looked = 0.0
        self._assigned: dict[str, str | None] | None = None
        self._unknown: tuple[str, ...] = ()

    def of_process(self, event: Event) -> str | None:
        """Where the process of an event runs, if it still does.

        Another process may have its number by now: it must have begun before the event.
        """
        pid = event.line.fields.get("pid", b"")
        if not self._live or not event.trusted or event.time is None or not pid.isdigit():
            return None
        number = int(pid)
        if number not in self._pids and time.monotonic() - self._looked > _REFRESH:
            self._look()
        name = self._pids.get(number)
        if name is None:
            return None
        began = self._session.host.kernel.started(number)
        return name if began is not None and began < event.time else None

    def _look(self) -> None:
        self._pids = {}
        with suppress(PhoenixError):
            running = self._session.runtime.processes() or {}
            self._pids = {one.pid: name for name, some in running.items() for one in some}
        self._looked = time.monotonic()

    def of(self, group: Group) -> tuple[str | None, tuple[str, ...]]:
        """The container if it is certain, else those that it may have been."""
        if group.subject.container is not None:
            name = group.subject.container
            return (name, ()) if is_ctid(name) else (None, (name,))
        if group.subject.profile.startswith(TRIAL):
            return group.subject.profile.removeprefix(TRIAL).partition("//")[0], ()
        found = group.containers
        if len(found) == 1 and not group.unplaced and is_ctid(found[0]):
            return found[0], ()
        if group.subject.namespace or not group.subject.profile:
            return None, found
        assigned = self._with(group.subject.profile)
        every = tuple(sorted({*assigned, *found}, key=lambda name: (len(name), name)))
        if len(every) == 1 and is_ctid(every[0]):
            return every[0], ()
        return None, every

    def _with(self, profile: str) -> list[str]:
        """The containers that may run under a profile: assigned, given by the runtime, or not known."""
        if self._assigned is None:
            self._assigned = {}
            with suppress(PhoenixError):
                found = self._session.containers.assignments()
                self._assigned = dict(found.values)
                self._unknown = found.unknown
        tops = {name.partition("//")[0] for name in profile.split("//&")}
        return [name for name, value in self._assigned.items() if self._may(name, value, tops)] + [
            *self._unknown
        ]

    def _may(self, name: str, assigned: str | None, profiles: set[str]) -> bool:
        if assigned is not None and assigned != "generated":
            return not profiles.isdisjoint(assigned.split("//&"))
        own = self._session.runtime.own_profiles(name)
        starts = tuple(one[:-1] for one in own if one.endswith("*"))
        return any(one in own or one.startswith(starts) for one in profiles)


class Watch:
    """Reads logs and counts what they hold."""

    def __init__(self, session: Session, sources: PolicySources, request: DenialsRequest) -> None:
        self._session = session
        self._request = request
        self._node = _node(session)
        self._containers = Containers(session)
        self._judge: Callable[[Group], Judged] = _judging(sources, session)
        self._groups = Groups()
        self._once = Once()
        self._readers: list[Reader] = []
        self._chosen = frozenset(session.chosen(request.ctids))
        self.places: list[Place] = []
        self._failed: list[PhoenixError] = []

    def open(self) -> list[Place]:
        """The logs that are asked for.  Raises PhoenixError where there is none."""
        request = self._request
        if request.files or request.piped is not None:
            self.places = log_places.named(request.files, request.piped, trust=request.trust)
        else:
            self.places = log_places.of_host(self._session.host, request.since)
            if not self.places:
                raise log_places.none_found(self._session.host)
        return self.places

    def reader(self, place: Place) -> Reader:
        """A reader of one of them, whose lines count."""
        reader = Reader(place.believes, self._node)
        self._readers.append(reader)
        return reader

    def events(self) -> Iterator[Event]:
        """Every event of the logs that were asked for, each once, by time; of the host also what is held."""
        each = [_timed(self.reader(place).read(self._chunks(place))) for place in self.places]
        merged: Iterable[tuple[float, Event]] = (
            each[0] if len(each) == 1 else heapq.merge(*each, key=lambda pair: pair[0])
        )
        found = self._wanted(event for _, event in merged)
        named = self._request.files or self._request.piped is not None
        return found if named or not self._session.host.is_live else and_held(self._session, found)

    def _chunks(self, place: Place) -> Iterator[bytes]:
        """What is in a log.  One of the host's that cannot be read keeps no other from being read."""
        try:
            yield from place.chunks()
        except PhoenixError as error:
            self._failed.append(error)
            if (
                self._request.files
                or self._request.piped is not None
                or len(self._failed) == len(self.places)
            ):
                raise

    def _wanted(self, events: Iterable[Event]) -> Iterator[Event]:
        since = self._request.since
        for event in self._once.of(events):
            if since is None or event.time is None or event.time >= since:
                yield event

    def count(self, events: Iterable[Event]) -> Iterator[tuple[str, bool]]:
        """Count events; the id of each one's group, and whether that is new."""
        for event in events:
            counted = self._groups.add(event, self._containers.of_process(event))
            if counted is not None:
                yield counted

    def count_more(self, events: Iterable[Event]) -> Iterator[tuple[str, bool]]:
        """As `count`, of events that come one after the other from several logs."""
        return self.count(self._wanted(events))

    def denials(self, ids: frozenset[str] | None = None) -> tuple[Denial, ...]:
        """What was counted so far, of the containers that were asked for; `ids`: of these groups only."""
        found = []
        for group in self._groups.found():
            if ids is not None and group.id not in ids:
                continue
            ctid, candidates = self._containers.of(group)
            if not self._is_chosen(ctid, candidates):
                continue
            judged = self._judge(group)
            if group.event.line.verdict == "AUDIT" and judged.verdict is Verdict.ALLOWED_NOW:
                continue  # The tried profile allows it, too.
            found.append(Denial(group=group, ctid=ctid, candidates=candidates, judged=judged))
        return tuple(found)

    def asked_for(self, group: Group) -> bool:
        """Whether it is, or may be, of the containers that were asked for."""
        return not self._chosen or self._is_chosen(*self._containers.of(group))

    def _is_chosen(self, ctid: str | None, candidates: tuple[str, ...]) -> bool:
        return not self._chosen or ctid in self._chosen or not self._chosen.isdisjoint(candidates)

    def so_far(self) -> Denials:
        """All of it."""
        return Denials(
            denials=self.denials(),
            lines=sum(reader.lines for reader in self._readers),
            unread=sum(reader.unread for reader in self._readers),
            repeated=self._once.repeated,
            left_out=self._groups.left_out,
            places=tuple(place.name for place in self.places),
            failed=tuple(self._failed),
        )


def _node(session: Session) -> bytes | None:
    """What auditd calls this machine, where it is told to: by its host name."""
    if session.host.root.is_live:
        return os.uname().nodename.encode("utf-8", "surrogateescape")
    data = session.host.content("/etc/hostname")
    return data.strip() or None if isinstance(data, bytes) else None


def _timed(events: Iterable[Event]) -> Iterator[tuple[float, Event]]:
    """Each event with a time that never goes back; one without has that of the one before it."""
    last = 0.0
    for event in events:
        if event.time is not None:
            last = max(last, event.time)
        yield last, event


def _judging(sources: PolicySources, session: Session) -> Callable[[Group], Judged]:
    from phoenix_hypervisor.engine.proposals import Judge

    judge = Judge(sources)
    known: dict[str, Judged] = {}

    def of(group: Group) -> Judged:
        event = group.event
        if event.doubt is not None:
            return untrusted(event.doubt)
        if group.id not in known:
            try:
                known[group.id] = judge.judge(event.line, profile=_tried(session, group))
            except PhoenixError as error:
                what = f"{error.where} {error.message}" if error.where else error.message
                reason = f"{what}; {error.hint}" if error.hint else what
                known[group.id] = Judged(verdict=Verdict.UNKNOWN, reason=reason, code="not-asked")
        return known[group.id]

    return of


def _tried(session: Session, group: Group) -> str | None:
    """The profile that a line of a trial's copy is judged for; None: the one that it names."""
    if not group.subject.profile.startswith(TRIAL):
        return None
    from phoenix_hypervisor.engine.on_trial import newest

    trial = newest(session, group.subject.profile.removeprefix(TRIAL))
    return None if trial is None else trial.profile


def untrusted(doubt: Doubt) -> Judged:
    """The verdict of a line that is not believed."""
    return Judged(
        verdict=Verdict.UNKNOWN, reason=f"the line proves nothing: {DOUBTS[doubt]}", code="untrusted"
    )


def denials(session: Session, sources: PolicySources, request: DenialsRequest) -> Denials:
    """What the logs hold.  Raises PhoenixError."""
    watch = Watch(session, sources, request)
    watch.open()
    for _ in watch.count(watch.events()):
        pass
    return watch.so_far()


def find(session: Session, sources: PolicySources, request: DenialsRequest, id: str) -> Denial:
    """The denial of that id.  Raises UsageError where the logs hold none."""
    for denial in denials(session, sources, request).denials:
        if denial.group.id == id:
            return denial
    raise UsageError(f"no denial {id}", hint="`phoenix denials` lists them; an older one may be in a file")
