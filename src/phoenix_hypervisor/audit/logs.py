"""Reading logs, however large.

Owns the way from bytes to events: lines, which of them count twice, what is counted.  Pure: whoever reads
hands chunks of bytes in.  The memory that it takes does not grow with the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from phoenix_hypervisor.audit.event import Doubt, Event, Transport
from phoenix_hypervisor.audit.transports import LOOKS, Unread, understand
from phoenix_hypervisor.values import replace

MAX_LINE = 64 * 1024
"""Bytes; auditd's lines have at most 9,000.  A longer one is a line, but none of AppArmor's."""
WINDOW = 65_536
"""Events back in which one that comes by a second way is recognised."""

AUDITD = frozenset((Transport.AUDITD,))
JOURNALD = frozenset((Transport.KERNEL, Transport.AUDIT))
KMSG = frozenset((Transport.KMSG,))
NOTHING: frozenset[Transport] = frozenset()
EVERYTHING = frozenset(Transport)


class Reader:
    """Reads one log.

    `believes` are the ways by which only the kernel's own lines come where this log was read.  `node`
    is what auditd calls this machine.
    """

    def __init__(self, believes: frozenset[Transport] = NOTHING, node: bytes | None = None) -> None:
        self._believes = believes
        self._node = node
        self._rest, self._skipping = b"", False
        self.lines = 0
        self.unread = 0
        """Lines that look like AppArmor's and cannot be read."""

    def read(self, chunks: Iterable[bytes]) -> Iterator[Event]:
        """The events of a log that comes in chunks, cut anywhere, in its order."""
        for chunk in chunks:
            yield from self.feed(chunk)
        yield from self.end()

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events of the lines that end in the next chunk; all of them must be taken."""
        believes, node = self._believes, self._node
        for line in self._lines(chunk):
            try:
                event = understand(line, node)
            except Unread:
                self.unread += 1
                continue
            if event is None:
                continue
            if event.doubt is None and event.transport not in believes:
                event = replace(event, doubt=Doubt.PLACE)
            elif event.doubt is Doubt.NODE and believes is EVERYTHING:
                # Whoever knows where the log comes from knows the machine.
                event = replace(event, doubt=None)
            yield event

    def end(self) -> Iterator[Event]:
        """The event of a last line that does not end."""
        if self._rest or self._skipping:
            yield from self.feed(b"\n")

    def _lines(self, chunk: bytes) -> Iterable[bytes]:
        first, *others = chunk.split(b"\n")
        if not self._skipping:
            self._rest += first
            if len(self._rest) > MAX_LINE:
                self._too_long(self._rest)
                self._rest, self._skipping = b"", True
        if not others:
            return ()
        self.lines += len(others)
        whole = [] if self._skipping else [self._rest]
        self._rest, self._skipping = others.pop(), False
        for line in others:
            if len(line) <= MAX_LINE:
                whole.append(line)
            else:
                self._too_long(line)
        return whole

    def _too_long(self, piece: bytes) -> None:
        if LOOKS.search(piece) is not None:
            self.unread += 1


class Once:
    """Lets each event through once, also where several logs hold it."""

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self.repeated = 0
        self._new: set[int] = set()
        self._old: set[int] = set()

    def of(self, events: Iterable[Event]) -> Iterator[Event]:
        """Those of `events` that were not there before.

        Records of one system call share an id, so the fields count too.  A line that others could have
        written makes none go away that only the kernel can have written.
        """
        for event in events:
            if event.id is not None:
                key = hash((event.id, event.line.verdict, *event.line.fields.items()))
                if not event.trusted:
                    if key in self._new or key in self._old:
                        self.repeated += 1
                        continue
                    key = hash((key, "untrusted"))
                if key in self._new or key in self._old:
                    self.repeated += 1
                    continue
                self._new.add(key)
                if len(self._new) >= self._window:
                    self._old, self._new = self._new, set()
            yield event
