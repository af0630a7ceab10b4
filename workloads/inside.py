"""Runs checks one by one inside the container, each bounded; standard input and output are JSON.

Owns their processes: a session of its own for each, ended as a whole.  Standard library only; a process that
cannot be ended (a profile can do that) is left behind and keeps nobody waiting.
"""

# ruff: noqa: TID253 -- a program of its own, started once for some checks

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

LAST = 500
"""Characters that are kept of what a check said."""


def ask(check: dict[str, Any]) -> dict[str, Any]:
    """Run one check; `rc` is None where it took too long. Times are the kernel's, as in its log."""
    first = time.clock_gettime(time.CLOCK_MONOTONIC)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            ["sh", "-c", check["script"]],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
            cwd="/",
        )
        rc: int | None = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            rc = process.wait(check["limit"])
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # What it left in the background goes with it, too.
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(3)
        said = [last_of(file) for file in (err, out)]
    last = time.clock_gettime(time.CLOCK_MONOTONIC)
    return {"name": check["name"], "rc": rc, "said": said[0] or said[1], "first": first, "last": last}


def last_of(file: Any) -> str:
    file.seek(0)
    return str(file.read().decode("utf-8", "replace").strip()[-LAST:])


def main() -> None:
    for check in json.load(sys.stdin):
        print(json.dumps(ask(check)), flush=True)


if __name__ == "__main__":
    main()
