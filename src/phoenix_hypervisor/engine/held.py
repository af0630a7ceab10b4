"""Capabilities that processes of containers on trial were given, and that no log tells of.

Owns finding them, as events beside those of the logs.  A service that is to have a capability (systemd's
AmbientCapabilities=) fails where its profile does not allow it, although it never uses it: capget(2) leaves
out what the profile does not allow, and logs nothing (security/apparmor/lsm.c, apparmor_capget).  So what the
trial lets through there would be in no report.  Must not judge.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from phoenix_hypervisor.audit.event import Event, Transport
from phoenix_hypervisor.audit.groups import TRIAL
from phoenix_hypervisor.audit.kinds import GIVEN
from phoenix_hypervisor.audit.line import Line
from phoenix_hypervisor.plan.declared import is_ctid
from phoenix_hypervisor.plan.labels import parse
from phoenix_hypervisor.policy.constants import CAPABILITIES

if TYPE_CHECKING:
    from phoenix_hypervisor.engine.session import Session

Used = tuple[bytes, bytes]
"""Profile and capability of which a log tells."""


def and_held(session: Session, logged: Iterable[Event]) -> Iterator[Event]:
    """The events of logs, then those of capabilities that are held and not among them."""
    used: set[Used] = set()
    for event in logged:
        fields = event.line.fields
        if event.trusted and "capname" in fields:
            used.add((fields.get("profile", b""), fields["capname"]))
        yield event
    yield from held(session, used)


def held(session: Session, used: Collection[Used] = ()) -> Iterator[Event]:
    """An event for each process and each capability in its ambient set, under the copy of a trial."""
    kernel = session.host.kernel
    if not any(name.startswith(TRIAL) for name in kernel.loaded_profiles() or ()):
        return
    for pid, label in kernel.labels().items():
        name = parse(label).components[0].name
        if not name.startswith(TRIAL) or not is_ctid(name.removeprefix(TRIAL)):
            continue
        comm, ambient = kernel.ambient(pid)
        for number, capability in enumerate(CAPABILITIES):
            if not ambient >> number & 1 or (name.encode(), capability.encode()) in used:
                continue
            fields = {
                "operation": GIVEN.encode(),
                "profile": name.encode(),
                "pid": b"%d" % pid,
                "comm": comm,
                "capability": b"%d" % number,
                "capname": capability.encode(),
            }
            line = Line(verdict="AUDIT", fields=fields)
            yield Event(line=line, id=None, time=session.host.now(), transport=Transport.KERNEL)
