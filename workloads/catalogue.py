"""Every check of ordinary guests, in one list.

Owns their order.  Must not know how a check is done.
"""

from __future__ import annotations

from workloads import sandboxes, services, systems
from workloads.checks import Check


def load() -> tuple[Check, ...]:
    """All checks in the order in which they are run; ValueError where a name stands twice."""
    rows: tuple[Check, ...] = (
        *services.ROWS,
        *sandboxes.ROWS,
        *systems.ROWS,
    )
    names = [row.name for row in rows]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"checks of the same name: {', '.join(sorted(twice))}")
    return rows
