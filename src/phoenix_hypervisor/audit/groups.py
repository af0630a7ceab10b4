"""Events that are the same denial.

Owns which events are counted together, and the name by which an operator points to them.  The memory
that it takes is bounded, also where a container invents a new name each time.
"""

from __future__ import annotations

import hashlib

from phoenix_hypervisor.audit.event import Event
from phoenix_hypervisor.audit.kinds import kind_of, object_of, requested_of
from phoenix_hypervisor.audit.line import Line
from phoenix_hypervisor.audit.subject import Subject, subject
from phoenix_hypervisor.values import dataclass

MAX_GROUPS = 20_000
"""Whose profile has most of them loses the oldest half of its own."""
MAX_CONTAINERS = 100
"""That a group remembers."""
_PASSING = frozenset(("pid", "comm", "fsuid", "ouid", "error", "parent", "peer_pid"))
"""Fields that tell no two groups apart."""
_KNOWN = 8192
"""Lines whose group is remembered."""
REFUSALS = frozenset(("DENIED", "ALLOWED", "KILLED"))
"""The verdicts of a denial; `ALLOWED`: it would be one if the profile did not only complain."""
TRIAL = "lxc-trial-"
"""What the profiles of containers on trial are called, with the CTID behind it: what such a profile lets
through beyond the tried one it logs as AUDIT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One denial, however often it happened."""

    id: str
    """Eight hexadecimal digits, made of all that the group has in common: the same at every run."""
    count: int
    first: float | None
    """Seconds since 1970; None: no line says when."""
    last: float | None
    event: Event
    """The last of them that can be trusted; where none can, the last."""
    subject: Subject
    kind: str
    object: str
    """Printable."""
    requested: str
    """Printable."""
    containers: tuple[str, ...] = ()
    """Where its processes were found to run."""
    unplaced: int = 0
    """Events of which nobody knows in which container they were."""


class _Tally:
    """A group that is being counted."""

    __slots__ = ("containers", "count", "event", "first", "id", "key", "last", "unplaced")

    def __init__(self, id: str, key: tuple[str, ...], event: Event) -> None:
        self.id = id
        self.key = key
        self.count = self.unplaced = 0
        self.event = event
        self.first = self.last = event.time
        self.containers: set[str] = set()


class Groups:
    """Counts events."""

    def __init__(self, limit: int = MAX_GROUPS) -> None:
        self._limit = limit
        self._by_subject: dict[Subject, dict[tuple[str, ...], _Tally]] = {}
        self._known: dict[tuple[object, ...], tuple[Subject, tuple[str, ...]]] = {}
        self._size = 0
        self.left_out = 0
        """Events of groups that are forgotten again."""

    def add(self, event: Event, container: str | None = None) -> tuple[str, bool] | None:
        """Count one event; `container` is where its process was found.

        Returns the group's id, and whether it is a new one; None: it is no denial, and not counted.
        """
        line = event.line
        if line.verdict not in REFUSALS and not _of_a_trial(line):
            return None
        fields = line.fields
        same = fields.get("fsuid") == fields.get("ouid")
        raw = (line.verdict, same, *(pair for pair in fields.items() if pair[0] not in _PASSING))
        known = self._known.get(raw)
        if known is None:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            known = self._known[raw] = subject(line), _key(line)
        whose, key = known
        tallies = self._by_subject.get(whose)
        if tallies is None:
            tallies = self._by_subject[whose] = {}
        tally = tallies.pop(key, None)
        new = tally is None
        if tally is None:
            self._size += 1
            if self._size > self._limit:
                self._forget()
                tallies = self._by_subject.setdefault(whose, {})
            tally = _Tally(_id(whose, key), key, event)
        # The newest stands last, so that the oldest go first.
        tallies[key] = tally
        tally.count += 1
        if container is None:
            tally.unplaced += 1
        elif len(tally.containers) < MAX_CONTAINERS:
            tally.containers.add(container)
        if event.trusted or not tally.event.trusted:
            tally.event = event
        if event.time is not None:
            tally.first = event.time if tally.first is None else min(tally.first, event.time)
            tally.last = event.time if tally.last is None else max(tally.last, event.time)
        return tally.id, new

    def _forget(self) -> None:
        most = max(self._by_subject, key=lambda one: len(self._by_subject[one]))
        tallies = self._by_subject[most]
        for key in list(tallies)[: max(1, len(tallies) // 2)]:
            self.left_out += tallies.pop(key).count
            self._size -= 1
        if not tallies:
            del self._by_subject[most]

    def found(self) -> tuple[Group, ...]:
        """The groups, newest last."""
        each = self._by_subject.items()
        groups = [_group(whose, tally) for whose, tallies in each for tally in tallies.values()]
        return tuple(sorted(groups, key=lambda group: (group.last or 0.0, group.id)))


def _of_a_trial(line: Line) -> bool:
    return line.verdict == "AUDIT" and line.fields.get("profile", b"").startswith(TRIAL.encode())


def _key(line: Line) -> tuple[str, ...]:
    """What a group's events have in common besides whose they are."""
    kind = kind_of(line)
    # A rule that says `owner` does not reach another user's file.
    other = kind == "file" and line.fields.get("fsuid") != line.fields.get("ouid")
    return (
        line.verdict if line.verdict in ("ALLOWED", "AUDIT") else "",
        line.operation,
        object_of(line, kind),
        requested_of(line, kind),
        "other" if other else "",
    )


def _id(whose: Subject, key: tuple[str, ...]) -> str:
    parts = (whose.profile, whose.namespace, whose.container or "", *key)
    text = "\0".join(parts).encode("utf-8", "backslashreplace")
    return hashlib.sha256(text).hexdigest()[:8]


def _group(whose: Subject, tally: _Tally) -> Group:
    return Group(
        id=tally.id,
        count=tally.count,
        first=tally.first,
        last=tally.last,
        event=tally.event,
        subject=whose,
        kind=kind_of(tally.event.line),
        object=tally.key[2],
        requested=tally.key[3],
        containers=tuple(sorted(tally.containers)),
        unplaced=tally.unplaced,
    )
