"""Reading and replacing files, so that each is always the old one or the new one.

Owns every write to the host: a temporary file in the same directory, fsync, compare
with what was read before, rename, fsync of the directory.  Works on directories that
are held open, so that no symbolic link put in their place later is followed.  Must not
know what the files mean.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator, Mapping
from types import TracebackType

from phoenix_hypervisor.errors import LeftAlone, PhoenixError

MAX_FILE = 4 * 1024 * 1024
"""Bytes; nothing that Phoenix reads whole is larger."""

TEMPORARY = re.compile(r"^\.(?P<name>.+)\.phoenix-tmp$")
"""Names of our temporary files: hidden, so apparmor_parser skips them, and not `N.conf`,
so pmxcfs takes them for no guest.  One per target: a leftover is recognised and replaced."""


def temporary_name(name: str) -> str:
    return f".{name}.phoenix-tmp"


_TO_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""No link is followed, and nothing that is no file is waited for."""

ACCESS_LIST = "system.posix_acl_access"
_OF_THE_BYTES = frozenset({"security.ima", "security.evm"})
"""Attributes that say what the bytes are, so that other bytes need others."""


class ChangedMeanwhile(LeftAlone):
    """Somebody else wrote the file between our reading and our replacing it."""

    def __init__(self, where: str) -> None:
        super().__init__(
            "changed-meanwhile",
            where,
            message="changed by someone else while Phoenix was working; nothing was written to it",
            hint="run the command again",
        )


def explain(error: OSError) -> str:
    """What an error of the file system means, in the operator's words."""
    known = {
        errno.ELOOP: "is a symbolic link; Phoenix reads and writes regular files only",
        errno.EFBIG: "is too large for the file system",
        errno.ENOSPC: "no space left",
        errno.EROFS: "the file system is read-only",
    }
    return known.get(error.errno or 0, error.strerror or str(error))


AS_ROOT = "run it as root"
"""What to do about everything that an ordinary user may not."""


def hint_for(error: OSError) -> str | None:
    """What to do about it."""
    known = {
        errno.ELOOP: "put the file itself in the place of the link",
        errno.EACCES: AS_ROOT,
        errno.EPERM: AS_ROOT,
        errno.ENOSPC: "make room there",
    }
    return known.get(error.errno or 0)


def open_to_others(info: os.stat_result) -> str | None:
    """Why what others put there cannot be trusted: the mode, in words; None where only the owner writes."""
    mode = stat.S_IMODE(info.st_mode)
    return f"can be written by everybody (mode {mode:04o})" if mode & stat.S_IWOTH else None


def make_directories(real: str, mode: int) -> None:
    """Make `real` with just `mode` and whatever is missing on the way with 0755; no umask counts.

    Directories that are there stay as they are.  Raises OSError.
    """
    try:
        os.mkdir(real, mode)
    except FileExistsError:
        return
    except FileNotFoundError:
        make_directories(os.path.dirname(real), 0o755)
        try:
            os.mkdir(real, mode)
        except FileExistsError:
            return
    fd = os.open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        made = stat.S_IMODE(os.fstat(fd).st_mode)
        # The set-group-ID bit is the parent's to hand down.
        if made & 0o777 != mode:
            os.fchmod(fd, made & 0o7000 | mode)
    finally:
        os.close(fd)


def _limit(before: bytes | None) -> int:
    """How much to read of what is compared with `before`."""
    return max(MAX_FILE, len(before or b""))


def _listed(fd: int) -> list[str]:
    """Names of extended attributes; none where the file system has none, as pmxcfs."""
    try:
        return os.listxattr(fd)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENOSYS):
            return []
        raise


