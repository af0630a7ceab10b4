"""The one object through which the rest of the package meets the machine.

Owns nothing but the bundle: root, processes, kernel, and doors to directories and
locks.  Built once by `cli`; tests build it over a directory and with another runner.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.files import AS_ROOT, MAX_FILE, Directory, make_directories
from phoenix_hypervisor.host.kernel import Kernel
from phoenix_hypervisor.host.root import Root
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from phoenix_hypervisor.host.process import Runner


class Host:
    """A machine: `/`, or a directory that looks like one."""

    def __init__(self, root: str = "/", runner: Runner | None = None, *, live: bool | None = None) -> None:
        self.root = Root(root)
        self._live = self.root.is_live if live is None else live
        self._runner = runner
        self.waiting: Callable[[str, float], None] | None = None
        """Called with a lock's host path, and the seconds that it is waited for at most."""
        self.kernel = Kernel(self.root)

    @property
    def runner(self) -> Runner:
        """What runs other programs."""
        if self._runner is None:
            # Most runs start no program.
            from phoenix_hypervisor.host.process import ProcessRunner

            self._runner = ProcessRunner()
        return self._runner

    @runner.setter
    def runner(self, runner: Runner) -> None:
        self._runner = runner

    @property
    def is_live(self) -> bool:
        """True on `/`: the kernel is asked and container processes may be started.

        Tests set `live` over a directory, with doubles of `pct` and of the loading parser.
        """
        return self._live

    def now(self) -> float:
        """The time, in seconds since 1970."""
        return time.time()

    def directory(self, path: str, *, create: bool = False, mode: int = 0o755) -> Directory | None:
        """Open host directory `path`; None where it is missing and not to be made.

        One that is made gets just `mode`, those on the way to it 0755, whatever the umask.
        """
        real = self.root.locate(path)
        try:
            if create:
                make_directories(real, mode)
            return Directory(path, real, self.root.shown(path))
        except FileNotFoundError:
            return None
        except OSError as error:
            hint = AS_ROOT if isinstance(error, PermissionError) else "it must be a directory"
            raise PhoenixError(
                f"cannot open: {error.strerror}", where=self.root.shown(path), hint=hint
            ) from error

    def read(self, path: str, limit: int = MAX_FILE) -> bytes | None:
        """The bytes of the regular host file `path`, links in its directory resolved.

        Raises PhoenixError for anything else there, and for more than `limit` bytes.
        """
        parent, name = os.path.split(path)
        directory = self.directory(parent)
        if directory is None:
            return None
        with directory:
            return directory.read(name, limit)

    def content(self, path: str) -> bytes | list[str] | None:
        """What a program that follows links finds at `path`: a file's bytes, or a directory's names.

        None where there is nothing, or nothing that can be read.
        """
        try:
            real = self.root.locate(path)
            folder, name = (real, "") if os.path.isdir(real) else os.path.split(real)
            with Directory(path, folder, folder) as directory:
                return directory.read(name) if name else directory.names()
        except (OSError, PhoenixError):
            return None

    def exists(self, path: str) -> bool:
        return os.path.exists(self.root.locate(path))

    def lexists(self, path: str) -> bool:
        """Whether anything is at `path`, a dangling link too."""
        return os.path.lexists(self.root.locate(path, follow_last=False))

    def lock(
        self, path: str, *, timeout: float, what: str, private: bool = False
    ) -> AbstractContextManager[None]:
        """Hold the lock file at host path `path`; `private`: in a directory of root's alone."""
        from phoenix_hypervisor.host.locks import exclusive

        # /run/lock is open to all: a link that somebody put there is not followed.
        real = self.root.locate(path, follow_last=False)

        def waiting() -> None:
            if self.waiting is not None:
                self.waiting(path, timeout)

        return exclusive(real, timeout=timeout, what=what, private=private, waiting=waiting)

    def cluster_lock(self, path: str, *, what: str) -> AbstractContextManager[None]:
        """Hold the lock directory at host path `path`, which all nodes of a cluster see."""
        from phoenix_hypervisor.host.dirlock import TIMEOUT, held

        def waiting() -> None:
            if self.waiting is not None:
                self.waiting(path, TIMEOUT)

        return held(self.root.locate(path), what=what, timeout=TIMEOUT, waiting=waiting)

    def is_locked(self, path: str) -> bool:
        """Whether somebody holds that lock now; for reports only."""
        from phoenix_hypervisor.host.locks import is_held

        return is_held(self.root.locate(path, follow_last=False))
