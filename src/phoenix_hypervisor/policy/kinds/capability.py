"""Questions about capabilities.

Owns the kind.  Source: security/apparmor/capability.c (profile_capable).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phoenix_hypervisor.policy import constants
from phoenix_hypervisor.policy.answers import Answer, Reason
from phoenix_hypervisor.policy.query import Form, Query
from phoenix_hypervisor.values import dataclass

if TYPE_CHECKING:
    from phoenix_hypervisor.policy.evaluate import Evaluator


@dataclass(frozen=True, slots=True)
class CapabilityQuery(Query):
    number: int

    def __str__(self) -> str:
        return f"capability {constants.CAPABILITIES[self.number]}"

    def ask(self, judge: Evaluator) -> Answer:
        if judge.unconfined:
            return judge.free()
        caps = judge.profile.capabilities
        bit = 1 << self.number
        if caps.allow & bit:
            return Answer(
                allowed=True, reason=Reason.RULE, audited=judge.profile.audit or bool(caps.audit & bit)
            )
        quiet = bool(caps.quiet & bit)
        reason = Reason.DENY_RULE if quiet else Reason.NO_RULE
        if judge.complains and (not quiet or judge.profile.audit):
            return Answer(allowed=True, reason=reason, complain=True)
        return Answer(allowed=False, reason=reason)


FORMS = (
    Form(
        name="capability",
        parse=lambda fields: CapabilityQuery(constants.capability(fields.text("name"))),
        words=("name",),
    ),
)
