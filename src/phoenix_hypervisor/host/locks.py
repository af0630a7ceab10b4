"""Advisory locks with a bound on waiting.

Owns flock(2): Phoenix's own lock, and Proxmox's per-container configuration lock, which
`pct` takes the same way (facts from PVE's Tools.pm `lock_file_full`: open for append,
flock exclusive, 10 s).  A lock ends with its process, so none can be left behind.

Who may open a file for reading may lock it: our own lie in a directory that root alone
may enter; Proxmox's stay as Proxmox makes them.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.files import make_directories

POLL = 0.05
"""Seconds between tries; flock(2) has no time-out of its own."""
PATIENCE = 1.0
"""Seconds of waiting that nobody is told of."""


@contextmanager
def exclusive(
    real: str,
    *,
    timeout: float,
    what: str,
    private: bool = False,
    waiting: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Hold the lock file `real` exclusively; `what` names it in the error.

    `waiting` is called once where it takes longer than a second.  `private`: nobody else may open
    it, by the mode of its directory and its own.  Raises PhoenixError when somebody else still holds it
    after `timeout` seconds.
    """
    fd = -1
    try:
        begin, told = time.monotonic(), False
        while True:
            if fd < 0:
                fd = _open(real, what, private)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_still_there(fd, real):
                    break
                # Removed meanwhile: the next to come would lock another file.
                os.close(fd)
                fd = -1
            except BlockingIOError:
                waited = time.monotonic() - begin
                if waited >= timeout:
                    raise PhoenixError(
                        f"{what} is held by another process for over {timeout:.0f} s",
                        where=real,
                        hint="wait for the other command to end, then run this one again",
                    ) from None
                if waited >= PATIENCE and not told:
                    told = True
                    waiting()
                time.sleep(POLL)
        yield
    finally:
        if fd >= 0:
            os.close(fd)


def _open(real: str, what: str, private: bool) -> int:
    folder = os.path.dirname(real)
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        make_directories(folder, 0o700 if private else 0o755)
        if private:
            _require_own(os.stat(folder), folder, what, 0o022)
        fd = os.open(real, flags, 0o600 if private else 0o644)
    except OSError as error:
        raise PhoenixError(
            f"cannot take {what}: {error.strerror}",
            where=real,
            hint="run it as root; move away what is in the lock's place",
        ) from error
    try:
        if private:
            _require_own(os.fstat(fd), real, what, 0o077)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _require_own(info: os.stat_result, place: str, what: str, forbidden: int) -> None:
    if info.st_uid not in (0, os.geteuid()) or stat.S_IMODE(info.st_mode) & forbidden:
        raise PhoenixError(
            f"cannot take {what}: others could hold it forever",
            where=place,
            hint=f"find out who made it, then remove {place}",
        )


def _is_still_there(fd: int, real: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(real))
    except OSError:
        return False


def is_held(real: str) -> bool:
    """Whether somebody holds the lock file `real` now; makes and writes nothing."""
    try:
        fd = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return not try_lock(fd, shared=True)
    finally:
        os.close(fd)


def try_lock(fd: int, *, shared: bool = False) -> bool:
    """Lock an open file until it is closed; False where somebody else has.

    Where the file system knows no locks nobody has.
    """
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
