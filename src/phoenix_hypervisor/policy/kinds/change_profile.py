"""Questions about changing to another profile.

Owns the kind.  Source: security/apparmor/domain.c (aa_change_profile).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phoenix_hypervisor.policy import perms
from phoenix_hypervisor.policy.answers import Answer
from phoenix_hypervisor.policy.perms import EVERYTHING, NULL, accumulate
from phoenix_hypervisor.policy.query import Form, Option, Query, show
from phoenix_hypervisor.values import dataclass

if TYPE_CHECKING:
    from phoenix_hypervisor.policy.evaluate import Evaluator


@dataclass(frozen=True, slots=True)
class ChangeProfileQuery(Query):
    """Write `changeprofile target` (or with `onexec`, `exec target`) to one's own attr.

    `a//&b` stacks; `&a` adds to one's own.
    """

    target: bytes
    onexec: bool = False

    def __str__(self) -> str:
        return f"change-profile {show(self.target)}" + (" --onexec" if self.onexec else "")

    def ask(self, judge: Evaluator) -> Answer:
        if judge.unconfined:
            return judge.free()
        request = perms.ONEXEC if self.onexec else perms.CHANGE_PROFILE
        database = judge.profile.file
        if database is None:
            return judge.by_file_rules(NULL, request)
        state = judge.file_state(self.target)
        found = database.file_perms(state, owner=True) if state else NULL
        if found.allow & request != request:
            stack = b"&" if self.target.startswith(b"&") else b""
            found = EVERYTHING
            for component in self.target.removeprefix(b"&").split(b"//&"):
                state = judge.file_state(stack + component)
                if not state:
                    found = NULL
                    break
                found = accumulate(found, database.file_perms(state, owner=True))
        return judge.by_file_rules(found, request)


FORMS = (
    Form(
        name="change_profile",
        parse=lambda fields: ChangeProfileQuery(fields.path("target"), fields.flag("onexec")),
        words=("target",),
        options=(Option("onexec", "at the next exec", bool),),
    ),
)
