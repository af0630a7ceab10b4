"""Applying a plan as one transaction.

Owns the order of steps and of taking them back.  What takes a step back is itself an
action, made by `plan.inverse` and run by the same performers.  Must not know how a step
is done, nor where it is recorded: the rooms above hand in performers and a log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from phoenix_hypervisor.errors import LeftAlone, PhoenixError
from phoenix_hypervisor.plan.actions import (
    Action,
    CreateContainer,
    LoadProfile,
    RestartContainer,
    StartContainer,
)
from phoenix_hypervisor.plan.inverse import Step
from phoenix_hypervisor.plan.model import Plan
from phoenix_hypervisor.values import dataclass, field

Performer = Callable[[Action], Action]
"""Does one action and returns it as it was really done; `before` and `after` may differ."""


class Log(Protocol):
    """Where steps are announced before they are done.  Raises PhoenixError."""

    def begin(self, number: int) -> None: ...
    def done(self, number: int, action: Action) -> None: ...
    def end(self, state: str, left: Sequence[str] = ()) -> None: ...


@dataclass(slots=True)
class Outcome:
    """How taking back went."""

    changed: bool = False
    """There was something to take back."""
    left: list[str] = field(default_factory=list)
    """What stays on purpose, one sentence each."""
    failed: list[str] = field(default_factory=list)
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
                text = "what the kernel had of it is not known; it has what its file says"
                outcome.left.append(f"profile {back.target}: {text}")
        except LeftAlone as error:
            outcome.left.append(_where(error) + error.message)
            outcome.effective.append(step.done)
        except PhoenixError as error:
            what = f"{step.done.kind} {step.done.target}"
            outcome.failed.append(f"could not undo: {what}: {_where(error)}{error.message}")
            outcome.effective.append(step.done)
    return outcome


def _was_guessed(back: Action, performed: Action) -> bool:
    """Whether a policy was loaded that nobody had kept."""
    if not isinstance(back, LoadProfile) or not isinstance(performed, LoadProfile):
        return False
    return back.after is None and performed.after is not None


def _where(error: PhoenixError) -> str:
    return f"{error.where}: " if error.where else ""


@dataclass(slots=True, kw_only=True)
class Transaction:
    """One plan being applied."""

    perform: Performer
    back: Callable[[Sequence[Action]], list[Step]]
    """What takes performed actions back."""
    settle: Callable[[Sequence[Action]], None]
    """Brings the manifest to what it was before, plus the actions that count."""
    log: Log
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

        On any failure the steps are taken back and PhoenixError says what failed, what could
        not be undone, and which containers stay behind because they were created.
        """
        what = "recording what will be done"
        try:
            prepare()
            for number, action in enumerate(plan.actions):
                what = f"{action.kind} {action.target}"
                self.log.begin(number)
                self.begun = action
                performed = self.perform(action)
                self.begun = None
                self.done.append(performed)
                self.log.done(number, performed)
                # Nobody may be reading any more: that ends no transaction half-way.
                with suppress(OSError):
                    progress(action)
            what = "recording what was done"
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
            outcome.failed.append(f"could not record that: {_where(error)}{error.message}")
        return outcome

    def _failed(self, what: str, error: BaseException) -> BaseException:
        """Take everything back; the error to raise: `error` itself where it is a fault of ours."""
        outcome = self._take_back()
        if isinstance(error, KeyboardInterrupt):
            error = PhoenixError("interrupted")
        if not isinstance(error, PhoenixError):
            return error
        stayed = outcome.left + outcome.failed
        created = [a.target for a in self.done if isinstance(a, CreateContainer)]
        started = [a.target for a in self.done if isinstance(a, StartContainer | RestartContainer)]
        if created:
            stayed.append(f"created and left in place: container {', '.join(created)}")
        if started:
            stayed.append(f"started meanwhile and left running: container {', '.join(started)}")
        if self.begun is not None and type(self.begun) in _HALF_WAY:
            stayed.append(f"container {self.begun.target} {_HALF_WAY[type(self.begun)]}")
        lines = [f"{what} failed: {error.message}"]
        if outcome.failed:
            lines.append("the next setup, apply or rollback will continue the rollback")
        elif outcome.changed:
            lines.append("everything else is as before" if outcome.left else "files and kernel are as before")
        else:
            lines.append("nothing was changed before it")
        return PhoenixError("; ".join([*lines, *stayed]), where=error.where, hint=error.hint)


_HALF_WAY: dict[type, str] = {
    CreateContainer: "may have been created in part",
    StartContainer: "may be running nevertheless",
    RestartContainer: "may be stopped now",
}
"""What a failed step of a container may have left: it is never taken back."""


def _had_no_effect(failed: Action) -> bool:
    """A refused load leaves the policy that was there; where that is unknown, it must not be replaced."""
    return isinstance(failed, LoadProfile) and failed.replaces and failed.before is None
