"""Where finished images live, and how half-made ones never come to be used.

Owns the cache directory: private work directories, publication by rename, locks, pruning.
Locks are flocks only, so the kernel drops them with their holder; a work directory whose lock is
free belongs to a dead process and is removed by the next call.  Must not know what an image holds.

    CACHE/images/RELEASE-KEY/           a finished image
    CACHE/current/RELEASE-RECIPE        names the image that a recipe last gave
    CACHE/work/NAME/                    somebody's work, `lock` held while they live
    CACHE/run/NAME/                     a detached lab, `lock` held while it runs
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.process import ProcessRunner


def cache_root() -> Path:
    """PHOENIX_LAB_CACHE, else `~/.cache/phoenix/lab` (XDG_CACHE_HOME is honoured)."""
    given = os.environ.get("PHOENIX_LAB_CACHE")
    if given:
        return Path(given).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base).absolute() / "phoenix" / "lab"


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False, timeout: float = 0.0, what: str = "") -> Iterator[None]:
    """Hold an flock on `path`, waiting at most `timeout` seconds; PhoenixError where it stays taken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        end = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(fd, mode | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise PhoenixError(
                        f"{what or path.name} is in use by another phoenix",
                        where=str(path),
                        hint="wait for it to finish, or stop it",
                    ) from None
                time.sleep(0.1)
        yield
    finally:
        os.close(fd)


def is_locked(path: Path) -> bool:
    """Whether somebody alive holds the flock on `path`."""
    try:
        # Shared, so that two who look do not take each other for a holder.
        with locked(path, shared=True):
            return False
    except PhoenixError:
        return True


def remove(path: Path) -> None:
    """Remove a tree, also the part that a build without root left to its range of users."""
    shutil.rmtree(path, ignore_errors=True)
    unshare = shutil.which("unshare")
    if path.exists() and os.geteuid() != 0 and unshare is not None:
        argv = [unshare, "--map-root-user", "--map-auto", "--", "rm", "-rf", "--", str(path)]
        ProcessRunner().run(argv, timeout=120)


class Cache:
    """One cache directory."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or cache_root()
        self.images = self.root / "images"
        self.current = self.root / "current"
        self.work = self.root / "work"
        self.run = self.root / "run"

    @contextlib.contextmanager
    def workdir(self, name: str) -> Iterator[Path]:
        """A private directory that is gone afterwards, also (by the next call) after SIGKILL."""
        path = self.work / f"{name}-{os.getpid()}-{secrets.token_hex(4)}"
        with contextlib.ExitStack() as stack:
            with locked(self.root / "work.lock", timeout=30, what="the lab's cache"):
                self._sweep(self.work)
                path.mkdir(parents=True)
                stack.enter_context(locked(path / "lock"))
            try:
                yield path
            finally:
                remove(path)

    def sweep(self) -> None:
        """Remove what dead processes left."""
        with locked(self.root / "work.lock", timeout=30, what="the lab's cache"):
            self._sweep(self.work)
            self._sweep(self.run)

    @staticmethod
    def _sweep(directory: Path) -> None:
        if not directory.is_dir():
            return
        for path in directory.iterdir():
            if not is_locked(path / "lock"):
                remove(path)

    def publish(self, made: Path, final: Path) -> None:
        """Move a finished directory to its place at once; an equal one already there wins."""
        for path in sorted(made.rglob("*")):
            if path.is_file():
                _fsync(path)
        _fsync(made)
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            made.rename(final)
        except OSError:
            if not final.is_dir():
                raise
        _fsync(final.parent)

    def point(self, name: str, image: Path) -> None:
        """Make `image` the one that `name` stands for."""
        self.current.mkdir(parents=True, exist_ok=True)
        link = self.current / f".{name}-{secrets.token_hex(4)}"
        link.symlink_to(os.path.relpath(image, self.current))
        link.replace(self.current / name)

    def pointed(self, name: str) -> Path | None:
        """The image that `name` stands for, where there is one."""
        link = self.current / name
        return link.resolve() if link.is_dir() else None

    def prune(self, release: str, keep: Path) -> None:
        """Remove the release's other images, except where a lab is using one."""
        for path in self.images.glob(f"{release}-*"):
            if path == keep:
                continue
            with contextlib.suppress(PhoenixError), locked(path / "use.lock"):
                shutil.rmtree(path, ignore_errors=True)
        for link in self.current.glob(f"{release}-*"):
            if not link.exists():
                link.unlink(missing_ok=True)


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
