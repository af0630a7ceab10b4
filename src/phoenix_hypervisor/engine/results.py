"""What the application answers, as values.

Owns the results that more than one module makes, and the calls by which progress is told.
Must not hold words for people: those are made in `cli`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from phoenix_hypervisor.errors import PhoenixError, Problem, ProblemsError

if TYPE_CHECKING:
    from phoenix_hypervisor.engine.effects import Effect
    from phoenix_hypervisor.plan.actions import Action
    from phoenix_hypervisor.plan.entries import Entry
    from phoenix_hypervisor.plan.model import Note, Plan
    from phoenix_hypervisor.plan.rollback import Conflict
    from phoenix_hypervisor.plan.verify import Finding


@dataclass(frozen=True, slots=True)
class Recovered:
    """A transaction of another run that was taken back."""

    entry: Entry
    left: tuple[str, ...]

    def __str__(self) -> str:
        text = f"transaction {self.entry.id} of {self.entry.header.time} was cut short and has been undone"
        return "; ".join([text, *self.left])

    def document(self) -> dict[str, object]:
        return {"id": self.entry.id, "left": list(self.left)}


if TYPE_CHECKING:
    Event: TypeAlias = Action | Recovered
    """An action that was done, or a killed run's transaction that was undone before it."""
    Progress: TypeAlias = Callable[[Event], None]
    """Called after each event of a run that changes something; what it raises ends the run."""


@dataclass(frozen=True, slots=True)
class Step:
    """How far a long look has come: `done` of `total`, now at `target`."""

    done: int
    total: int
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What a request would do; nothing was written."""

    plan: Plan
    effects: Mapping[str, Effect] = field(default_factory=dict)
    """What the policy of changed profiles would allow otherwise, by profile."""
    undoes: int | None = None
    """The transaction that a rollback would undo."""
    findings: tuple[Finding, ...] = ()
    """An unfinished transaction, and places that others can write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What was done."""

    plan: Plan
    undoes: int | None = None
    """The transaction that a rollback has undone."""
    recovered: Recovered | None = None
    """What a killed run had left, and is undone now."""
    unconfirmed: tuple[Note, ...] = ()
    """Containers that were started and are not as declared nevertheless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionRecord:
    """One transaction of the journal."""

    entry: Entry
    rolled_back_by: int | None = None
    """The rollback that has undone it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The transactions that are kept, newest first."""

    transactions: tuple[TransactionRecord, ...]
    unreadable: tuple[PhoenixError, ...] = ()
    findings: tuple[Finding, ...] = ()
    """An unfinished transaction, and places that others can write."""


class RollbackRefused(ProblemsError):
    """A transaction cannot be undone; nothing was changed.

    `conflicts` are the files that were changed since, each as it was left, is, and would be.
    """

    def __init__(self, transaction: int, conflicts: tuple[Conflict, ...], refusals: tuple[Note, ...]) -> None:
        problems = [
            Problem("has been changed since; its three states are shown above", c.path) for c in conflicts
        ]
        problems += [Problem(n.text, n.target, hint=n.hint) for n in refusals]
        super().__init__(f"transaction {transaction} cannot be undone, and nothing was changed", problems)
        self.transaction = transaction
        self.conflicts = conflicts
