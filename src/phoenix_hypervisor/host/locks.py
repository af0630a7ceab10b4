"""Advisory locks with a bound on waiting.

Owns flock(2): Phoenix's own lock, and Proxmox's per-container configuration lock, which
`pct` takes the same way (facts from PVE's Tools.pm `lock_file_full`: open for append,
flock exclusive, 10 s).  A lock ends with its process, so none can be left behind.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from phoenix_hypervisor.errors import PhoenixError

POLL = 0.05
"""Seconds between tries; flock(2) has no time-out of its own."""


@contextmanager
def exclusive(real: str, *, timeout: float, what: str) -> Iterator[None]:
    """Hold the lock file `real` exclusively; `what` names it in the error.

    Raises PhoenixError when somebody else still holds it after `timeout` seconds.
    """
    try:
        os.makedirs(os.path.dirname(real), mode=0o755, exist_ok=True)
        fd = os.open(real, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise PhoenixError(
            f"cannot take {what}: {error.strerror}",
            where=real,
            hint="run it as root; move away what stands in the lock's place",
        ) from error
    try:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise PhoenixError(
                        f"{what} is held by another process for over {timeout:.0f} s",
                        where=real,
                        hint="wait for the other command to end, then run this one again",
                    ) from None
                time.sleep(POLL)
        yield
    finally:
        os.close(fd)


def is_held(real: str) -> bool:
    """Whether somebody holds the lock file `real` now; makes and writes nothing."""
    try:
        fd = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
