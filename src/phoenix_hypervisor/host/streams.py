"""What is too large to be read whole, or still grows: logs, and what a program says without end.

Owns reading such files chunk by chunk, packed ones too, and a program's output while it runs.  Must not
know what the bytes mean.
"""

from __future__ import annotations

import os
import select
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

from phoenix_hypervisor.errors import PhoenixError, UsageError
from phoenix_hypervisor.host.files import AS_ROOT
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from subprocess import Popen

CHUNK = 256 * 1024
"""Bytes that are read at once."""
POLL = 0.5
"""Seconds between two looks at a file that may have grown."""
PIECES = 256
"""That are read of one file before the others are looked at."""
_GZIP = b"\x1f\x8b"
_TO_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY


def opened(path: str) -> int:
    """A file, pipe or device, open for reading.  Raises UsageError where it is none, PhoenixError."""
    try:
        return os.open(path, _TO_READ)
    except FileNotFoundError:
        raise UsageError("is not a file", where=path) from None
    except OSError as error:
        hint = AS_ROOT if isinstance(error, PermissionError) else None
        raise PhoenixError(f"cannot be read: {error.strerror}", where=path, hint=hint) from error


def chunks(path: str) -> Iterator[bytes]:
    """The bytes of a file; unpacked where it is gzip's.  Raises as `opened`, and where it is damaged."""
    fd = opened(path)
    try:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise UsageError("is a directory", where=path, hint="name the files in it")
        yield from unpacked(_pieces(fd, path), path)
    finally:
        os.close(fd)


def _pieces(fd: int, path: str) -> Iterator[bytes]:
    try:
        while piece := os.read(fd, CHUNK):
            yield piece
    except OSError as error:
        raise PhoenixError(f"cannot be read: {error.strerror}", where=path) from error


def unpacked(pieces: Iterator[bytes], where: str) -> Iterator[bytes]:
    """The same, unpacked where it begins as gzip's.  Raises PhoenixError where it is damaged."""
    first = b""
    while len(first) < len(_GZIP) and (piece := next(pieces, None)):
        first += piece
    if not first.startswith(_GZIP):
        if first:
            yield first
        yield from pieces
        return
    import zlib

    part, data = zlib.decompressobj(31), first
    try:
        while data:
            # Bounded: a few bytes can stand for gigabytes.
            out = part.decompress(data, CHUNK)
            if out:
                yield out
            data = part.unconsumed_tail
            if part.eof:
                # Several may stand one after the other.
                data = part.unused_data.lstrip(b"\0") or next(pieces, b"")
                if data:
                    part = zlib.decompressobj(31)
            elif not data:
                data = next(pieces, b"")
    except zlib.error as error:
        raise PhoenixError(f"is damaged: {error}", where=where) from error
    if not part.eof:
        raise PhoenixError("is damaged: its end is missing", where=where)


class ProgramOutput:
    """What a program writes to standard output, while it runs.

    `argv` names the program by its full path; its standard error is kept to say why it failed.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        import subprocess

        self._argv = tuple(argv)
        env = {key: value for key, value in os.environ.items() if key != "LANG" and not key.startswith("LC_")}
        try:
            self._process: Popen[bytes] = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**env, "LC_ALL": "C"},
                start_new_session=True,
            )
        except OSError as error:
            raise PhoenixError(f"cannot run {self._argv[0]}: {error.strerror}") from error
        assert self._process.stdout is not None and self._process.stderr is not None
        self.fd = self._process.stdout.fileno()
        os.set_blocking(self._process.stderr.fileno(), False)

    def chunks(self) -> Iterator[bytes]:
        """All of it.  Raises PhoenixError where the program fails."""
        try:
            while piece := os.read(self.fd, CHUNK):
                yield piece
            if self._process.wait(timeout=60):
                raise PhoenixError(
                    f"{os.path.basename(self._argv[0])} failed: {self._words() or self._process.returncode}"
                )
        finally:
            self.close()

    def _words(self) -> str:
        assert self._process.stderr is not None
        with suppress(BlockingIOError, OSError):
            return os.read(self._process.stderr.fileno(), 4096).decode("utf-8", "replace").strip()
        return ""

    def close(self) -> None:
        """End it."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()


