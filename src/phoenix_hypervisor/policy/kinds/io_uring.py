"""Questions about io_uring.

Owns the kind.  Source: security/apparmor/lsm.c (profile_uring).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phoenix_hypervisor.policy import constants, perms
from phoenix_hypervisor.policy.answers import Answer
from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.profile import Class
from phoenix_hypervisor.policy.query import Fields, Form, Option, Query, show, words_of
from phoenix_hypervisor.policy.strings import label_match
from phoenix_hypervisor.values import dataclass

if TYPE_CHECKING:
    from phoenix_hypervisor.policy.evaluate import Evaluator

OPERATIONS = {"sqpoll": perms.CREATE, "override_creds": perms.APPEND}


@dataclass(frozen=True, slots=True)
class IoUringQuery(Query):
    """Let the kernel poll the queue (`sqpoll`), or act with the credentials of a task of `peer`."""

    access: int
    peer: bytes | None = None

    def __str__(self) -> str:
        peer = f" --peer {show(self.peer)}" if self.peer is not None else ""
        return f"io-uring {words_of(self.access, OPERATIONS)}{peer}"

    def ask(self, judge: Evaluator) -> Answer:
        database, start = judge.mediated(Class.IO_URING)
        if database is None:
            return judge.free()
        if self.peer is None:
            return judge.by_check(database.perms(start), self.access)
        return judge.by_check(label_match(database, start, self.peer, self.access), self.access)


def _io_uring(fields: Fields) -> IoUringQuery:
    access = constants.from_table(fields.text("operation"), "io_uring operation", OPERATIONS)
    peer = fields.maybe_path("peer")
    if (peer is None) is (access == OPERATIONS["override_creds"]):
        raise PolicyError("'peer' belongs to override_creds, and only there")
    return IoUringQuery(access, peer)


FORMS = (
    Form(
        name="io_uring",
        parse=_io_uring,
        words=("operation",),
        options=(Option("peer", "whose credentials"),),
    ),
)
