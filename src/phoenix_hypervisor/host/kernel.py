"""What the kernel says: loaded profiles, AppArmor's features, labels of processes.

Owns reading securityfs and /proc below the root.  Must not judge what it reads, and
must not write: policy is loaded by apparmor_parser.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from phoenix_hypervisor.host.root import Root

LXC_DIR = "/var/lib/lxc"
SECURITYFS = "/sys/kernel/security/apparmor"

_PROFILE_LINE = re.compile(rb"^(?P<name>.+) \((?P<mode>[a-z]+)\)$")
_NUMBERED = re.compile(r"(.+)-[1-9][0-9]*")
# From the root of the hierarchy on: whoever may make cgroups further down, a container in its own
# or a user in theirs, can give them any name.
_CONTAINER_CGROUP = re.compile(
    rb"^[0-9]+:[^:\n]*:/(?:lxc/(?P<pve>[1-9][0-9]*)|lxc\.payload\.(?P<lxc>[^/\n]+))(?:/|$)", re.MULTILINE
)

# lxc-start in the foreground, as Proxmox's unit runs it, or the title of LXC's monitor (lxccontainer.c).
_MONITOR = re.compile(
    rb"(?:[^\0]*/)?lxc-start\0(?:[^\0]+\0)*?-n\0(?P<started>[^\0]+)\0"
    rb"|\[lxc monitor\] \S+ (?P<daemon>[^\0\s]+)"
)


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a container, as the host sees it."""

    pid: int
    label: str
    """The AppArmor label with its mode, `lxc-x (enforce)`; empty where unreadable."""
    depth: int
    """How many PID namespaces deep it is (2: directly in a container)."""
    is_init: bool
    """PID 1 of its innermost PID namespace."""


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


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
            match = _PROFILE_LINE.match(line)
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

    def container_processes(self) -> dict[str, list[Process]] | None:
        """The processes of every running container, by container name (CTID).

        A process belongs to the outermost container whose payload cgroup it is in: `/lxc/CTID`
        on Proxmox, `/lxc.payload.NAME` with plain LXC, or that with `-1` after it where the name
        was taken, unless a container in /var/lib/lxc is called just so.  Root's lxc-start makes
        it there from wherever it is called (LXC 5.0 and 6.0), but for `lxc.cgroup.relative = 1`,
        whose containers are not seen.  None where /proc of the root is not filled.
        """
        proc = self._root.locate("/proc")
        try:
            pids = [int(name) for name in os.listdir(proc) if name.isdigit()]
        except OSError:
            return None
        if not pids:
            return None
        found: dict[str, list[Process]] = {}
        names: dict[bytes, str] = {}
        for pid in sorted(pids):
            cgroups = _read(f"{proc}/{pid}/cgroup")
            if cgroups is None:
                continue
            match = _CONTAINER_CGROUP.search(cgroups)
            if match is None:
                continue
            name = match["pve"] or match["lxc"]
            if name not in names:
                names[name] = self._container(name.decode("utf-8", "surrogateescape"))
            found.setdefault(names[name], []).append(self._process(proc, pid))
        return found

    def unsettled(self) -> frozenset[str]:
        """The containers that are starting or stopping: LXC's monitor lives, and nothing in them."""
        proc = self._root.locate("/proc")
        try:
            pids = [name for name in os.listdir(proc) if name.isdigit()]
        except OSError:
            return frozenset()
        monitored = set()
        for pid in pids:
            match = _MONITOR.match(_read(f"{proc}/{pid}/cmdline") or b"")
            # Anybody can name a process so; root's are meant.
            if match is None or _owner(f"{proc}/{pid}") != os.geteuid():
                continue
            if not _CONTAINER_CGROUP.search(_read(f"{proc}/{pid}/cgroup") or b""):
                monitored.add((match["started"] or match["daemon"]).decode("utf-8", "surrogateescape"))
        return frozenset(monitored - set(self.container_processes() or {})) if monitored else frozenset()

    def _container(self, payload: str) -> str:
        """Whose payload cgroup it is: LXC appends a number where a cgroup of the name was left."""
        match = _NUMBERED.fullmatch(payload)
        if match is None or os.path.lexists(os.path.join(self._root.locate(LXC_DIR), payload)):
            return payload
        return match[1]

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
