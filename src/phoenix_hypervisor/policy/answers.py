"""Answers, as data.

Owns the shape of a decision and of its reason.  Must not take any.
"""

from __future__ import annotations

from enum import StrEnum

from phoenix_hypervisor.values import dataclass, replace


class Reason(StrEnum):
    """Why an answer is what it is."""

    RULE = "rule"
    DENY_RULE = "deny rule"
    NO_RULE = "no rule"
    UNMEDIATED = "unmediated"
    """The profile was compiled without this class: everything is allowed."""
    UNCONFINED = "unconfined"
    NO_PATH = "no path"
    """The kernel finds no path to match, and refuses before it asks a rule (of logged decisions only)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The kernel's decision.

    `audited`: allowed, and logged because a rule or the profile asks for it.
    `complain`: no rule allows it, but the profile only complains (then `allowed` is true).
    `needs`: capabilities that the operation asks for on top, by name.
    `transition`: what an allowed execution changes to, in the words of a profile.
    """

    allowed: bool
    reason: Reason
    audited: bool = False
    complain: bool = False
    needs: tuple[str, ...] = ()
    transition: str | None = None

    def needing(self, *names: str) -> Answer:
        """The same answer to an operation that asks for these capabilities too."""
        return replace(self, needs=names) if names else self

    def as_json(self) -> dict[str, object]:
        return {
            "answer": "allowed" if self.allowed else "denied",
            "reason": self.reason.value,
            "audited": self.audited,
            "complain": self.complain,
            "needs": list(self.needs),
        }
