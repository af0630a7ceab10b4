"""Programs, counters, keys and processes of the kernel, for operations inside the container."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Any

from efficacy.inside.mounts import mount
from efficacy.syscalls import call, text


def bpf_map() -> int:
    return call("bpf", 0, struct.pack("IIIII", 2, 4, 8, 1, 0).ljust(128, b"\0"), 128)


def bpf_program(kind: int) -> int:
    """`return 0`, loaded as a program of this type."""
    code = ctypes.create_string_buffer(bytes.fromhex("b7000000000000009500000000000000"))
    licence = ctypes.create_string_buffer(b"GPL")
    data = struct.pack("IIQQ", kind, 2, ctypes.addressof(code), ctypes.addressof(licence))
    return call("bpf", 5, data.ljust(128, b"\0"), 128)


def bpf_update(fd: int, value: bytes) -> None:
    key = ctypes.create_string_buffer(bytes(4), 4)
    val = ctypes.create_string_buffer(value.ljust(8, b"\0"), 8)
    data = struct.pack("IIQQQ", fd, 0, ctypes.addressof(key), ctypes.addressof(val), 0)
    call("bpf", 2, data.ljust(128, b"\0"), 128)


def bpf_all_maps() -> list[int]:
    """File descriptors of all maps of this kernel."""
    found: list[int] = []
    last = 0
    while len(found) < 64:
        data = ctypes.create_string_buffer(struct.pack("III", last, 0, 0).ljust(128, b"\0"), 128)
        try:
            call("bpf", 12, data, 128)
        except FileNotFoundError:
            break
        last = struct.unpack_from("I", data, 4)[0]
        found.append(call("bpf", 14, struct.pack("I", last).ljust(128, b"\0"), 128))
    return found


def perf(kind: int, config: int, pid: int, cpu: int, config1: int = 0, config2: int = 0, bp: int = 0) -> int:
    data = bytearray(128)
    struct.pack_into("IIQ", data, 0, kind, 128, config)
    struct.pack_into("Q", data, 16, 1000000)
    struct.pack_into("I", data, 52, bp)
    struct.pack_into("QQ", data, 56, config1, config2)
    return call("perf_event_open", bytes(data), pid, cpu, -1, 8)


def perf_counts(fd: int) -> None:
    """The counter is readable: the event is really there."""
    if len(os.read(fd, 8)) != 8:
        raise RuntimeError("no counter")


def tracing(path: str) -> str:
    return mount("tracefs", path, "tracefs")


def ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> int:
    return call("ptrace", request, pid, address, data)


def attached(pid: int) -> None:
    """PTRACE_ATTACH until it stands still."""
    ptrace(16, pid)
    os.waitpid(pid, 0x40000000)


def memory(pid: int, address: int, size: int = 64) -> str:
    """process_vm_readv."""
    local = ctypes.create_string_buffer(size)
    mine = struct.pack("QQ", ctypes.addressof(local), size)
    theirs = struct.pack("QQ", address, size)
    call("process_vm_readv", pid, mine, 1, theirs, 1, 0)
    return local.raw.decode("latin-1")


def keyctl(command: int, *arguments: Any) -> int:
    return call("keyctl", command, *arguments)


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
    return call("open_by_handle_at", fd, handle, os.O_RDONLY | os.O_DIRECTORY if inode == 2 else os.O_RDONLY)
