"""A run that is killed between two steps: nothing of it runs after that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from phoenix_hypervisor.engine.journal import Recorder
from phoenix_hypervisor.plan.actions import Action
from phoenix_hypervisor.plan.transaction import Outcome, Transaction


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours runs after it."""


@contextmanager
def killed(when: str, number: int) -> Iterator[None]:
    """The next run dies when step `number` is about to begin, or is about to be called done."""
    real_begin, real_done, real_end = Recorder.begin, Recorder.done, Recorder.end

    def begin(self: Recorder, at: int) -> None:
        if (when, number) == ("begin", at):
            raise Killed
        real_begin(self, at)

    def done(self: Recorder, at: int, action: Action) -> None:
        if (when, number) == ("done", at):
            raise Killed
        real_done(self, at, action)

    def end(self: Recorder, state: str, left: Any = ()) -> None:
        if when == "end":
            raise Killed
        real_end(self, state, left)

    def nothing(self: Transaction) -> Outcome:
        raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Recorder, "begin", begin)
        patch.setattr(Recorder, "done", done)
        patch.setattr(Recorder, "end", end)
        patch.setattr(Transaction, "_take_back", nothing)
        yield
