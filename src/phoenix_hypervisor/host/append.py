"""A file that only grows.

Owns creating it durably and adding lines, each wholly there or cut off at the end.  Must
not know what the lines mean.
"""

from __future__ import annotations

import contextlib
import os

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.files import Directory, explain, hint_for
from phoenix_hypervisor.host.locks import try_lock


class Appender:
    """An open file; `add` returns when the line is on disk, where `sync` says so."""

    def __init__(self, fd: int, where: str) -> None:
        self._fd = fd
        self._where = where
        self._torn = False

    @classmethod
    def create(cls, directory: Directory, name: str, first: bytes, mode: int = 0o600) -> Appender:
        """Make the file with its first line, on disk with its name.  Raises PhoenixError."""
        where = directory.where(name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(name, flags, mode, dir_fd=directory.fd)
        except OSError as error:
            raise _failed(error, where) from error
        appender = cls(fd, where)
        # Held while it is written: whoever finds it unfinished sees that its run is alive.
        try_lock(fd)
        try:
            appender.add(first, sync=True)
            os.fsync(directory.fd)
        except BaseException as error:
            appender.close()
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=directory.fd)
            if isinstance(error, OSError):
                raise _failed(error, where) from error
            raise
        return appender

    @classmethod
    def open(cls, directory: Directory, name: str) -> Appender:
        """Go on with a file that is there; its last line may be cut off."""
        where = directory.where(name)
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            appender = cls(os.open(name, flags, dir_fd=directory.fd), where)
        except OSError as error:
            raise _failed(error, where) from error
        appender._torn = True
        return appender

    def add(self, line: bytes, *, sync: bool) -> None:
        """Append one line.  Raises PhoenixError; then a part of it may be there."""
        view = memoryview(b"\n" + line if self._torn else line)
        try:
            size = os.fstat(self._fd).st_size
            try:
                while view:
                    view = view[os.write(self._fd, view) :]
                    self._torn = True
                if sync:
                    os.fsync(self._fd)
                self._torn = False
            except OSError:
                # What is not certain to be on disk must not be read as said.
                self._torn = True
                with contextlib.suppress(OSError):
                    os.ftruncate(self._fd, size)
                raise
        except OSError as error:
            raise _failed(error, self._where) from error

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _failed(error: OSError, where: str) -> PhoenixError:
    return PhoenixError(f"cannot write: {explain(error)}", where=where, hint=hint_for(error))
