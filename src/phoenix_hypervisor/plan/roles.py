"""What a code is: its name, the roles it comes in, its meaning, the names of its data.

Owns that form; the codes themselves are in `plan.registries`' registries.  Must not name one.
"""

from __future__ import annotations

from enum import Enum, StrEnum

from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self


class Role(Enum):
    """What happens where a code is reported."""

    REFUSAL = "refusal"
    """The run ends before the first write."""
    SKIP = "skip"
    """One thing is not done; the run continues."""
    WARNING = "warning"
    """Done all the same; somebody should look."""
    FAULT = "fault"
    """The configuration, or a profile source, cannot be used: the run ends before it looks at the host."""
    FINDING = "finding"
    """`status` and `verify`: something is not as declared, or worth knowing."""
    FAILURE = "failure"
    """A transaction failed: where, why, and how that left the host."""
    AGAINST = "against"
    """`migrate-check`: it speaks against moving a container to another node."""
    PROGRESS = "progress"
    """Told while a run waits."""
    STAYED = "stayed"
    """A transaction was rolled back, and this stays deliberately."""


def row(
    text: str, roles: tuple[Role, ...], meaning: str, data: str = ""
) -> tuple[str, tuple[Role, ...], str, str]:
    """One code: its name, the roles it comes in, its meaning, and the names of its data."""
    return text, roles, meaning, data


class Coded(StrEnum):
    """A registry of codes, each equal to its name; a subclass has the members."""

    roles: tuple[Role, ...]
    meaning: str
    data: tuple[str, ...]

    def __new__(cls, text: str, roles: tuple[Role, ...], meaning: str, data: str = "") -> Self:
        code = str.__new__(cls, text)
        code._value_ = text
        code.roles, code.meaning, code.data = roles, meaning, tuple(data.split())
        return code
