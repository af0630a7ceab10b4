"""Opens every writable file of the host's /proc and /sys for writing, under every name that it can be given.

Owns the ways to a name.  Nothing is written and nothing truncated: that a file can be opened for writing counts.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator

from efficacy.inside.escapes import DETACH, Elsewhere
from efficacy.inside.files import folder
from efficacy.inside.mounts import (
    BIND,
    MOVE,
    NODEV,
    NOEXEC,
    NOSUID,
    RDONLY,
    REC,
    attach,
    cloned,
    detached,
    mount,
    umount,
    writable,
)

OPEN = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
OWN = {"proc": "/proc", "sysfs": "/sys"}
ON_TOP = {
    "debugfs": "/sys/kernel/debug",
    "tracefs": "/sys/kernel/tracing",
    "securityfs": "/sys/kernel/security",
    "configfs": "/sys/kernel/config",
    "fusectl": "/sys/fs/fuse/connections",
    "binfmt_misc": "/proc/sys/fs/binfmt_misc",
}
NESTING = {"proc": "/dev/.lxc/proc", "sysfs": "/dev/.lxc/sys"}
PLACES = (
    "/mnt/s/",
    "/var/lib/docker/overlay2/s/merged/",
    "/run/systemd/mount-rootfs/",
    "/usr/lib/x86_64-linux-gnu/lxc/rootfs/",
    "/newroot/",
)
"""Where profiles may allow a procfs or sysfs; its last name is proc or sys."""
PLAIN = ("/run/systemd/namespace-abcdef", "/mnt/s/x")
KEPT = 200
"""Names that are told of one way."""


class OutOfTime(Exception):
    """What was found so far is told."""


class Sweep:
    """What was tried and opened, by way."""

    def __init__(self, files: dict[str, list[str]], limit: float) -> None:
        self.files = {fstype: paths for fstype, paths in files.items() if paths}
        self.end = time.monotonic() + limit
        self.tried: dict[str, int] = {}
        self.opened: dict[str, set[str]] = {}
        self.names: dict[str, list[str]] = {}
        self.mounts: dict[str, int] = {}
        self.cut = ""

    def open(self, way: str, fstype: str, path: str, name: str, at: int | None = None) -> None:
        """One file of the host's, under one name."""
        self.tried[way] = self.tried.get(way, 0) + 1
        try:
            os.close(os.open(name, OPEN, dir_fd=at))
        except OSError:
            return
        found = self.opened.setdefault(way, set())
        identity = f"{fstype}:{path}"
        if identity not in found:
            found.add(identity)
            if len(found) <= KEPT:
                self.names.setdefault(way, []).append(f"{identity} as {name}")

    def tick(self, way: str) -> None:
        """OutOfTime once the time is over."""
        if time.monotonic() > self.end:
            self.cut = way
            raise OutOfTime

    def below(self, way: str, fstype: str, top: str, directory: str = "", at: int | None = None) -> None:
        """All files of `directory` of a file system that `top` (or the descriptor) shows."""
        self.mounts[way] = self.mounts.get(way, 0) + 1
        self.tick(way)
        skip = len(directory) + 1 if directory else 0
        for path in self.files[fstype]:
            if path.startswith(f"{directory}/" if directory else ""):
                rest = path[skip:]
                self.open(way, fstype, path, os.path.join(top, rest) if top else rest, at)

    def directories(self, fstype: str) -> list[str]:
        """Every directory that has such a file below it, the root as an empty text."""
        found = {""}
        for path in self.files[fstype]:
            while path := os.path.dirname(path):
                found.add(path)
        return sorted(found)

    def roots(self) -> Iterator[tuple[str, str]]:
        """Where the container has each file system by name."""
        for fstype, place in (*OWN.items(), *ON_TOP.items(), *NESTING.items()):
            if fstype in self.files and any(
                os.path.lexists(f"{place}/{path}") for path in self.files[fstype][:3]
            ):
                yield fstype, place

    # The ways ------------------------------------------------------------------------------------------

    def by_name(self) -> None:
        for fstype, place in self.roots():
            self.below(_named(place), fstype, place)
        for line in _mountinfo():
            if line.startswith(("/proc", "/sys", "/dev/.lxc")):
                with contextlib.suppress(OSError):
                    writable(line)
        for fstype, place in self.roots():
            self.below(f"{_named(place)}, mounts made writable", fstype, place)

    def by_open_tree(self) -> None:
        for fstype, place in self.roots():
            for directory in self.directories(fstype):
                with contextlib.suppress(OSError), _descriptor(cloned(os.path.join(place, directory))) as fd:
                    self.below("by open_tree", fstype, "", directory, fd)
            for path in self.files[fstype]:
                with contextlib.suppress(OSError), _descriptor(cloned(os.path.join(place, path))) as fd:
                    self.open("by open_tree of the file", fstype, path, f"/proc/self/fd/{fd}")

    def by_fsopen(self) -> None:
        for fstype in self.files:
            with contextlib.suppress(OSError), _descriptor(detached(fstype)) as fd:
                self.below("by fsopen", fstype, "", "", fd)
        for fstype, place in _places(self.files):
            with contextlib.suppress(OSError):
                attach(detached(fstype), place)
                self.below("by fsopen, attached", fstype, place)
                self._parts("by fsopen, attached, a part bound", fstype, place)
                umount(place, DETACH)

    def by_bind(self, other: Elsewhere) -> None:
        for fstype, place in self.roots():
            for directory in self.directories(fstype):
                self.tick("by bind")
                source = os.path.join(place, directory).rstrip("/")
                for target in _targets(source, deep=directory.count("/") > 1):
                    self._bound(other, fstype, source, directory, target)
            target = "/tmp/sweep-file"
            with open(target, "w"):
                pass
            for path in self.files[fstype]:
                self.tick("by bind of the file")
                with contextlib.suppress(OSError):
                    mount(os.path.join(place, path), target, None, BIND)
                    self.open("by bind of the file", fstype, path, target)
                    umount(target, DETACH)

    def _bound(self, other: Elsewhere, fstype: str, source: str, directory: str, target: str) -> None:
        for flags in (BIND, BIND | REC) if "/" not in directory else (BIND,):
            with contextlib.suppress(OSError):
                mount(source, target, None, flags)
                with contextlib.suppress(OSError):
                    writable(target)
                self.below("by bind", fstype, target, directory)
                new = target
                if target != source:
                    with contextlib.suppress(OSError):
                        new = other.rename(target, f"{os.path.dirname(target)}/renamed")
                        self.below("by bind, renamed", fstype, new, directory)
                        if directory.count("/") < 2 and not target.startswith("/mnt/part"):
                            self._parts("by bind, renamed, a part bound", fstype, new, directory)
                        other.rename(new, target)
                        new = target
                with contextlib.suppress(OSError):
                    mount(new, folder("/mnt/moved"), None, MOVE)
                    self.below("by bind, moved", fstype, "/mnt/moved", directory)
                    umount("/mnt/moved", DETACH)
                    continue
                umount(new, DETACH)

    def by_second_mount(self, other: Elsewhere) -> None:
        for fstype, place in _places(self.files):
            for flags in (0, RDONLY | NOSUID | NODEV | NOEXEC):
                with contextlib.suppress(OSError):
                    mount(fstype, place, fstype, flags)
                    with contextlib.suppress(OSError):
                        writable(place)
                    self.below("by second mount", fstype, place)
                    self._parts("by second mount, a part bound", fstype, place)
                    if not flags and place not in (*OWN.values(), *ON_TOP.values(), *NESTING.values()):
                        self._renamed(other, fstype, place)
                    umount(place, DETACH)

    def _renamed(self, other: Elsewhere, fstype: str, place: str) -> None:
        parent = os.path.dirname(place)
        for old, new, top in (
            (place, f"{parent}/renamed", f"{parent}/renamed"),
            (
                parent,
                f"{os.path.dirname(parent)}/renamed",
                f"{os.path.dirname(parent)}/renamed/{os.path.basename(place)}",
            ),
        ):
            with contextlib.suppress(OSError):
                other.rename(old, new)
                self.below("by renamed mount", fstype, top)
                self._parts("by renamed mount, a part bound", fstype, top)
                other.rename(new, old)

    def _parts(self, way: str, fstype: str, top: str, below: str = "") -> None:
        """Bind every directory of a mount, which shows `below`, under a name that says nothing."""
        skip = len(below) + 1 if below else 0
        for directory in self.directories(fstype):
            if not directory.startswith(f"{below}/" if below else "") or not directory[skip:]:
                continue
            for target in ("/mnt/part", f"/mnt/q/{os.path.basename(directory)}"):
                with contextlib.suppress(OSError):
                    mount(os.path.join(top, directory[skip:]), target, None, BIND)
                    self.below(way, fstype, target, directory)
                    umount(target, DETACH)


