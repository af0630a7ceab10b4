"""Events that are the same denial.

Owns which events are counted together, and the name by which an operator points to them.
"""

from __future__ import annotations

from phoenix_hypervisor.audit.event import Event
from phoenix_hypervisor.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One denial, however often it happened."""

    id: str
    """Eight hexadecimal digits, made of all that the group has in common: the same at every run."""
    count: int
    first: float | None
    """Seconds since 1970; None: no line says when."""
    last: float | None
    event: Event
    """The last of them that can be trusted; where none can, the last."""
