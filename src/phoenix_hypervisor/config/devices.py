"""Network interfaces and mount points: what the schema cannot say of them, and as values.

Owns addresses that are none or that two containers have, and mount points that cannot be made.
Pure: entries of a document come in, faults or values go out.  Must not assume that an entry fits
the schema: all faults are found at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from phoenix_hypervisor.config.document import escape
from phoenix_hypervisor.errors import Problem
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.declared import Mount, Network
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    Seen = dict[tuple[object, ...], str]
    """Who has an address: the CTID, by what would make a second one wrong."""


def device_problems(entries: Mapping[str, Any]) -> list[Problem]:
    """Every fault of the interfaces and mount points of all containers."""
    problems: list[Problem] = []
    seen: Seen = {}
    for ctid, entry in entries.items():
        if not isinstance(entry, dict):
            continue
        for place, fault in faults(ctid, entry, seen):
            problems.append(Problem(fault[1], f"/lxc_configs/{escape(ctid)}/{place}", code=fault[0]))
    return problems


def faults(ctid: str, entry: Mapping[str, Any], seen: Seen) -> Iterator[tuple[str, tuple[Code, str]]]:
    """Place, code and words of each fault of one container; `seen` collects the addresses of all."""
    older = entry.get("network_config")
    networks = entry.get("networks")
    if isinstance(older, dict):
        yield from _interface(ctid, "network_config", {**older, "mac_address": None}, seen)
    mac = entry.get("mac_address")
    if isinstance(mac, str):
        yield from _mac(ctid, "mac_address", mac, seen)
    if isinstance(networks, dict):
        for name, network in networks.items():
            if isinstance(network, dict):
                yield from _interface(ctid, f"networks/{escape(name)}", network, seen)
        if "net0" in networks and older is not None:
            text = "net0 is declared twice: by network_config too. Keep one of them"
            yield "networks/net0", (Code.DECLARED_TWICE, text)
        elif "net0" in networks and mac is not None:
            text = "is the address of network_config: write it into networks.net0"
            yield "mac_address", (Code.DECLARED_TWICE, text)
    mounts = entry.get("mount_points")
    if isinstance(mounts, dict):
        yield from _mounts(mounts)


def _interface(
    ctid: str, place: str, network: Mapping[str, Any], seen: Seen
) -> Iterator[tuple[str, tuple[Code, str]]]:
    where = (network.get("bridge"), network.get("tag"))
    for key, kind in (("ip", "IP"), ("ip6", "IPv6")):
        value = network.get(key)
        if not isinstance(value, str) or "/" not in value:
            continue
        address: str | None = value.partition("/")[0]
        if kind == "IP" and not _is_ipv4(value.partition("/")[0]):
            yield f"{place}/ip", (Code.ADDRESS_UNUSABLE, f"{value} is not an IPv4 address")
        elif kind == "IPv6":
            address = _ipv6(value.partition("/")[0])
            if address is None:
                yield f"{place}/ip6", (Code.ADDRESS_UNUSABLE, f"{value} is not an IPv6 address")
                continue
        # The same address behind another bridge or in another VLAN is another one.
        other = seen.setdefault((kind, address, *where), ctid)
        if other != ctid:
            text = f"{kind} {value.partition('/')[0]} is also the address of container {other}"
            yield f"{place}/{key}", (Code.ADDRESS_TWICE, text)
    gateway, gateway6, mac = network.get("gw"), network.get("gw6"), network.get("mac_address")
    if isinstance(gateway, str) and not _is_ipv4(gateway):
        yield f"{place}/gw", (Code.ADDRESS_UNUSABLE, f"{gateway} is not an IPv4 address")
    if isinstance(gateway6, str) and _ipv6(gateway6) is None:
        yield f"{place}/gw6", (Code.ADDRESS_UNUSABLE, f"{gateway6} is not an IPv6 address")
    if isinstance(mac, str):
        yield from _mac(ctid, f"{place}/mac_address", mac, seen)


def _mac(ctid: str, place: str, mac: str, seen: Seen) -> Iterator[tuple[str, tuple[Code, str]]]:
    # Most addresses show by their second digit that they are none.
    if mac[1:2] in _ODD and re.match(r"[0-9A-Fa-f][13579BbDdFf]:", mac):
        yield place, (Code.ADDRESS_UNUSABLE, f"{mac} is a multicast address")
    other = seen.setdefault(("MAC", mac.lower()), ctid)
    if other != ctid:
        yield place, (Code.ADDRESS_TWICE, f"MAC {mac.lower()} is also the address of container {other}")


_ODD = frozenset("13579BbDdFf")


def _is_ipv4(text: str) -> bool:
    return all(int(part) <= 255 for part in text.split(".") if part.isdecimal() and part.isascii())


def _ipv6(text: str) -> str | None:
    """The address in its one form; None where it is none."""
    import ipaddress

    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        return None


def _mounts(mounts: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Code, str]]]:
    paths: dict[str, str] = {}
    for name, mount in mounts.items():
        if not isinstance(mount, dict):
            continue
        place, volume, path = f"mount_points/{escape(name)}", mount.get("volume"), mount.get("path")
        if isinstance(volume, str):
            storage = not volume.startswith("/") and ":" not in volume
            if storage and "size_gb" not in mount:
                text = f"{volume} is a storage: say size_gb for a new volume on it, or STORAGE:VOLUME"
                yield f"{place}/volume", (Code.MOUNT_UNUSABLE, text)
            if not storage and "size_gb" in mount:
                text = f"{volume} is there already: size_gb is for a new volume, and needs the storage alone"
                yield f"{place}/size_gb", (Code.MOUNT_UNUSABLE, text)
            if volume.startswith("/") and _leaves(volume):
                yield f"{place}/volume", (Code.MOUNT_UNUSABLE, f"{volume} has . or .. in it")
        if isinstance(path, str):
            if _leaves(path) or not path.strip("/"):
                yield f"{place}/path", (Code.MOUNT_UNUSABLE, f"{path} is no place below the root directory")
            other = paths.setdefault(path.rstrip("/"), name)
            if other != name:
                text = f"{path} is where {other} is mounted too"
                yield f"{place}/path", (Code.MOUNT_UNUSABLE, text)


def _leaves(path: str) -> bool:
    return any(part in (".", "..") for part in path.split("/"))


def networks(values: Mapping[str, Any]) -> dict[int, Network]:
    """The interfaces of a container that fits the schema, by number."""
    found: dict[int, Network] = {}
    if values.get("network_config") is not None:
        found[0] = _network({"mac_address": values.get("mac_address"), **values["network_config"]})
    for name, entry in _numbered(values.get("networks"), "net"):
        found[name] = _network(entry)
    return found


def _network(entry: Mapping[str, Any]) -> Network:
    known = {key: entry[key] for key in _OF_A_NETWORK if entry.get(key) is not None}
    for key in ("tag", "mtu"):
        if key in known:
            # JSON Schema takes 20.0 for an integer.
            known[key] = int(known[key])
    return Network(**known)


_OF_A_NETWORK = ("name", "bridge", "ip", "gw", "ip6", "gw6", "tag", "mac_address", "firewall", "mtu")


def mounts(values: Mapping[str, Any]) -> dict[int, Mount]:
    """The mount points of a container that fits the schema, by number."""
    return {
        number: Mount(
            volume=entry["volume"],
            path=entry["path"],
            size_gb=None if entry.get("size_gb") is None else int(entry["size_gb"]),
            read_only=entry.get("read_only"),
            backup=entry.get("backup"),
        )
        for number, entry in _numbered(values.get("mount_points"), "mp")
    }


def _numbered(entries: Mapping[str, Any] | None, prefix: str) -> Iterable[tuple[int, Mapping[str, Any]]]:
    """In the order of their numbers: arguments do not depend on the order of a file."""
    if entries is None:
        return ()
    return sorted((int(name.removeprefix(prefix)), entry) for name, entry in entries.items())
