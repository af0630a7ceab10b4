"""The `devN` lines that an assignment asks for.

Owns which nodes an assigned GPU needs, and the smallest change of a container's `devN` lines that brings
them: each is kept where it stands, replaced in its place, added behind or removed.  Pure; must not touch
lines of other devices, nor raw lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from phoenix_hypervisor.gpu.guest import of_device
from phoenix_hypervisor.gpu.hardware import Assigned, Gpu, Hardware
from phoenix_hypervisor.plan.actions import LineChange

MOST = 256
"""Proxmox has dev0 to dev255 (PVE::LXC::Config)."""
_SHARED = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset")
_OF_GPUS = re.compile(r"/dev/(nvidia([0-9]+|ctl|-uvm|-uvm-tools|-modeset|-caps/nvidia-cap[0-9]+)|kfd)")
_CAPS = "/dev/nvidia-caps/"


def needed(meant: Assigned, hardware: Hardware) -> tuple[str, ...]:
    """The nodes that an assignment needs, in order; a GPU's own also where the host lacks it.

    MIG: the capability nodes of the assigned slices, or of all slices of a GPU that is assigned in whole;
    never those that administer slices.
    """
    gpus = [*meant.gpus, *(gpu for gpu, _ in meant.slices)]
    own = [gpu.needs for gpu in gpus]
    caps = [path for gpu in meant.gpus for one in gpu.slices for path in one.nodes]
    caps += [path for _, one in meant.slices for path in one.nodes]
    shared = [path for path in _SHARED if any(map(_is_nvidia, gpus)) and path in hardware.nodes]
    if any(gpu.vendor == "amd" for gpu in gpus) and "/dev/kfd" in hardware.nodes:
        shared.append("/dev/kfd")
    return tuple(dict.fromkeys((*own, *shared, *caps)))


def _is_nvidia(gpu: Gpu) -> bool:
    return re.fullmatch(r"/dev/nvidia[0-9]+", gpu.needs) is not None


def line_for(path: str) -> str:
    """The value of a `devN` line for a node that everybody inside may use."""
    # The driver makes its nodes 0666, Proxmox 0660 root; capability nodes stay closed.
    return path if path.startswith(_CAPS) else f"{path},mode=0666"


def changes(now: Mapping[str, str], meant: Assigned, hardware: Hardware) -> tuple[LineChange, ...]:
    """What becomes of the `devN` lines; `now` has the value of each by its key."""
    wanted = list(needed(meant, hardware))
    kept: set[str] = set()
    freed: dict[str, str] = {}
    for key in sorted(now, key=lambda key: int(key[3:])):
        passed = of_device(now[key], "")
        path = "" if passed is None else passed.source
        if path in wanted:
            if path in kept:
                freed[key] = path
            kept.add(path)
        elif hardware.owner(path) is not None or _OF_GPUS.fullmatch(path):
            owner = hardware.owner(path)
            # A further node of an assigned GPU (its display) is the operator's own wish.
            if owner is None or owner.number not in meant.numbers:
                freed[key] = path
    missing = [path for path in wanted if path not in kept]
    found: dict[str, LineChange] = {}
    for path in list(missing):
        place = next((key for key, old in freed.items() if key not in found and _alike(old, path)), None)
        if place is not None:
            value = now[place].replace(freed[place], path)
            found[place] = LineChange(key=place, value=value, old=now[place])
            missing.remove(path)
    spare = [key for key in freed if key not in found]
    spare += [key for number in range(MOST) if (key := f"dev{number}") not in now]
    free = iter(spare)
    for path in missing:
        new = next(free, None)
        if new is not None:
            found[new] = LineChange(key=new, value=line_for(path), old=now.get(new))
    for key in freed:
        if key not in found:
            found[key] = LineChange(key=key, value=None, old=now[key])
    return tuple(found[key] for key in sorted(found, key=lambda key: int(key[3:])))


def _alike(old: str, new: str) -> bool:
    """Whether a line keeps its options when one node takes another's place: both are GPUs, or both slices."""
    return all(re.fullmatch(r"/dev/nvidia[0-9]+|/dev/dri/.*", path) for path in (old, new)) or (
        old.startswith(_CAPS) and new.startswith(_CAPS)
    )
