"""What ansible-doc shows, the groups that the inventory makes, and the role's own files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.fleet import Fleet
from support.hosts import TOP

MODULES = sorted(path.stem for path in (TOP / "ansible/plugins/modules").glob("*.py"))
AS_THE_CLUSTER_SAYS: dict[str, dict[str, Any]] = {
    "web": {
        "proxmox_vmtype": "lxc",
        "proxmox_unprivileged": 1,
        "proxmox_lxc": {"apparmor.profile": "lxc-base"},
    },
    "gpu": {
        "proxmox_vmtype": "lxc",
        "proxmox_lxc": {"cgroup2.devices.allow": "c 195:* rwm", "apparmor.profile": "lxc-nvidia-gpu-base"},
    },
    "plain": {"proxmox_vmtype": "lxc", "proxmox_unprivileged": "1"},
    "vm": {"proxmox_vmtype": "qemu"},
    "pve1": {},
}
"""Facts as the inventory of community.proxmox makes them with `want_facts` (its `_get_vm_config`)."""


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path, AS_THE_CLUSTER_SAYS)


@pytest.mark.parametrize("name", MODULES)
def test_ansible_doc_shows_each_module(fleet: Fleet, name: str) -> None:
    shown = fleet.run("ansible-doc", "--json", f"phoenix.hypervisor.{name}")
    assert shown.returncode == 0, shown.stderr
    (document,) = json.loads(shown.stdout).values()
    assert document["doc"]["short_description"] and document["examples"] and document["return"]
    assert "executable" in document["doc"]["options"], "with what all modules have"
    assert fleet.run("ansible-doc", f"phoenix.hypervisor.{name}").returncode == 0


def test_containers_are_grouped_by_profile_and_kind(fleet: Fleet) -> None:
    groups = str(TOP / "ansible/inventory/phoenix.constructed.yml")
    shown = fleet.run("ansible-inventory", "-i", str(fleet.inventory), "-i", groups, "--list")
    assert shown.returncode == 0, shown.stderr
    listed = json.loads(shown.stdout)
    found = {name: sorted(listed[name]["hosts"]) for name in listed if name.startswith("phoenix_")}
    assert found == {
        "phoenix_profile_lxc_base": ["web"],
        "phoenix_profile_lxc_nvidia_gpu_base": ["gpu"],
        "phoenix_profile_generated": ["plain"],
        "phoenix_kind_unprivileged": ["plain", "web"],
        "phoenix_kind_privileged": ["gpu"],
    }
    assert "WARN" not in shown.stderr


def test_the_role_puts_the_configuration_in_its_place(tmp_path: Path) -> None:
    source, place = tmp_path / "source", tmp_path / "place"
    (source / "apparmor").mkdir(parents=True)
    place.mkdir()
    (source / "phoenix_lxc_configs.json").write_text("{}\n")
    (source / "apparmor/lxc-a").write_text("profile lxc-a {}\n")
    local = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
    fleet = Fleet(tmp_path / "fleet", {"pve1": local})
    play = [
        {
            "hosts": "phoenix",
            "gather_facts": False,
            "roles": [{"role": "phoenix.hypervisor.phoenix"}],
            "vars": {"phoenix_configuration": str(source), "phoenix_configuration_place": str(place)},
        }
    ]
    (tmp_path / "play.yml").write_text(json.dumps(play))
    for changed in (1, 0):
        done = fleet.run("ansible-playbook", "-i", str(fleet.inventory), str(tmp_path / "play.yml"))
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"changed={changed}" in done.stdout, done.stdout
    assert (place / "apparmor/lxc-a").read_text() == "profile lxc-a {}\n"
