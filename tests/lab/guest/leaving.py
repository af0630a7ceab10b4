"""Run in the guest under a profile: each way to leave a profile, and what is refused behind it.

Prints one JSON object: by way, whether a secret that the profile denies by name could be read then.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import subprocess
from collections.abc import Callable

SECRET = "/run/secret"
LSM_SET_SELF_ATTR, LSM_ID_APPARMOR, CURRENT = 460, 104, 100
LIBC = ctypes.CDLL(None, use_errno=True)


def forked(work: Callable[[], str]) -> str:
    """What `work` returns in a child process: a change of label is the child's alone."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            text = work()
        except OSError as error:
            text = error.strerror or "refused"
        os.write(writer, text.encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        text = file.read().decode()
    os.waitpid(pid, 0)
    return text


def secret() -> str:
    with open(SECRET) as file:
        return file.read().strip()


def write(text: str, name: str = "current") -> None:
    fd = os.open(f"/proc/thread-self/attr/{name}", os.O_WRONLY)
    os.write(fd, text.encode())


def written(text: str) -> Callable[[], str]:
    def work() -> str:
        write(text)
        return secret()

    return work


def called(text: str) -> Callable[[], str]:
    """The same by the system call of Linux 6.8, which no file rule sees."""

    def work() -> str:
        data = text.encode()
        size = (32 + len(data) + 7) & ~7
        context = (struct.pack("QQQQ", LSM_ID_APPARMOR, 0, size, len(data)) + data).ljust(size, b"\0")
        number, which = ctypes.c_long(LSM_SET_SELF_ATTR), ctypes.c_uint(CURRENT)
        if LIBC.syscall(number, which, context, ctypes.c_uint(size), ctypes.c_uint(0)) < 0:
            raise OSError(ctypes.get_errno(), "")
        return secret()

    return work


def executed(path: str) -> Callable[[], str]:
    def work() -> str:
        done = subprocess.run([path, SECRET], capture_output=True, text=True, check=False)
        return done.stdout.strip() or "refused"

    return work


def half() -> str:
    os.close(os.open("/run/half", os.O_RDWR))
    return "secret"


def audited() -> str:
    with open("/run/audited") as file:
        return file.read().strip()


def exec_unconfined() -> str:
    write("exec unconfined", "exec")
    return executed("/bin/cat")()


WAYS = {
    "by name": secret,
    "denied beside what no rule allows": half,
    "audit deny": audited,
    "changeprofile unconfined": written("changeprofile unconfined"),
    "changeprofile of no profile": written("changeprofile lxc-none"),
    "exec unconfined": exec_unconfined,
    "changehat": written("changehat 0000000000000001^any"),
    "changehat, system call": called("changehat 0000000000000001^other"),
    "exec without a rule": executed("/run/unruled"),
    "exec denied": executed("/run/denied"),
}
print(json.dumps({way: forked(work) for way, work in WAYS.items()}))
