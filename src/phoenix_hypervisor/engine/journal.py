"""The journal: /var/lib/phoenix/journal, one file for each transaction.

Owns those files: when they are on disk, how long they are kept, which one is unfinished.
What stands in them is `plan.entries`'.  Never in /etc/pve, whose whole content goes to
every node at each change.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.files import Directory
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.host.trust import require_own
from phoenix_hypervisor.plan import entries
from phoenix_hypervisor.plan.actions import Action
from phoenix_hypervisor.plan.entries import JOURNAL_DIR, Entry, Header
from phoenix_hypervisor.plan.model import Note
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from phoenix_hypervisor.host.append import Appender

KEPT = 50
"""Transactions; older ones go when a new one begins."""
KEPT_BYTES = 64 * 1024 * 1024
MAX_JOURNAL = 256 * 1024 * 1024
_NAME = re.compile(r"([0-9]{8})\.jsonl")
_TAIL = 64 * 1024


def now() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Recorder:
    """The `Log` of one transaction that is under way."""

    def __init__(self, appender: Appender, number: int, actions: Sequence[Action]) -> None:
        self.number = number
        self._appender = appender
        self._actions = actions

    def begin(self, number: int) -> None:
        self._appender.add(entries.begin_line(number), sync=True)

    def done(self, number: int, action: Action) -> None:
        # Not synced: the next line is, and a step that was begun is looked at anyway.
        self._appender.add(entries.done_line(number, self._actions[number], action), sync=False)

    def end(self, state: str, left: Sequence[Note] = ()) -> None:
        self._appender.add(entries.end_line(state, left, now()), sync=True)


class Journal:
    """All transactions of one host."""

    def __init__(self, host: Host) -> None:
        self._host = host

    @contextlib.contextmanager
    def _open(self) -> Iterator[Directory | None]:
        directory = self._host.directory(JOURNAL_DIR)
        if directory is None:
            yield None
            return
        with directory:
            self._trust()
            yield directory

    def _trust(self, number: int | None = None) -> None:
        """What stands in a journal is written to the host: nobody else may put one there."""
        places = (
            (os.path.dirname(JOURNAL_DIR), JOURNAL_DIR)
            if number is None
            else (f"{JOURNAL_DIR}/{_name(number)}",)
        )
        for place in places:
            require_own(self._host.root, place)

    @staticmethod
    def _numbers(directory: Directory) -> list[int]:
        """Newest first."""
        found = (_NAME.fullmatch(name) for name in directory.names())
        return sorted((int(match[1]) for match in found if match is not None), reverse=True)

    def _read(self, directory: Directory, number: int) -> Entry | None:
        name = _name(number)
        self._trust(number)
        data = directory.read(name, MAX_JOURNAL)
        entry = None if data is None else entries.read(data, directory.where(name))
        if entry is not None and entry.id != number:
            raise entries.unreadable(directory.where(name), f"it says that it is number {entry.id}")
        return entry

    def entries(self) -> tuple[list[Entry], list[PhoenixError]]:
        """Every transaction that began, newest first; and what could not be read."""
        found: list[Entry] = []
        unreadable: list[PhoenixError] = []
        with self._open() as directory:
            for number in self._numbers(directory) if directory is not None else ():
                assert directory is not None
                try:
                    entry = self._read(directory, number)
                except PhoenixError as error:
                    unreadable.append(error)
                    continue
                if entry is not None:
                    found.append(entry)
        return found, unreadable

    def newest(self) -> Entry | None:
        """The newest transaction that can be read: their numbers count all that ever began."""
        with self._open() as directory:
            for number in self._numbers(directory) if directory is not None else ():
                assert directory is not None
                with contextlib.suppress(PhoenixError):
                    entry = self._read(directory, number)
                    if entry is not None:
                        return entry
        return None

    def unfinished(self) -> Entry | None:
        """The transaction that neither ended nor was undone: only the newest can be one."""
        with self._open() as directory:
            for number in self._numbers(directory) if directory is not None else ():
                assert directory is not None
                self._trust(number)
                tail = directory.tail(_name(number), _TAIL)
                if tail.endswith(b"\n") and tail[:-1].rpartition(b"\n")[2].startswith(b'{"end":'):
                    # Only hashed: what it says is needed when somebody asks to undo it.
                    if not entries.is_intact(directory.read(_name(number), MAX_JOURNAL) or b""):
                        raise entries.unreadable(directory.where(_name(number)), entries.DAMAGED)
                    return None
                entry = self._read(directory, number)
                if entry is not None:
                    return entry if entry.state == entries.UNFINISHED else None
        return None

    def is_alive(self, entry: Entry) -> bool:
        """Whether the run that began `entry` still is at work, whoever holds Phoenix's lock."""
        return self._host.is_locked(f"{JOURNAL_DIR}/{_name(entry.id)}")

    @contextlib.contextmanager
    def record(
        self,
        actions: Sequence[Action],
        *,
        manifest: bytes | None,
        user: str,
        command: Sequence[str],
        runtime: str,
        undoes: int | None = None,
    ) -> Iterator[Recorder]:
        """Begin a transaction; its header is on disk when this returns.  Raises PhoenixError."""
        directory = self._host.directory(JOURNAL_DIR, create=True, mode=0o700)
        assert directory is not None
        with directory:
            self._trust()
            numbers = self._numbers(directory)
            number = max(numbers, default=0) + 1
            header = Header(
                id=number,
                time=now(),
                user=user,
                command=tuple(command),
                runtime=runtime,
                actions=tuple(actions),
                manifest=manifest,
                undoes=undoes,
            )
            line = entries.header_line(header)
            if len(line) > MAX_JOURNAL // 2:
                raise PhoenixError(
                    "is too large for one transaction",
                    where="the plan",
                    hint="apply fewer containers, or change fewer profiles, at once",
                )
            if numbers and self._read(directory, numbers[0]) is None:
                directory.remove(_name(numbers[0]))
            from phoenix_hypervisor.host.append import Appender

            appender = Appender.create(directory, _name(number), line)
            # Not before: where the new one cannot be made, the old ones are still all there is.
            self._prune(directory, numbers)
            try:
                yield Recorder(appender, number, header.actions)
            finally:
                appender.close()

    def finish(self, entry: Entry, state: str, left: Sequence[Note]) -> None:
        """Write the end of a transaction that another run left unfinished."""
        from phoenix_hypervisor.host.append import Appender

        with self._open() as directory:
            assert directory is not None
            appender = Appender.open(directory, _name(entry.id))
            try:
                Recorder(appender, entry.id, entry.header.actions).end(state, left)
            finally:
                appender.close()

    @staticmethod
    def _prune(directory: Directory, numbers: Sequence[int]) -> None:
        """Keep the newest: bounded in number and in bytes.  Failing to is no reason to fail."""
        total = 0
        for index, number in enumerate(numbers):
            info = directory.lstat(_name(number))
            total += info.st_size if info is not None else 0
            if index and (index >= KEPT - 1 or total > KEPT_BYTES):
                with contextlib.suppress(PhoenixError):
                    directory.remove(_name(number))


def _name(number: int) -> str:
    return f"{number:08d}.jsonl"
