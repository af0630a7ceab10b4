"""Where a process of Phoenix begins.

Owns the first instants: until the command line itself is loaded nothing has begun, so Ctrl-C
ends the process at once and silently.  Must not import anything of the package by itself.
"""

from __future__ import annotations

import os
import signal


def leave(number: int, frame: object) -> None:
    """End at once: nothing has begun, or everything has ended."""
    os._exit(128 + number)


def phoenix() -> int:
    """The `phoenix` command; the exit code."""
    _begin()
    from phoenix_hypervisor.cli.main import main

    return _ended(main())


def orchestrator() -> int:
    """The `phoenix_orchestrator` command; the exit code."""
    _begin()
    from phoenix_hypervisor.cli.orchestrator import main

    return _ended(main())


def _begin() -> None:
    # Not where it is ignored, as in a shell's background job.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave)


def _ended(code: int) -> int:
    if callable(signal.getsignal(signal.SIGINT)):
        signal.signal(signal.SIGINT, leave)
    return code
