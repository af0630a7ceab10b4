"""Questions about other processes: signals, and tracing them.

Owns both kinds; each asks one profile's side.  Source: security/apparmor/ipc.c, task.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phoenix_hypervisor.policy import constants
from phoenix_hypervisor.policy.answers import Answer, Reason
from phoenix_hypervisor.policy.profile import Class
from phoenix_hypervisor.policy.query import Fields, Form, Option, Query, show, words_of
from phoenix_hypervisor.policy.strings import label_match
from phoenix_hypervisor.values import dataclass

if TYPE_CHECKING:
    from phoenix_hypervisor.policy.evaluate import Evaluator

_TRACEE = constants.PTRACE_ACCESS["tracedby"] | constants.PTRACE_ACCESS["readby"]


@dataclass(frozen=True, slots=True)
class SignalQuery(Query):
    signal: int
    """AppArmor's byte for it, not the system's number."""
    access: int
    peer: bytes

    def __str__(self) -> str:
        access = words_of(self.access, constants.SIGNAL_ACCESS)
        return f"signal {constants.signal_name(self.signal)} --access {access} --peer {show(self.peer)}"

    def ask(self, judge: Evaluator) -> Answer:
        database, start = judge.mediated(Class.SIGNAL)
        if database is None:
            return judge.free()
        found = label_match(database, database.dfa.step(start, self.signal), self.peer, self.access)
        return judge.by_check(found, self.access)


@dataclass(frozen=True, slots=True)
class PtraceQuery(Query):
    """Trace, read, or be traced or read (`tracedby`, `readby`)."""

    access: int
    peer: bytes

    def __str__(self) -> str:
        return f"ptrace --access {words_of(self.access, constants.PTRACE_ACCESS)} --peer {show(self.peer)}"

    def ask(self, judge: Evaluator) -> Answer:
        tracee = bool(self.access & _TRACEE)
        if tracee and self.peer == b"unconfined" and not judge.unconfined:
            return Answer(allowed=True, reason=Reason.UNCONFINED)
        database, _ = judge.mediated(Class.PTRACE)
        if database is None:
            # Without ptrace rules a tracer is asked for the capability instead.
            alien = not tracee and not judge.unconfined and self.peer != judge.profile.name
            return judge.free().needing("sys_ptrace") if alien else judge.free()
        start = database.dfa.step(database.mediates(Class.LABEL), Class.PTRACE)
        return judge.by_check(label_match(database, start, self.peer, self.access), self.access)


def _signal(fields: Fields) -> SignalQuery:
    number = constants.signal(fields.text("signal"))
    access = constants.from_table(fields.text("access"), "signal access", constants.SIGNAL_ACCESS)
    return SignalQuery(number, access, fields.path("peer"))


def _ptrace(fields: Fields) -> PtraceQuery:
    access = constants.from_table(fields.text("access"), "ptrace access", constants.PTRACE_ACCESS)
    return PtraceQuery(access, fields.path("peer"))


_PEER = Option("peer", "the other's profile")

FORMS = (
    Form(
        name="signal",
        parse=_signal,
        words=("signal",),
        options=(Option("access", "send or receive"), _PEER),
    ),
    Form(
        name="ptrace",
        parse=_ptrace,
        options=(Option("access", "trace, read, tracedby or readby"), _PEER),
    ),
)
