"""The state of a host for monitoring.

Owns gathering it once, from what `status` knows and from the journal, and the file that others read it from.
What text becomes of it is the report room's.
"""

from __future__ import annotations

import calendar
import os
import time
from contextlib import suppress

from phoenix_hypervisor.engine.condition import gather
from phoenix_hypervisor.engine.journal import Journal
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.errors import UsageError
from phoenix_hypervisor.host.files import Directory
from phoenix_hypervisor.report.metrics import Measured

MAX_TEXT = 64 * 1024 * 1024


def measure(session: Session, version: str) -> Measured:
    """One look at the host.  Raises PhoenixError where nothing can be said of it."""
    found = gather(session, ())
    newest = Journal(session.host).newest()
    began = None
    if newest is not None:
        with suppress(ValueError):
            began = float(calendar.timegm(time.strptime(newest.header.time, "%Y-%m-%dT%H:%M:%SZ")))
    return Measured(
        version=version,
        containers=found.containers,
        profiles=found.profiles,
        host=found.host,
        unmediated=None if found.unmediated is None else len(found.unmediated),
        transactions=0 if newest is None else newest.id,
        last_transaction=began,
    )


def place_of(path: str) -> tuple[str, str]:
    """Directory and name of a file that is to be replaced.  Raises UsageError where there can be none."""
    parent, name = os.path.split(os.path.abspath(path))
    if not os.path.isdir(parent):
        raise UsageError("parent directory does not exist", where=path, hint=f"mkdir -p {parent}")
    if os.path.isdir(path):
        raise UsageError("is a directory", where=path, hint="name a file in it")
    return parent, name


def put(path: str, data: bytes) -> None:
    """Replace the file at `path`, of the caller's: readers see the old or the new text, never a part.

    Raises UsageError as `place_of`, PhoenixError where it cannot be written.
    """
    parent, name = place_of(path)
    with Directory(parent, parent, parent) as directory:
        directory.replace(name, data, before=directory.read(name, MAX_TEXT), mode=0o644)
