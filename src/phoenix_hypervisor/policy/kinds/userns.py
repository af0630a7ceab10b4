"""Questions about user namespaces.

Owns the kind.  Source: security/apparmor/task.c (aa_profile_ns_perm).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phoenix_hypervisor.policy import perms
from phoenix_hypervisor.policy.answers import Answer
from phoenix_hypervisor.policy.perms import Perms
from phoenix_hypervisor.policy.profile import Class
from phoenix_hypervisor.policy.query import Form, Query
from phoenix_hypervisor.values import dataclass

if TYPE_CHECKING:
    from phoenix_hypervisor.policy.evaluate import Evaluator


@dataclass(frozen=True, slots=True)
class UsernsQuery(Query):
    """Create a user namespace."""

    def __str__(self) -> str:
        return "userns"

    def ask(self, judge: Evaluator) -> Answer:
        database, start = judge.mediated(Class.NAMESPACE)
        if database is None:
            return judge.free()
        return judge.by_check(database.perms(start), perms.USERNS_CREATE)


def granted(judge: Evaluator) -> bool:
    """Whether rules grant user namespaces, whatever the profile's mode."""
    return bool(by_rules(judge).allow & perms.USERNS_CREATE)


def by_rules(judge: Evaluator) -> Perms:
    """What rules say of user namespaces, whatever the profile's mode."""
    database, start = judge.mediated(Class.NAMESPACE)
    return Perms(allow=perms.USERNS_CREATE) if database is None else database.perms(start)


FORMS = (Form(name="userns", parse=lambda fields: UsernsQuery()),)
