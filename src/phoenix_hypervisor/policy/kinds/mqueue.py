"""Questions about POSIX message queues.

Owns the kind.  Debian's kernels do not ask; Ubuntu's, and so Proxmox's, do.  Source: Ubuntu's
security/apparmor/ipc.c (aa_profile_mqueue_perm), parser/mqueue.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phoenix_hypervisor.policy import constants
from phoenix_hypervisor.policy.answers import Answer
from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.perms import NULL
from phoenix_hypervisor.policy.profile import Class
from phoenix_hypervisor.policy.query import Fields, Form, Option, Query, show, words_of
from phoenix_hypervisor.values import dataclass

if TYPE_CHECKING:
    from phoenix_hypervisor.policy.evaluate import Evaluator

ACCESS = {
    "read": 0x4,
    "write": 0x2,
    "create": 0x10,
    "delete": 0x20,
    "open": 0x40,
    "setattr": 0x100,
    "getattr": 0x200,
}


@dataclass(frozen=True, slots=True)
class MqueueQuery(Query):
    name: bytes
    """`/name`, as mq_open(3) takes it."""
    access: int
    peer: bytes | None = None
    """The queue's own label: kernels from 6.17 go on with it where the name does not suffice."""

    def __str__(self) -> str:
        peer = f" --peer {show(self.peer)}" if self.peer is not None else ""
        return f"mqueue {show(self.name)} --access {words_of(self.access, ACCESS)}{peer}"

    def ask(self, judge: Evaluator) -> Answer:
        database, start = judge.mediated(Class.MQUEUE)
        if database is None:
            return judge.free()
        state = database.dfa.walk(start, self.name)
        found = database.perms(state) if state else NULL
        if self.peer is not None and self.access & ~found.allow:
            state = database.dfa.walk(state, b"\0" + self.peer)
            found = database.perms(state) if state else NULL
        return judge.by_check(found, self.access)


def _mqueue(fields: Fields) -> MqueueQuery:
    name = fields.path("name")
    if not name.startswith(b"/"):
        raise PolicyError("'name' must begin with a slash")
    access = 0
    for word in fields.words("access"):
        access |= constants.from_table(word, "queue access", ACCESS)
    if not access:
        raise PolicyError("'access' is missing")
    return MqueueQuery(name, access, fields.maybe_path("peer"))


FORMS = (
    Form(
        name="mqueue",
        parse=_mqueue,
        words=("name",),
        options=(
            Option("access", "words, with commas between: " + ", ".join(ACCESS)),
            Option("peer", "the queue's label"),
        ),
    ),
)
