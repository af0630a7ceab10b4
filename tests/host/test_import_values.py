"""`phoenix import`: what is read of a configuration, and what is not; other nodes, and plain LXC."""

from __future__ import annotations

import json

import pytest

from support.confs import PVE, imported, prepared
from support.hosts import DirectoryHost, LiveHost, told

ALLOW = "lxc.cgroup2.devices.allow"


@pytest.fixture
def one(host: DirectoryHost) -> DirectoryHost:
    return prepared(host)


@pytest.fixture
def running(live: LiveHost) -> LiveHost:
    prepared(live)
    return live


# What is read ----------------------------------------------------------------------------------

FULL = """arch: amd64
cores: 4
dev0: /dev/nvidia1,gid=44
dev1: /dev/nvidia0
dev2: /dev/nvidiactl
features: keyctl=1,nesting=1,mount=nfs;cifs
hostname: jelly.example.org
hookscript: local:snippets/x
memory: 4096
mp0: /srv/media,mp=/media,ro=1
mp1: local-lvm:vm-101-disk-1,mp=/data,backup=1,size=8G
mp2: tank:subvol-7-disk-0,mp=/other,size=8G
mp10: /srv/x,mp=/x,mountoptions=noatime
net0: name=eth0,bridge=vmbr0,firewall=1,gw=10.0.0.1,hwaddr=BC:24:11:00:00:01,ip=10.0.0.5/24,tag=20,type=veth
net1: name=eth1,bridge=vmbr1,ip6=fd00::5/64,gw6=fd00::1,mtu=9000
net2: name=eth2,bridge=vmbr1,rate=12
onboot: 1
ostype: debian
rootfs: local-lvm:vm-101-disk-0,size=16G
swap: 0
tags: media;gpu
unprivileged: 1
"""


def test_every_value_that_phoenix_can_create_again(one: DirectoryHost) -> None:
    one.conf("101", FULL)
    result = one.phoenix("import", "--json")
    assert imported(one)["101"] == {
        "name": "jelly.example.org",
        "apparmor_profile": "generated",
        "start": False,
        "unprivileged": True,
        "memory_mb": 4096,
        "swap_mb": 0,
        "cores": 4,
        "storage_pool": "local-lvm",
        "storage_size_gb": 16,
        "networks": {
            "net0": {
                "name": "eth0",
                "bridge": "vmbr0",
                "ip": "10.0.0.5/24",
                "gw": "10.0.0.1",
                "tag": 20,
                "mac_address": "BC:24:11:00:00:01",
                "firewall": True,
            },
            "net1": {
                "name": "eth1",
                "bridge": "vmbr1",
                "ip6": "fd00::5/64",
                "gw6": "fd00::1",
                "mtu": 9000,
            },
        },
        "mount_points": {
            "mp0": {"volume": "/srv/media", "path": "/media", "read_only": True},
            "mp1": {"volume": "local-lvm", "path": "/data", "size_gb": 8, "backup": True},
            "mp2": {"volume": "tank:subvol-7-disk-0", "path": "/other"},
        },
        "onboot": True,
        "tags": ["media", "gpu"],
        "features": "keyctl=1,nesting=1,mount=nfs;cifs",
        "gpu_assignment": "0,1",
    }
    (told_of,) = result.document["containers"]
    assert told_of["not_written"] == ["dev0", "hookscript", "mp10", "net2"]


