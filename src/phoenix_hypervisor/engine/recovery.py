"""Recovery: taking back what a killed run left.

Owns that, and what is said of a transaction that has not ended.  Needs the journal and the host
only: neither a configuration nor sources, which may be broken by then.
"""

from __future__ import annotations

import os

from phoenix_hypervisor.engine.journal import Journal
from phoenix_hypervisor.engine.results import Recovered
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.files import temporary_name
from phoenix_hypervisor.host.trust import NotTrusted
from phoenix_hypervisor.plan.actions import (
    AssignLines,
    CreateContainer,
    LoadProfile,
    RestartContainer,
    StartContainer,
    path_of,
)
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.declared import Desired
from phoenix_hypervisor.plan.entries import JOURNAL_DIR, UNDONE, Entry
from phoenix_hypervisor.plan.model import Finding, Note, container
from phoenix_hypervisor.profiles import records
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from phoenix_hypervisor.containers.runtime import Runtime


def recover(session: Session) -> Recovered | None:
    """Take back what a killed run left; Phoenix's lock must be held.

    Raises PhoenixError where that fails: then the transaction stays unfinished, and the next
    run tries again.
    """
    journal = Journal(session.host)
    entry = journal.unfinished()
    if entry is None:
        return None
    from phoenix_hypervisor.engine.perform import back, performer
    from phoenix_hypervisor.plan.transaction import TransactionFailed, take_back

    records.require_own_records(session.host)
    if journal.is_alive(entry):
        raise PhoenixError(
            f"transaction {entry.id} of {entry.header.time} is being applied by another process",
            where=session.host.root.shown(f"{JOURNAL_DIR}/{entry.id:08d}.jsonl"),
            hint="wait for it to end, then run this again",
        )
    runtime = session.runtime_named(entry.header.runtime)
    if any(isinstance(action, AssignLines) for action in entry.actions):
        # Else a line that is only out of sight would count as gone, and its profile would be unloaded.
        runtime.require()
    _sweep(session, entry)
    outcome = take_back(back(session, entry.actions), performer(session, runtime, Desired(containers={})))
    keeper = records.Keeper.resumed(session.host, entry.header.manifest)
    keeper.settle(outcome.effective)
    if outcome.failed:
        where, data = f"transaction {entry.id}", {"transaction": entry.id, "time": entry.header.time}
        raise TransactionFailed(
            [Note(Code.RECOVERY_FAILED, where, data), *outcome.failed],
            where=session.host.root.shown(f"{JOURNAL_DIR}/{entry.id:08d}.jsonl"),
            hint="remove the cause and run it again; docs/guide/failures.md tells how to do it by hand",
        )
    left = [*outcome.left, *_stayed(entry, runtime)]
    journal.finish(entry, UNDONE, left)
    return Recovered(entry, tuple(left))


def _stayed(entry: Entry, runtime: Runtime) -> list[Note]:
    """What that run did to containers, or was about to do when it was killed: never taken back."""
    made = [a.target for a in entry.actions if isinstance(a, CreateContainer)]
    created = [ctid for ctid in made if runtime.read_conf(ctid) is not None]
    started = [a.target for a in entry.actions if isinstance(a, StartContainer | RestartContainer)]
    found = [Note(Code.CREATED, container(ctid)) for ctid in created]
    if not started:
        return found
    from phoenix_hypervisor.containers.steps import now

    return found + [now(runtime, ctid) or Note(Code.MAYBE_STARTED, container(ctid)) for ctid in started]


def _sweep(session: Session, entry: Entry) -> None:
    """Remove the temporary files of that run: of what it changed, and of its records."""
    paths = [path for action in entry.header.actions if (path := path_of(action))]
    loads = [action.target for action in entry.header.actions if isinstance(action, LoadProfile)]
    paths += [f"{records.COMPILED_DIR}/{name}" for name in loads]
    paths.append(f"{records.STATE_DIR}/manifest.json")
    for path in dict.fromkeys(paths):
        parent, name = os.path.split(path)
        directory = session.host.directory(parent)
        if directory is None:
            continue
        with directory:
            if directory.lstat(temporary_name(name)) is not None:
                directory.remove(temporary_name(name))


def recover_first(session: Session, tell: Callable[[Note], None] | None = None) -> Recovered | None:
    """As `recover`, taking the lock only where there is something to take back.

    A parameter of the kernel that a killed run left otherwise is put back first; `tell` is told so.
    """
    end_listening(session, tell)
    if Journal(session.host).unfinished() is None:
        return None
    from phoenix_hypervisor.engine.perform import locked

    with locked(session):
        return recover(session)


def end_listening(session: Session, tell: Callable[[Note], None] | None = None) -> None:
    """Put back a parameter of the kernel that a killed `denials --listen` left.  Raises PhoenixError."""
    if session.host.lexists(records.LISTENING):
        from phoenix_hypervisor.engine.listening import put_back

        left = put_back(session.host)
        if left is not None and tell is not None:
            tell(left)


def judge_journal(session: Session) -> list[Finding]:
    """What status, verify and plan say of places that are open to others, and of a transaction that
    has not ended; nothing is written."""
    found = [Finding(note.code, note.target, note.data) for note in session.open_places()]
    if session.host.lexists(records.LISTENING):
        from phoenix_hypervisor.engine import listening

        speaks = listening.judge(session.host)
        found += [] if speaks is None else [speaks]
    try:
        entry = Journal(session.host).unfinished()
    except NotTrusted as error:
        known = any(finding.target == error.where for finding in found)
        return found if known else [*found, _unreadable(Code.OPEN_TO_OTHERS, error)]
    except PhoenixError as error:
        return [*found, _unreadable(Code.JOURNAL_UNREADABLE, error)]
    if entry is None:
        return found
    from phoenix_hypervisor.engine.perform import under_way
    from phoenix_hypervisor.plan.verify import judge_unfinished

    alive = under_way(session) or Journal(session.host).is_alive(entry)
    return [
        *found,
        judge_unfinished(entry.id, entry.header.time, " ".join(entry.header.command), alive),
    ]


def _unreadable(code: Code, error: PhoenixError) -> Finding:
    from phoenix_hypervisor.plan.verify import HOST

    return Finding(code, error.where or HOST, {"why": error.message, "next": error.hint})
