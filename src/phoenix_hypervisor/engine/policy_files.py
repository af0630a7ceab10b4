"""Files that a caller names as policy.

Owns reading them, pipes included, and saying what is wrong with one that can be no policy.  Must not
know what policy means, nor names of profiles.
"""

from __future__ import annotations

import os
import select
import stat
import time

from phoenix_hypervisor.errors import PhoenixError, UsageError

MAX_POLICY = 64 * 1024 * 1024
"""Bytes of a source or compiled policy."""

NO_WRITER = 10.0
"""Seconds that a pipe may have nobody who writes to it."""
SILENT = 60.0
"""Seconds that a writer may be silent: a compiler at work is."""

_CHUNK = 1024 * 1024
_STEP = 0.05
"""Seconds between two looks at a pipe."""
_PACKED = {
    b"\x1f\x8b": ("gzip", "gzip -dc"),
    b"\xfd7zXZ\0": ("xz", "xz -dc"),
    b"BZh": ("bzip2", "bzip2 -dc"),
    b"\x28\xb5\x2f\xfd": ("Zstandard", "zstd -dc"),
    b"PK\x03\x04": ("zip", "unzip -p"),
}
"""Compressed files, by how they begin.  Policy that the parser itself compressed begins otherwise."""


def read_file(path: str) -> bytes:
    """The bytes of a file, device or pipe; of a pipe all until its end.

    Raises UsageError where it is no file, PhoenixError where it cannot be read, is over MAX_POLICY
    bytes, or is a pipe that nothing comes from (NO_WRITER, SILENT).
    """
    if os.path.isdir(path):
        raise UsageError("is a directory", where=path, hint="name a file in it: a source or compiled policy")
    try:
        # Without O_NONBLOCK the opening of a pipe waits for its writer, for ever.
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError:
        raise UsageError("is not a file", where=path) from None
    except OSError as error:
        raise PhoenixError(f"cannot be read: {error.strerror}", where=path) from error
    try:
        regular = stat.S_ISREG(os.fstat(file).st_mode)
        return _read(file, path, wait=not regular)
    except OSError as error:
        raise PhoenixError(f"cannot be read: {error.strerror}", where=path) from error
    finally:
        os.close(file)


def size_of(path: str) -> int:
    """Bytes of a regular file, 0 for what is none: a name, a pipe."""
    try:
        info = os.stat(path)
    except OSError:
        return 0
    return info.st_size if stat.S_ISREG(info.st_mode) else 0


def _read(file: int, path: str, *, wait: bool) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while True:
        piece = _waited(file, path, begun=bool(pieces)) if wait else os.read(file, _CHUNK)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        size += len(piece)
        if size > MAX_POLICY:
            raise PhoenixError(f"is over {MAX_POLICY} bytes", where=path)


def _waited(file: int, path: str, *, begun: bool) -> bytes:
    """The next bytes of a pipe or device; empty at its end."""
    poll = select.poll()
    poll.register(file, select.POLLIN)
    start = time.monotonic()
    while True:
        # A pipe that never had a writer gives no event, and reads as if it were at its end.
        event = poll.poll(_STEP * 1000)
        waited = time.monotonic() - start
        try:
            piece = os.read(file, _CHUNK)
        except BlockingIOError:
            begun = True
            if waited > SILENT:
                message = f"is a pipe whose writer has sent nothing for {SILENT:.0f} seconds"
                raise PhoenixError(message, where=path) from None
            continue
        if piece or event or begun:
            return piece
        if waited > NO_WRITER:
            raise PhoenixError(
                f"is a pipe that nobody writes to; waited {NO_WRITER:.0f} seconds",
                where=path,
                hint="start the writer, or name a file",
            )


def require_content(data: bytes, where: str) -> None:
    """Raise PhoenixError where `data` is empty or packed by a general program."""
    if not data:
        raise PhoenixError("is empty: neither a source nor compiled policy", where=where)
    for magic, (name, program) in _PACKED.items():
        if data.startswith(magic):
            raise PhoenixError(
                f"is compressed with {name}",
                where=where,
                hint=f"unpack it: {program} FILE | phoenix policy ... --policy -",
            )


def shown(name: str) -> str:
    """A file for people; `-` is standard input."""
    return "standard input" if name == "-" else name
