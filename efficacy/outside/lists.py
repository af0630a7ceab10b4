"""Every writable file of the host's own /proc and /sys and of the kernel's other file systems there.

Owns what counts as the host's.  Must not open any of them.
"""

from __future__ import annotations

import os
import re
import stat

ROOTS = {
    "proc": "/proc",
    "sysfs": "/sys",
    "debugfs": "/sys/kernel/debug",
    "tracefs": "/sys/kernel/tracing",
    "securityfs": "/sys/kernel/security",
    "configfs": "/sys/kernel/config",
    "fusectl": "/sys/fs/fuse/connections",
    "binfmt_misc": "/proc/sys/fs/binfmt_misc",
}
CONTAINERS = {
    # Processes are seen by namespace; net, UTS and IPC settings are the container's own.
    "proc": re.compile(
        r"(\d+|self|thread-self|net)(/|$)|sys/net/|sys/fs/mqueue/"
        r"|sys/kernel/(hostname|domainname|ns_last_pid|auto_msgmni|msg\w*|sem\w*|shm\w*)$"
    ),
    # Interfaces of the container's own network namespace.
    "sysfs": re.compile(r"class/net|devices/virtual/net/|devices/.*/net/"),
}
USER = re.compile(r"sys/user/")
"""Limits of a user namespace: the container's own where it has one."""


def hosts_files(*, unprivileged: bool) -> dict[str, list[str]]:
    """Paths below each file system's root, of regular files that somebody may write."""
    found = {}
    for fstype, root in ROOTS.items():
        if unprivileged and fstype == "binfmt_misc":
            # Since Linux 6.7 an instance of the user namespace's own; before, it cannot be mounted there.
            continue
        own = CONTAINERS.get(fstype)
        files = sorted(writable_below(root)) if os.path.isdir(root) else []
        found[fstype] = [
            path
            for path in files
            if not (own and own.match(path)) and not (unprivileged and fstype == "proc" and USER.match(path))
        ]
    return found


def for_others(files: dict[str, list[str]]) -> dict[str, list[str]]:
    """Those that users other than the host's root may write: no name helps an unprivileged container to more."""
    return {
        fstype: [path for path in paths if _mode(os.path.join(ROOTS[fstype], path)) & 0o002]
        for fstype, paths in files.items()
    }


def _mode(path: str) -> int:
    try:
        return os.lstat(path).st_mode
    except OSError:
        return 0


def writable_below(root: str) -> list[str]:
    """Without what is mounted on top of it, and without processes."""
    device, found, todo = os.stat(root).st_dev, [], [""]
    while todo:
        below = todo.pop()
        try:
            entries = list(os.scandir(os.path.join(root, below)))
        except OSError:
            continue
        for entry in entries:
            path = os.path.join(below, entry.name)
            if not below and root == "/proc" and entry.name.isdigit():
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if status.st_dev != device:
                continue
            if stat.S_ISDIR(status.st_mode):
                todo.append(path)
            elif stat.S_ISREG(status.st_mode) and status.st_mode & 0o222:
                found.append(path)
    return found
