"""What is made of a logged denial, as data.

Owns the verdicts, the codes of their reasons, and the shapes of a proposal and a judgement.  Must not
decide: `engine.proposals` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from phoenix_hypervisor.values import dataclass


class Verdict(StrEnum):
    """What may be done about a denial."""

    OFFERED = "offered"
    """A rule lets it through, and nothing dangerous with it: `phoenix accept`."""
    REFUSED = "refused"
    """A deny rule holds it, or the rule for it would open a danger."""
    ALLOWED_NOW = "allowed-now"
    """The profile's source allows it: what was logged is older, or not applied yet."""
    NOT_OURS = "not-ours"
    """Decided by a profile that Phoenix does not ship, or by none."""
    FOREIGN = "foreign-namespace"
    """Decided by policy that was loaded inside a container."""
    UNKNOWN = "unknown"
    """The line is not enough for a rule, or no rule decides it."""


CODES: Mapping[str, str] = {
    "proposed": "a rule lets the event through, and everything else that it opens is told",
    "allowed": "the profile's source allows the event",
    "deny-rule": "a deny rule of the profile holds it",
    "policy-test": "the rule would open what a policy test expects to be denied",
    "danger": "the rule would open a way to the host or to other containers",
    "not-shipped": "a profile decided that Phoenix does not ship",
    "unconfined": "no profile decided",
    "foreign-namespace": "policy inside a container decided",
    "stack": "several profiles decided, and the line does not say which one refused",
    "child-profile": "a child profile or hat decided, which accepted rules do not reach",
    "no-question": "the line tells no decision that rules take",
    "not-asked": "the line lacks what a question needs",
    "no-rule": "no rule decides it",
    "not-enough": "the line does not say all that the kernel compared",
    "not-compiled": "the rule does not compile into the profile",
    "untrusted": "others than the kernel could have written the line",
}
"""The codes of `Judged`, and what each means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A rule for a profile."""

    rule: str
    """As it would stand in the source, with its comma."""
    profile: str
    opens: tuple[str, ...] = ()
    """What it allows beyond the event itself: each with a question that shows it."""
    note: str | None = None
    """What to know before accepting it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A denial's verdict."""

    verdict: Verdict
    reason: str
    """Why, in one sentence for people."""
    code: str
    """Of CODES."""
    proposal: Proposal | None = None
    where: str | None = None
    """`FILE:LINE` of the deny rule, or of the policy test, that holds it."""
