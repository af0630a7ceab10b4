"""Ways around a profile that need several steps, for operations inside the container."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any, Self

from efficacy import knobs
from efficacy.inside.files import folder, put
from efficacy.inside.mounts import BIND, NEWNS, attach, cloned, detached, mount, umount, unshare, writable
from efficacy.syscalls import call

DETACH = 2
"""MNT_DETACH."""
PROG_ATTACH, PROG_DETACH, PROG_FD_BY_ID, PROG_QUERY, RAW_TRACEPOINT_OPEN = 8, 9, 13, 16, 17
CGROUP_DEVICE, ALLOW_MULTI = 6, 2
SECRET_PATH = "var/lib/phoenix-efficacy/secret"


def turn(top: str, below: str = "", at: int | None = None) -> None:
    """Write every switch of knobs.py that stands below `top`, which shows `below` of a procfs or sysfs."""
    turned = 0
    if at is None:
        # A read-only flag is no wall: nothing asks about mount_setattr(2).
        with contextlib.suppress(OSError):
            writable(top)
    for path, value in (knobs.PROC | knobs.SYSFS).items():
        if not path.startswith(below):
            continue
        with contextlib.suppress(OSError):
            put(os.path.join(top, path[len(below) :].lstrip("/")), value, at)
            turned += 1
    if not turned:
        raise PermissionError("no switch could be written")


def _let_go(place: str) -> None:
    while os.path.ismount(place):
        umount(place, DETACH)


def listed(fd: int) -> list[str]:
    """Names in a detached mount, whose descriptor itself cannot be read."""
    top = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
    try:
        return sorted(os.listdir(top))
    finally:
        os.close(top)


class Elsewhere:
    """The mount namespace of now; its maker goes on in one of its own.

    A directory that is a mount point only there can be renamed from here.
    """

    def __init__(self) -> None:
        self._read, theirs = os.pipe()
        ours, self._write = os.pipe()
        if os.fork() == 0:
            for line in os.fdopen(ours):
                words = json.loads(line)
                try:
                    os.rename(*words) if len(words) == 2 else _let_go(words[0])
                    os.write(theirs, b"\0")
                except OSError as error:
                    os.write(theirs, bytes([error.errno or 1]))
            os._exit(0)
        unshare(NEWNS)

    @classmethod
    def of(cls, place: str) -> Self:
        """After the directory was made."""
        folder(place)
        return cls()

    def rename(self, old: str, new: str) -> str:
        """`new`; OSError where it could not be renamed."""
        self._ask(old, new)
        return new

    def let_go_of(self, place: str) -> None:
        """Unmount it there, with what lies below; OSError where it stays."""
        self._ask(place)

    def _ask(self, *words: str) -> None:
        os.write(self._write, json.dumps(words).encode() + b"\n")
        code = os.read(self._read, 1)[0]
        if code:
            raise OSError(code, f"{' to '.join(words)}: {os.strerror(code)}")


def renamed(fstype: str, place: str, part: str = "", *, parent: bool = False) -> None:
    """A procfs or sysfs mounted at `place`, its mount point renamed, and with `part` that bound elsewhere."""
    folder(place)
    other = Elsewhere()
    mount(fstype, place, fstype)
    moved = os.path.dirname(place) if parent else place
    new = other.rename(moved, os.path.join(os.path.dirname(moved), f"x{os.getpid()}"))
    top = os.path.join(new, os.path.basename(place)) if parent else new
    if part:
        bound = mount(os.path.join(top, part), "/mnt/part", None, BIND)
        turn(bound, part)
    else:
        turn(top)


def bound_renamed(source: str, place: str, below: str, flags: int) -> None:
    """A part of the container's own /proc or /sys bound at `place`, whose last name is then changed."""
    other = Elsewhere.of(place)
    mount(source, place, None, flags)
    turn(other.rename(place, os.path.dirname(place) + "/z"), below)


def bound_again(source: str, place: str, below: str, part: str) -> None:
    """bound_renamed(), and then a directory of it bound to /mnt/part."""
    other = Elsewhere.of(place)
    mount(source, place, None, BIND)
    new = other.rename(place, os.path.dirname(place) + "/z")
    turn(mount(os.path.join(new, part), "/mnt/part", None, BIND), os.path.join(below, part))


def root_renamed(mounted: str, old: str, new: str, seen: str) -> None:
    """Rename a directory of the container's own from where nothing is mounted on it; it is named back."""
    other = Elsewhere()
    other.let_go_of(mounted)
    other.rename(old, new)
    try:
        turn(seen)
    finally:
        other.rename(new, old)


