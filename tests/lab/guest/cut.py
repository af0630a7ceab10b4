"""Runs phoenix in the guest and stops it on entering the nth call that changes the disk.

`cut.py N commit|keep FSYNC WORDS...`: N 0 lets the run end.  With `commit` somebody else's
fsync has the file system commit its journal first, so that renames are on disk and data that
nobody synced is not.  FSYNC names what is not synced on purpose: `all` syncs everything,
`no-file` leaves out the file that is about to be renamed, `no-journal` Phoenix's own journal.
Prints one JSON object; a stopped run stays stopped until the power is cut.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

NAMES = ("open", "write", "fsync", "replace", "rename", "unlink", "mkdir", "fchmod", "fchown", "ftruncate")
WRITES = os.O_CREAT | os.O_WRONLY | os.O_RDWR | os.O_TRUNC
OUTPUT = "/tmp/cut.out"
count = 0
stop, how, fsyncs = int(sys.argv[1]), sys.argv[2], sys.argv[3]
real = {name: getattr(os, name) for name in NAMES}


def subject(name: str, args: tuple[Any, ...]) -> str | None:
    """What the call works on, where it changes a disk."""
    if name == "open":
        return str(args[0]) if args[1] & WRITES and not str(args[0]).startswith("/dev/") else None
    if name in ("write", "fsync", "fchmod", "fchown", "ftruncate"):
        path = os.readlink(f"/proc/self/fd/{args[0]}")
        return path if path.startswith("/") and not path.startswith(("/dev/", "/tmp/", "/run/")) else None
    return str(args[0])


def cut(name: str, path: str) -> None:
    if how == "commit":
        fd = real["open"]("/root/other", os.O_WRONLY | os.O_CREAT, 0o600)
        real["write"](fd, b"x")
        real["fsync"](fd)
    print(json.dumps({"call": name, "path": path}), file=sys.__stderr__, flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)


def wrapped(name: str) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        global count
        path = subject(name, args)
        if path is not None:
            count += 1
            if count == stop:
                cut(name, path)
            if name == "fsync" and (
                (fsyncs == "no-file" and path.endswith(".phoenix-tmp"))
                or (fsyncs == "no-journal" and "/journal/" in path)
            ):
                return None
        return real[name](*args, **kwargs)

    return call


def run() -> int:
    sys.path.insert(0, "/usr/local/phoenix_hypervisor/src")
    from phoenix_hypervisor.cli.main import main

    for name in NAMES:
        setattr(os, name, wrapped(name))
    with open(OUTPUT, "w") as sys.stdout:
        code = main(sys.argv[4:])
    print(json.dumps({"count": count}), file=sys.__stderr__, flush=True)
    return code


ours, theirs = os.pipe()
child = os.fork()
if child == 0:
    os.close(ours)
    sys.__stderr__ = os.fdopen(theirs, "w")  # type: ignore[misc]
    os._exit(run())
os.close(theirs)
_, status = os.waitpid(child, os.WUNTRACED)
if os.WIFSTOPPED(status):
    print(json.dumps({"stopped": True, **json.loads(os.read(ours, 65536))}))
else:
    said = os.read(ours, 65536) or b"{}"
    print(json.dumps({"stopped": False, "code": os.waitstatus_to_exitcode(status), **json.loads(said)}))
