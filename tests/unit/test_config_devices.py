"""Interfaces and mount points: what each becomes, and what is refused of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phoenix_hypervisor.config.load import load_config
from phoenix_hypervisor.config.schema import Schema, packaged_schema
from phoenix_hypervisor.containers.runtimes.lxc import PlainLxc
from phoenix_hypervisor.containers.runtimes.proxmox import Proxmox
from phoenix_hypervisor.errors import ProblemsError
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.plan.declared import ContainerSpec
from support.hosts import CREATION

SCHEMA = Schema(packaged_schema(), "the packaged schema")
NET = {"name": "eth0", "bridge": "vmbr0"}
FULL_NET = {
    **NET,
    "ip": "10.0.0.5/24",
    "gw": "10.0.0.1",
    "ip6": "fd00::5/64",
    "gw6": "fd00::1",
    "tag": 20,
    "mac_address": "52:54:00:00:00:01",
    "firewall": True,
    "mtu": 9000,
}
MP = {"volume": "/srv/media", "path": "/media"}


def read(*entries: dict[str, Any]) -> dict[str, ContainerSpec]:
    listed = {str(950 + i): {"apparmor_profile": "generated", **e} for i, e in enumerate(entries)}
    data = json.dumps({"lxc_configs": listed}).encode()
    return dict(load_config(data, SCHEMA, where="c", shipped=()).containers)


def faults(*entries: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ProblemsError) as caught:
        read(*entries)
    return {p.pointer.removeprefix("/lxc_configs/"): p.code for p in caught.value.problems}


def proxmox(root: Path, entry: dict[str, Any]) -> list[str]:
    """The arguments of `pct create` from the first interface or mount point on."""
    base = {k: v for k, v in CREATION.items() if k not in ("network_config", "mac_address", "gpu_assignment")}
    argv = list(
        Proxmox(Host(str(root))).create_argv(read({**base, "apparmor_profile": "generated", **entry})["950"])
    )
    return argv[argv.index("local-zfs:16") + 1 :]


def plain(root: Path, entry: dict[str, Any]) -> list[str]:
    spec = read({"name": "a", "template": "debian", "unprivileged": False, **entry})["950"]
    file = PlainLxc(Host(str(root))).create_file(spec)
    assert file is not None
    return [line for line in file[1].decode().splitlines() if line.startswith(("lxc.net", "lxc.mount"))]


def refused(root: Path, entry: dict[str, Any]) -> list[str]:
    spec = read({"name": "a", "template": "debian", "unprivileged": False, **entry})["950"]
    return [note.target for note in PlainLxc(Host(str(root))).creation_problems(spec)]


def test_every_value_of_an_interface_is_said(tmp_path: Path) -> None:
    said = "name=eth0,bridge=vmbr0,ip=10.0.0.5/24,gw=10.0.0.1,ip6=fd00::5/64,gw6=fd00::1"
    more = "hwaddr=52:54:00:00:00:01,tag=20,firewall=1,mtu=9000"
    assert proxmox(tmp_path, {"networks": {"net3": FULL_NET}}) == ["--net3", f"{said},{more}"]
    assert plain(tmp_path, {"networks": {"net3": FULL_NET}}) == [
        "lxc.net.3.type = veth",
        "lxc.net.3.link = vmbr0",
        "lxc.net.3.flags = up",
        "lxc.net.3.name = eth0",
        "lxc.net.3.hwaddr = 52:54:00:00:00:01",
        "lxc.net.3.mtu = 9000",
        "lxc.net.3.veth.vlan.id = 20",
        "lxc.net.3.ipv4.address = 10.0.0.5/24",
        "lxc.net.3.ipv4.gateway = 10.0.0.1",
        "lxc.net.3.ipv6.address = fd00::5/64",
        "lxc.net.3.ipv6.gateway = fd00::1",
    ]


def test_interfaces_come_by_their_number_and_only_with_what_is_declared(tmp_path: Path) -> None:
    nets = {"net9": {**NET, "ip6": "auto"}, "net0": {**NET, "ip": "dhcp", "firewall": False}}
    argv = [
        "--net0",
        "name=eth0,bridge=vmbr0,ip=dhcp,firewall=0",
        "--net9",
        "name=eth0,bridge=vmbr0,ip6=auto",
    ]
    assert proxmox(tmp_path, {"networks": nets}) == argv
    assert plain(tmp_path, {}) == ["lxc.net.0.type = empty"]


def test_the_older_key_is_net0_and_takes_the_same_values(tmp_path: Path) -> None:
    older = {k: FULL_NET[k] for k in ("name", "bridge", "ip", "gw", "ip6", "gw6", "tag")}
    entry = {"network_config": older, "mac_address": FULL_NET["mac_address"]}
    newer = {"networks": {"net0": {**older, "mac_address": FULL_NET["mac_address"]}}}
    assert proxmox(tmp_path, entry) == proxmox(tmp_path, newer)
    assert plain(tmp_path, entry) == plain(tmp_path, newer)
    more = {**entry, "networks": {"net1": NET}}
    assert proxmox(tmp_path, more)[2:] == ["--net1", "name=eth0,bridge=vmbr0"]


def test_net0_is_declared_once() -> None:
    older = {**NET, "ip": "dhcp"}
    assert faults({"network_config": older, "networks": {"net0": NET}}) == {
        "950/networks/net0": "declared-twice"
    }
    mac = {"mac_address": "52:54:00:00:00:01", "networks": {"net0": NET}}
    assert faults(mac) == {"950/mac_address": "declared-twice"}


@pytest.mark.parametrize(
    ("network", "place", "code"),
    [
        ({"ip": "10.0.0.300/24"}, "ip", "address-unusable"),
        ({"gw": "10.0.0.300"}, "gw", "address-unusable"),
        ({"ip6": "fd00:::5/64"}, "ip6", "address-unusable"),
        ({"gw6": "fd00"}, "gw6", "address-unusable"),
        ({"mac_address": "01:00:00:00:00:00"}, "mac_address", "address-unusable"),
        ({"ip6": "fd00::5"}, "ip6", "wrong-form"),
        ({"ip6": "fd00::5/129"}, "ip6", "wrong-form"),
        ({"tag": 4095}, "tag", "wrong-form"),
        ({"mtu": 63}, "mtu", "wrong-form"),
        ({"bridge": "a,firewall=0"}, "bridge", "wrong-form"),
        ({"firewall": 1}, "firewall", "wrong-type"),
        ({"vlan": 5}, "vlan", "unknown-key"),
    ],
)
def test_an_interface_that_cannot_be(network: dict[str, Any], place: str, code: str) -> None:
    assert faults({"networks": {"net1": {**NET, **network}}}) == {f"950/networks/net1/{place}": code}


def test_no_number_above_nine() -> None:
    assert faults({"networks": {"net10": NET}}) == {"950/networks/net10": "unknown-key"}
    assert faults({"mount_points": {"mp256": MP}}) == {"950/mount_points/mp256": "unknown-key"}


def test_two_containers_with_one_address() -> None:
    one = {"networks": {"net0": {**NET, "ip": "10.0.0.5/24", "ip6": "fd00::0:5/64"}}}
    two = {"networks": {"net0": {**NET, "ip": "10.0.0.5/16", "ip6": "fd00::5/64"}}}
    assert faults(one, two) == {
        "951/networks/net0/ip": "address-twice",
        "951/networks/net0/ip6": "address-twice",
    }
    elsewhere = {"networks": {"net0": {**NET, "ip": "10.0.0.5/16", "tag": 20}}}
    assert len(read(one, elsewhere)) == 2, "another VLAN is another network"
    mac = {"mac_address": "52:54:00:00:00:0A"}
    same = {"networks": {"net1": {**NET, "mac_address": "52:54:00:00:00:0a"}}}
    assert faults({**mac, "network_config": {**NET, "ip": "dhcp"}}, same) == {
        "951/networks/net1/mac_address": "address-twice"
    }


def test_mount_points(tmp_path: Path) -> None:
    points = {
        "mp10": {"volume": "local-lvm", "size_gb": 8, "path": "/data", "backup": True},
        "mp1": {**MP, "read_only": True},
        "mp2": {"volume": "tank:subvol-9-disk-1", "path": "/x", "read_only": False, "backup": False},
    }
    assert proxmox(tmp_path, {"mount_points": points}) == [
        *("--mp1", "/srv/media,mp=/media,ro=1"),
        *("--mp2", "tank:subvol-9-disk-1,mp=/x,ro=0,backup=0"),
        *("--mp10", "local-lvm:8,mp=/data,backup=1"),
    ]
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv/file").touch()
    (tmp_path / "srv/media").mkdir()
    binds = {"mp0": {**MP, "read_only": True}, "mp1": {"volume": "/srv/file", "path": "/etc/x"}}
    assert plain(tmp_path, {"mount_points": binds})[1:] == [
        "lxc.mount.entry = /srv/media media none bind,create=dir,ro 0 0",
        "lxc.mount.entry = /srv/file etc/x none bind,create=file 0 0",
    ]


@pytest.mark.parametrize(
    ("mount", "place", "code"),
    [
        ({"volume": "local-lvm"}, "volume", "mount-unusable"),
        ({"size_gb": 8}, "size_gb", "mount-unusable"),
        ({"volume": "tank:x", "size_gb": 8}, "size_gb", "mount-unusable"),
        ({"volume": "/srv/../etc"}, "volume", "mount-unusable"),
        ({"path": "/a/../b"}, "path", "mount-unusable"),
        ({"path": "//"}, "path", "mount-unusable"),
        ({"path": "media"}, "path", "wrong-form"),
        ({"path": "/a,ro=0"}, "path", "wrong-form"),
        ({"path": "/a b"}, "path", "wrong-form"),
        ({"volume": "/srv,ro=0"}, "volume", "wrong-form"),
    ],
)
def test_a_mount_point_that_cannot_be(mount: dict[str, Any], place: str, code: str) -> None:
    assert faults({"mount_points": {"mp0": {**MP, **mount}}}) == {f"950/mount_points/mp0/{place}": code}


def test_two_mount_points_at_one_place() -> None:
    points = {"mp0": MP, "mp1": {"volume": "/srv/other", "path": "/media/"}}
    assert faults({"mount_points": points}) == {"950/mount_points/mp1/path": "mount-unusable"}


@pytest.mark.parametrize("tag", ["", "a b", "a,b", "a;b", "-a", "\u00e4"])
def test_a_tag_that_proxmox_would_refuse(tag: str) -> None:
    assert set(faults({"tags": [tag]}).values()) == {"wrong-form"}


def test_tags_and_onboot(tmp_path: Path) -> None:
    assert proxmox(tmp_path, {"tags": ["gpu", "Rack_2"]}) == ["--tags", "gpu;Rack_2"]
    assert proxmox(tmp_path, {"tags": []}) == []


def test_plain_lxc_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    bridge = tmp_path / "sys/class/net/vmbr0/bridge"
    bridge.mkdir(parents=True)
    (bridge / "vlan_filtering").write_text("0\n")
    entry = {
        "networks": {"net0": {**NET, "tag": 20}, "net1": {**NET, "firewall": True}},
        "mount_points": {
            "mp0": {"volume": "local-lvm", "size_gb": 1, "path": "/a"},
            "mp1": {"volume": "/not/there", "path": "/b"},
            "mp2": {"volume": "/sys", "path": "/c", "backup": True},
        },
        "tags": ["gpu"],
    }
    assert [p.removeprefix("/lxc_configs/950/") for p in refused(tmp_path, entry)] == [
        "networks/net0/tag",
        "networks/net1/firewall",
        "mount_points/mp0/volume",
        "mount_points/mp1/volume",
        "mount_points/mp2/backup",
        "tags",
    ]
    (bridge / "vlan_filtering").write_text("1\n")
    assert refused(tmp_path, {"networks": {"net0": {**NET, "tag": 20, "firewall": False}}}) == []


def test_proxmox_refuses_a_path_that_is_not_there(tmp_path: Path) -> None:
    fields = {
        **CREATION,
        "gpu_assignment": "none",
        "apparmor_profile": "generated",
        "mount_points": {"mp0": MP},
    }
    spec = read(fields)["950"]
    pointers = [note.target for note in Proxmox(Host(str(tmp_path))).creation_problems(spec)]
    assert pointers == ["/lxc_configs/950/mount_points/mp0/volume"]
