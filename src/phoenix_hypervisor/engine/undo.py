"""Undoing a transaction: which one, and as a transaction of its own.

Owns choosing it, and the history; what is read is `engine.gather`'s, what may be undone is decided in
`plan.rollback`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from phoenix_hypervisor.engine.gather_rollback import gather_rollback
from phoenix_hypervisor.engine.journal import Journal
from phoenix_hypervisor.engine.perform import back, confirm, locked, run
from phoenix_hypervisor.engine.recovery import judge_journal, recover, recover_first
from phoenix_hypervisor.engine.requests import RollbackRequest
from phoenix_hypervisor.engine.results import Applied, History, RollbackRefused, TransactionRecord
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.plan.entries import COMMITTED, Entry
from phoenix_hypervisor.plan.model import Plan
from phoenix_hypervisor.plan.rollback import decide_rollback, undone_by
from phoenix_hypervisor.values import replace

if TYPE_CHECKING:
    from phoenix_hypervisor.engine.results import Progress


def read_history(session: Session) -> History:
    """Every transaction that is kept, newest first, and what undid it."""
    entries, unreadable = Journal(session.host).entries()
    undone = undone_by(entries)
    return History(
        transactions=tuple(TransactionRecord(entry=e, rolled_back_by=undone.get(e.id)) for e in entries),
        unreadable=tuple(unreadable),
        findings=tuple(judge_journal(session)),
    )


def _state(entry: Entry, undone: dict[int, int]) -> str:
    return f"rolled back by {undone[entry.id]}" if entry.id in undone else entry.state


def _next(session: Session, entries: Sequence[Entry], before: int | None = None) -> Entry | None:
    """The newest that can be undone and is not, of those `before` that one."""
    undone = undone_by(entries)
    for entry in entries:
        if before is not None and entry.id >= before:
            continue
        # Not a rollback: undoing twice goes back two steps, not back and forth.
        is_next = entry.state == COMMITTED and entry.id not in undone and entry.header.undoes is None
        if is_next and back(session, entry.actions):
            return entry
    return None


def _chosen(session: Session, entries: Sequence[Entry], number: int | None) -> Entry:
    undone = undone_by(entries)
    if number is None:
        entry = _next(session, entries)
        if entry is not None:
            return entry
        hint = "`phoenix history` lists all that are kept; a rollback is undone by its number"
        raise PhoenixError("there is no transaction to undo", hint=hint)
    for entry in entries:
        if entry.id == number:
            if entry.state == COMMITTED and entry.id not in undone:
                if not back(session, entry.actions):
                    text = f"transaction {entry.id} did nothing that can be undone"
                    raise PhoenixError(text, hint="containers that it created or started stay as they are")
                return entry
            state = _state(entry, undone)
            raise PhoenixError(f"transaction {entry.id} is {state}, so there is nothing to undo")
    raise PhoenixError(f"there is no transaction {number}", hint="`phoenix history` lists all that are kept")


def prepare(session: Session, request: RollbackRequest) -> tuple[Entry, Plan]:
    """The transaction that is asked for, or the newest that is not undone, and what undoes it.

    Nothing is written.  Raises RollbackRefused where something stands in the way.
    """
    entries, _ = Journal(session.host).entries()
    entry = _chosen(session, entries, request.transaction)
    runtime = session.runtime_named(entry.header.runtime)
    earlier = _next(session, entries, before=entry.id)
    steps = back(session, entry.actions)
    begun = tuple(entry.actions) if request.restart else ()
    facts = gather_rollback(session, runtime, steps, None if earlier is None else earlier.id, begun)
    plan = decide_rollback(facts, Plan())
    if plan.conflicts or plan.refusals:
        raise RollbackRefused(entry.id, plan)
    return entry, plan


def undo(session: Session, request: RollbackRequest, progress: Progress) -> Applied:
    """Undo a transaction as one transaction.  Raises PhoenixError."""
    session.refuse_if_writable()
    recovered = recover_first(session, progress)
    if recovered is not None:
        progress(recovered)
        if request.transaction in (None, recovered.entry.id):
            # Without a number the newest was meant: that is this one, and no older one goes as well.
            return Applied(plan=Plan(), recovered=recovered)
    # Without the lock: what is refused writes nothing, not even that.
    entry, plan = prepare(session, request)
    if not plan.actions:
        # Nothing is written, so nothing counts as undone.
        return Applied(plan=plan, recovered=recovered)
    with locked(session):
        if recover(session) is not None:
            raise PhoenixError(
                "another run was interrupted meanwhile; it has been rolled back", hint="run it again"
            )
        # The transaction that was chosen, whatever others have done or undone since.
        entry, plan = prepare(session, replace(request, transaction=entry.id))
        if not plan.actions:
            return Applied(plan=plan, recovered=recovered)
        runtime = session.runtime_named(entry.header.runtime)
        done = run(session, plan, progress, undoes=entry.id, runtime=runtime)
    return Applied(
        plan=done.plan,
        transaction=done.number,
        undoes=entry.id,
        recovered=recovered,
        # Not under the lock: it may wait.
        unconfirmed=confirm(session, done.plan, runtime),
    )
