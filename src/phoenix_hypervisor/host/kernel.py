"""What the kernel says: loaded profiles, AppArmor's features, labels of processes.

Owns reading securityfs and /proc below the root.  Must not judge what it reads, and
must not write: policy is loaded by apparmor_parser.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from phoenix_hypervisor.host.root import Root
from phoenix_hypervisor.values import dataclass

SECURITYFS = "/sys/kernel/security/apparmor"

_PROFILE_LINE = rb"^(?P<name>.+) \((?P<mode>[a-z]+)\)$"


@dataclass(frozen=True, slots=True)
class Process:
    """One process, as the host sees it."""

    pid: int
    label: str
    """The AppArmor label with its mode, `lxc-x (enforce)`; empty where unreadable."""
    depth: int
    """How many PID namespaces deep it is (1: the host's own)."""
    is_init: bool
    """PID 1 of its innermost PID namespace."""


def init_of(processes: Sequence[Process]) -> Process | None:
    """A container's own PID 1: the outermost one, as nested containers have theirs too."""
    inits = [p for p in processes if p.is_init]
    if inits:
        return min(inits, key=lambda p: (p.depth, p.pid))
    return min(processes, key=lambda p: p.pid, default=None)


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def _unescaped(name: bytes) -> bytes:
    """The kernel writes blanks and the like in octal (fs/proc_namespace.c: mangle)."""
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), name)


def _label(directory: str) -> str:
    # attr/apparmor/current is the LSM's own file; attr/current may belong to another one.
    data = _read(f"{directory}/attr/apparmor/current")
    if data is None:
        data = _read(f"{directory}/attr/current")
    return (data or b"").rstrip(b"\n\0").decode("utf-8", "surrogateescape")


def _owner(path: str) -> int | None:
    try:
        return os.stat(path).st_uid
    except OSError:
        return None


class Kernel:
    """The kernel of the host below `root`; a directory host has whatever files are there."""

    def __init__(self, root: Root) -> None:
        self._root = root

    def loaded_profiles(self) -> dict[str, str] | None:
        """Mode (`enforce`, `complain`, ...) by profile name; None where that is unknown.

        Source: securityfs `apparmor/profiles`, one `name (mode)` a line.
        """
        data = _read(self._root.locate(f"{SECURITYFS}/profiles"))
        if data is None:
            return None
        found: dict[str, str] = {}
        for line in data.split(b"\n"):
            match = re.match(_PROFILE_LINE, line)
            if match:
                found[match["name"].decode("utf-8", "surrogateescape")] = match["mode"].decode()
        return found

    def has_apparmor(self) -> bool:
        """Whether AppArmor is on, as `/sys/module/apparmor/parameters/enabled` says."""
        value = _read(self._root.locate("/sys/module/apparmor/parameters/enabled"))
        mounted = os.path.exists(self._root.locate(f"{SECURITYFS}/features"))
        return mounted or (value is not None and value.strip() == b"Y")

    def features(self) -> dict[str, frozenset[str]] | None:
        """Words of each file below securityfs `apparmor/features`, by its path there; None without it."""
        top = self._root.locate(f"{SECURITYFS}/features")
        found: dict[str, frozenset[str]] = {}
        for folder, _, names in os.walk(top):
            for name in names:
                data = _read(os.path.join(folder, name))
                if data is not None:
                    path = os.path.relpath(os.path.join(folder, name), top)
                    found[path] = frozenset(data.decode("utf-8", "surrogateescape").split())
        return found or None

    def release(self) -> str:
        """`uname -r` of the running kernel; empty for a directory host."""
        return os.uname().release if self._root.is_live else ""

    def grouped_processes(self, group: Callable[[bytes], str | None]) -> dict[str, list[Process]] | None:
        """The processes of this host by the group that `group` makes of their cgroups; None: of none.

        None where /proc of the root is not filled.
        """
        proc = self._root.locate("/proc")
        try:
            pids = [int(name) for name in os.listdir(proc) if name.isdigit()]
        except OSError:
            return None
        if not pids:
            return None
        found: dict[str, list[Process]] = {}
        for pid in sorted(pids):
            cgroups = _read(f"{proc}/{pid}/cgroup")
            name = group(cgroups) if cgroups is not None else None
            if name is not None:
                found.setdefault(name, []).append(self._process(proc, pid))
        return found

    def commands(self, pids: Iterable[int]) -> set[str]:
        """The names of these processes; anybody can name a process anything."""
        proc = self._root.locate("/proc")
        found = (_read(f"{proc}/{pid}/comm") for pid in pids)
        return {name.strip().decode("utf-8", "replace") for name in found if name}

    def started(self, pid: int) -> float | None:
        """When a process began, in seconds since 1970, by the clock as it is now; None where it has ended.

        Source: proc(5), field 22 of stat, in ticks since boot; the name before it may hold anything.
        """
        stat = _read(f"{self._root.locate('/proc')}/{pid}/stat")
        fields = (stat or b"").rpartition(b")")[2].split()
        if len(fields) < 20 or not fields[19].isdigit():
            return None
        since_boot = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + since_boot

    def ambient(self, pid: int) -> tuple[bytes, int]:
        """The name of a process, and its ambient capabilities as bits; no bits where it has ended.

        Source: proc(5), status: Name, and CapAmb in hexadecimal.
        """
        lines = (_read(f"{self._root.locate('/proc')}/{pid}/status") or b"").split(b"\n")
        found = dict(line.split(b":\t", 1) for line in lines if b":\t" in line)
        return found.get(b"Name", b""), int(found.get(b"CapAmb", b"0"), 16)

    def mounts(self, pid: int) -> list[tuple[bytes, bytes]]:
        """Target and file system of each mount that a process sees; empty where that cannot be read."""
        lines = (_read(f"{self._root.locate('/proc')}/{pid}/mounts") or b"").splitlines()
        return [(_unescaped(words[1]), words[2]) for words in map(bytes.split, lines) if len(words) > 2]

    def own_commands(self) -> Iterator[tuple[bytes, bytes]]:
        """Command line and cgroups of every process of our user's: anybody can name a process anything."""
        proc = self._root.locate("/proc")
        try:
            pids = [name for name in os.listdir(proc) if name.isdigit()]
        except OSError:
            return
        for pid in pids:
            command = _read(f"{proc}/{pid}/cmdline") or b""
            if command and _owner(f"{proc}/{pid}") == os.geteuid():
                yield command, _read(f"{proc}/{pid}/cgroup") or b""

    def labels(self) -> dict[int, str]:
        """The label of every process of the host, by PID; unreadable ones are left out."""
        proc = self._root.locate("/proc")
        try:
            pids = [int(name) for name in os.listdir(proc) if name.isdigit()]
        except OSError:
            return {}
        labels = ((pid, _label(f"{proc}/{pid}")) for pid in sorted(pids))
        return {pid: label for pid, label in labels if label}

    @staticmethod
    def _process(proc: str, pid: int) -> Process:
        depth, is_init = 1, False
        for line in (_read(f"{proc}/{pid}/status") or b"").split(b"\n"):
            if line.startswith(b"NSpid:"):
                numbers = line.split()[1:]
                depth, is_init = len(numbers), numbers[-1:] == [b"1"]
        return Process(pid, _label(f"{proc}/{pid}"), depth, is_init)
