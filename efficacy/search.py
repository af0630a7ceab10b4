"""`python -m efficacy.search POLICY`: what a compiled profile leaves open of this machine's /proc and /sys, without a lab.

Asks the compiled policy for every writable file, by every name that binds and renamed mounts can give it, to the
end: a directory that may be bound somewhere can stand anywhere, and so can what may be bound out of it.  Seconds,
where the lab takes minutes; the kernel's own answer is the sweep's.  Must not open any of the files.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from efficacy import known
from efficacy.outside.lists import CONTAINERS, writable_below
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.queries import FileQuery, MountQuery
from phoenix_hypervisor.policy.reader import read_policy

OWN = {"proc": "/proc", "sysfs": "/sys"}
ANYWHERE = "/x"
"""Stands for a name that says nothing: a mount point that was renamed."""
BEFORE = (
    "",
    "/dev/.lxc",
    "/mnt/s",
    "/run/systemd/mount-rootfs",
    "/run/systemd/unit-root",
    "/var/lib/docker/overlay2/s/merged",
)
"""In front of a whole procfs or sysfs."""
WRITE, BIND = 2, 4096


class Search:
    """What one profile lets be opened; paths are below the file system's own root."""

    def __init__(self, evaluator: Evaluator, files: dict[str, list[str]]) -> None:
        self._evaluator, self.files = evaluator, files

    def may_write(self, name: str) -> bool:
        return self._evaluator.ask(FileQuery(name.encode(), WRITE)).allowed

    def may_mount(self, source: str, target: str, fstype: str | None = None) -> bool:
        kind = fstype.encode() if fstype else None
        flags = 0 if fstype else BIND
        return self._evaluator.ask(MountQuery(source.encode(), target.encode(), kind, flags)).allowed

    def below(self, fstype: str, top: str, directory: str = "") -> set[str]:
        """Files of `directory` that may be written where `top` shows it."""
        skip = len(directory) + 1 if directory else 0
        start = f"{directory}/" if directory else ""
        return {p for p in self.files[fstype] if p.startswith(start) and self.may_write(f"{top}/{p[skip:]}")}

    def directories(self, fstype: str) -> list[str]:
        found = set()
        for path in self.files[fstype]:
            while path := os.path.dirname(path):
                found.add(path)
        return sorted(found)

    def movable(self, fstype: str) -> set[str]:
        """Directories whose mount point can get any name; the root as an empty text."""
        own = OWN[fstype]
        whole = any(
            self.may_mount(fstype, f"{before}{own}/", fstype) or self.may_mount(f"{own}/", f"{before}{own}/")
            for before in BEFORE[2:]
        )
        found = {""} if whole else set()
        directories = self.directories(fstype)
        todo = [""]
        while todo:
            top = todo.pop()
            for directory in directories:
                inside = not top or directory.startswith(f"{top}/")
                if directory not in found and inside and self._bindable(fstype, top, directory, whole):
                    found.add(directory)
                    todo.append(directory)
        return found

    def _bindable(self, fstype: str, top: str, directory: str, whole: bool) -> bool:
        rest = directory[len(top) + 1 :] if top else directory
        sources = [f"{ANYWHERE}/{rest}/"] if top or whole else []
        if not top:
            sources += [f"{before}{OWN[fstype]}/{rest}/" for before in BEFORE]
        return any(self.may_mount(s, t) for s in sources for t in self._targets(fstype, directory) if s != t)

    def _targets(self, fstype: str, directory: str) -> Iterable[str]:
        name = os.path.basename(directory)
        yield "/mnt/b/"
        for below in (name, directory, f"proc/{name}", f"sys/{name}", f"sys/fs/{name}", f"sys/kernel/{name}"):
            yield f"/mnt/q/{below}/"
        for before in BEFORE[2:]:
            yield f"{before}{OWN[fstype]}/{directory}/"

    def alone(self, fstype: str, movable: set[str]) -> set[str]:
        """Files that may be bound by themselves to a name that says nothing, or to their own, which is then changed."""
        if not self.may_write(ANYWHERE):
            return set()
        found = set()
        for path in self.files[fstype]:
            sources = [f"{OWN[fstype]}/{path}", f"{ANYWHERE}/{path}"]
            sources += [f"{ANYWHERE}/{path[len(d) + 1 :]}" for d in movable if d and path.startswith(f"{d}/")]
            targets = ("/mnt/b", f"/mnt/q/{os.path.basename(path)}", f"/mnt/q/{path}")
            # A name that must not be written cannot be made, nor changed afterwards.
            if any(self.may_write(t) and self.may_mount(s, t) for s in sources for t in targets):
                found.add(path)
        return found

    def ways(self, fstype: str) -> Iterable[tuple[str, set[str]]]:
        """Each way, and the files that it opens."""
        for before in BEFORE:
            yield f"{fstype} at {before}{OWN[fstype]}", self.below(fstype, f"{before}{OWN[fstype]}")
        yield f"{fstype}, detached", self.below(fstype, "/.detached")
        movable = self.movable(fstype)
        for directory in sorted(movable):
            yield f"{fstype}/{directory} under any name", self.below(fstype, ANYWHERE, directory)
        yield f"{fstype}, files bound alone", self.alone(fstype, movable)


def files_here() -> dict[str, list[str]]:
    """The writable files of this machine that are the host's."""
    return {
        fstype: [path for path in writable_below(top) if not CONTAINERS[fstype].match(path)]
        for fstype, top in OWN.items()
    }


def main() -> int:
    """0 where nothing is open but what known.py names, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="efficacy.search", description=__doc__)
    parser.add_argument("policy", type=Path, help="A compiled profile (apparmor_parser -QK -o).")
    given = parser.parse_args()
    search = Search(Evaluator(read_policy(given.policy.read_bytes()).profiles[0]), files_here())
    everything: set[str] = set()
    for fstype in OWN:
        for way, opened in search.ways(fstype):
            left = {f"{fstype}:{path}" for path in opened} - everything
            left = {name for name in left if not known.reason(name)}
            everything |= left
            if left:
                print(f"{way}: {len(left)} more, {'; '.join(sorted(left)[:8])}")
    count = sum(len(paths) for paths in search.files.values())
    print(f"{given.policy.name}: {len(everything)} of {count} files open")
    return 1 if everything else 0


if __name__ == "__main__":
    sys.exit(main())
