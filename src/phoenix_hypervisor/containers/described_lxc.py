"""What stands in a configuration of plain LXC, as keys of ours.

Owns that reading (lxc.container.conf(5)); `containers.described` asks it.  Pure.
"""

from __future__ import annotations

import re

from phoenix_hypervisor.containers.described_values import Described, comes_with_gpus, integer, mib
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

_LINE = re.compile(r"^[ \t]*(lxc\.[A-Za-z0-9_\-.]+)[ \t]*=[ \t]*([^\n]*?)[ \t\r]*$", re.M)
_NETWORK = re.compile(r"lxc\.net\.([0-9])\.(.+)")
_GPU_NODE = re.compile(r"/dev/nvidia([0-9]{1,3})")
_CPU = re.compile(r"([1-9][0-9]{0,3})00000 100000")
_NESTING = "/usr/share/lxc/config/nesting.conf"
_IGNORED = frozenset(
    [
        "lxc.apparmor.profile",
        "lxc.apparmor.allow_nesting",
        "lxc.arch",
        "lxc.idmap",
        "lxc.rootfs.options",
        "lxc.rootfs.path",
        "lxc.seccomp.profile",
    ]
)
"""Ours, what says the kind of the container, and what comes with its template."""
_STOCK = re.compile(r"/usr/share/lxc/config/[a-z0-9.-]+\.conf")
_OF_A_NETWORK = {
    "link": "bridge",
    "name": "name",
    "hwaddr": "mac_address",
    "ipv4.address": "ip",
    "ipv4.gateway": "gw",
    "ipv6.address": "ip6",
    "ipv6.gateway": "gw6",
    "veth.vlan.id": "tag",
    "mtu": "mtu",
}


def describe_lxc(data: bytes, *, unprivileged: bool) -> Described:
    """The values of one container."""
    values: dict[str, object] = {"unprivileged": unprivileged}
    left: dict[str, None] = {}
    networks: dict[str, dict[str, list[str]]] = {}
    mounts: list[dict[str, Any]] = []
    gpus: set[int] = set()
    allowed: list[str] = []
    for key, text in _LINE.findall(data.decode("utf-8", "surrogateescape")):
        value = _unquoted(text)
        network = _NETWORK.fullmatch(key)
        if network is not None:
            networks.setdefault(network[1], {}).setdefault(network[2], []).append(value)
        elif key == "lxc.mount.entry":
            words = value.split()
            gpu = _GPU_NODE.fullmatch(words[0]) if words else None
            mount = _mount(words)
            if gpu is not None and words[1:2] == [words[0][1:]]:
                gpus.add(int(gpu[1]))
            elif mount is not None:
                mounts.append(mount)
            elif not value.startswith("/dev/nvidia"):
                left[key] = None
        elif key == "lxc.include":
            if value == _NESTING:
                values["features"] = "nesting=1"
            elif not _STOCK.fullmatch(value):
                left[key] = None
        elif key in _SINGLE:
            name, read = _SINGLE[key]
            # The last of several counts (confile.c: each replaces the one before).
            values.pop(name, None)
            left.pop(key, None)
            found = read(value)
            if found is None:
                left[key] = None
            else:
                values[name] = found
        elif key == "lxc.cgroup2.devices.allow":
            allowed.append(value)
        elif key not in _IGNORED:
            left[key] = None
    if not all(gpus and comes_with_gpus(rule) for rule in allowed):
        left["lxc.cgroup2.devices.allow"] = None
    if gpus:
        values["gpu_assignment"] = ",".join(map(str, sorted(gpus)))
    if mounts:
        values["mount_points"] = {f"mp{number}": mount for number, mount in enumerate(mounts)}
    _networks(networks, values, left)
    return Described(values, tuple(sorted(left)))


def _networks(
    found: dict[str, dict[str, list[str]]], values: dict[str, object], left: dict[str, None]
) -> None:
    networks: dict[str, object] = {}
    for number, settings in sorted(found.items()):
        if settings == {"type": ["empty"]}:
            continue
        network = _network(number, settings)
        if network is None:
            left[f"lxc.net.{number}"] = None
        else:
            networks[f"net{number}"] = network
    if networks:
        values["networks"] = networks


def _network(number: str, settings: dict[str, list[str]]) -> dict[str, object] | None:
    if any(len(values) > 1 for values in settings.values()):
        return None
    plain = {key: values[0] for key, values in settings.items()}
    if plain.pop("type", None) != "veth" or plain.pop("flags", None) != "up" or "link" not in plain:
        return None
    if not plain.keys() <= _OF_A_NETWORK.keys():
        return None
    # LXC's own name for it, where the configuration says none.
    network: dict[str, object] = {"name": plain.pop("name", f"eth{number}")}
    for key, name in _OF_A_NETWORK.items():
        if key not in plain:
            continue
        value = integer(plain[key]) if name in ("tag", "mtu") else plain[key]
        if value is None:
            return None
        network[name] = value
    return network


def _mount(words: list[str]) -> dict[str, Any] | None:
    """A bind mount of a path that is the host's own; what of /proc, /sys and /dev is passed on is none."""
    if len(words) not in (4, 6) or words[4:] not in ([], ["0", "0"]) or words[2] != "none":
        return None
    source, target, _, options = words[:4]
    given = options.split(",")
    known = {"bind", "create=dir", "create=file", "ro"}
    if "bind" not in given or set(given) - known or "\\" in source + target:
        return None
    if not source.startswith("/") or source.split("/")[1] in ("dev", "proc", "sys") or target.startswith("/"):
        return None
    mount = {"volume": source, "path": f"/{target}"}
    return {**mount, "read_only": True} if "ro" in given else mount


def _unquoted(text: str) -> str:
    """LXC strips one pair of quotes (confile.c)."""
    return text[1:-1] if len(text) >= 2 and text[0] in "'\"" and text[0] == text[-1] else text


def _cores(text: str) -> int | None:
    match = _CPU.fullmatch(text)
    return None if match is None else int(match[1])


_SINGLE: dict[str, tuple[str, Any]] = {
    "lxc.uts.name": ("name", str),
    "lxc.cgroup2.memory.max": ("memory_mb", mib),
    "lxc.cgroup2.memory.swap.max": ("swap_mb", mib),
    "lxc.cgroup2.cpu.max": ("cores", _cores),
    "lxc.start.auto": ("onboot", {"0": False, "1": True}.get),
}
"""Keys that say one value: what that is called here, and how it is read."""
