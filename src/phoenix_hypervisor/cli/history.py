"""`phoenix history` and `phoenix rollback`.

Owns their arguments and what they print; the engine does the work.
"""

from __future__ import annotations

from collections import Counter

import click

from phoenix_hypervisor.cli.apply import show_event, show_planned
from phoenix_hypervisor.cli.complete import complete_transactions
from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.options import global_options
from phoenix_hypervisor.cli.output import (
    difference,
    emit,
    notes,
    plan_document,
    printable,
    recap,
    recovered_document,
    show_findings,
    show_notes,
    told,
)
from phoenix_hypervisor.cli.progress import Busy
from phoenix_hypervisor.cli.tables import Form, Row, table
from phoenix_hypervisor.cli.words import past, summary
from phoenix_hypervisor.engine.requests import RollbackRequest
from phoenix_hypervisor.engine.results import Applied, RollbackRefused
from phoenix_hypervisor.errors import EXIT_FAILED, EXIT_OK, UsageError
from phoenix_hypervisor.plan.actions import path_of
from phoenix_hypervisor.plan.declared import is_ctid
from phoenix_hypervisor.plan.entries import COMMITTED
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from phoenix_hypervisor.engine.results import Event, TransactionRecord
    from phoenix_hypervisor.plan.entries import Entry
    from phoenix_hypervisor.plan.model import Conflict


def summary_of(entry: Entry) -> str:
    """What a transaction was about, in one cell."""
    counts = Counter(past(action) for action in entry.header.actions)
    parts = [f"{word} {number}" for word, number in counts.items()]
    ctids = list(dict.fromkeys(a.target for a in entry.header.actions if is_ctid(a.target)))
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
    found = settings.phoenix().history()
    show_findings(settings, found.findings)
    rows: list[Row] = []
    for one in found.transactions:
        entry, header = one.entry, one.entry.header
        undone = one.rolled_back_by
        state = entry.state if undone is None else f"rolled back by {undone}"
        cells = (
            str(entry.id),
            header.time,
            header.user,
            " ".join(header.command),
            state,
            "; ".join([summary_of(entry), *told(entry.left)]),
        )
        rows.append((cells, {COMMITTED: "green"}.get(state, "yellow")))
    table(settings, "Transactions", Form(("id", "when", "who", "command", "state", "what"), rows))
    for error in found.unreadable:
        click.echo(f"warning: {error}", err=True)
    if settings.json:
        emit(
            {
                "transactions": [_document(one) for one in found.transactions],
                "unreadable": [{"path": e.where, "message": e.message} for e in found.unreadable],
            }
        )
    return EXIT_OK


def _document(one: TransactionRecord) -> dict[str, Any]:
    entry, header = one.entry, one.entry.header
    return {
        "id": entry.id,
        "time": header.time,
        "user": header.user,
        "command": list(header.command),
        "state": entry.state,
        "undoes": header.undoes,
        "rolled_back_by": one.rolled_back_by,
        "left": notes(entry.left),
        "actions": [
            {"kind": a.kind, "target": a.target, "summary": summary(a), "path": path_of(a)}
            for a in header.actions
        ],
    }


@click.command()
@click.argument("number", required=False, metavar="[ID]", shell_complete=complete_transactions)
@click.option("--restart", is_flag=True, help="Restart the containers that it had started, where they run.")
@click.option("--dry-run", is_flag=True, help="Show what would be undone and do nothing.")
@global_options
@click.pass_obj
def rollback(settings: Settings, number: str | None, restart: bool, dry_run: bool) -> int:
    """Undo a transaction: without ID, the newest setup or apply that was not undone.

    A rollback is a transaction too: `rollback` with its ID does again what it undid.
    """
    if number is not None and not (number.isascii() and number.isdigit() and len(number) <= 8):
        raise UsageError(f"{number!r} is not a transaction", hint="`phoenix history` lists their numbers")
    request = RollbackRequest(transaction=None if number is None else int(number), restart=restart)
    try:
        if dry_run:
            planned = settings.phoenix().plan(request)
            show_planned(settings, planned)
            return _finish(settings, Applied(plan=planned.plan, undoes=planned.undoes), dry_run=True)
        settings.begin_writing()
        with Busy(settings, "working") as busy:

            def progress(event: Event) -> None:
                with busy.aside():
                    show_event(settings, event)

            applied = settings.phoenix().rollback(request, progress)
    except RollbackRefused as error:
        for conflict in error.conflicts:
            click.echo(printable("\n".join(_three_states(conflict, error.transaction))), err=True)
        raise
    show_notes(settings, "skipped", applied.plan.skipped, "cyan")
    return _finish(settings, applied, dry_run=False)


def _finish(settings: Settings, applied: Applied, *, dry_run: bool) -> int:
    plan, recovered, failed = applied.plan, applied.recovered, len(applied.unconfirmed)
    show_notes(settings, "undone, but", applied.unconfirmed, "red")
    if settings.json:
        emit(
            {
                "dry_run": dry_run,
                "undoes": applied.undoes,
                "transaction": applied.transaction,
                **plan_document(plan),
                "changed": len(plan.actions),
                "failed": failed,
                "unconfirmed": notes(applied.unconfirmed),
                "recovered": None if recovered is None else recovered_document(recovered),
            }
        )
    if applied.undoes is not None:
        recap(settings, ok=plan.ok, changed=len(plan.actions), skipped=len(plan.skipped), failed=failed)
    return EXIT_FAILED if failed else EXIT_OK


def _three_states(conflict: Conflict, number: int) -> list[str]:
    """A file as the transaction left it, as it is now, and as the rollback would leave it."""
    names = (f"then (transaction {number} left it)", "now", "would become")
    states = (conflict.then, conflict.now, conflict.becomes)
    lines = [f"{conflict.path}: changed since transaction {number}"]
    for index in (0, 1):
        before, after = names[index], names[index + 1]
        found = difference(states[index], states[index + 1], before, after)
        lines += [f"  {line}" for line in found or [f"{before} and {after}: equal"]]
    return lines
