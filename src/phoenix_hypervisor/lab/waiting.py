"""Waiting for a file descriptor, with a bound.

Owns one poll(2): select(2) takes no descriptor above 1023, and a long test run has more.
"""

from __future__ import annotations

import select
from typing import Protocol


class HasFileno(Protocol):
    def fileno(self) -> int: ...


def is_ready(file: int | HasFileno, seconds: float, *, to_write: bool = False) -> bool:
    """Whether `file` can be read (or written, or has ended) within `seconds`."""
    poller = select.poll()
    poller.register(file, select.POLLOUT if to_write else select.POLLIN)
    return bool(poller.poll(max(0.0, seconds) * 1000))
