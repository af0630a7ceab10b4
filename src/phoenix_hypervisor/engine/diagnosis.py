"""What a machine is: the facts of `phoenix doctor`.

Owns reading them, as far as whoever asks may.  Needs the standard library only, and no configuration.
What cannot be seen is None or says why; nothing is raised.  Must not judge what is required.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping

from phoenix_hypervisor.containers.runtimes.registry import kind_of
from phoenix_hypervisor.engine.debian import packages
from phoenix_hypervisor.engine.journal import Journal
from phoenix_hypervisor.engine.places import belonging, find_config
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.plan.kernel_holes import Open, open_holes
from phoenix_hypervisor.plan.mediation import Gap, gaps, read_dump
from phoenix_hypervisor.values import dataclass

ABI = "abi/phoenix"
"""The features that the shipped profiles are written for, among their sources."""
PACKAGES = ("pve-manager", "pve-container", "lxc-pve", "lxc", "apparmor")
MIN_IDS = 65536
_NODE = r"nvidia[0-9]+|nvidiactl|nvidia-modeset|nvidia-uvm|nvidia-uvm-tools|kfd"
_FIXED_MAJOR = 195
"""NVIDIA's, of all its nodes but nvidia-uvm and nvidia-caps, whose numbers the kernel gives out."""


@dataclass(frozen=True, slots=True)
class Node:
    """A device node of a GPU."""

    path: str
    major: int
    minor: int
    expected: int | None = None
    """The major number that its driver has now; None: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One machine, as far as it can be seen."""

    system: str
    """As /etc/os-release says."""
    packages: Mapping[str, str]
    """Version by name, of those of PACKAGES that are installed."""
    runtime: str | None
    """What runs containers here; None: nothing does."""
    release: str
    holes: tuple[Open, ...] | None
    """None: this kernel's numbers do not say which fixes it has."""
    unmediated: tuple[Gap, ...] | None
    """None: no kernel says."""
    nodes: tuple[Node, ...]
    driver: str | None
    """NVIDIA's kernel module, where it is loaded."""
    subids: Mapping[str, bool]
    """By file, whether root has a range that an unprivileged container can use."""
    read_only: str | None
    """Why /etc/pve or its like cannot be written; None: it can."""
    unfinished: str | None
    """A transaction that a killed run left."""
    unseen: str | None
    """Why the journal cannot be read."""
    configuration: str | None
    """The file that declares."""
    choice: str | None
    """Why no configuration counts although there are some."""


def diagnose(host: Host, config: str | None) -> Machine:
    """All of it; `config` is the file that was named, if any."""
    configuration, choice = _configuration(host, config)
    unfinished, unseen = _unfinished(host)
    uname = os.uname()
    kind = kind_of(host)
    return Machine(
        system=_system(host),
        packages=packages(host, PACKAGES),
        runtime=kind.title if kind.found(host) else None,
        release=uname.release,
        holes=open_holes(uname.release, uname.version),
        unmediated=_unmediated(host, configuration),
        nodes=tuple(_nodes(host)),
        driver=_driver(host),
        subids={path: _has_range(host, path) for path in ("/etc/subuid", "/etc/subgid")},
        read_only=_read_only(host),
        unfinished=unfinished,
        unseen=unseen,
        configuration=configuration,
        choice=choice,
    )


def _text(host: Host, path: str) -> str:
    data = host.content(path)
    return data.decode("utf-8", "replace") if isinstance(data, bytes) else ""


def _system(host: Host) -> str:
    match = re.search(r'(?m)^PRETTY_NAME="?([^"\n]*)', _text(host, "/etc/os-release"))
    return match[1] if match is not None else ""


def _unmediated(host: Host, configuration: str | None) -> tuple[Gap, ...] | None:
    kernel = host.kernel.features()
    if kernel is None:
        return None
    folder = belonging(host, configuration, "apparmor")
    written_for = None
    try:
        with open(os.path.join(folder, ABI), "rb") as file:
            written_for = read_dump(file.read())
    except (OSError, ValueError):
        pass
    return tuple(gaps(kernel, written_for))


def _nodes(host: Host) -> Iterable[Node]:
    devices = _text(host, "/proc/devices")
    majors = {name: int(major) for major, name in re.findall(r"(?m)^\s*([0-9]+) (nvidia\S*)$", devices)}
    for folder in ("/dev", "/dev/dri", "/dev/nvidia-caps"):
        names = host.content(folder)
        for name in sorted(names) if isinstance(names, list) else ():
            if folder == "/dev" and not re.fullmatch(_NODE, name):
                continue
            path = f"{folder}/{name}"
            try:
                info = os.stat(host.root.locate(path))
            except (OSError, PhoenixError):
                continue
            if not stat.S_ISCHR(info.st_mode):
                continue
            driver = _DRIVERS.get(name, "nvidia-caps" if "caps" in folder else "")
            fixed = _FIXED_MAJOR if name.startswith("nvidia") and not driver else None
            yield Node(path, os.major(info.st_rdev), os.minor(info.st_rdev), majors.get(driver, fixed))


_DRIVERS = {"nvidia-uvm": "nvidia-uvm", "nvidia-uvm-tools": "nvidia-uvm"}
"""As /proc/devices calls what gets another major number at each boot."""


def _driver(host: Host) -> str | None:
    text = _text(host, "/proc/driver/nvidia/version")
    if not text:
        return None
    match = re.search(r"Kernel Module\s.*?\b([0-9]+\.[0-9.]+)", text)
    return match[1] if match is not None else "unknown"


def _has_range(host: Host, path: str) -> bool:
    ranges = re.findall(r"(?m)^(?:root|0):[0-9]+:([0-9]+)\s*$", _text(host, path))
    return any(int(count) >= MIN_IDS for count in ranges)


def _read_only(host: Host) -> str | None:
    try:
        found = kind_of(host).build(host).read_only()
    except PhoenixError as error:
        return str(error).replace("\n  next:", ";")
    return None if found is None else found.cause


def _unfinished(host: Host) -> tuple[str | None, str | None]:
    try:
        entry = Journal(host).unfinished()
    except PhoenixError as error:
        return None, str(error).replace("\n  next:", ";")
    if entry is None or Journal(host).is_alive(entry):
        return None, None
    return f"transaction {entry.id} of {entry.header.time} ({' '.join(entry.header.command)})", None


def _configuration(host: Host, config: str | None) -> tuple[str | None, str | None]:
    try:
        return find_config(host, config), None
    except PhoenixError as error:
        return None, error.message if error.where is None else f"{error.where}: {error.message}"
