"""A lock that all nodes of a cluster see.

Owns taking it as Proxmox does (PVE::Cluster cfs_lock, pve-cluster 9.1): a directory, which pmxcfs makes once
in the whole cluster; setting its time to 0 asks pmxcfs to end one that nobody has held for two minutes
(memdb.c, CFS_LOCK_TIMEOUT).  flock(2) in /etc/pve is this node's alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator

from phoenix_hypervisor.errors import PhoenixError

TIMEOUT = 10.0
"""Seconds; what cfs_lock waits."""
POLL = 0.1


@contextlib.contextmanager
def held(
    real: str, *, what: str, timeout: float = TIMEOUT, waiting: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Hold the lock directory `real`; `what` names it in the error, `waiting` is called once after a second.

    Not for longer than a minute: after two another node may take it.  Raises PhoenixError where it is not to
    be had after `timeout` seconds, or cannot be made.
    """
    begin, told = time.monotonic(), False
    while not _made(real, what):
        waited = time.monotonic() - begin
        if waited >= timeout:
            hint = "run the command again; a lock that a killed run left ends after two minutes"
            raise PhoenixError(f"another node holds {what} for {timeout:.0f} s", where=real, hint=hint)
        if waited >= 1 and not told:
            told = True
            waiting()
        # Refused while it is younger than two minutes.
        with contextlib.suppress(OSError):
            os.utime(real, (0, 0))
        time.sleep(POLL)
    try:
        yield
    finally:
        # Without quorum it cannot be removed; it ends by itself, and what was done counts.
        with contextlib.suppress(OSError):
            os.rmdir(real)


def _made(real: str, what: str) -> bool:
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(os.path.dirname(real))
        os.mkdir(real)
    except FileExistsError:
        return False
    except OSError as error:
        hint = None
        if error.errno in (errno.EACCES, errno.EROFS):
            hint = "`pvecm status` says whether the cluster is quorate; only root may do it"
        raise PhoenixError(f"cannot take {what}: {error.strerror}", where=real, hint=hint) from error
    return True
