"""`phoenix facts`: what a node tells others of itself."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.plan.bundle import MAX_BUNDLE, read, text
from phoenix_hypervisor.plan.mediation import read_dump
from phoenix_hypervisor.profiles.features import PACKED, packed
from support.hosts import SECURITYFS, DirectoryHost, LiveHost, snapshot

STATUS = """Package: pve-container
Status: install ok installed
Version: 6.1.10

Package: lxc-pve
Status: deinstall ok config-files
Version: 6.0.5-3

Package: bash
Status: install ok installed
Version: 5
"""


def kernel_of(root: Path, name: str) -> None:
    """The features of a packed kernel, as securityfs shows them."""
    path = packed(name)
    assert path is not None
    for place, words in read_dump(Path(path).read_bytes()).items():
        file = root / SECURITYFS / "features" / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(" ".join(words) + "\n")


@pytest.fixture
def node(two: LiveHost) -> LiveHost:
    kernel_of(two.root, "debian-13")
    (two.root / "var/lib/dpkg").mkdir(parents=True)
    (two.root / "var/lib/dpkg/status").write_text(STATUS)
    assert two.apply().code == 0
    return two


def test_a_node_tells_what_it_is(node: LiveHost) -> None:
    before = snapshot(node.root, without=["double"])
    done = node.phoenix("facts", "--json")
    assert (done.code, done.err) == (0, "")
    found = done.document
    assert (found["version"], found["kind"], found["node"]) == (1, "phoenix-facts", "pve1")
    assert found["runtime"] == {"name": "proxmox", "packages": {"pve-container": "6.1.10"}}
    assert found["kernel"]["apparmor"] is True
    assert found["profiles"]["/usr/bin/man"] == {
        "mode": "enforce",
        "kernel": None,
        "compiled": None,
        "source": None,
    }
    assert snapshot(node.root, without=["double"]) == before, "it writes nothing"


def test_a_profile_is_told_by_the_hash_of_what_the_kernel_has(node: LiveHost) -> None:
    found = node.phoenix("facts", "--json").document["profiles"]["lxc-a"]
    assert found["mode"] == "enforce"
    assert found["compiled"] == hashlib.sha256(node.policy()["lxc-a"]).hexdigest()
    assert len(found["source"]) == 64


def test_a_profile_that_somebody_else_loaded_since_is_not_called_ours(node: LiveHost) -> None:
    folder = node.root / SECURITYFS / "policy/profiles/lxc-a.7"
    folder.mkdir(parents=True)
    (folder / "name").write_text("lxc-a\n")
    (folder / "sha256").write_text("0" * 64 + "\n")
    found = node.phoenix("facts", "--json").document["profiles"]["lxc-a"]
    assert (found["compiled"], found["source"]) == (None, None)
    assert found["kernel"].startswith("sha256:")


@pytest.mark.parametrize("name", list(PACKED))
def test_the_features_are_called_by_the_packed_kernel_that_has_them(two: LiveHost, name: str) -> None:
    kernel_of(two.root, name)
    features = two.phoenix("facts", "--json").document["kernel"]["features"]
    assert name in features["same_as"]
    assert not set(features["mediated"]) & set(features["unmediated"])
    (two.root / SECURITYFS / "features/one_more").write_text("yes\n")
    other = two.phoenix("facts", "--json").document["kernel"]["features"]
    assert (other["same_as"], other["hash"] != features["hash"]) == ([], True)


def test_gpus_and_their_nodes(two: LiveHost) -> None:
    (two.root / "dev").mkdir(exist_ok=True)
    for number in (0, 1):
        (two.root / f"dev/nvidia{number}").touch()
    found = two.phoenix("facts", "--json").document
    assert [one["number"] for one in found["gpus"]] == [0, 1]
    assert found["devices"]["/dev/nvidia1"] == ["c", 195, 1]


def test_a_directory_host_says_what_is_not_known(host: DirectoryHost) -> None:
    host.source("lxc-a")
    host.conf("101")
    host.declare({"101": "lxc-a"})
    assert host.apply().code == 0
    found = host.phoenix("facts", "--json").document
    assert (found["kernel"], found["node"]) == (
        {"release": "", "apparmor": None, "features": None},
        "pve1",
    )
    assert found["profiles"]["lxc-a"]["mode"] == "unknown"
    assert len(found["profiles"]["lxc-a"]["source"]) == 64
    (host.installed / "lxc-a").write_text("profile lxc-a { }\n")
    assert host.phoenix("facts", "--json").document["profiles"] == {}, "edited by hand"


def test_what_is_printed_is_what_is_published_and_read_again(node: LiveHost) -> None:
    done = node.phoenix("facts", "--publish", "--json")
    path = node.root / "etc/pve/phoenix/facts/pve1.json"
    assert done.code == 0 and json.loads(path.read_bytes()) == done.document
    one = read(path.read_bytes(), "x")
    assert text(one) == path.read_bytes()
    assert node.phoenix("facts", "--publish").code == 0, "it is replaced"


def test_people_see_a_summary(node: LiveHost) -> None:
    done = node.phoenix("facts", "--publish")
    assert done.out.startswith("node pve1: Phoenix ")
    assert "features " in done.out and " = debian-13" in done.out and "lxc-a (enforce)" in done.out
    assert done.out.splitlines()[-1].endswith("etc/pve/phoenix/facts/pve1.json")


def test_without_quorum_nothing_is_published(node: LiveHost) -> None:
    node.lose_quorum()
    before = snapshot(node.root, without=["double"])
    done = node.phoenix("facts", "--publish", "--json")
    assert done.code == 1 and done.problems == [("read-only", "the facts bundle")]
    assert snapshot(node.root, without=["double"]) == before


BUNDLE = b"""{"version": 1, "kind": "phoenix-facts", "node": "a", "gathered": "2026-11-26T10:00:00Z",
"phoenix": "1", "parser": null, "kernel": {"release": "", "apparmor": null, "features": null},
"runtime": {"name": "lxc", "packages": {}}, "profiles": {}, "gpus": [], "devices": {}, "files": {}}"""


def test_the_smallest_bundle_is_one() -> None:
    assert read(BUNDLE, "x").node == "a"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is not JSON"),
        (b"[" * 100000, "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[]", "is not a facts bundle"),
        (b'{"version": 1}', "is not a facts bundle"),
        (BUNDLE.replace(b'"version": 1', b'"version": 2'), "version 2"),
        (BUNDLE.replace(b'"node": "a"', b'"node": 7'), "damaged"),
        (BUNDLE.replace(b"2026-11-26T10:00:00Z", b"yesterday"), "damaged"),
        (BUNDLE.replace(b'"profiles": {}', b'"profiles": []'), "damaged"),
        (BUNDLE.replace(b'"devices": {}', b'"devices": {"/dev/a": [1]}'), "damaged"),
        (BUNDLE.replace(b', "files": {}', b""), "damaged"),
        (BUNDLE + b" " * MAX_BUNDLE, "is over"),
    ],
    ids=[
        "empty",
        "deep",
        "no text",
        "a list",
        "no kind",
        "a later version",
        "a number for a name",
        "no time",
        "a list for profiles",
        "half a number",
        "a part missing",
        "too large",
    ],
)
def test_what_is_no_bundle_is_refused_with_a_next_step(data: bytes, words: str) -> None:
    with pytest.raises(PhoenixError, match=words) as caught:
        read(data, "/x/pve2.json")
    assert caught.value.hint and caught.value.where == "/x/pve2.json"
