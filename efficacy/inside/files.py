"""Files, programs and children, for operations inside the container."""

from __future__ import annotations

import contextlib
import mmap
import os
import subprocess
import sys
from typing import Any


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


def run(*argv: str, input: bytes | None = None) -> str:
    """A program's output; CalledProcessError where it fails."""
    done = subprocess.run(argv, input=input, capture_output=True, timeout=20, check=False)
    if done.returncode:
        raise RuntimeError(f"{argv[0]}: {done.stderr.decode('latin-1')[-200:]}")
    return done.stdout.decode("latin-1")


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
