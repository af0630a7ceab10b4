"""What `phoenix doctor` says of a machine: read from its files, on a bare Python."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from phoenix_hypervisor.cli import bare_doctor
from phoenix_hypervisor.cli.machine_words import document, lines
from phoenix_hypervisor.engine.diagnosis import diagnose
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.plan.entries import JOURNAL_DIR
from phoenix_hypervisor.plan.kernel_holes import open_holes
from support.old_hosts import recorded

OTHER = "#1 SMP PREEMPT_DYNAMIC @0"


def _debian(version: str) -> str:
    return f"#1 SMP PREEMPT_DYNAMIC Debian {version} (2026-01-01)"


@pytest.mark.parametrize(
    ("release", "version", "holes"),
    [
        ("6.12.73+deb13-amd64", _debian("6.12.73-1"), {"policy-management": "6.12.74-2", "complain-change-hat": "6.12.115-1"}),
        ("6.12.74+deb13-amd64", _debian("6.12.74-1"), {"policy-management": "6.12.74-2", "complain-change-hat": "6.12.115-1"}),
        ("6.12.74+deb13-amd64", _debian("6.12.74-2"), {"complain-change-hat": "6.12.115-1"}),
        ("6.12.117+deb13-cloud-amd64", _debian("6.12.117-1"), {}),
        ("6.1.0-50-amd64", _debian("6.1.163-1"), {"policy-management": "6.1.164-1", "complain-change-hat": "6.1.192-1"}),
        ("6.1.0-60-amd64", _debian("6.1.192-1"), {}),
        ("5.10.0-30-amd64", _debian("5.10.200-1"), {"policy-management": None, "complain-change-hat": None}),
        ("7.2.1+deb14-amd64", _debian("7.2.1-1"), {}),
        ("6.17.13-1-pve", OTHER, {"policy-management": "6.17.13-2"}),
        ("6.17.13-2-pve", OTHER, {}),
        ("6.14.11-6-pve", OTHER, {}),
        ("6.8.12-9-pve", OTHER, {"policy-management": "6.8.12-20"}),
        ("6.5.13-6-pve", OTHER, {"policy-management": None}),
        ("7.0.6-2-pve", OTHER, {}),
        ("6.18.44-custom", OTHER, None),
    ],
)  # fmt: skip
def test_known_holes_of_a_kernel(release: str, version: str, holes: dict[str, str | None] | None) -> None:
    found = open_holes(release, version)
    assert (None if found is None else {one.hole.code: one.fixed for one in found}) == holes


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A Proxmox node with a driver of NVIDIA's."""
    top = tmp_path / "root"
    for name, text in {
        "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n',
        "var/lib/dpkg/status": "Package: pve-manager\nStatus: install ok installed\nVersion: 9.2.11\n\n"
        "Package: lxc\nStatus: deinstall ok config-files\nVersion: 1\n\n"
        "Package: apparmor\nStatus: install ok installed\nPriority: optional\nVersion: 4.1.0-1\n",
        "etc/subuid": "user:1:65536\nroot:100000:65536\n",
        "etc/subgid": "root:100000:65536\n",
        "proc/devices": "Character devices:\n195 nvidia\n511 nvidia-uvm\n236 nvidia-caps\n",
        "etc/pve/lxc/101.conf": "hostname: x\n",
    }.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    return top


def _said(root: Path, state: str) -> str:
    return "\n".join(text for one, text in lines(diagnose(Host(str(root)), None)) if one == state)


def test_a_healthy_node(root: Path) -> None:
    machine = diagnose(Host(str(root)), None)
    assert (machine.system, machine.runtime) == ("Debian GNU/Linux 13 (trixie)", "Proxmox VE")
    assert machine.packages == {"pve-manager": "9.2.11", "apparmor": "4.1.0-1"}
    assert machine.subids == {"/etc/subuid": True, "/etc/subgid": True}
    assert (machine.read_only, machine.unfinished, machine.unseen, machine.driver) == (None, None, None, None)
    assert "pve-manager 9.2.11" in _said(root, "ok") and "`phoenix import` writes one" in _said(root, "note")
    assert json.loads(json.dumps(document(machine)))["subids"] == {"/etc/subuid": True, "/etc/subgid": True}


@pytest.mark.parametrize(
    ("subuid", "enough"),
    [("root:100000:65536\n", True), ("0:100000:65536\n", True), ("root:100000:1000\n", False), ("", False)],
)
def test_ids_for_unprivileged_containers(root: Path, subuid: str, enough: bool) -> None:
    (root / "etc/subuid").write_text(subuid)
    assert ("no range of 65536 ids in /etc/subuid:" in _said(root, "WARN")) is not enough


