"""Standard output, and what happens where it cannot be written.

Owns telling a failed write of output from every other failure: `OutputError` is raised by
nothing else.  While something on the host is being changed a failure is only noted, so that
a reader who goes away ends no transaction.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress


class OutputError(Exception):
    """Standard output could not be written; `number` is the errno."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.number = number


class Output(io.FileIO):
    """Standard output's file."""

    def __init__(self) -> None:
        super().__init__(1, "w", closefd=False)
        self.must_go_on = False
        """Nothing is raised: what cannot be written is dropped."""
        self.failed: OutputError | None = None

    def write(self, data: object, /) -> int:
        """As FileIO's; raises OutputError."""
        if self.failed is None:
            try:
                return super().write(data)  # type: ignore[arg-type]
            except OSError as error:
                self.failed = OutputError(error.errno or 0)
        if self.must_go_on:
            return memoryview(data).nbytes  # type: ignore[arg-type]
        raise self.failed

    def give_up(self) -> None:
        """Nothing more can be written: the interpreter must not try again when it ends."""
        self.must_go_on = True
        with suppress(OSError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.close(null)


def take_over() -> Output:
    """Put an `Output` below `sys.stdout`; files 0, 1 and 2 are opened where they were closed.

    A file that was opened in the place of a closed standard output would get what is printed.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number, so this one.
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False, errors="backslashreplace")  # noqa: SIM115
    old = sys.stdout
    raw = Output()
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=None if old is None else old.encoding,
        errors="backslashreplace" if old is None else old.errors,
        line_buffering=old is not None and bool(old.line_buffering),
    )
    return raw
