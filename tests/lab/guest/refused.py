"""Runs in a container: does what its profile refuses, one operation after another, and says when.

Argument: names of operations to leave out.  Output: a JSON line for each, `[name, kind, begin, end, errno]`
in seconds since 1970.  What an operation needs besides it does before its time begins.
"""

import ctypes
import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

libc = ctypes.CDLL(None, use_errno=True)
HERE = "/tmp/refused"
NEWUSER, NEWNS = 0x10000000, 0x00020000
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, MOVE, REC, PRIVATE = 1, 2, 4, 8, 32, 4096, 8192, 16384, 1 << 18
ODD = [
    "two words",
    'a"quote',
    "line\nbreak",
    "esc\x1b[2Jape",
    "\u00e4\u00f6\u00fc",
    "\udcff\udcfe",
    "=name=x",
    "'",
]
"""Names that the kernel writes in hexadecimal, and some that only look odd."""


def call(function: Callable[..., int], *arguments: Any) -> None:
    ctypes.set_errno(0)
    if function(*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def text(value: str | None) -> bytes | None:
    return None if value is None else os.fsencode(value)


def mount(source: str | None, target: str, fstype: str | None, flags: int, data: str | None = None) -> None:
    call(libc.mount, text(source), text(target), text(fstype), ctypes.c_ulong(flags), text(data))


def named(name: str, work: Callable[[], Any]) -> Callable[[], Any]:
    """The same by a process of that name."""

    def run() -> None:
        call(libc.prctl, 15, name.encode("utf-8", "surrogateescape"), 0, 0, 0)
        work()

    return run


def read(path: str) -> None:
    with open(path, "rb") as file:
        file.read(1)


def write(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))


def attribute(word: str, name: str, file: str = "current") -> None:
    with open(f"/proc/self/attr/apparmor/{file}", "w") as target:
        target.write(f"{word} {name}")


def hat(name: str) -> None:
    with open("/proc/self/attr/apparmor/current", "w") as target:
        target.write(f"changehat {0x1234:016x}^{name}")


def bound(kind: int, family: int, address: Any) -> None:
    with socket.socket(family, kind) as one:
        one.bind(address)


def queue(name: str) -> None:
    library = ctypes.CDLL("librt.so.1", use_errno=True)
    call(library.mq_open, name.encode(), os.O_RDWR | os.O_CREAT, 0o600, None)


def limit() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (5000, 5000))


