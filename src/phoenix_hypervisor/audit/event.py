"""One decision of AppArmor's, as a log holds it.

Owns what is known of such a line besides its fields: when, by which way it came, and whether anybody
but the kernel could have written it.  Values only; `transports` makes them.
"""

from __future__ import annotations

from enum import StrEnum

from phoenix_hypervisor.audit.line import Line
from phoenix_hypervisor.values import dataclass


class Transport(StrEnum):
    """The way by which a line came."""

    AUDITD = "auditd"
    """audit.log, or what ausearch makes of it."""
    KERNEL = "kernel"
    """journald's records of the kernel's log."""
    AUDIT = "audit"
    """journald's records of the audit socket."""
    KMSG = "kmsg"
    """/dev/kmsg itself."""
    DMESG = "dmesg"
    SYSLOG = "syslog"
    DBUS = "dbus"
    """A message bus said it, no kernel."""
    COPIED = "copied"
    """Somebody's copy: what stood before the line is gone."""


class Doubt(StrEnum):
    """Why a line need not be the kernel's."""

    PLACE = "place"
    """Where it was read others can write: syslog, a text, a file that was named."""
    USER = "user"
    """A program wrote it: a message bus, or whoever may write to the audit socket."""
    FORM = "form"
    """No log holds it so: control characters, unknown fields, a copy without what stood before it."""
    CUT = "cut"
    """Its end may be missing: the kernel's log takes about 1,000 characters of a line."""
    NODE = "node"
    """Another machine's, by its own words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line, understood."""

    line: Line
    id: str | None
    """`SECONDS.MILLISECONDS:SERIAL`; records of one system call share it.  None: the line does not say."""
    time: float | None
    """Seconds since 1970."""
    transport: Transport
    doubt: Doubt | None = None

    @property
    def trusted(self) -> bool:
        """Whether only the kernel can have written it, all of it."""
        return self.doubt is None