class Growing:
    """A file that grows, and may be put away for a new one of its name; only what comes is read."""

    def __init__(self, path: str, *, from_start: bool = False) -> None:
        self._path = path
        self._fd, self._device = -1, False
        self._open(from_start)

    def _open(self, from_start: bool) -> None:
        try:
            # The kernel's log would wait for its next record.
            self._fd = os.open(self._path, _TO_READ | os.O_NONBLOCK)
        except OSError:
            self._fd = -1
            return
        self._device = stat.S_ISCHR(os.fstat(self._fd).st_mode)
        if not from_start:
            with suppress(OSError):
                os.lseek(self._fd, 0, os.SEEK_END)

    def read(self) -> bytes:
        """What has come since; empty where nothing has."""
        if self._fd < 0:
            self._open(from_start=True)
            if self._fd < 0:
                return b""
        try:
            piece = os.read(self._fd, CHUNK)
            if piece or self._device:
                return piece
            info, here = os.stat(self._path), os.fstat(self._fd)
            if not os.path.samestat(info, here):
                # What came between the last read and its being put away.
                rest = os.read(self._fd, CHUNK)
                if rest:
                    return rest
                self.close()
                return self.read()
            if info.st_size < os.lseek(self._fd, 0, os.SEEK_CUR):
                # Emptied in place, as logrotate's copytruncate does.
                os.lseek(self._fd, 0, os.SEEK_SET)
        except BlockingIOError:
            pass
        except BrokenPipeError:
            # Records were overwritten before they were read: the next read goes on behind them.
            return self.read()
        except OSError:
            self.close()
        return b""

    def close(self) -> None:
        """Read no more of it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def following(
    programs: Sequence[ProgramOutput], files: Sequence[Growing], until: float | None = None
) -> Iterator[tuple[int, bytes]]:
    """What comes, as long as it comes: the number of its place (programs first), and a chunk.

    An empty chunk is given where nothing came for a while.  `until` is a time of the monotonic clock; what
    has come by then is given.  Ends where there are no files, and every program has ended.
    """
    alive = {program.fd: number for number, program in enumerate(programs)}
    came = False
    while True:
        wait = 0.0 if came else POLL if until is None else max(0.0, min(POLL, until - time.monotonic()))
        if alive:
            ready = select.select(list(alive), [], [], wait)[0]
        elif files:
            ready = []
            time.sleep(wait)
        else:
            return
        came = False
        for fd in ready:
            piece = os.read(fd, CHUNK)
            if piece:
                came = True
                yield alive[fd], piece
            else:
                del alive[fd]
        for number, file in enumerate(files, len(programs)):
            # Bounded: what comes faster than it is read must not keep this from ending.
            for _ in range(PIECES):
                piece = file.read()
                if not piece:
                    break
                came = True
                yield number, piece
        if until is not None and time.monotonic() >= until:
            return
        if not came:
            yield -1, b""


def kernel_log(path: str) -> Iterator[bytes]:
    """What /dev/kmsg holds now, record by record, each with a line break at its end."""
    try:
        fd = os.open(path, _TO_READ | os.O_NONBLOCK)
    except OSError as error:
        raise PhoenixError(f"cannot be read: {error.strerror}", where=path, hint=AS_ROOT) from error
    try:
        while True:
            try:
                record = os.read(fd, 8192)
            except BlockingIOError:
                return
            except BrokenPipeError:
                # Overwritten meanwhile: the next is read.
                continue
            except OSError as error:
                raise PhoenixError(f"cannot be read: {error.strerror}", where=path) from error
            if not record:
                return
            yield record
    finally:
        os.close(fd)
