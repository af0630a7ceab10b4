"""Interfaces and tables by netlink, for operations inside the container."""

from __future__ import annotations

import os
import socket
import struct


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
