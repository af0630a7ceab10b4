"""`phoenix history` and `phoenix rollback`.

Owns their arguments and what they print; `engine.rollback` does the work.
"""

from __future__ import annotations

import difflib
from collections import Counter
from typing import Any

import click

from phoenix_hypervisor.cli.apply import show_plan, show_recovered, show_unfinished
from phoenix_hypervisor.cli.options import Settings, global_options
from phoenix_hypervisor.cli.output import (
    MAX_DIFF_LINES,
    describe,
    emit,
    plan_document,
    printable,
    recap,
    say,
    show_notes,
    table,
)
from phoenix_hypervisor.cli.words import past, summary
from phoenix_hypervisor.engine.journal import Journal
from phoenix_hypervisor.engine.recovery import locked, recover, recover_first, run
from phoenix_hypervisor.engine.rollback import prepare, state_of
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.errors import PhoenixError, Problem, ProblemsError, UsageError
from phoenix_hypervisor.plan.actions import path_of
from phoenix_hypervisor.plan.entries import COMMITTED, Entry
from phoenix_hypervisor.plan.rollback import Conflict, Rollback, undone_by


def summary_of(entry: Entry) -> str:
    """What a transaction was about, in one cell."""
    counts = Counter(past(action) for action in entry.header.actions)
    parts = [f"{word} {number}" for word, number in counts.items()]
    ctids = list(dict.fromkeys(a.target for a in entry.header.actions if a.target.isdigit()))
    if ctids:
        more = f" and {len(ctids) - 5} more" if len(ctids) > 5 else ""
        parts.append(f"container {', '.join(ctids[:5])}{more}")
    if entry.header.undoes is not None:
        parts.insert(0, f"rollback of {entry.header.undoes}")
    return ", ".join(parts)


@click.command()
@global_options
@click.pass_obj
def history(settings: Settings) -> int:
    """Transactions, newest first: who, when, what."""
    session = Session(settings)
    entries, unreadable = Journal(session.host).entries()
    undone = undone_by(entries)
    show_unfinished(settings, session)
    rows = []
    for entry in entries:
        header, state = entry.header, state_of(entry, undone)
        cells = (
            str(entry.id),
            header.time,
            header.user,
            " ".join(header.command),
            state,
            "; ".join([summary_of(entry), *entry.left]),
        )
        rows.append((cells, {COMMITTED: "green"}.get(state, "yellow")))
    table(settings, "Transactions", ("id", "when", "who", "command", "state", "what"), rows)
    for error in unreadable:
        click.echo(f"warning: {error}", err=True)
    if settings.json:
        emit(
            {
                "transactions": [_document(entry, undone) for entry in entries],
                "unreadable": [{"path": e.where, "message": e.message} for e in unreadable],
            }
        )
    return 0


def _document(entry: Entry, undone: dict[int, int]) -> dict[str, Any]:
    header = entry.header
    return {
        "id": entry.id,
        "time": header.time,
        "user": header.user,
        "command": list(header.command),
        "state": entry.state,
        "undoes": header.undoes,
        "rolled_back_by": undone.get(entry.id),
        "left": list(entry.left),
        "actions": [
            {"kind": a.kind, "target": a.target, "summary": summary(a), "path": path_of(a)}
            for a in header.actions
        ],
    }


@click.command()
@click.argument("number", required=False, metavar="[ID]")
@click.option("--dry-run", is_flag=True, help="Show what would be undone and do nothing.")
@global_options
@click.pass_obj
def rollback(settings: Settings, number: str | None, dry_run: bool) -> int:
    """Undo a transaction; without ID the newest setup or apply that is not undone.

    A rollback is a transaction as well: `rollback ID` of it does again what it undid.
    """
    if number is not None and not (number.isascii() and number.isdigit() and len(number) <= 8):
        raise UsageError(f"{number!r} is not a transaction", hint="`phoenix history` lists their numbers")
    session = Session(settings)
    session.require_closed()
    recovered = None if dry_run else recover_first(session)
    show_recovered(settings, recovered)
    if recovered is not None and number in (None, str(recovered.entry.id)):
        # Without a number the newest was meant: that is this one, and no older one goes as well.
        if settings.json:
            emit({"dry_run": False, "undoes": None, "changed": 0, "recovered": recovered.document()})
        return 0
    # Without the lock: what is refused writes nothing, not even that.
    entry, found = prepare(session, number)
    _refuse(entry, found)
    if dry_run:
        show_unfinished(settings, session)
        show_plan(settings, found.plan())
    else:
        with locked(session):
            if recover(session) is not None:
                raise PhoenixError("another run was cut short meanwhile; it is undone", hint="run it again")
            # The transaction that was chosen, whatever others have done or undone since.
            entry, found = prepare(session, str(entry.id))
            _refuse(entry, found)
            runtime = session.runtime_named(entry.header.runtime)
            # Recorded even where nothing is left to do: it is undone, and the next one is next.
            run(
                session,
                found.plan(),
                lambda action: say(settings, describe(action)),
                undoes=entry.id,
                runtime=runtime,
            )
        show_notes(settings, "skipped", found.skipped, "cyan")
    if settings.json:
        emit(
            {
                "dry_run": dry_run,
                "undoes": entry.id,
                **plan_document(found.plan()),
                "changed": len(found.actions),
                "recovered": None if recovered is None else recovered.document(),
            }
        )
    recap(settings, ok=found.ok, changed=len(found.actions), skipped=len(found.skipped))
    return 0


def _refuse(entry: Entry, found: Rollback) -> None:
    """Raise where anything stands in the way, showing then, now and what would be."""
    if not found.conflicts and not found.refusals:
        return
    shown = []
    for conflict in found.conflicts:
        shown += [f"{conflict.path}: changed since transaction {entry.id}", *_three_ways(conflict, entry.id)]
    if shown:
        click.echo(printable("\n".join(shown)), err=True)
    problems = [
        Problem("has been changed since; its three states are shown above", c.path) for c in found.conflicts
    ]
    problems += [Problem(n.text, n.target, hint=n.hint) for n in found.refusals]
    raise ProblemsError(f"transaction {entry.id} cannot be undone, and nothing was changed", problems)


def _three_ways(conflict: Conflict, number: int) -> list[str]:
    names = (f"then (transaction {number} left it)", "now", "would become")
    states = (conflict.then, conflict.now, conflict.becomes)
    lines = []
    for index in (0, 1):
        lines += _diff(states[index], states[index + 1], names[index], names[index + 1])
    return [f"  {line}" for line in lines]


def _diff(old: bytes | None, new: bytes | None, before: str, after: str) -> list[str]:
    first, second = (
        [] if data is None else data.decode("utf-8", "backslashreplace").splitlines() for data in (old, new)
    )
    before += " (no such file)" if old is None else ""
    after += " (no such file)" if new is None else ""
    lines = list(difflib.unified_diff(first, second, before, after, lineterm="", n=1))
    if len(lines) > MAX_DIFF_LINES:
        lines = [*lines[:MAX_DIFF_LINES], f"... and {len(lines) - MAX_DIFF_LINES} more lines"]
    return lines or [f"{before} and {after}: equal"]