def test_what_was_imported_is_created_again(running: LiveHost) -> None:
    """Import, lose the container, apply: pct gets what stood there."""
    gpu = "dev0: /dev/nvidia1,gid=44\n"
    running.conf("101", "".join(line for line in FULL.splitlines(keepends=True) if "dev" not in line) + gpu)
    for name in ("dev/nvidia1", "srv/media/x"):
        (running.root / name).parent.mkdir(parents=True, exist_ok=True)
        (running.root / name).touch()
    assert running.phoenix("import").code == 0
    (running.lxc / "101.conf").unlink()
    document = json.loads(running.config.read_text())
    document["lxc_configs"]["101"]["template"] = "local:vztmpl/debian.tar.zst"
    running.config.write_text(json.dumps(document))
    with running.recorded() as argvs:
        assert running.apply().code == 0
    (create,) = [argv for argv in argvs if argv[:2] == ("pct", "create")]
    assert create[3:] == (
        "local:vztmpl/debian.tar.zst",
        *("--hostname", "jelly.example.org", "--memory", "4096", "--swap", "0", "--cores", "4"),
        *("--onboot", "1", "--features", "keyctl=1,nesting=1,mount=nfs;cifs", "--unprivileged", "1"),
        *("--rootfs", "local-lvm:16"),
        "--net0",
        "name=eth0,bridge=vmbr0,ip=10.0.0.5/24,gw=10.0.0.1,hwaddr=BC:24:11:00:00:01,tag=20,firewall=1",
        *("--net1", "name=eth1,bridge=vmbr1,ip6=fd00::5/64,gw6=fd00::1,mtu=9000"),
        *("--mp0", "/srv/media,mp=/media,ro=1", "--mp1", "local-lvm:8,mp=/data,backup=1"),
        *(
            "--mp2",
            "tank:subvol-7-disk-0,mp=/other",
            "--tags",
            "media;gpu",
            "--dev0",
            "/dev/nvidia1,mode=0666",
        ),
    )


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("hostname: under_score\n", "name"),
        ("memory: 15\n", "memory_mb"),
        ("cores: 0x4\n", "cores"),
        ("rootfs: /tank/x\n", "rootfs"),
        ("rootfs: local:101/d.raw,size=1536M\n", "rootfs"),
        ("net0: name=eth0,bridge=vmbr0,ip=10.0.300.1/24\n", "networks/net0"),
        ("net0: name=eth0,bridge=vmbr0,hwaddr=01:00:00:00:00:00\n", "networks/net0"),
        ("net0: name=eth0,bridge=vmbr0,tag=4095\n", "networks/net0"),
        ("net0: name=eth0,bridge=vmbr0,trunks=1;2\n", "net0"),
        ("net0: name=eth0,name=eth1,bridge=vmbr0\n", "net0"),
        ("mp0: /a b,mp=/a\n", "mount_points/mp0"),
        ("mp0: /a,mp=/a/../b\n", "mount_points/mp0"),
        ("mp0: local-lvm:vm-101-disk-1,mp=/a\n", "mp0"),
        ("mp0: /a,mp=/a,acl=1\n", "mp0"),
        ("tags: -a\n", "tags"),
        ("features: nesting=1, keyctl=1\n", "features"),
        ("dev0: /dev/dri/card0\n", "dev0"),
        ("lxc.mount.entry: /dev/nvidia0 dev/nvidia1 none bind\n", "lxc.mount.entry"),
    ],
)
def test_what_is_not_plain_is_not_written(one: DirectoryHost, line: str, left: str) -> None:
    one.conf("101", "unprivileged: 1\n" + line)
    result = one.phoenix("import", "--json")
    assert result.code == 0 and result.document["containers"][0]["not_written"] == [left]
    assert set(imported(one)["101"]) == {"apparmor_profile", "start", "unprivileged"}
    assert one.phoenix("check", "--quick").code == 0


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        ("dev0: /dev/nvidia0,mode=0666\ndev1: path=/dev/nvidia-uvm\n", []),
        ("dev0: /dev/nvidia0,deny-write=1\n", ["dev0"]),
        ("dev0: /dev/nvidia0\ndev1: /dev/nvidiactl,gid=44\n", ["dev1"]),
        ("lxc.cgroup2.devices.allow: c 195:* rwm\nlxc.cgroup2.devices.allow: c 511:* rwm\n", []),
        ("lxc.cgroup2.devices.allow: c 195:* rwm\nlxc.cgroup2.devices.allow: c 10:200 rwm\n", [ALLOW]),
        ("lxc.cgroup2.devices.allow: a\n", [ALLOW]),
        ("lxc.cgroup2.devices.allow: b 8:0 rwm\n", [ALLOW]),
    ],
)
def test_what_comes_with_a_gpu_and_what_does_not(one: DirectoryHost, lines: str, left: list[str]) -> None:
    """Created again, the container would have the GPU, and not that it cannot be written to, nor every device."""
    gpu = "lxc.mount.entry: /dev/nvidia0 dev/nvidia0 none bind,optional,create=file\n"
    one.conf("101", lines + gpu)
    result = one.phoenix("import", "--json")
    assert result.document["containers"][0]["not_written"] == left
    assert imported(one)["101"]["gpu_assignment"] == "0"


@pytest.mark.parametrize(("rule", "left"), [("c 195:* rwm", []), ("a", [ALLOW]), ("c 10:232 rwm", [ALLOW])])
def test_what_comes_with_a_gpu_of_plain_lxc(one: DirectoryHost, rule: str, left: list[str]) -> None:
    folder = one.root / "var/lib/lxc/101"
    folder.mkdir(parents=True)
    gpu = "lxc.mount.entry = /dev/nvidia0 dev/nvidia0 none bind,optional,create=file\n"
    (folder / "config").write_text(f"lxc.cgroup2.devices.allow = {rule}\n{gpu}")
    result = one.phoenix("--runtime", "lxc", "import", "--json")
    assert result.document["containers"][0]["not_written"] == left


def test_two_containers_with_one_address(one: DirectoryHost) -> None:
    for ctid in ("101", "102"):
        one.conf(ctid, "net0: name=eth0,bridge=vmbr0,ip=10.0.0.5/24\n")
    result = one.phoenix("import", "--json")
    assert [c["not_written"] for c in result.document["containers"]] == [[], ["networks/net0"]]
    assert one.phoenix("check", "--quick").code == 0


# A cluster, and plain LXC ------------------------------------------------------------------------


