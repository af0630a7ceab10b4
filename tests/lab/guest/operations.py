"""Runs in the guest: real system calls under a profile, each in a process and namespace of its own.

Standard input: JSON {"profile": name or null, "operations": [[kind, ...], ...]}.  Output: JSON list of
errno (0 for success).
"""

import ctypes
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

libc = ctypes.CDLL(None, use_errno=True)


def call(function: Callable[..., int], *arguments: Any) -> int:
    ctypes.set_errno(0)
    return ctypes.get_errno() if function(*arguments) == -1 else 0


def text(value: str | None) -> bytes | None:
    return None if value is None else value.encode()


def operate(kind: str, *arguments: Any) -> int:
    if kind == "open":
        path, flags = arguments
        os.close(os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC))
        return 0
    if kind == "mount":
        source, target, fstype, flags = arguments
        return call(libc.mount, text(source), text(target), text(fstype), ctypes.c_ulong(flags), None)
    if kind == "umount":
        return call(libc.umount2, text(arguments[0]), 2)
    if kind == "socket":
        socket.socket(*arguments).close()
        return 0
    if kind == "capability":
        return CAPABILITIES[arguments[0]]()
    if kind == "kill":
        os.kill(*arguments)
        return 0
    if kind == "ptrace":
        done = call(libc.ptrace, 16, arguments[0], None, None)
        if not done:
            os.waitpid(arguments[0], 0x40000000)
            libc.ptrace(17, arguments[0], None, None)
        return done
    if kind == "change_profile":
        with open("/proc/self/attr/apparmor/current", "w") as file:
            file.write("changeprofile " + arguments[0])
        return 0
    if kind == "unlink":
        with open("/proc/self/attr/apparmor/current"):
            os.unlink(arguments[0])
        return 0
    raise SystemExit(f"unknown operation {kind}")


def set_time() -> int:
    time.clock_settime(time.CLOCK_REALTIME, time.time())
    return 0


CAPABILITIES: dict[str, Callable[[], int]] = {
    "sys_chroot": lambda: call(libc.chroot, b"/"),
    "setuid": lambda: call(libc.setresuid, 1234, 1234, 1234),
    "setgid": lambda: call(libc.setresgid, 1234, 1234, 1234),
    "sys_admin": lambda: call(libc.sethostname, b"lab", 3),
    "chown": lambda: call(libc.chown, b"/t/file", 1, 1),
    "mknod": lambda: call(libc.mknod, f"/t/node{os.getpid()}".encode(), 0o20600, os.makedev(1, 3)),
    "sys_nice": lambda: call(libc.setpriority, 0, 0, -5),
    "sys_resource": lambda: call(libc.setpriority, 0, 0, 0),
    "sys_time": set_time,
    "kill": lambda: call(libc.kill, os.getpid(), 0),
}


def child(profile: str | None, operation: list[Any], pipe: int) -> None:
    code: int | None = 255
    try:
        if operation[0] in ("mount", "umount"):
            call(libc.unshare, 0x00020000)
            call(libc.mount, b"none", b"/", None, ctypes.c_ulong(0x40000 | 0x4000), None)
        if profile is not None:
            with open("/proc/self/attr/apparmor/current", "w") as file:
                file.write("changeprofile " + profile)
        code = operate(*operation)
    except OSError as error:
        code = error.errno
    os.write(pipe, bytes([(code or 0) & 255]))
    os._exit(0)


def main() -> None:
    order = json.load(sys.stdin)
    results = []
    for operation in order["operations"]:
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            signal.alarm(10)
            child(order["profile"], operation, writing)
        os.close(writing)
        data = os.read(reading, 1)
        os.close(reading)
        os.waitpid(pid, 0)
        results.append(data[0] if data else 255)
    json.dump(results, sys.stdout)


main()
