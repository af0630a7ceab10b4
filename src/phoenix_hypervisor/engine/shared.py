"""Writing what the nodes of a cluster have in common.

Owns that no two of them do it at once, and that nothing is begun without quorum.  Must not write itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from phoenix_hypervisor.containers.runtime import Clustered
from phoenix_hypervisor.engine.results import Refused
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.model import because


def is_shared(session: Session, real: str) -> bool:
    """Whether a path of this machine lies in the file system that the nodes have in common."""
    runtime = session.runtime
    if not isinstance(runtime, Clustered):
        return False
    top = session.host.root.locate(runtime.shared_dir)
    return os.path.realpath(real).startswith(os.path.realpath(top) + "/")


@contextmanager
def writing(session: Session, real: str) -> Iterator[None]:
    """A context in which this node alone writes what is at `real`; nothing is held where it is not shared.

    Raises Refused without quorum, PhoenixError where another node holds the lock.
    """
    if not is_shared(session, real):
        yield
        return
    runtime = session.runtime
    read_only = runtime.read_only()
    if read_only is not None:
        raise Refused((because(Code.READ_ONLY, real, read_only),))
    assert isinstance(runtime, Clustered)
    with runtime.shared_lock():
        yield
