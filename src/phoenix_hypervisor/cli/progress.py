"""What a terminal shows while something takes longer than a second.

Owns that line: on standard error, wiped away at the end, nothing of it where nobody watches.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from threading import Timer

    from rich.status import Status

    from phoenix_hypervisor.cli.given import Settings
    from phoenix_hypervisor.engine.results import Stage

PATIENCE = 1.0
"""Seconds before anything is shown."""


class Busy:
    """A context in which something is done that may take long; `step` says how far it has come."""

    def __init__(self, settings: Settings, doing: str) -> None:
        self._doing = self._text = doing
        self._watched = not settings.quiet and sys.stderr is not None and sys.stderr.isatty()
        self._colored = not settings.no_color and not os.environ.get("NO_COLOR")
        self._timer: Timer | None = None
        self._shown: Status | None = None

    def __enter__(self) -> Busy:
        if self._watched:
            from threading import Lock, Timer

            self._lock = Lock()
            self._timer = Timer(PATIENCE, self._show)
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def step(self, step: Stage) -> None:
        """Say what is being done now."""
        self._text = f"{self._doing} {os.path.basename(step.target)} ({step.done + 1} of {step.total})"
        if self._timer is not None:
            with self._lock:
                if self._shown is not None:
                    self._shown.update(self._text)

    def end(self) -> None:
        """Wipe the line away: something else is printed now, or all is done."""
        if self._timer is not None:
            self._timer.cancel()
            with self._lock:
                self._timer = None
                if self._shown is not None:
                    self._shown.stop()
                    self._shown = None

    @contextmanager
    def aside(self) -> Iterator[None]:
        """A context in which something else is printed; then the wait goes on, for a second unseen."""
        self.end()
        yield
        self.__enter__()

    def _show(self) -> None:
        """In the timer's thread."""
        from rich.console import Console

        console = Console(stderr=True, no_color=not self._colored)
        with self._lock:
            # Else it has ended meanwhile.
            if self._timer is not None:
                self._shown = console.status(self._text)
                self._shown.start()