def test_all_nodes(one: DirectoryHost) -> None:
    one.conf("101", PVE.format("a"))
    other = one.root / "etc/pve/nodes/pve2/lxc"
    other.mkdir(parents=True)
    (other / "201.conf").write_text(PVE.format("b") + "lxc.apparmor.profile: lxc-b\nfeatures: nesting=1\n")
    (other / "202.conf").write_text("[1x]\n")
    assert one.phoenix("import", "--output", "-").code == 0
    result = one.phoenix("import", "--all-nodes", "--json")
    assert result.code == 3 and told(result.document["left_out"]) == [("conf-unusable", "container 202")]
    found = imported(one)
    assert {ctid: entry["node"] for ctid, entry in found.items()} == {"101": "pve1", "201": "pve2"}
    assert found["201"]["lines"] == "keep" and found["201"]["start"] is False
    assert one.phoenix("setup").code == 0
    assert one.phoenix("plan", "--detailed-exitcode").code == 0


def test_a_ctid_that_two_nodes_have(one: DirectoryHost) -> None:
    """pmxcfs does not allow it; the configuration of this node is the one that counts."""
    one.conf("101", PVE.format("here"))
    other = one.root / "etc/pve/nodes/pve2/lxc"
    other.mkdir(parents=True)
    (other / "101.conf").write_text(PVE.format("there"))
    result = one.phoenix("import", "--all-nodes", "--json")
    assert result.code == 3 and told(result.document["left_out"]) == [("on-another-node", "container 101")]
    assert imported(one)["101"]["name"] == "here"


PLAIN = """lxc.include = /usr/share/lxc/config/common.conf
lxc.include = /usr/share/lxc/config/userns.conf
lxc.include = /usr/share/lxc/config/nesting.conf
lxc.arch = linux64
lxc.idmap = u 0 100000 65536
lxc.idmap = g 0 100000 65536
lxc.rootfs.path = dir:/var/lib/lxc/101/rootfs
lxc.uts.name = first
lxc.uts.name = "web"
lxc.start.auto = 1
lxc.cgroup2.memory.max = max
lxc.cgroup2.memory.max = 2G
lxc.cgroup2.memory.swap.max = 0
lxc.cgroup2.cpu.max = 400000 100000
lxc.net.0.type = veth
lxc.net.0.link = lxcbr0
lxc.net.0.flags = up
lxc.net.0.hwaddr = 00:16:3e:01:02:03
lxc.net.0.veth.vlan.id = 7
lxc.net.0.ipv4.address = 10.0.3.5/24
lxc.net.1.type = phys
lxc.net.1.link = enp6s0
lxc.mount.entry = /srv/media media none bind,create=dir,ro 0 0
lxc.mount.entry = /dev/nvidia0 dev/nvidia0 none bind,optional,create=file
lxc.cgroup2.devices.allow = c 195:* rwm
lxc.hook.pre-start = /bin/true
"""


def test_plain_lxc(one: DirectoryHost) -> None:
    lines = {"101": PLAIN, "102": "", "103": "lxc.apparmor.profile = lxc-b\n", "web": ""}
    lines["104"] = 'lxc.apparmor.profile = "unconfined"\n'
    for name, text in lines.items():
        folder = one.root / "var/lib/lxc" / name
        folder.mkdir(parents=True)
        (folder / "config").write_text(text)
    result = one.phoenix("--runtime", "lxc", "import", "--json")
    assert result.code == 3 and told(result.document["left_out"]) == [("foreign-id", "container web")]
    assert "lxc-copy -R -n web -N NUMBER" in result.document["left_out"][0]["hint"]
    found = imported(one)
    assert found["101"] == {
        "name": "web",
        "apparmor_profile": "generated",
        "lines": "keep",
        "start": False,
        "unprivileged": True,
        "memory_mb": 2048,
        "swap_mb": 0,
        "cores": 4,
        "networks": {
            "net0": {
                "name": "eth0",
                "bridge": "lxcbr0",
                "ip": "10.0.3.5/24",
                "tag": 7,
                "mac_address": "00:16:3e:01:02:03",
            }
        },
        "mount_points": {"mp0": {"volume": "/srv/media", "path": "/media", "read_only": True}},
        "onboot": True,
        "features": "nesting=1",
        "gpu_assignment": "0",
    }
    one_of = {c["ctid"]: c for c in result.document["containers"]}["101"]
    assert one_of["not_written"] == ["lxc.hook.pre-start", "lxc.net.1"]
    assert {ctid: entry["apparmor_profile"] for ctid, entry in found.items()} == {
        "101": "generated",
        "102": "generated",
        "103": "lxc-b",
        "104": "unconfined",
    }
    assert one.phoenix("--runtime", "lxc", "setup").code == 0
    assert one.phoenix("--runtime", "lxc", "plan", "--detailed-exitcode").code == 0
    refused = one.phoenix("--runtime", "lxc", "import", "--all-nodes", "--output", "-")
    assert refused.code == 2 and "cluster" in refused.err