def test_a_cluster_without_quorum(root: Path) -> None:
    (root / "etc/pve/local").mkdir(mode=0o555)
    assert "no quorum" in _said(root, "WARN") and "pvecm status" in _said(root, "WARN")


def test_proxmox_without_its_file_system(root: Path) -> None:
    (root / "etc/pve/lxc/101.conf").unlink()
    (root / "etc/pve/lxc").rmdir()
    assert "pve-cluster is not running" in _said(root, "WARN")


def test_nodes_of_gpus_and_their_majors(root: Path) -> None:
    dev = root / "dev"
    (dev / "nvidia-caps").mkdir(parents=True)
    (dev / "dri").mkdir()
    made = {"nvidia0": (195, 0), "nvidiactl": (195, 255), "nvidia-uvm": (510, 0), "nvidia-caps/nvidia-cap1": (236, 1),
            "dri/renderD128": (226, 128), "null": (1, 3)}  # fmt: skip
    try:
        for name, (major, minor) in made.items():
            os.mknod(dev / name, 0o20600, os.makedev(major, minor))
    except PermissionError:
        pytest.skip("device nodes are made by root only")
    (dev / "nvidia1").write_text("")
    machine = diagnose(Host(str(root)), None)
    found = {node.path: (node.major, node.minor, node.expected) for node in machine.nodes}
    assert found == {
        "/dev/nvidia0": (195, 0, 195),
        "/dev/nvidiactl": (195, 255, 195),
        "/dev/nvidia-uvm": (510, 0, 511),
        "/dev/nvidia-caps/nvidia-cap1": (236, 1, 236),
        "/dev/dri/renderD128": (226, 128, None),
    }
    assert "/dev/nvidia0 195:0" in _said(root, "ok")
    assert "/dev/nvidia-uvm has major 510, its driver has 511 now" in _said(root, "WARN")


def test_a_driver_without_the_node_that_cuda_needs(root: Path) -> None:
    version = root / "proc/driver/nvidia/version"
    version.parent.mkdir(parents=True)
    version.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  575.57.08  Sat May 24\n")
    assert "NVIDIA's driver 575.57.08 is loaded, but /dev/nvidia-uvm is missing" in _said(root, "WARN")


def test_what_the_kernel_does_not_mediate(root: Path) -> None:
    assert diagnose(Host(str(root)), None).unmediated is None
    mask = root / "sys/kernel/security/apparmor/features/mount/mask"
    mask.parent.mkdir(parents=True)
    mask.write_text("mount umount pivot_root\n")
    codes = {gap.code for gap in diagnose(Host(str(root)), None).unmediated or ()}
    assert "file" in codes and "mount" not in codes
    assert "not mediated (kernel): files: no file rule holds" in _said(root, "note")


def test_a_transaction_that_a_killed_run_left(root: Path) -> None:
    for path, data in recorded("killed-1-killed").items():
        if path.startswith("var/lib/phoenix/"):
            place = root / path
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            place.write_bytes(data)
            place.chmod(0o600)
    assert "was interrupted; the next phoenix setup, apply or rollback" in _said(root, "WARN")
    (root / JOURNAL_DIR[1:]).chmod(0o777)
    assert "whether a transaction was interrupted cannot be seen" in _said(root, "note")
    assert "was interrupted;" not in _said(root, "WARN")


def test_which_configuration_is_used(root: Path, tmp_path: Path) -> None:
    for folder in ("etc/pve/phoenix", "etc/phoenix_hypervisor"):
        (root / folder).mkdir()
        (root / folder / "phoenix_lxc_configs.json").write_text("{}")
    assert "more than one configuration" in _said(root, "WARN")
    (root / "etc/pve/phoenix/phoenix_lxc_configs.json").unlink()
    place = root / "etc/phoenix_hypervisor/phoenix_lxc_configs.json"
    assert f"configuration: {place}" in _said(root, "ok")
    assert diagnose(Host(str(root)), str(tmp_path / "no")).choice == f"{tmp_path}/no: --config is not a file"


@pytest.mark.parametrize(
    ("words", "variable", "named"),
    [
        (["--config", "/a"], "/b", "/a"),
        (["--json", "--config=/a"], None, "/a"),
        ([], "/b", "/b"),
        (["--config"], None, ""),
        ([], None, None),
    ],
)
def test_the_configuration_that_is_named(
    words: list[str], variable: str | None, named: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PHOENIX_CONFIG", raising=False)
    if variable is not None:
        monkeypatch.setenv("PHOENIX_CONFIG", variable)
    assert bare_doctor._named(words) == named
