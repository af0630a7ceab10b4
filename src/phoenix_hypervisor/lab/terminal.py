"""A command in the guest on this process's terminal: `phoenix lab shell`.

Owns the raw terminal mode and gives it back however it ends.  Ctrl-] leaves at once.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator, Sequence

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.lab.guestlink import Guest

ESCAPE = b"\x1d"
END = b"\x04"
"""What a terminal makes the end of its input of."""


@contextlib.contextmanager
def _raw(fd: int) -> Iterator[None]:
    if not os.isatty(fd):
        yield
        return
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def interact(guest: Guest, argv: Sequence[str] = ("bash", "-l")) -> int:
    """Run `argv` on a terminal of its own in the guest until it ends; its exit code."""
    wire = guest.wire
    stdin, stdout = sys.stdin.fileno(), sys.stdout.fileno()
    environment = {"TERM": os.environ.get("TERM", "linux")}
    wire.send({"op": "tty", "argv": list(argv), "env": environment})
    size: tuple[int, int] | None = None
    reading = True
    with _raw(stdin):
        while True:
            if os.isatty(stdout):
                columns, rows = os.get_terminal_size(stdout)
                if (rows, columns) != size:
                    size = (rows, columns)
                    wire.send({"op": "size", "size": [rows, columns]})
            watched = [wire.fileno(), stdin] if reading else [wire.fileno()]
            ready, _, _ = select.select(watched, [], [], 1.0)
            if stdin in ready:
                data = os.read(stdin, 4096)
                if ESCAPE in data:
                    return 0
                if data:
                    wire.send({"op": "input"}, data)
                else:
                    reading = False
            if not ready and not reading:
                # Again and again: a shell that is only starting, or busy, loses the first ones.
                wire.send({"op": "input"}, END)
            if wire.fileno() not in ready:
                continue
            frame = wire.receive(0.0)
            while frame is not None:
                header, data = frame
                if "error" in header:
                    raise PhoenixError(str(header["error"]), where="in the lab's guest")
                if "rc" in header:
                    return int(header["rc"])
                _write(stdout, data)
                frame = wire.receive(0.0)


def _write(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(fd, left) :]
        except BlockingIOError:
            time.sleep(0.01)
