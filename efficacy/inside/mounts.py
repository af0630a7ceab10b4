"""Mounts by both interfaces, namespaces, and release agents, for operations inside the container."""

from __future__ import annotations

import contextlib
import os
import struct
import time
from typing import Any

from efficacy.inside.files import folder, make, put
from efficacy.syscalls import call, text

RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT = 1, 2, 4, 8, 32
BIND, MOVE, REC, PRIVATE, SLAVE, SHARED = 4096, 8192, 16384, 1 << 18, 1 << 19, 1 << 20
NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x20000, 0x02000000, 0x04000000, 0x08000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
MARK = "phoenix-efficacy"
THP = "kernel/mm/transparent_hugepage/enabled"


def mount(
    source: str | None, target: str, fstype: str | None = None, flags: int = 0, data: str | None = None
) -> str:
    """mount(2); the target is made where it is missing."""
    if not os.path.lexists(target):
        os.makedirs(target)
    call("mount", text(source), text(target), text(fstype), flags, text(data))
    return target


def umount(target: str, flags: int = 0) -> None:
    call("umount2", text(target), flags)


def detached(fstype: str, **options: str) -> int:
    """A file descriptor of a new file system that is mounted nowhere (fsopen, fsmount)."""
    fs = call("fsopen", text(fstype), 0)
    for key, value in options.items():
        call("fsconfig", fs, 1, text(key), text(value), 0)
    call("fsconfig", fs, 6, None, None, 0)
    return call("fsmount", fs, 0, 0)


def cloned(path: str) -> int:
    """A detached copy of the mounts at `path` (open_tree)."""
    return call("open_tree", -100, text(path), 1 | 0x8000)


def attach(fd: int, target: str) -> str:
    """move_mount a detached mount to `target`."""
    folder(target)
    call("move_mount", fd, b"", -100, text(target), 4)
    return target


def writable(path: str) -> str:
    """mount_setattr: clear the read-only flag."""
    call("mount_setattr", -100, text(path), 0x8000, struct.pack("QQQQ", 0, 1, 0, 0), 32)
    return path


def writable_fd(fd: int) -> None:
    """mount_setattr: clear the read-only flag of a detached mount."""
    call("mount_setattr", fd, b"", 0x1000, struct.pack("QQQQ", 0, 1, 0, 0), 32)


def unshare(flags: int) -> None:
    call("unshare", flags)


def setns(fd: int, kind: int) -> None:
    call("setns", fd, kind)


def user_namespace(extra: int = 0) -> None:
    """A user namespace of its own with root mapped, and what else is asked for."""
    uid = os.getuid()
    unshare(NEWUSER | NEWNS | extra)
    with contextlib.suppress(OSError):
        put("/proc/self/setgroups", "deny")
    put("/proc/self/uid_map", f"0 {uid} 1")
    put("/proc/self/gid_map", f"0 {uid} 1")


def escape_by_agent(top: str, env: dict[str, Any], *, set_agent: bool = True) -> None:
    """The whole release_agent operation in a version 1 hierarchy mounted at `top`."""
    script = f"#!/bin/sh\necho {MARK} > {env['marker']}\n"
    make("/tmp/agent", script)
    if set_agent:
        put(f"{top}/release_agent", env["rootfs"] + "/tmp/agent")
    group = folder(f"{top}/phoenix-{os.getpid()}")
    put(f"{group}/notify_on_release", "1")
    pid = os.fork()
    if pid == 0:
        os._exit(0) if _into(group) else os._exit(1)
    os.waitpid(pid, 0)
    time.sleep(0.3)
    with contextlib.suppress(OSError):
        os.rmdir(group)


def _into(group: str) -> bool:
    try:
        put(f"{group}/cgroup.procs", str(os.getpid()))
        return True
    except OSError:
        return False
