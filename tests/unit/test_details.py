"""What a configuration says that is only shown: names, GPU nodes, what snapshots hold."""

from __future__ import annotations

import pytest

from phoenix_hypervisor.containers.conf import Dialect
from phoenix_hypervisor.containers.details import details, hostname
from phoenix_hypervisor.plan.model import Details

PVE = b"""#hostname: described
arch: amd64
hostname: first
hostname: pihole\r
lxc.apparmor.profile: lxc-a

[pve:pending]
hostname: later
lxc.apparmor.profile: lxc-z

[old]
hostname: older
lxc.apparmor.profile: unconfined

[same]
lxc.apparmor.profile: "lxc-a"

[none]
hostname: none
"""


def test_the_name_that_counts_is_the_heads_last() -> None:
    assert hostname(PVE, Dialect.PVE) == "pihole"
    assert hostname(b"arch: amd64\n", Dialect.PVE) == ""
    assert hostname(b" lxc.uts.name = web \nlxc.utsname=old\n", Dialect.LXC) == "old"
    assert hostname(b"# lxc.uts.name = web\n", Dialect.LXC) == ""


def test_snapshots_that_would_bring_another_profile_back() -> None:
    """A snapshot without a line does so, too; what is pending is no snapshot."""
    assert details(PVE, Dialect.PVE).snapshots == (("old", "unconfined"), ("none", None))
    bare = PVE.replace(b"lxc.apparmor.profile: lxc-a\n", b"", 1)
    assert details(bare, Dialect.PVE).snapshots == (("old", "unconfined"), ("same", "lxc-a"))
    assert details(b"lxc.uts.name = web\n[old]\n", Dialect.LXC) == Details(hostname="web")


@pytest.mark.parametrize(
    ("line", "nodes"),
    [
        ("dev0: /dev/nvidia0,mode=0666", ["/dev/nvidia0"]),
        ("dev3: path=/dev/dri/renderD128,gid=104", ["/dev/dri/renderD128"]),
        ("dev3: gid=104,path=/dev/kfd", ["/dev/kfd"]),
        ("dev4: /dev/ttyUSB0", []),
        ("lxc.mount.entry: /dev/nvidia-uvm dev/nvidia-uvm none bind,optional,create=file", ["/dev/nvidia-uvm"]),
        ("lxc.mount.entry = /dev/dri dev/dri none bind", ["/dev/dri"]),
        ("mp0: /dev/dri,mp=/dev/dri", ["/dev/dri"]),
        ("mp0: /srv/dev/dri,mp=/x", []),
        ("#dev0: /dev/nvidia0", []),
        ("dev0: /dev/nvidia0\ndev1: /dev/nvidia0", ["/dev/nvidia0"]),
        ("[snap]\ndev0: /dev/nvidia0", []),
    ],
)  # fmt: skip
def test_gpu_nodes(line: str, nodes: list[str]) -> None:
    assert list(details(f"arch: amd64\n{line}\n".encode(), Dialect.PVE).gpu_nodes) == nodes


def test_what_is_damaged_says_nothing() -> None:
    assert details(b"\0\xff[", Dialect.PVE) == Details()
