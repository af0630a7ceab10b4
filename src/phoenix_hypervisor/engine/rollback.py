"""Which transaction is undone, and what a rollback asks of the host.

Owns choosing it and gathering the facts; what may be undone is decided in `plan.rollback`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phoenix_hypervisor.containers import conf as codec
from phoenix_hypervisor.containers.current import Containers
from phoenix_hypervisor.containers.runtime import Runtime
from phoenix_hypervisor.engine.journal import Journal
from phoenix_hypervisor.engine.recovery import (
    back,
    judge_journal,
    kernel_argv,
    locked,
    recover,
    recover_first,
    run,
)
from phoenix_hypervisor.engine.results import Applied, History, RollbackRefused, TransactionRecord
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.plan.actions import MANAGED_KEYS, AssignLines
from phoenix_hypervisor.plan.entries import COMMITTED, Entry
from phoenix_hypervisor.plan.model import Plan
from phoenix_hypervisor.plan.rollback import Facts, Line, Rollback, plan_rollback, undone_by
from phoenix_hypervisor.profiles import manifest as record
from phoenix_hypervisor.profiles.drift import known_policy
from phoenix_hypervisor.profiles.installed import closure_with, includers
from phoenix_hypervisor.profiles.steps import ProfileSteps

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


def _chosen(session: Session, number: int | None) -> Entry:
    entries, _ = Journal(session.host).entries()
    undone = undone_by(entries)
    if number is None:
        for entry in entries:
            # Not a rollback: undoing twice goes back two steps, not back and forth.
            is_next = entry.state == COMMITTED and entry.id not in undone and entry.header.undoes is None
            if is_next and back(session, entry.actions):
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
            raise PhoenixError(f"transaction {entry.id} is {state}, so there is nothing of it to undo")
    raise PhoenixError(f"there is no transaction {number}", hint="`phoenix history` lists all that are kept")


def prepare(session: Session, number: int | None) -> tuple[Entry, Rollback]:
    """The transaction of that number, or the newest that is not undone, and what undoes it.

    Nothing is written.  Raises RollbackRefused where something stands in the way.
    """
    entry = _chosen(session, number)
    runtime = session.runtime_named(entry.header.runtime)
    found = plan_rollback(back(session, entry.actions), _facts(session, runtime))
    if found.conflicts or found.refusals:
        raise RollbackRefused(entry.id, tuple(found.conflicts), tuple(found.refusals))
    return entry, found


def undo(session: Session, number: int | None, progress: Progress) -> Applied:
    """Undo a transaction as one transaction.  Raises PhoenixError."""
    session.require_closed()
    recovered = recover_first(session)
    if recovered is not None:
        progress(recovered)
        if number in (None, recovered.entry.id):
            # Without a number the newest was meant: that is this one, and no older one goes as well.
            return Applied(plan=Plan(), recovered=recovered)
    # Without the lock: what is refused writes nothing, not even that.
    entry, found = prepare(session, number)
    with locked(session):
        if recover(session) is not None:
            raise PhoenixError("another run was cut short meanwhile; it is undone", hint="run it again")
        # The transaction that was chosen, whatever others have done or undone since.
        entry, found = prepare(session, entry.id)
        runtime = session.runtime_named(entry.header.runtime)
        # Recorded even where nothing is left to do: it is undone, and the next one is next.
        run(session, found.plan(), progress, undoes=entry.id, runtime=runtime)
    return Applied(plan=found.plan(), undoes=entry.id, recovered=recovered)


def _facts(session: Session, runtime: Runtime) -> Facts:
    host = session.host
    manifest, _ = record.load(host)
    loaded = host.kernel.loaded_profiles() or {}

    def line(ctid: str) -> Line:
        try:
            data = runtime.read_conf(ctid)
            if data is None:
                return Line(None)
            conf = codec.parse(data, runtime.dialect)
            codec.check_editable(conf)
        except PhoenixError as error:
            return Line(None, fault=error.message)
        lock = runtime.locked(ctid, conf.lock) if conf.lock is not None else None
        return Line(data, codec.counting(conf, MANAGED_KEYS), lock)

    def with_lines(data: bytes, back: AssignLines) -> bytes:
        if back.after is None:
            return codec.with_lines(data, {c.key: c.value for c in back.lines}, runtime.dialect)
        return codec.lines_put_back(data, back.after, [c.key for c in back.lines], runtime.dialect)

    return Facts(
        live=host.is_live and host.kernel.has_apparmor(),
        no_kernel="AppArmor is off in this kernel" if host.is_live else "--root touches no kernel",
        read_only=runtime.read_only(),
        file=host.read,
        line=line,
        with_lines=with_lines,
        in_kernel=lambda name: known_policy(host, name, loaded.get(name)),
        closures=manifest.loaded,
        loaded=loaded,
        carriers=lambda name: ProfileSteps(host, session.parser_of_installed()).carriers(name),
        assignments=Containers(host, runtime).assignments(),
        includers=lambda path: includers(host, manifest, path),
        closure=lambda name, changed: closure_with(host, name, changed),
        load=kernel_argv(session).load,
    )