def copied(source: str, place: str, below: str) -> None:
    """A copy of the mount at a part of the container's own /proc or /sys, attached at `place`."""
    turn(attach(cloned(source), place), below)


def copied_renamed(source: str, place: str, below: str) -> None:
    """copied(), the last name of the place then changed."""
    other = Elsewhere.of(place)
    attach(cloned(source), place)
    turn(other.rename(place, os.path.dirname(place) + "/z"), below)


def attempt(what: Callable[..., None], *arguments: Any, **more: Any) -> None:
    """A step that the others do not depend on; the host's side sees what it did."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(OSError):
            unshare(NEWNS)
            what(*arguments, **more)
        os._exit(0)
    os.waitpid(pid, 0)


@contextlib.contextmanager
def device_cgroup_detached() -> Iterator[None]:
    """Take the program of the device cgroup away from the container's own cgroup; it is put back."""
    group = os.open("/sys/fs/cgroup", os.O_RDONLY | os.O_DIRECTORY)
    ids = ctypes.create_string_buffer(64)
    query = struct.pack("IIIIQI", group, CGROUP_DEVICE, 0, 0, ctypes.addressof(ids), 16).ljust(128, b"\0")
    data = ctypes.create_string_buffer(query, 128)
    call("bpf", PROG_QUERY, data, 128)
    count = struct.unpack_from("I", data, 24)[0]
    if not count:
        raise FileNotFoundError("no program of the device cgroup")
    programs = []
    for number in struct.unpack_from(f"{count}I", ids):
        programs.append(call("bpf", PROG_FD_BY_ID, struct.pack("I", number).ljust(128, b"\0"), 128))
    for program in programs:
        order = struct.pack("IIII", group, program, CGROUP_DEVICE, 0).ljust(128, b"\0")
        call("bpf", PROG_DETACH, order, 128)
    try:
        yield
    finally:
        for program in programs:
            order = struct.pack("IIII", group, program, CGROUP_DEVICE, ALLOW_MULTI).ljust(128, b"\0")
            call("bpf", PROG_ATTACH, order, 128)


def hosts_disk(source: str = "") -> int:
    """The host's root file system, detached, by fsopen; the disk is named in a detached devtmpfs."""
    return detached("ext4", source=source or f"/proc/self/fd/{detached('devtmpfs')}/vda")


def raw_tracepoint(program: int, name: bytes = b"sys_enter") -> int:
    """Attach a loaded program to a raw tracepoint."""
    text = ctypes.create_string_buffer(name)
    order = struct.pack("QI", ctypes.addressof(text), program).ljust(128, b"\0")
    return call("bpf", RAW_TRACEPOINT_OPEN, order, 128)


def killer(pid: int) -> int:
    """A raw tracepoint's program that sends SIGKILL to the process that has this PID on the host."""
    steps = (
        struct.pack("<BBhi", 0x85, 0, 0, 14),  # call get_current_pid_tgid
        struct.pack("<BBhi", 0x77, 0, 0, 32),  # r0 >>= 32
        struct.pack("<BBhi", 0x55, 0, 2, pid),  # if r0 != pid goto +2
        struct.pack("<BBhi", 0xB7, 1, 0, 9),  # r1 = 9
        struct.pack("<BBhi", 0x85, 0, 0, 109),  # call send_signal
        struct.pack("<BBhi", 0xB7, 0, 0, 0),  # r0 = 0
        struct.pack("<BBhi", 0x95, 0, 0, 0),  # exit
    )
    code = ctypes.create_string_buffer(b"".join(steps))
    licence = ctypes.create_string_buffer(b"GPL")
    data = struct.pack("IIQQ", 17, len(steps), ctypes.addressof(code), ctypes.addressof(licence))
    return call("bpf", 5, data.ljust(128, b"\0"), 128)


def any_file(fd: int, mode: int) -> None:
    """Open one regular file below a directory; PermissionError where none can be opened."""
    for _, _, names, at in os.fwalk(".", dir_fd=fd):
        for name in names:
            with contextlib.suppress(OSError):
                os.close(os.open(name, mode | os.O_NONBLOCK | os.O_NOFOLLOW, dir_fd=at))
                return
    raise PermissionError("no file could be opened")


def congestion(name: str) -> None:
    """A congestion control by its name: the kernel loads its module."""
    with socket.socket() as wire:
        wire.setsockopt(socket.IPPROTO_TCP, 13, name.encode())
