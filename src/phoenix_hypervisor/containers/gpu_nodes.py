"""Which GPUs a host has, read from its /dev, /proc and /sys.

Owns where the drivers say what of them.  Works without any driver and on a directory that holds a host's
files: a plain file stands for a node there, because an ordinary user can make no other.  Must not judge who
may open what: `gpu` does.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.gpu.device_rules import Number
from phoenix_hypervisor.gpu.hardware import (
    DRM_MAJOR,
    Gpu,
    Hardware,
    Node,
    Shared,
    Slice,
    nvidia_number,
)
from phoenix_hypervisor.host.machine import Host

SIGNS = ("/dev/dri", "/dev/kfd", "/dev/nvidiactl", "/proc/driver/nvidia/gpus")
"""Where none of these is, and no nvidiaN, there is no GPU: all that a run at rest looks at."""
_FOLDERS = ("/dev/dri", "/dev/nvidia-caps", "/dev/nvidia-caps-imex-channels")
_VENDORS = {"0x10de": "nvidia", "0x1002": "amd", "0x8086": "intel"}
_NVIDIA = r"nvidia[0-9]+"
_MODES = (0o666, 0o660, 0o600, 0o400, 0o444, 0o440)
"""A file in the place of a node counts with its mode where that is one of a node's."""


def has_gpus(host: Host) -> bool:
    """Whether the host has any GPU's node, or a driver that would make one."""
    return any(map(host.exists, SIGNS)) or any(re.fullmatch(_NVIDIA, name) for name in _names(host, "/dev"))


