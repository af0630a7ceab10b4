"""What the application answers, as values.

Owns the results that more than one module makes, and the calls by which progress is told.
Must not hold words for people: those are made in `cli`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from phoenix_hypervisor.errors import PhoenixError, Problem, ProblemsError
from phoenix_hypervisor.values import TYPE_CHECKING, dataclass, field

if TYPE_CHECKING:
    from typing import TypeAlias

    from phoenix_hypervisor.engine.effects import Effect
    from phoenix_hypervisor.plan.actions import Action
    from phoenix_hypervisor.plan.entries import Entry
    from phoenix_hypervisor.plan.model import Finding, Note, Plan
    from phoenix_hypervisor.plan.trials import Trial


@dataclass(frozen=True, slots=True)
class Recovered:
    """A transaction of another run that was taken back."""

    entry: Entry
    left: tuple[Note, ...]
    """What stays."""


if TYPE_CHECKING:
    Event: TypeAlias = Action | Recovered | Note
    """An action that was done, a killed run's transaction that was undone before it, or what the run
    waits for now."""
    Progress: TypeAlias = Callable[[Event], None]
    """Called after each event of a run that changes something; what it raises ends the run."""


@dataclass(frozen=True, slots=True)
class Stage:
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

    @property
    def refusals(self) -> tuple[Note, ...]:
        """What is refused of single containers; `plan` is without them, and `apply` needs `skip_refused`."""
        return self.plan.refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What was done."""

    plan: Plan
    """Each action as it was really done."""
    transaction: int | None = None
    """Its number, which `rollback` takes; None where there was nothing to do."""
    undoes: int | None = None
    """The transaction that a rollback has undone."""
    recovered: Recovered | None = None
    """What a killed run had left, and is undone now."""
    unconfirmed: tuple[Finding, ...] = ()
    """Containers that were started and are not as declared nevertheless."""

    @property
    def refusals(self) -> tuple[Note, ...]:
        """The containers that were left out, as `skip_refused` asked for, and why."""
        return self.plan.refused


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialEnded(Applied):
    """How a trial was ended; `refusals` say what could not be done yet."""

    trial: Trial | None
    """None: there was none."""


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


class Refused(ProblemsError):
    """Something stands in the way; nothing was changed.  `notes` say what, each with its code."""

    def __init__(
        self,
        notes: Sequence[Note],
        message: str = "refused, and nothing was changed",
        *,
        skippable: bool = False,
    ) -> None:
        # Words are made in `cli`; a program's log gets the codes.
        problems = [Problem(str(dict(note.data)), note.target, code=note.code) for note in notes]
        super().__init__(message, problems)
        self.notes = tuple(notes)
        self.skippable = skippable
        """Each is about one container, and there are others that `skip_refused` goes on with."""


class RollbackRefused(Refused):
    """A transaction cannot be undone; nothing was changed.

    `conflicts` are the files that were changed since, each as it was left, is, and would be.
    """

    def __init__(self, transaction: int, plan: Plan) -> None:
        from phoenix_hypervisor.plan.codes import Code
        from phoenix_hypervisor.plan.model import Note

        data = {"transaction": transaction}
        changed = [Note(Code.CHANGED_SINCE, conflict.path, data) for conflict in plan.conflicts]
        message = f"transaction {transaction} cannot be undone, and nothing was changed"
        super().__init__([*changed, *plan.refusals], message)
        self.transaction = transaction
        self.conflicts = plan.conflicts
