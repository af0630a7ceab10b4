"""Facts of a real kernel, and what speaks against a move, each reason made for real in the guest.

The guest is both nodes: its facts are taken in one state, and what is there is put right before it is asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from phoenix_hypervisor.lab.booted import Lab
from phoenix_hypervisor.lab.guestlink import Result
from support.lab_host import SMALL, box

HOME = "/root/moving"
CONFIG = f"{HOME}/phoenix_lxc_configs.json"
FACTS = f"{HOME}/there.json"
PROFILE = "lxc-moving"
FILE = f"/etc/apparmor.d/{PROFILE}"
COMPANION = "/var/lib/phoenix/seccomp/privileged"
NODES = "/dev/nvidia8 /dev/nvidia-nvswitch9"


def phoenix(lab: Lab, *words: str) -> Result:
    return lab.run(["phoenix", "--config", CONFIG, *words], timeout=240)


def facts(lab: Lab) -> dict[str, Any]:
    done = phoenix(lab, "facts", "--json")
    assert done.ok, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def reasons(lab: Lab, there: dict[str, Any]) -> list[str]:
    """What speaks against moving container 911 to a node with these facts."""
    lab.put(FACTS, json.dumps({**there, "node": "there"}))
    done = phoenix(lab, "migrate-check", "911", "there", "--facts", FACTS, "--json")
    document = json.loads(done.stdout)
    assert done.rc == (3 if document["reasons"] else 0), done.stderr
    return [one["code"] for one in document["reasons"]]


@pytest.fixture
def moving(lab: Lab) -> Iterator[Lab]:
    """A guest with one small profile of its own, and container 911 under it."""
    lab.install_phoenix()
    lab.run(f"mkdir -p {HOME}/apparmor /var/lib/lxc", check=True)
    lab.put(f"{HOME}/apparmor/{PROFILE}", SMALL.format(name=PROFILE, rules=""))
    lab.put(CONFIG, json.dumps({"lxc_configs": {"911": {"name": "c911", "apparmor_profile": PROFILE}}}))
    container = box(lab, 911)
    try:
        done = phoenix(lab, "apply", "911", "--no-start")
        assert done.ok, done.stdout + done.stderr
        yield lab
    finally:
        container.remove()
        lab.run(f"rm -f {NODES} /dev/was; apparmor_parser -R {FILE}; rm -rf {FILE} {HOME}")


def test_facts_name_the_kernel_and_hash_what_it_has(moving: Lab) -> None:
    found = facts(moving)
    named, algorithm = {"trixie": ("debian-13", "sha256"), "bookworm": ("debian-12", "sha1")}[
        moving.release.name
    ]
    assert found["kernel"]["features"]["same_as"] == [named]
    one = found["profiles"][PROFILE]
    assert one["mode"] == "enforce" and one["kernel"].startswith(f"{algorithm}:")
    assert len(one["compiled"]) == len(one["source"]) == 64
    assert found["profiles"]["lxc-container-default-cgns"]["compiled"] is None


@pytest.mark.parametrize(
    ("command", "codes"),
    [
        (f"apparmor_parser -R {FILE}", ["migrate-profile-missing"]),
        (
            f"echo 'profile {PROFILE} {{ }}' | apparmor_parser --replace --skip-cache",
            ["migrate-policy-differs"],
        ),
        (f"rm {COMPANION}", ["migrate-seccomp-missing"]),
        (f"echo '# more' >> {COMPANION}", ["migrate-seccomp-differs"]),
    ],
    ids=["unloaded", "another policy", "no seccomp file", "another seccomp file"],
)
def test_what_somebody_did_on_the_other_node(moving: Lab, command: str, codes: list[str]) -> None:
    assert reasons(moving, facts(moving)) == []
    kept = moving.get(COMPANION)
    moving.run(command, check=True)
    there = facts(moving)
    moving.put(COMPANION, kept)
    put = phoenix(moving, "setup")
    assert put.ok, put.stderr
    assert reasons(moving, there) == codes


def test_the_gpus_that_it_names(moving: Lab) -> None:
    one, two = NODES.split()
    moving.run(f"mknod -m 666 {one} c 195 8; mknod -m 666 {two} c 510 9", check=True)
    entries = "".join(
        f"lxc.mount.entry = {path} {path[1:]} none bind,optional,create=file\n" for path in (one, two)
    )
    rules = "lxc.cgroup2.devices.allow = c 195:* rwm\nlxc.cgroup2.devices.allow = c 510:* rwm\n"
    path = "/var/lib/lxc/911/config"
    moving.put(path, moving.get(path) + (entries + rules).encode())
    assert reasons(moving, facts(moving)) == []
    moving.run(f"mv {one} /dev/was; rm {two}; mknod {two} c 511 9", check=True)
    there = facts(moving)
    moving.run(f"mv /dev/was {one}; rm {two}; mknod {two} c 510 9", check=True)
    assert reasons(moving, there) == ["migrate-gpu-missing", "migrate-gpu-number"]
