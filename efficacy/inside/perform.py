"""Runs operations inside the container, as root.

Reads one JSON order a line, answers one a line.  Every operation is a process of its own in a mount
namespace of its own (its mounts are private), with a time limit.  What `do` of a row may use is what
the other modules here have, and the modules of `LIBRARY`.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import mmap
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback
from typing import Any

from efficacy import syscalls
from efficacy.inside import escapes, files, kernel, mounts, network, runtime, sweep
from efficacy.inside.mounts import NEWNS, unshare

LIBRARY = (contextlib, ctypes, fcntl, json, mmap, os, select, signal, socket, struct, subprocess, sys, time)


def names() -> dict[str, Any]:
    """What the text of a row sees."""
    found: dict[str, Any] = {module.__name__: module for module in LIBRARY}
    for module in (syscalls, files, mounts, kernel, network, runtime, escapes, sweep):
        found.update({name: value for name, value in vars(module).items() if not name.startswith("_")})
    return found


def _write_whole(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def perform(order: dict[str, Any]) -> dict[str, Any]:
    """One operation in a process of its own."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        answer: dict[str, Any] = {"ok": False}
        try:
            os.setsid()
            unshare(NEWNS)
            os.chdir("/tmp")
            seen = names() | {"env": order["env"], "V": order["env"].get("victim", 0), "result": None}
            exec(compile(order["do"], order["name"], "exec"), seen)
            answer = {"ok": True, "result": str(seen["result"] or "")[-400_000:]}
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            answer["error"] = f"{type(error).__name__}: {error} ({where.name}:{where.lineno})"[:300]
        finally:
            with contextlib.suppress(BaseException):
                _write_whole(theirs, json.dumps(answer).encode() + b"\n")
            os._exit(0)
    os.close(theirs)
    data = b""
    end = time.monotonic() + order["limit"]
    while True:
        ready, _, _ = select.select([ours], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            break
        part = os.read(ours, 65536)
        if not part:
            break
        data += part
        if data.endswith(b"\n"):
            # Its children may hold the pipe for longer.
            break
    os.close(ours)
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
    for _ in range(200):
        if os.waitpid(pid, os.WNOHANG)[0]:
            break
        time.sleep(0.005)
    return json.loads(data) if data else {"ok": False, "error": "no answer within its time limit"}


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        out.write(json.dumps(perform(json.loads(line))) + "\n")
        out.flush()
