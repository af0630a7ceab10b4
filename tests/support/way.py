"""The way of a command through the files of the package, as it really goes.

A phase begins where one of BEGINS is called and lasts until that returns; everything between
phases is the driver's (`cli`, `engine/phoenix.py`, `engine/workflow.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import phoenix_hypervisor

TOP = str(Path(phoenix_hypervisor.__file__).parent) + "/"
BEGINS = {
    ("engine/recovery.py", "judge_journal"): "look",
    ("engine/recovery.py", "recover_first"): "look",
    ("engine/recovery.py", "recover"): "look",
    ("engine/gather.py", "gather"): "gather",
    ("plan/decide.py", "decide"): "decide",
    ("engine/workflow.py", "_proof"): "prove",
    ("engine/perform.py", "run"): "perform",
    ("engine/perform.py", "confirm"): "perform",
}


def way(run: Callable[[], object]) -> tuple[list[str], dict[str, set[str]]]:
    """The phases of `run` in order, and the files that each of them enters."""
    order: list[str] = []
    entered: dict[str, set[str]] = {}
    open_phases: list[tuple[FrameType, str]] = []

    def watch(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if not code.co_filename.startswith(TOP) or code.co_name == "<module>":
            return
        name = code.co_filename[len(TOP) :]
        if name == "values.py":
            # What every value is made by, as the standard library's dataclasses would be.
            return
        if event == "call":
            phase = BEGINS.get((name, code.co_name))
            if phase is not None:
                open_phases.append((frame, phase))
                order.append(phase)
            if open_phases:
                entered.setdefault(open_phases[-1][1], set()).add(name)
        elif event == "return" and open_phases and open_phases[-1][0] is frame:
            open_phases.pop()

    sys.setprofile(watch)
    try:
        run()
    finally:
        sys.setprofile(None)
    return order, entered