def operations() -> list[tuple[str, str, Callable[[], Any]]]:
    """Name, kind, and what is to be done."""
    found: list[tuple[str, str, Callable[[], Any]]] = [
        ("read", "file", lambda: read("/srv/no/file")),
        ("write", "file", lambda: write("/srv/no/file")),
        ("create", "file", lambda: write("/srv/no/new")),
        ("append", "file", lambda: os.open("/srv/no/file", os.O_WRONLY | os.O_APPEND)),
        ("truncate", "file", lambda: os.truncate("/srv/no/file", 0)),
        ("mkdir", "file", lambda: os.mkdir("/srv/no/dir")),
        ("rmdir", "file", lambda: os.rmdir("/srv/no/empty")),
        ("unlink", "file", lambda: os.unlink("/srv/no/file")),
        ("rename", "file", lambda: os.rename("/srv/no/file", "/srv/no/other")),
        ("link", "file", lambda: os.link("/srv/no/file", "/srv/no/hard")),
        ("symlink", "file", lambda: os.symlink("/x", "/srv/no/soft")),
        ("chmod", "file", lambda: os.chmod("/srv/no/file", 0o600)),
        ("chown", "file", lambda: os.chown("/srv/no/file", 5, 5)),
        ("getattr", "file", lambda: os.stat("/srv/no/file")),
        ("mknod", "file", lambda: os.mknod("/srv/no/pipe", 0o10600)),
        ("exec", "file", lambda: os.execv("/srv/no/program", ["program"])),
        ("list", "file", lambda: os.listdir("/srv/no")),
        ("others file", "file", lambda: read("/srv/no/others")),
        ("process", "file", lambda: read("/proc/1/environ")),
        ("own process", "file", lambda: read("/proc/self/pagemap")),
        ("sysctl", "file", lambda: write("/proc/sys/kernel/panic")),
        ("sysrq", "file", lambda: write("/proc/sysrq-trigger")),
        ("sysfs", "file", lambda: write("/sys/kernel/uevent_helper")),
        ("long name", "file", lambda: read("/srv/no/" + "/".join(["d" * 100] * 3))),
        ("longest name", "file", lambda: write("/srv/no/" + "/".join(["e" * 200] * 8) + "/f")),
        ("unix file", "file", lambda: bound(socket.SOCK_STREAM, socket.AF_UNIX, "/srv/no/socket")),
        ("mount", "mount", lambda: mount("tmpfs", f"{HERE}/at", "tmpfs", NODEV, "size=1m")),
        (
            "mount odd",
            "mount",
            lambda: mount("two words", f"{HERE}/at", "tmpfs", NOSUID, 'mode=0700,x="y z"'),
        ),
        ("mount proc", "mount", lambda: mount("proc", f"{HERE}/at", "proc", NOSUID | NODEV | NOEXEC)),
        ("mount sysfs", "mount", lambda: mount("sysfs", f"{HERE}/at", "sysfs", RDONLY)),
        (
            "mount nfs",
            "mount",
            lambda: mount("10.0.0.1:/x", f"{HERE}/at", "nfs4", 0, "addr=10.0.0.1,vers=4.2"),
        ),
        ("mount cifs", "mount", lambda: mount("//10.0.0.1/x", f"{HERE}/at", "cifs", 0, "ip=10.0.0.1,user=x")),
        (
            "mount fuse",
            "mount",
            lambda: mount("x", f"{HERE}/at", "fuse.sshfs", NOSUID, "fd=3,rootmode=40000"),
        ),
        ("mount disk", "mount", lambda: mount("/dev/vda", f"{HERE}/at", "ext4", RDONLY)),
        ("bind", "mount", lambda: mount("/etc", f"{HERE}/at", None, BIND | REC)),
        ("remount", "mount", lambda: mount(None, "/proc", None, REMOUNT | BIND | RDONLY)),
        ("move", "mount", lambda: mount("/proc", f"{HERE}/at", None, MOVE)),
        ("private", "mount", lambda: mount(None, "/", None, REC | PRIVATE)),
        ("umount", "umount", lambda: call(libc.umount2, b"/proc", 2)),
        ("pivot_root", "pivot_root", lambda: call(libc.syscall, 155, HERE.encode(), f"{HERE}/at".encode())),
        ("inet", "network", lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)),
        ("inet6", "network", lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)),
        ("raw", "network", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)),
        ("packet", "network", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)),
        ("netlink", "network", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)),
        ("alg", "network", lambda: socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)),
        ("vsock", "network", lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)),
        ("signal", "signal", lambda: os.kill(1, signal.SIGUSR1)),
        ("signal 0", "signal", lambda: os.kill(1, 0)),
        ("real-time signal", "signal", lambda: os.kill(1, signal.SIGRTMIN + 2)),
        ("trace", "ptrace", lambda: call(libc.ptrace, 16, 1, None, None)),
        ("read memory", "ptrace", lambda: os.readlink("/proc/1/cwd")),
        ("change_profile", "change_profile", lambda: attribute("changeprofile", "lxc-strict//inner")),
        ("change_onexec", "change_profile", lambda: attribute("exec", "unconfined", "exec")),
        ("stack", "change_profile", lambda: attribute("stack", "lxc-strict//inner")),
        ("change_hat", "change_hat", lambda: hat("nothere")),
        ("user namespace", "userns", lambda: call(libc.unshare, NEWUSER)),
        ("queue", "mqueue", lambda: queue("/refused")),
        ("limit", "rlimit", limit),
        ("uring", "io_uring", lambda: call(libc.syscall, 425, 4, ctypes.byref(params(1 << 1)))),
        ("chroot", "capability", lambda: os.chroot(HERE)),
        ("hostname", "capability", lambda: socket.sethostname("x")),
        ("nice", "capability", lambda: os.setpriority(os.PRIO_PROCESS, 0, -5)),
        ("setuid", "capability", lambda: os.setresuid(1234, 1234, 1234)),
        ("clock", "capability", lambda: time.clock_settime(time.CLOCK_REALTIME, time.time())),
        ("dmesg", "capability", lambda: call(libc.klogctl, 3, ctypes.create_string_buffer(16), 16)),
        ("module", "capability", lambda: call(libc.syscall, 176, b"nothing", 0)),
        ("reboot", "capability", lambda: call(libc.reboot, 0)),
        ("acct", "capability", lambda: call(libc.acct, None)),
        ("memory lock", "capability", lambda: call(libc.swapoff, b"/nothing")),
    ]
    for number, name in enumerate(ODD):
        found.append((f"odd name {number}", "file", lambda name=name: read(f"/srv/no/{name}")))  # type: ignore[misc]
        short = name[:15]
        found.append((f"odd process {number}", "file", named(short, lambda: read("/srv/no/file"))))
    return found


def params(flags: int) -> Any:
    made = (ctypes.c_uint32 * 30)()
    made[2] = flags
    return made


def main() -> None:
    left_out = set(sys.argv[1:])
    for name, kind, work in operations():
        if name in left_out:
            continue
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            signal.alarm(5)
            code = 0
            # The kernel's clock for events goes by ticks.
            time.sleep(0.012)
            begin = time.time()
            try:
                work()
            except OSError as error:
                code = error.errno or 255
            end = time.time()
            os.write(writing, json.dumps([name, kind, begin, end, code]).encode())
            os._exit(0)
        os.close(writing)
        said = os.read(reading, 4096)
        os.close(reading)
        os.waitpid(pid, 0)
        time.sleep(0.012)
        if said:
            print(said.decode(), flush=True)
        else:
            print(json.dumps([name, kind, 0, 0, -1]), flush=True)


main()
