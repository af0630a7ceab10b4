"""Questions about attachment: which programs a profile takes by their path.

Owns the kind.  Source: security/apparmor/domain.c (find_attach): the pattern, or without one the
profile's own name.  Of several profiles that would attach, the kernel takes the closest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phoenix_hypervisor.policy.answers import Answer, Reason
from phoenix_hypervisor.policy.profile import Class
from phoenix_hypervisor.policy.query import Form, Query, show
from phoenix_hypervisor.values import dataclass

if TYPE_CHECKING:
    from phoenix_hypervisor.policy.evaluate import Evaluator
    from phoenix_hypervisor.policy.profile import Profile

ANY = 0x7F
"""Any permission of an attachment's state stands for a match."""


@dataclass(frozen=True, slots=True)
class AttachmentQuery(Query):
    """Execute `path` where no rule names the profile that follows."""

    path: bytes

    def __str__(self) -> str:
        return f"attachment {show(self.path)}"

    def ask(self, judge: Evaluator) -> Answer:
        profile = judge.profile
        database = profile.xmatch
        if database is None:
            found = self.path == attached_name(profile)
        else:
            state = database.dfa.walk(database.starts[Class.FILE], self.path)
            found = bool(database.perms(state).allow & ANY)
        return Answer(allowed=found, reason=Reason.RULE if found else Reason.NO_RULE)

    def note(self) -> str:
        return "holds for the path alone; extended attributes count too, and profiles that fit better"


def attached_name(profile: Profile) -> bytes:
    """What a profile without a pattern attaches to: its name, of a child the last part."""
    return profile.name.rpartition(b"//")[2]


FORMS = (Form(name="attachment", parse=lambda fields: AttachmentQuery(fields.path("path")), words=("path",)),)
