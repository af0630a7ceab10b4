"""Applying a plan as one transaction.

Owns the order of steps and of taking them back.  What takes a step back is itself an
action, made by `plan.inverse` and run by the same performers.  Must not know how a step
is done, nor where it is recorded: the rooms above hand in performers and a log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from phoenix_hypervisor.errors import CodedError, LeftAlone, PhoenixError
from phoenix_hypervisor.plan.actions import (
    Action,
    CreateContainer,
    LoadProfile,
    RestartContainer,
    StartContainer,
    UnloadProfile,
)
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.declared import is_ctid
from phoenix_hypervisor.plan.inverse import Step
from phoenix_hypervisor.plan.model import Note, Plan, container, profile
from phoenix_hypervisor.plan.registries import named
from phoenix_hypervisor.values import dataclass, field

Performer = Callable[[Action], Action]
"""Does one action and returns it as it was really done; `before` and `after` may differ."""


class Log(Protocol):
    """Where steps are announced before they are done.  Raises PhoenixError."""

    def begin(self, number: int) -> None: ...
    def done(self, number: int, action: Action) -> None: ...
    def end(self, state: str, left: Sequence[Note] = ()) -> None: ...


class TransactionFailed(PhoenixError):
    """A transaction failed, or could not be rolled back.

    `notes` say it in codes: where, why, how that left the host, and what stays.  Words are made
    in `cli`; the message is for a program's log.
    """

    def __init__(self, notes: Sequence[Note], *, where: str | None = None, hint: str | None = None) -> None:
        told = (f"{note.code} ({note.target}) {dict(note.data) or ''}".rstrip() for note in notes)
        super().__init__("; ".join(told), where=where, hint=hint)
        self.notes = tuple(notes)


@dataclass(slots=True)
class Outcome:
    """How taking back went."""

    changed: bool = False
    """There was something to take back."""
    left: list[Note] = field(default_factory=list)
    """What stays on purpose."""
    failed: list[Note] = field(default_factory=list)
    """What could not be taken back, and is to be tried again."""
    effective: list[Action] = field(default_factory=list)
    """The actions that therefore still count."""


def take_back(steps: Sequence[Step], perform: Performer) -> Outcome:
    """Run the inverse actions in order, whatever fails."""
    outcome = Outcome(changed=bool(steps))
    for step in steps:
        back = step.back
        try:
            performed = perform(back)
            if _was_guessed(back, performed):
                outcome.left.append(Note(Code.POLICY_GUESSED, profile(back.target)))
        except LeftAlone as error:
            outcome.left.append(_cause(error, _target(back)))
            outcome.effective.append(step.done)
        except PhoenixError as error:
            data = {"step": step.done.kind, "subject": step.done.target, "why": error.message}
            outcome.failed.append(Note(Code.UNDO_FAILED, error.where or _target(back), data))
            outcome.effective.append(step.done)
    return outcome


def _was_guessed(back: Action, performed: Action) -> bool:
    """Whether a policy was loaded that nobody had kept."""
    if not isinstance(back, LoadProfile) or not isinstance(performed, LoadProfile):
        return False
    return back.after is None and performed.after is not None


def _target(action: Action) -> str:
    """What an action is about, as the target of a note."""
    if isinstance(action, LoadProfile | UnloadProfile):
        return profile(action.target)
    return container(action.target) if is_ctid(action.target) else action.target


def _cause(error: PhoenixError, target: str) -> Note:
    """Why something failed or was left alone, as a note."""
    where = error.where or target
    if isinstance(error, CodedError):
        return Note(named(error.code), where, error.data)
    return Note(Code.FAILED, where, {"why": error.message, "next": error.hint})


@dataclass(slots=True, kw_only=True)
class Transaction:
    """One plan being applied."""

    perform: Performer
    back: Callable[[Sequence[Action]], list[Step]]
    """What takes performed actions back."""
    settle: Callable[[Sequence[Action]], None]
    """Brings the manifest to what it was before, plus the actions that count."""
    log: Log
    look: Callable[[Action], Note | None] = lambda action: None
    """What a step that failed half-way has left; None where that cannot be told."""
    done: list[Action] = field(default_factory=list)
    begun: Action | None = None
    """Announced and not yet done; it may have been done in part."""

    def execute(
        self,
        plan: Plan,
        progress: Callable[[Action], None] = lambda action: None,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        """Run `prepare`, every action in order, and record what counts.

        On any failure the steps are taken back and TransactionFailed says what failed, what could
        not be undone, and which containers stay behind because they were created.
        """
        what = Note(Code.RECORD_FAILED, "journal", {"when": "before"})
        try:
            prepare()
            for number, action in enumerate(plan.actions):
                data = {"step": action.kind, "subject": action.target}
                what = Note(Code.STEP_FAILED, _target(action), data)
                self.log.begin(number)
                self.begun = action
                performed = self.perform(action)
                self.begun = None
                self.done.append(performed)
                self.log.done(number, performed)
                # Nobody may be reading any more: that ends no transaction half-way.
                with suppress(OSError):
                    progress(action)
            what = Note(Code.RECORD_FAILED, "journal", {"when": "after"})
            self.settle(self.done)
            self.log.end("committed")
        except BaseException as error:
            raise self._failed(what, error) from error

    def _take_back(self) -> Outcome:
        begun = [self.begun] if self.begun is not None and not _had_no_effect(self.begun) else []
        outcome = take_back(self.back([*self.done, *begun]), self.perform)
        try:
            self.settle(outcome.effective)
            if not outcome.failed:
                self.log.end("undone", outcome.left)
        except PhoenixError as error:
            where = error.where or "journal"
            outcome.failed.append(Note(Code.UNDO_UNRECORDED, where, {"why": error.message}))
        return outcome

    def _failed(self, what: Note, error: BaseException) -> BaseException:
        """Take everything back; the error to raise: `error` itself where it is a fault of ours."""
        outcome = self._take_back()
        if isinstance(error, KeyboardInterrupt):
            where, hint, cause = None, None, Note(Code.INTERRUPTED, what.target)
        elif isinstance(error, PhoenixError):
            where, hint, cause = error.where, error.hint, _cause(error, what.target)
        else:
            return error
        stayed = [*outcome.left, *outcome.failed]
        stayed += [
            Note(Code.CREATED, container(a.target)) for a in self.done if isinstance(a, CreateContainer)
        ]
        starts = [a for a in self.done if isinstance(a, StartContainer | RestartContainer)]
        stayed += [Note(Code.STARTED, container(a.target)) for a in starts]
        if self.begun is not None and type(self.begun) in _HALF_WAY:
            stayed.append(self._half_way(self.begun))
        ended = Note(_ended(outcome), "transaction")
        return TransactionFailed([what, cause, ended, *stayed], where=where, hint=hint)

    def _half_way(self, begun: Action) -> Note:
        """What a failed step has left, looked up; else what it may have left."""
        found = None
        with suppress(PhoenixError):
            found = self.look(begun)
        return Note(_HALF_WAY[type(begun)], container(begun.target)) if found is None else found


def _ended(outcome: Outcome) -> Code:
    """How a failed transaction left the host."""
    if outcome.failed:
        return Code.UNDO_CONTINUES
    if not outcome.changed:
        return Code.NOTHING_DONE
    return Code.UNDONE_BUT if outcome.left else Code.UNDONE


_HALF_WAY: dict[type, Code] = {
    CreateContainer: Code.MAYBE_CREATED,
    StartContainer: Code.MAYBE_RUNNING,
    RestartContainer: Code.MAYBE_STOPPED,
}
"""What a failed step of a container may have left: it is never taken back."""


def _had_no_effect(failed: Action) -> bool:
    """A refused load leaves the policy that was there; where that is unknown, it must not be replaced."""
    return isinstance(failed, LoadProfile) and failed.replaces and failed.before is None
