"""The GPUs of a host, and the device nodes by which they are used.

Owns the types, what each of NVIDIA's nodes is called and numbered, and which GPU a word of an assignment
means.  Pure; must not look at a machine: `containers.gpu_nodes` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from phoenix_hypervisor.gpu.device_rules import Number
from phoenix_hypervisor.values import dataclass, field

NVIDIA_MAJOR = 195
"""Of nvidiaN, nvidiactl (255) and nvidia-modeset (254); all others get theirs at boot."""
DRM_MAJOR = 226
FIXED = {"nvidiactl": 255, "nvidia-modeset": 254}

SHARED = {
    "nvidiactl": "every user of an NVIDIA GPU needs it; it opens no GPU by itself",
    "nvidia-uvm": "CUDA needs it; one node for all GPUs",
    "nvidia-uvm-tools": "profilers use it; one node for all GPUs",
    "nvidia-modeset": "display settings; one node for all GPUs",
    "nvidia-nvswitchctl": "administers the NVSwitches: belongs to no tenant",
    "nvidia-nvswitch": "administers an NVSwitch: belongs to no tenant",
    "nvidia-caps/config": "makes and removes MIG slices: must reach no tenant",
    "nvidia-caps/monitor": "sees all MIG slices: must reach no tenant",
    "nvidia-caps/cap": "a MIG capability of no slice that is there",
    "nvidia-caps-imex-channels": "memory shared between nodes: who has the same channel shares it",
    "kfd": "every user of an AMD GPU needs it; which GPU is decided by the render node",
}
"""What stays shared, by kind, and what that means."""
NO_TENANT = ("nvidia-nvswitchctl", "nvidia-nvswitch", "nvidia-caps/config", "nvidia-caps/monitor")
"""Kinds that no container should be able to open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A device node of the host."""

    path: str
    number: Number
    mode: int
    """Its permission bits."""
    uid: int
    gid: int
    assumed: bool = False
    """The file is no device node (a copy of a host): its number is what its driver gives a node so called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A MIG slice of a GPU: a GPU instance, or a compute instance in one."""

    name: str
    """`GI` or `GI/CI`, by their numbers."""
    nodes: tuple[str, ...]
    """Paths of the capability nodes that it takes, beside the GPU's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU."""

    number: int
    """What `gpu_assignment` calls it: NVIDIA's own number; other vendors' continue after the last."""
    vendor: str
    """`nvidia`, `amd`, `intel`, or the vendor's id."""
    needs: str
    """The path of the node without which nothing runs on it; it may be missing."""
    also: tuple[str, ...] = ()
    """Further nodes that reach the same GPU."""
    uuid: str | None = None
    model: str | None = None
    bus: str | None = None
    slices: tuple[Slice, ...] = ()

    @property
    def nodes(self) -> tuple[str, ...]:
        """All its own nodes."""
        return (self.needs, *self.also)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """A node that belongs to no single GPU."""

    path: str
    kind: str
    """A key of SHARED."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What a host has."""

    gpus: tuple[Gpu, ...] = ()
    nodes: Mapping[str, Node] = field(default_factory=dict)
    """Every GPU node that is there, by path."""
    shared: tuple[Shared, ...] = ()
    majors: Mapping[str, int] = field(default_factory=dict)
    """Major number by driver, as /proc/devices has them now."""

    def gpu(self, number: int) -> Gpu | None:
        """The GPU of that number."""
        return next((one for one in self.gpus if one.number == number), None)

    def owner(self, path: str) -> Gpu | None:
        """The GPU that a path is a node of."""
        return next((one for one in self.gpus if path in one.nodes), None)


def nvidia_number(name: str, majors: Mapping[str, int]) -> Number | None:
    """The number that NVIDIA's driver has for the node called so below /dev; None: not known."""
    if re.fullmatch(r"nvidia[0-9]+", name):
        return "c", NVIDIA_MAJOR, int(name.removeprefix("nvidia"))
    if name in FIXED:
        return "c", NVIDIA_MAJOR, FIXED[name]
    if name in ("nvidia-uvm", "nvidia-uvm-tools") and "nvidia-uvm" in majors:
        return "c", majors["nvidia-uvm"], int(name.endswith("tools"))
    match = re.fullmatch(r"nvidia-caps/nvidia-cap([0-9]+)", name)
    if match is not None and "nvidia-caps" in majors:
        return "c", majors["nvidia-caps"], int(match[1])
    match = re.fullmatch(r"nvidia-caps-imex-channels/channel([0-9]+)", name)
    if match is not None and "nvidia-caps-imex-channels" in majors:
        return "c", majors["nvidia-caps-imex-channels"], int(match[1])
    match = re.fullmatch(r"nvidia-nvswitch([0-9]+|ctl)", name)
    if match is not None and "nvidia-nvswitch" in majors:
        return "c", majors["nvidia-nvswitch"], 255 if match[1] == "ctl" else int(match[1])
    return None


NONE, ALL = "none", "all"
_SLICE = re.compile(r"(?:MIG-)?(GPU-[0-9a-fA-F-]+|[0-9]{1,3})[/:]([0-9]{1,2})(?:[/:]([0-9]{1,2}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """What an assignment means on a host."""

    gpus: tuple[Gpu, ...] = ()
    slices: tuple[tuple[Gpu, Slice], ...] = ()
    unknown: tuple[str, ...] = ()
    """Words that mean no GPU of this host."""

    @property
    def numbers(self) -> frozenset[int]:
        """The numbers of all GPUs that it opens, in whole or for a slice."""
        return frozenset(one.number for one in (*self.gpus, *(gpu for gpu, _ in self.slices)))


def assigned(words: Iterable[str], hardware: Hardware) -> Assigned:
    """The GPUs that the words of an assignment mean: numbers, UUIDs, MIG slices, `all`, `none`."""
    gpus: dict[int, Gpu] = {}
    slices: list[tuple[Gpu, Slice]] = []
    unknown = []
    for word in words:
        if word == NONE:
            continue
        if word == ALL:
            gpus.update({one.number: one for one in hardware.gpus})
            continue
        whole = _gpu(word, hardware)
        match = _SLICE.fullmatch(word) if whole is None else None
        parent = None if match is None else _gpu(match[1], hardware)
        if whole is not None:
            gpus[whole.number] = whole
        elif match is not None and parent is not None:
            name = match[2] if match[3] is None else f"{match[2]}/{match[3]}"
            found = [one for one in parent.slices if one.name == name]
            slices += [(parent, one) for one in found]
            unknown += [] if found else [word]
        else:
            unknown.append(word)
    return Assigned(gpus=tuple(gpus.values()), slices=tuple(slices), unknown=tuple(unknown))


def _gpu(word: str, hardware: Hardware) -> Gpu | None:
    if word.isdigit():
        return hardware.gpu(int(word))
    return next((one for one in hardware.gpus if one.uuid is not None and one.uuid == word), None)
