"""Where a process of Phoenix begins.

Owns the first instants: until the command line itself is loaded nothing has begun, so Ctrl-C
ends the process at once and silently.  Must not import anything of the package by itself.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from contextlib import suppress

from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NoReturn


def leave(number: int, frame: object) -> None:
    """End at once: nothing has begun, or everything has ended."""
    os._exit(128 + number)


def phoenix() -> int:
    """The `phoenix` command; the exit code."""
    _begin()
    if "_PHOENIX_COMPLETE" not in os.environ:
        from phoenix_hypervisor.cli.plain import main as plain

        code = plain()
        if code is not None:
            _leave_at_once(_ended(code))
    from phoenix_hypervisor.cli.main import main

    return _ended(main())


def orchestrator() -> int:
    """The `phoenix_orchestrator` command; the exit code."""
    _begin()
    from phoenix_hypervisor.cli.orchestrator import main

    return _ended(main())


def _begin() -> None:
    # A command is short and makes hardly any cycles: what it reads is not looked through again and again.
    gc.set_threshold(100_000)
    # Not where it is ignored, as in a shell's background job.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave)


def _leave_at_once(code: int) -> NoReturn:
    """End without taking apart, object by object, what the kernel takes away as a whole."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


def _ended(code: int) -> int:
    if callable(signal.getsignal(signal.SIGINT)):
        signal.signal(signal.SIGINT, leave)
    return code
