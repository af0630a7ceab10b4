"""System calls by name, for what Python's library has no function for; used on both sides.

Owns the numbers of x86-64, the lab's only machine.  Must not know what they are called for.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

NUMBERS = {
    "shmget": 29,
    "shmat": 30,
    "shmctl": 31,
    "ptrace": 101,
    "syslog": 103,
    "mlock": 149,
    "mlockall": 151,
    "pivot_root": 155,
    "prctl": 157,
    "adjtimex": 159,
    "mount": 165,
    "umount2": 166,
    "swapon": 167,
    "iopl": 172,
    "ioperm": 173,
    "init_module": 175,
    "delete_module": 176,
    "set_mempolicy": 238,
    "mq_open": 240,
    "mq_unlink": 241,
    "kexec_load": 246,
    "add_key": 248,
    "keyctl": 250,
    "ioprio_set": 251,
    "unshare": 272,
    "timerfd_create": 283,
    "timerfd_settime": 286,
    "perf_event_open": 298,
    "fanotify_init": 300,
    "fanotify_mark": 301,
    "open_by_handle_at": 304,
    "setns": 308,
    "process_vm_readv": 310,
    "finit_module": 313,
    "seccomp": 317,
    "kexec_file_load": 320,
    "bpf": 321,
    "userfaultfd": 323,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
    "open_tree_attr": 467,
}
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def call(name: str, *arguments: Any) -> int:
    """A system call by its name; OSError where it fails."""
    given = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result: int = libc.syscall(ctypes.c_long(NUMBERS[name]), *given)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def text(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
