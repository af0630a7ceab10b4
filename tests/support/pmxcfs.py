"""Proxmox's cluster file system, as far as a directory can stand in for it.

What pmxcfs (pve-cluster 9.1.6) refuses is refused below one directory, by the errors that were measured on it:
`tests/host/test_pmxcfs.py` has the table, and runs it on a real one where PHOENIX_PMXCFS names its mount.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import Any

import pytest

MAX_FILE = 1024 * 1024
"""MEMDB_MAX_FILE_SIZE of memdb.h."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def _refuse(number: int, path: object) -> OSError:
    return OSError(number, os.strerror(number), str(path))


class Pmxcfs:
    """Makes the functions of `os` behave below `top` as on pmxcfs."""

    def __init__(self, top: str, patch: pytest.MonkeyPatch) -> None:
        self.top = os.path.realpath(top)
        self.quorate = True
        self._real: dict[str, Callable[..., Any]] = {}
        for name in (
            *("open", "write", "chmod", "fchmod", "chown", "fchown", "link", "symlink", "mkfifo", "mkdir"),
            *("rmdir", "unlink", "rename", "replace", "utime", "setxattr", "listxattr", "ftruncate"),
        ):
            self._real[name] = getattr(os, name)
            patch.setattr(os, name, getattr(self, name))

    def lose_quorum(self) -> None:
        """Everything that writes is refused from now on.

        /etc/pve/local shows it by its mode; a link has none, so a directory stands in for it.
        """
        local = os.path.join(self.top, "local")
        self._real["unlink"](local)
        self._real["mkdir"](local, 0o555)
        self.quorate = False

    def _where(self, path: Any, dir_fd: int | None = None) -> str:
        if isinstance(path, int):
            return os.readlink(f"/proc/self/fd/{path}").removesuffix(" (deleted)")
        text = os.fsdecode(path)
        if not text.startswith("/"):
            base = os.getcwd() if dir_fd is None else os.readlink(f"/proc/self/fd/{dir_fd}")
            text = os.path.join(base, text)
        return os.path.join(os.path.realpath(os.path.dirname(text)), os.path.basename(text))

    def _in(self, path: Any, dir_fd: int | None = None) -> bool:
        return (self._where(path, dir_fd) + "/").startswith(self.top + "/")

    def _write(self, path: Any, dir_fd: int | None = None) -> bool:
        """Whether it is ours to judge; raises where there is no quorum."""
        if not self._in(path, dir_fd):
            return False
        if not self.quorate:
            raise _refuse(errno.EACCES, path)
        return True

    def _mode(self, path: Any) -> int:
        return 0o600 if "/priv/" in self._where(path) + "/" else 0o640

    # What is refused, or done otherwise ---------------------------------------------

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if not self._in(path, dir_fd):
            return int(self._real["open"](path, flags, mode, dir_fd=dir_fd))
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise _refuse(errno.EOPNOTSUPP, path)
        new = not os.path.lexists(self._where(path, dir_fd))
        if not self.quorate and flags & (os.O_CREAT | os.O_TRUNC) and (new or flags & os.O_TRUNC):
            raise _refuse(errno.EACCES, path)
        fd = int(self._real["open"](path, flags, mode, dir_fd=dir_fd))
        if new and flags & os.O_CREAT:
            self._real["fchmod"](fd, self._mode(path))
        return fd

    def write(self, fd: int, data: bytes) -> int:
        if self._is_file(fd) and self._write(fd):
            room = MAX_FILE - os.lseek(fd, 0, os.SEEK_CUR)
            if room <= 0:
                raise _refuse(errno.EFBIG, fd)
            data = data[:room]
        return int(self._real["write"](fd, data))

    @staticmethod
    def _is_file(fd: int) -> bool:
        return stat.S_ISREG(os.fstat(fd).st_mode)

    def ftruncate(self, fd: int, length: int) -> None:
        self._write(fd)
        self._real["ftruncate"](fd, length)

    def chmod(self, path: Any, mode: int, **more: Any) -> None:
        if self._in(path, more.get("dir_fd")):
            if mode != self._mode(path):
                raise _refuse(errno.EPERM, path)
            return
        self._real["chmod"](path, mode, **more)

    def fchmod(self, fd: int, mode: int) -> None:
        self.chmod(fd, mode) if self._in(fd) else self._real["fchmod"](fd, mode)

    def chown(self, path: Any, uid: int, gid: int, **more: Any) -> None:
        if self._in(path, more.get("dir_fd")):
            now = os.stat(path)
            if uid not in (-1, now.st_uid) or gid not in (-1, now.st_gid):
                raise _refuse(errno.EPERM, path)
            return
        self._real["chown"](path, uid, gid, **more)

    def fchown(self, fd: int, uid: int, gid: int) -> None:
        self.chown(fd, uid, gid) if self._in(fd) else self._real["fchown"](fd, uid, gid)

    def link(self, src: Any, dst: Any, **more: Any) -> None:
        if self._in(dst, more.get("dst_dir_fd")):
            raise _refuse(errno.EPERM, dst)
        self._real["link"](src, dst, **more)

    def symlink(self, src: Any, dst: Any, *args: Any, **more: Any) -> None:
        if self._in(dst, more.get("dir_fd")):
            raise _refuse(errno.ENOSYS, dst)
        self._real["symlink"](src, dst, *args, **more)

    def mkfifo(self, path: Any, mode: int = 0o666, **more: Any) -> None:
        if self._in(path, more.get("dir_fd")):
            raise _refuse(errno.ENOSYS, path)
        self._real["mkfifo"](path, mode, **more)

    def mkdir(self, path: Any, mode: int = 0o777, **more: Any) -> None:
        if self._write(path, more.get("dir_fd")):
            mode = 0o755
        self._real["mkdir"](path, mode, **more)

    def rmdir(self, path: Any, **more: Any) -> None:
        self._write(path, more.get("dir_fd"))
        self._real["rmdir"](path, **more)

    def unlink(self, path: Any, **more: Any) -> None:
        self._write(path, more.get("dir_fd"))
        self._real["unlink"](path, **more)

    def rename(self, src: Any, dst: Any, **more: Any) -> None:
        self._move("rename", src, dst, more)

    def replace(self, src: Any, dst: Any, **more: Any) -> None:
        self._move("replace", src, dst, more)

    def _move(self, how: str, src: Any, dst: Any, more: dict[str, Any]) -> None:
        if self._in(src, more.get("src_dir_fd")) is not self._in(dst, more.get("dst_dir_fd")):
            raise _refuse(errno.EXDEV, dst)
        self._write(dst, more.get("dst_dir_fd"))
        self._real[how](src, dst, **more)

    def utime(self, path: Any, *args: Any, **more: Any) -> None:
        if self._write(path) and "/priv/lock/" in self._where(path):
            # Asked to end a lock that is younger than two minutes.
            raise _refuse(errno.EACCES, path)
        self._real["utime"](path, *args, **more)

    def setxattr(self, path: Any, *args: Any, **more: Any) -> None:
        if self._in(path):
            raise _refuse(errno.EOPNOTSUPP, path)
        self._real["setxattr"](path, *args, **more)

    def listxattr(self, path: Any = None, **more: Any) -> list[str]:
        if self._in(path):
            raise _refuse(errno.EOPNOTSUPP, path)
        return list(self._real["listxattr"](path, **more))
