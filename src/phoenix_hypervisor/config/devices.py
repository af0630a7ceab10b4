"""Network interfaces and mount points: what the schema cannot say of them.

Owns addresses that are none or that two containers have, and mount points that cannot be made.
Pure: entries of a document come in, faults go out.  Must not assume that an entry fits
the schema: all faults are found at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from phoenix_hypervisor.config.document import escape
from phoenix_hypervisor.errors import Problem
from phoenix_hypervisor.plan.fault_codes import Fault
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    Seen = dict[tuple[object, ...], str]
    """Who has an address: the CTID, by what would make a second one wrong."""
    Wrong = tuple[str, Fault, str]
    """Place in the entry, code, words."""


def device_problems(entries: Mapping[str, Any]) -> list[Problem]:
    """Every fault of the interfaces and mount points of all containers."""
    problems: list[Problem] = []
    seen: Seen = {}
    for ctid, entry in entries.items():
        if isinstance(entry, dict):
            for place, code, text in faults(ctid, entry, seen):
                problems.append(Problem(text, f"/lxc_configs/{escape(ctid)}/{place}", code=code))
    return problems


def faults(ctid: str, entry: Mapping[str, Any], seen: Seen) -> Sequence[Wrong]:
    """The faults of one container; `seen` collects the addresses of all."""
    older, newer, mac = entry.get("network_config"), entry.get("networks"), entry.get("mac_address")
    found: list[Wrong] = []
    if isinstance(older, dict):
        _interface(ctid, "network_config", older, seen, found)
    if isinstance(mac, str):
        _mac(ctid, "mac_address", mac, seen, found)
    if isinstance(newer, dict):
        for name, network in newer.items():
            if isinstance(network, dict):
                place = f"networks/{escape(name)}"
                _interface(ctid, place, network, seen, found)
                if isinstance(network.get("mac_address"), str):
                    _mac(ctid, f"{place}/mac_address", network["mac_address"], seen, found)
        if "net0" in newer and older is not None:
            text = "net0 is declared twice: by network_config too. Keep one of them"
            found.append(("networks/net0", Fault.DECLARED_TWICE, text))
        elif "net0" in newer and mac is not None:
            text = "is the address of network_config: write it into networks.net0"
            found.append(("mac_address", Fault.DECLARED_TWICE, text))
    mounts = entry.get("mount_points")
    if isinstance(mounts, dict):
        found += _mounts(mounts)
    return found


def _interface(ctid: str, place: str, network: Mapping[str, Any], seen: Seen, found: list[Wrong]) -> None:
    ip, gateway = network.get("ip"), network.get("gw")
    if isinstance(ip, str) and "/" in ip:
        address = ip.partition("/")[0]
        if not _is_ipv4(address):
            found.append((f"{place}/ip", Fault.ADDRESS_UNUSABLE, f"{ip} is not an IPv4 address"))
        _once(ctid, f"{place}/ip", ("IP", address, network.get("bridge"), network.get("tag")), seen, found)
    if isinstance(gateway, str) and not _is_ipv4(gateway):
        found.append((f"{place}/gw", Fault.ADDRESS_UNUSABLE, f"{gateway} is not an IPv4 address"))
    if "ip6" in network or "gw6" in network:
        _ipv6_interface(ctid, place, network, seen, found)


def _ipv6_interface(
    ctid: str, place: str, network: Mapping[str, Any], seen: Seen, found: list[Wrong]
) -> None:
    ip, gateway = network.get("ip6"), network.get("gw6")
    if isinstance(ip, str) and "/" in ip:
        address = _ipv6(ip.partition("/")[0])
        if address is None:
            found.append((f"{place}/ip6", Fault.ADDRESS_UNUSABLE, f"{ip} is not an IPv6 address"))
        else:
            who = ("IPv6", address, network.get("bridge"), network.get("tag"))
            _once(ctid, f"{place}/ip6", who, seen, found)
    if isinstance(gateway, str) and _ipv6(gateway) is None:
        found.append((f"{place}/gw6", Fault.ADDRESS_UNUSABLE, f"{gateway} is not an IPv6 address"))


def _mac(ctid: str, place: str, mac: str, seen: Seen, found: list[Wrong]) -> None:
    # Most addresses show by their second digit that they are none.
    if mac[1:2] in _ODD and re.match(r"[0-9A-Fa-f][13579BbDdFf]:", mac):
        found.append((place, Fault.ADDRESS_UNUSABLE, f"{mac} is a multicast address"))
    _once(ctid, place, ("MAC", mac.lower()), seen, found)


def _once(ctid: str, place: str, who: tuple[object, ...], seen: Seen, found: list[Wrong]) -> None:
    """The same address behind another bridge or in another VLAN is another one."""
    other = seen.setdefault(who, ctid)
    if other != ctid:
        text = f"{who[0]} {who[1]} is also the address of container {other}"
        found.append((place, Fault.ADDRESS_TWICE, text))


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


def _mounts(mounts: Mapping[str, Any]) -> Iterator[Wrong]:
    paths: dict[str, str] = {}
    for name, mount in mounts.items():
        if not isinstance(mount, dict):
            continue
        place, volume, path = f"mount_points/{escape(name)}", mount.get("volume"), mount.get("path")
        if isinstance(volume, str):
            storage = not volume.startswith("/") and ":" not in volume
            if storage and "size_gb" not in mount:
                text = f"{volume} is a storage: say size_gb for a new volume on it, or STORAGE:VOLUME"
                yield f"{place}/volume", Fault.MOUNT_UNUSABLE, text
            if not storage and "size_gb" in mount:
                text = f"{volume} is there already: size_gb is for a new volume, and needs the storage alone"
                yield f"{place}/size_gb", Fault.MOUNT_UNUSABLE, text
            if volume.startswith("/") and _leaves(volume):
                yield f"{place}/volume", Fault.MOUNT_UNUSABLE, f"{volume} has . or .. in it"
        if isinstance(path, str):
            if _leaves(path) or not path.strip("/"):
                yield (
                    f"{place}/path",
                    Fault.MOUNT_UNUSABLE,
                    f"{path} is no place below the root directory",
                )
            other = paths.setdefault(path.rstrip("/"), name)
            if other != name:
                text = f"{path} is where {other} is mounted too"
                yield f"{place}/path", Fault.MOUNT_UNUSABLE, text


def _leaves(path: str) -> bool:
    return any(part in (".", "..") for part in path.split("/"))