class Nodes:
    """The device nodes of a host, by their paths; keeps what it looked up."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._found: dict[str, Node | None] = {}
        devices = _text(host, "/proc/devices").partition("Block devices:")[0]
        self.majors = {
            name: int(major) for major, name in re.findall(r"(?m)^\s*([0-9]+) (nvidia\S*|kfd|drm)$", devices)
        }

    def at(self, path: str) -> Node | None:
        """The node at a path of the host, links followed; None where that is none."""
        if path not in self._found:
            self._found[path] = self._look(path)
        return self._found[path]

    def _look(self, path: str) -> Node | None:
        try:
            real = self._host.root.locate(path)
            info = os.stat(real)
        except (OSError, PhoenixError, ValueError):
            return None
        if stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode):
            kind = "c" if stat.S_ISCHR(info.st_mode) else "b"
            return Node(
                path=path,
                number=(kind, os.major(info.st_rdev), os.minor(info.st_rdev)),
                mode=stat.S_IMODE(info.st_mode),
                uid=info.st_uid,
                gid=info.st_gid,
            )
        if not stat.S_ISREG(info.st_mode) or self._host.root.is_live:
            return None
        # A link to it stands for the same node.
        inside = real.removeprefix(self._host.root.base)
        number = self._number(inside)
        if number is None:
            return None
        mode = stat.S_IMODE(info.st_mode)
        usual = mode if mode in _MODES else _usual_mode(inside)
        return Node(path=path, number=number, mode=usual, uid=0, gid=0, assumed=True)

    def _number(self, path: str) -> Number | None:
        """What the driver of a node so called would give it."""
        name = path.removeprefix("/dev/")
        if name == path:
            return None
        match = re.fullmatch(r"dri/(?:card|renderD)([0-9]+)", name)
        if match is not None:
            return "c", DRM_MAJOR, int(match[1])
        if name == "kfd":
            return "c", self.majors.get("kfd", 0), 0
        found = nvidia_number(name, self.majors)
        if found is None and name.startswith("nvidia"):
            # Its driver's number is not known: one that no rule names.
            return "c", 0, sum(name.encode())
        return found


def _usual_mode(path: str) -> int:
    if path.startswith("/dev/nvidia-caps/"):
        return 0o400
    return 0o660 if path.startswith(("/dev/dri/", "/dev/kfd")) else 0o666


def _text(host: Host, path: str) -> str:
    data = host.content(path)
    return data.decode("utf-8", "replace") if isinstance(data, bytes) else ""


def _names(host: Host, path: str) -> list[str]:
    found = host.content(path)
    return sorted(found) if isinstance(found, list) else []


def hardware(host: Host, nodes: Nodes) -> Hardware:
    """All GPUs of the host; an empty one where it has none."""
    if not has_gpus(host):
        return Hardware()
    found = {path: node for path in _paths(host) if (node := nodes.at(path)) is not None}
    minors = _minors(host)
    drm = _drm(host, found)
    gpus = [*_nvidia(host, found, minors, drm)]
    taken = {path for one in gpus for path in one.nodes}
    number = max((one.number for one in gpus), default=-1)
    for bus, paths in sorted(drm.items()):
        own = [path for path in paths if path not in taken]
        if own:
            vendor, model = _vendor(host, own[0])
            if vendor is not None:
                number += 1
                first = next((path for path in own if "/render" in path), own[0])
                also = tuple(path for path in own if path != first)
                shown = bus if ":" in bus else None
                gpus.append(Gpu(number=number, vendor=vendor, needs=first, also=also, model=model, bus=shown))
    slices = {path for gpu in gpus for one in gpu.slices for path in one.nodes}
    shared = tuple(_shared(found, minors, {path for gpu in gpus for path in gpu.nodes} | slices))
    return Hardware(gpus=tuple(gpus), nodes=found, shared=shared, majors=nodes.majors)


def _paths(host: Host) -> Iterator[str]:
    for name in _names(host, "/dev"):
        if re.fullmatch(r"nvidia([0-9]+|ctl|-modeset|-uvm|-uvm-tools|-nvswitch\S*)|kfd", name):
            yield f"/dev/{name}"
    for folder in _FOLDERS:
        for name in _names(host, folder):
            if re.fullmatch(r"(card|renderD|nvidia-cap|channel)[0-9]+", name):
                yield f"{folder}/{name}"


def _minors(host: Host) -> dict[str, str]:
    """The path of the capability node by what it is for: `gpu0/gi1/access`, `config`."""
    lines = re.findall(r"(?m)^(\S+) ([0-9]+)$", _text(host, "/proc/driver/nvidia-caps/mig-minors"))
    return {name: f"/dev/nvidia-caps/nvidia-cap{minor}" for name, minor in lines}


# NVIDIA -----------------------------------------------------------------------------


def _nvidia(
    host: Host, found: Mapping[str, Node], minors: Mapping[str, str], drm: Mapping[str, list[str]]
) -> Iterator[Gpu]:
    known: dict[int, dict[str, str]] = {}
    top = "/proc/driver/nvidia/gpus"
    for bus in _names(host, top):
        said = dict(re.findall(r"(?m)^([^:\n]+):[ \t]*(.*?)[ \t]*$", _text(host, f"{top}/{bus}/information")))
        if said.get("Device Minor", "").isdigit():
            known[int(said["Device Minor"])] = {"Bus Location": bus, **said}
    for path in found:
        match = re.fullmatch(r"/dev/nvidia([0-9]+)", path)
        if match is not None:
            known.setdefault(int(match[1]), {})
    for number, said in sorted(known.items()):
        place = said.get("Bus Location")
        yield Gpu(
            number=number,
            vendor="nvidia",
            needs=f"/dev/nvidia{number}",
            also=tuple(drm.get(place or "", ())),
            uuid=said.get("GPU UUID") or None,
            model=said.get("Model") or None,
            bus=place,
            slices=tuple(_slices(host, number, minors, found)),
        )


def _slices(host: Host, number: int, minors: Mapping[str, str], found: Mapping[str, Node]) -> Iterator[Slice]:
    """The slices that are there: as the driver lists them, else those whose nodes exist."""
    top = f"/proc/driver/nvidia/capabilities/gpu{number}/mig"
    listed = host.exists(top)
    for name, node in minors.items():
        match = re.fullmatch(rf"gpu{number}/gi([0-9]+)(?:/ci([0-9]+))?/access", name)
        if match is None:
            continue
        below = name.removeprefix(f"gpu{number}/")
        if not (host.exists(f"{top}/{below}") if listed else node in found):
            continue
        parent = minors.get(f"gpu{number}/gi{match[1]}/access")
        if match[2] is None or parent is None:
            yield Slice(name=match[1], nodes=(node,))
        else:
            yield Slice(name=f"{match[1]}/{match[2]}", nodes=(parent, node))


# All others -------------------------------------------------------------------------


def _drm(host: Host, found: Mapping[str, Node]) -> dict[str, list[str]]:
    """The nodes below /dev/dri by the bus address of their GPU: as sysfs says, else in their order."""
    by_bus: dict[str, list[str]] = {}
    cards = 0
    for path in found:
        name = path.removeprefix("/dev/dri/")
        if name == path:
            continue
        bus = _bus(host, name)
        if bus is None:
            match = re.fullmatch(r"card([0-9]+)|renderD([0-9]+)", name)
            cards = int(match[1]) if match is not None and match[1] else cards
            bus = f"card{cards}" if match is None or match[1] else f"card{int(match[2]) - 128}"
        by_bus.setdefault(bus, []).append(path)
    return by_bus


def _bus(host: Host, name: str) -> str | None:
    path = f"/sys/class/drm/{name}/device"
    try:
        real = host.root.locate(path)
    except PhoenixError:
        return None
    if not os.path.isdir(real):
        return None
    last = os.path.basename(real)
    return last if re.fullmatch(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", last) else None


def _vendor(host: Host, path: str) -> tuple[str | None, str | None]:
    """Vendor and model of a GPU; no vendor: it only shows pictures, as a server's own console does."""
    place = f"/sys/class/drm/{path.rpartition('/')[2]}/device"
    number = _text(host, f"{place}/vendor").strip()
    if not number:
        return "unknown", None
    vendor = _VENDORS.get(number)
    if vendor is None:
        return None, None
    named = _text(host, f"{place}/product_name").strip()
    device = _text(host, f"{place}/device").strip().removeprefix("0x")
    return vendor, named or (f"{number.removeprefix('0x')}:{device}" if device else None)


def _shared(found: Mapping[str, Node], minors: Mapping[str, str], own: Iterable[str]) -> Iterator[Shared]:
    kinds = {minors[name]: f"nvidia-caps/{name}" for name in ("config", "monitor") if name in minors}
    taken = set(own)
    for path in found:
        if path in taken or path.startswith("/dev/dri/"):
            continue
        name = path.removeprefix("/dev/")
        folder, _, last = name.partition("/")
        if folder == "nvidia-caps":
            yield Shared(path=path, kind=kinds.get(path, "nvidia-caps/cap"))
        elif last:
            yield Shared(path=path, kind=folder)
        else:
            yield Shared(path=path, kind=re.sub(r"(?<=nvswitch)[0-9]+$", "", name))