class Directory:
    """A directory of the host, held open.

    `path` is the host path (for messages and plans), `real` where it is on this machine.
    """

    def __init__(self, path: str, real: str, shown: str) -> None:
        self.path = path
        self.real = real
        self.shown = shown
        self._fd = os.open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Directory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @property
    def fd(self) -> int:
        return self._fd

    def __del__(self) -> None:
        # Whoever forgets one must not run a long-lived process out of file descriptors.
        if getattr(self, "_fd", -1) >= 0:
            self.close()

    def where(self, name: str) -> str:
        return os.path.join(self.shown, name)

    def open_to_others(self) -> str | None:
        """As the function of that name, of the directory itself."""
        return open_to_others(os.fstat(self._fd))

    def names(self) -> list[str]:
        """What stands in it, in no order.  Raises PhoenixError."""
        try:
            return os.listdir(self._fd)
        except OSError as error:
            raise PhoenixError(explain(error), where=self.shown, hint=hint_for(error)) from error

    def entries(self) -> Iterator[tuple[str, os.stat_result]]:
        """Each name with what `lstat` says of it, sorted; names that vanish are left out."""
        for name in sorted(self.names()):
            info = self.lstat(name)
            if info is not None:
                yield name, info

    def lstat(self, name: str) -> os.stat_result | None:
        """What stands at `name`, a link itself; None where nothing does.  Raises PhoenixError."""
        try:
            return os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PhoenixError(explain(error), where=self.where(name), hint=hint_for(error)) from error

    def read(self, name: str, limit: int = MAX_FILE) -> bytes | None:
        """The bytes of a regular file, or None where there is none.

        Raises PhoenixError for a link, a device, or more than `limit` bytes.
        """
        try:
            fd = os.open(name, _TO_READ, dir_fd=self._fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PhoenixError(explain(error), where=self.where(name), hint=hint_for(error)) from error
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                raise PhoenixError("is not a regular file", where=self.where(name), hint="move it away")
            if info.st_size > limit:
                raise self._too_large(name, limit)
            data = os.read(fd, info.st_size + 1)
            # Files of /proc and securityfs have size 0; others may be read in parts.
            while len(data) <= limit:
                more = os.read(fd, 65536)
                if not more:
                    return data
                data += more
            raise self._too_large(name, limit)
        except OSError as error:
            raise PhoenixError(explain(error), where=self.where(name), hint=hint_for(error)) from error
        finally:
            os.close(fd)

    def tail(self, name: str, length: int) -> bytes:
        """The last bytes of a regular file; empty where there is none.  Raises PhoenixError."""
        try:
            fd = os.open(name, _TO_READ, dir_fd=self._fd)
            try:
                info = os.fstat(fd)
                return os.pread(fd, length, max(0, info.st_size - length))
            finally:
                os.close(fd)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise PhoenixError(explain(error), where=self.where(name), hint=hint_for(error)) from error

    def _too_large(self, name: str, limit: int) -> PhoenixError:
        hint = "shorten it: nothing that Phoenix reads is that long"
        return PhoenixError(f"is over {limit} bytes", where=self.where(name), hint=hint)

    def replace(
        self,
        name: str,
        data: bytes,
        *,
        before: bytes | None,
        mode: int | None = None,
        owner: tuple[int, int] | None = None,
    ) -> None:
        """Make `name` hold `data`; readers see the old or the new bytes, never a part.

        `before` is what the file must still hold (None: it must not exist), else
        ChangedMeanwhile is raised and nothing changes.  `mode` None keeps the mode, owner,
        access list and other extended attributes of the old file: pmxcfs takes no other.
        `owner` is a user and a group.  Raises PhoenixError.
        """
        temporary = temporary_name(name)
        old = self.lstat(name)
        wanted = mode if mode is not None else (stat.S_IMODE(old.st_mode) if old is not None else 0o640)
        try:
            if self.lstat(temporary) is not None:
                os.unlink(temporary, dir_fd=self._fd)
            keep = mode is None and old is not None
            attributes = self._attributes(name) if keep else {}
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            # With an access list the group's bits are its mask: they must not open it to the group.
            first = wanted & 0o700 if ACCESS_LIST in attributes else wanted
            fd = os.open(temporary, flags, first, dir_fd=self._fd)
            try:
                if keep:
                    assert old is not None
                    owner = (old.st_uid, old.st_gid)
                self._fill(fd, data, wanted, owner, attributes, keep)
                os.fsync(fd)
            finally:
                os.close(fd)
            if self.read(name, _limit(before)) != before:
                raise ChangedMeanwhile(self.where(name))
            os.replace(temporary, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
            self._sync()
        except OSError as error:
            self._drop(temporary)
            message = f"cannot write: {explain(error)}"
            raise PhoenixError(message, where=self.where(name), hint=hint_for(error)) from error
        except BaseException:
            self._drop(temporary)
            raise

    def _attributes(self, name: str) -> dict[str, bytes]:
        """The extended attributes of a regular file that a new one in its place should have, too."""
        fd = os.open(name, _TO_READ, dir_fd=self._fd)
        try:
            return {key: os.getxattr(fd, key) for key in _listed(fd) if key not in _OF_THE_BYTES}
        finally:
            os.close(fd)

    @staticmethod
    def _fill(
        fd: int,
        data: bytes,
        mode: int,
        owner: tuple[int, int] | None,
        attributes: Mapping[str, bytes],
        keep: bool,
    ) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        made = os.fstat(fd)
        # Only where they differ: /etc/pve refuses chmod and chown to anything but its own.
        if owner is not None and (made.st_uid, made.st_gid) != owner:
            os.fchown(fd, *owner)
        for key, value in attributes.items():
            try:
                os.setxattr(fd, key, value)
            except PermissionError:
                # A label that the kernel has given by itself; access lists and the rest must be kept.
                if not key.startswith("security."):
                    raise
        if keep and ACCESS_LIST not in attributes and ACCESS_LIST in _listed(fd):
            # It came from the directory's default list, and the old file had none.
            os.removexattr(fd, ACCESS_LIST)
        # Last: an access list has changed the mode, too.
        if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
            os.fchmod(fd, mode)

    def remove(self, name: str, *, before: bytes | None = None) -> None:
        """Unlink `name`; with `before`, only while it still holds those bytes."""
        try:
            if before is not None and self.read(name, _limit(before)) != before:
                raise ChangedMeanwhile(self.where(name))
            os.unlink(name, dir_fd=self._fd)
            self._sync()
        except OSError as error:
            message = f"cannot remove: {explain(error)}"
            raise PhoenixError(message, where=self.where(name), hint=hint_for(error)) from error

    def _sync(self) -> None:
        # The change is made and seen. Where it cannot be synced, a power cut may bring the old
        # entry back, which is as good a state; calling the step failed would be wrong.
        with contextlib.suppress(OSError):
            os.fsync(self._fd)

    def _drop(self, name: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=self._fd)