def sweep(files: dict[str, list[str]], moved: dict[str, list[str]], limit: float) -> str:
    """All ways, those by mounts for `moved` alone; JSON of what each way tried, opened, and (at most KEPT) which names."""
    for name in PLACES:
        with contextlib.suppress(OSError):
            folder(name)
    for name in ("/mnt/part", "/mnt/moved", "/mnt/q", *PLAIN):
        folder(name)
    other = Elsewhere()
    work = Sweep(files, limit)
    with contextlib.suppress(OutOfTime):
        work.by_name()
        work.by_open_tree()
        work.by_fsopen()
        work.files = {fstype: paths for fstype, paths in moved.items() if paths}
        work.by_second_mount(other)
        work.by_bind(other)
    ways = {
        way: {
            "mounts": work.mounts.get(way, 0),
            "tried": tried,
            "opened": len(work.opened.get(way, ())),
            "names": work.names.get(way, []),
        }
        for way, tried in work.tried.items()
    }
    everything = set().union(*work.opened.values())
    answer = {
        "files": {fstype: len(paths) for fstype, paths in files.items()},
        "opened": len(everything),
        "opened_names": sorted(everything)[:KEPT],
        "ways": ways,
        "cut": work.cut,
    }
    return json.dumps(answer)


def _named(place: str) -> str:
    return "by name in nesting's own /dev/.lxc" if place in NESTING.values() else "by name"


@contextlib.contextmanager
def _descriptor(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


def _mountinfo() -> list[str]:
    with open("/proc/self/mountinfo") as file:
        return [line.split()[4] for line in file]


def _places(files: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    for fstype in files:
        if fstype in OWN:
            name = OWN[fstype].strip("/")
            for place in PLACES:
                yield fstype, place + name
            yield fstype, OWN[fstype]
            yield fstype, NESTING[fstype]
        else:
            yield fstype, ON_TOP[fstype]
        for place in PLAIN:
            yield fstype, place


def _targets(source: str, *, deep: bool) -> Iterator[str]:
    """Under a name that says nothing, under its own last name, and where runtimes and systemd have it."""
    yield "/mnt/part"
    yield f"/mnt/q/{os.path.basename(source)}"
    if not deep:
        yield source
        yield f"/run/systemd/mount-rootfs{source}"
        yield f"/var/lib/docker/s{source}"
