"""Network interfaces and mount points of plain LXC.

Owns the lines that they become in the file that `lxc-create` starts from, and what of them plain
LXC cannot do (lxc.container.conf(5)).  Must not decide anything else of a creation.
"""

from __future__ import annotations

import os

from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.declared import ContainerSpec, Mount, Network
from phoenix_hypervisor.plan.model import Note


def network_lines(spec: ContainerSpec) -> list[str]:
    """What the interfaces become; a container without any gets none of the host's either."""
    if not spec.networks():
        return ["lxc.net.0.type = empty"]
    return [line for number, network in spec.networks().items() for line in _network(number, network)]


def _network(number: int, network: Network) -> list[str]:
    key = f"lxc.net.{number}"
    lines = [f"{key}.type = veth", f"{key}.link = {network.bridge}", f"{key}.flags = up"]
    lines.append(f"{key}.name = {network.name}")
    if network.mac_address:
        lines.append(f"{key}.hwaddr = {network.mac_address}")
    if network.mtu is not None:
        lines.append(f"{key}.mtu = {network.mtu}")
    if network.tag is not None:
        lines.append(f"{key}.veth.vlan.id = {network.tag}")
    families = (("ipv4", network.ip, network.gw), ("ipv6", network.ip6, network.gw6))
    for family, address, gateway in families:
        # dhcp, auto and manual are the guest's own work.
        if address is not None and "/" in address:
            lines.append(f"{key}.{family}.address = {address}")
            if gateway:
                lines.append(f"{key}.{family}.gateway = {gateway}")
    return lines


def mount_lines(host: Host, spec: ContainerSpec) -> list[str]:
    """What the mount points become: binds of the host's paths."""
    return [_mount(host, mount) for mount in spec.mounts().values()]


def _mount(host: Host, mount: Mount) -> str:
    kind = "dir" if os.path.isdir(host.root.locate(mount.volume)) else "file"
    options = f"bind,create={kind}{',ro' if mount.read_only else ''}"
    # fstab(5): a backslash begins a number there.
    source, target = (path.replace("\\", "\\134") for path in (mount.volume, mount.path.lstrip("/")))
    return f"lxc.mount.entry = {source} {target} none {options} 0 0"


def device_problems(host: Host, spec: ContainerSpec, place: str) -> list[Note]:
    """What plain LXC cannot do of what is declared, or not on this host."""
    problems = []
    for number, network in spec.networks().items():
        where = f"{place}/networks/net{number}"
        if network.tag is not None and _vlans_off(host, network.bridge):
            problems.append(Note(Code.NO_VLAN_FILTER, f"{where}/tag", {"bridge": network.bridge}))
        if network.firewall:
            problems.append(Note(Code.NOT_IN_LXC, f"{where}/firewall", {"key": "firewall"}))
    for number, mount in spec.mounts().items():
        where = f"{place}/mount_points/mp{number}"
        if not mount.volume.startswith("/"):
            problems.append(Note(Code.NO_STORAGE, f"{where}/volume", {"volume": mount.volume}))
        elif not host.exists(mount.volume):
            problems.append(Note(Code.NOT_ON_HOST, f"{where}/volume", {"path": mount.volume}))
        if mount.backup:
            problems.append(Note(Code.NOT_IN_LXC, f"{where}/backup", {"key": "backup"}))
    if spec.values.get("tags"):
        problems.append(Note(Code.NOT_IN_LXC, f"{place}/tags", {"key": "tags"}))
    return problems


def _vlans_off(host: Host, bridge: str) -> bool:
    # LXC asks the same, and sets up the port of an Open vSwitch bridge, which has no such file (network.c).
    return host.content(f"/sys/class/net/{bridge}/bridge/vlan_filtering") == b"0\n"
