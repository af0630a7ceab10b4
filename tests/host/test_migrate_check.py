"""`phoenix migrate-check`: two nodes, one container, the target's facts in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.hosts import LiveHost, snapshot, told


@pytest.fixture
def pair(two: LiveHost, tmp_path: Path) -> tuple[LiveHost, Path]:
    """A node with applied containers, and the facts of another one that has all of it."""
    assert two.apply().code == 0
    (two.root / "etc/pve/nodes/pve2/lxc").mkdir(parents=True)
    document = two.phoenix("facts", "--json").document
    return two, target(tmp_path, document)


def target(folder: Path, document: dict[str, Any], **changes: Any) -> Path:
    path = folder / "pve2.json"
    path.write_text(json.dumps({**document, "node": "pve2", **changes}))
    return path


def test_nothing_speaks_against_it(pair: tuple[LiveHost, Path]) -> None:
    here, facts = pair
    before = snapshot(here.root, without=["double"])
    done = here.phoenix("migrate-check", "101", "pve2", "--facts", str(facts))
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0] == "nothing speaks against moving container 101 to pve2"
    assert snapshot(here.root, without=["double"]) == before


def test_each_reason_is_told_with_its_code(pair: tuple[LiveHost, Path], tmp_path: Path) -> None:
    here, facts = pair
    document = json.loads(facts.read_text())
    profiles = {name: one for name, one in document["profiles"].items() if name != "lxc-a"}
    facts = target(tmp_path, document, profiles=profiles)
    done = here.phoenix("migrate-check", "101", "pve2", "--facts", str(facts), "--json")
    assert done.code == 3
    assert (done.document["ok"], done.document["from"], done.document["to"]) == (False, "pve1", "pve2")
    assert told(done.document["reasons"]) == [("migrate-profile-missing", "container 101")]
    other = here.phoenix("migrate-check", "102", "pve2", "--facts", str(facts))
    assert other.code == 0, "its profile is there"
    shown = here.phoenix("migrate-check", "101", "pve2", "--facts", str(facts))
    assert "its profile lxc-a is not loaded there" in shown.out and "phoenix setup" in shown.out


def test_a_profile_of_the_same_name_and_another_content(pair: tuple[LiveHost, Path], tmp_path: Path) -> None:
    here, facts = pair
    document = json.loads(facts.read_text())
    here.source("lxc-a", "/etc/passwd r,")
    assert here.apply().code == 0
    done = here.phoenix("migrate-check", "101", "pve2", "--facts", str(facts), "--json")
    assert done.code == 3 and told(done.document["reasons"]) == [("migrate-policy-differs", "container 101")]
    assert document["profiles"]["lxc-b"] == here.phoenix("facts", "--json").document["profiles"]["lxc-b"]


def test_the_gpus_that_it_names(pair: tuple[LiveHost, Path], tmp_path: Path) -> None:
    here, facts = pair
    (here.root / "dev").mkdir(exist_ok=True)
    (here.root / "dev/nvidia0").touch()
    (here.root / "dev/nvidia-uvm").touch()
    (here.root / "proc/devices").write_text("Character devices:\n510 nvidia-uvm\n\nBlock devices:\n")
    lines = "lxc.cgroup2.devices.allow: c 195:* rwm\nlxc.cgroup2.devices.allow: c 510:* rwm\n"
    entries = "".join(
        f"lxc.mount.entry: /dev/{name} dev/{name} none bind,optional,create=file\n"
        for name in ("nvidia0", "nvidia-uvm")
    )
    here.conf("101", f"arch: amd64\nmemory: 512\nlxc.apparmor.profile: lxc-a\n{lines}{entries}")
    document = json.loads(facts.read_text())
    facts = target(tmp_path, document, devices={"/dev/nvidia-uvm": ["c", 511, 0]})
    done = here.phoenix("migrate-check", "101", "pve2", "--facts", str(facts), "--json")
    assert [one["code"] for one in done.document["reasons"]] == ["migrate-gpu-missing", "migrate-gpu-number"]
    assert done.document["reasons"][1]["data"] == {
        "path": "/dev/nvidia-uvm",
        "here": "c 510:0",
        "there": "c 511:0",
    }


def test_old_facts_are_a_reason(pair: tuple[LiveHost, Path], tmp_path: Path) -> None:
    here, facts = pair
    facts = target(tmp_path, json.loads(facts.read_text()), gathered="2026-01-01T00:00:00Z")
    done = here.phoenix("migrate-check", "101", "pve2", "--facts", str(facts), "--json")
    assert done.code == 3 and told(done.document["reasons"]) == [("migrate-facts-old", "node pve2")]
    done = here.phoenix("migrate-check", "101", "pve2", "--facts", str(facts), "--max-age", "2000w")
    assert done.code == 0


def test_by_default_what_the_node_published_is_read(pair: tuple[LiveHost, Path]) -> None:
    here, facts = pair
    missing = here.phoenix("migrate-check", "101", "pve2")
    assert missing.code == 1 and "phoenix facts --publish" in missing.err
    place = here.root / "etc/pve/phoenix/facts/pve2.json"
    place.parent.mkdir(parents=True)
    place.write_bytes(facts.read_bytes())
    assert here.phoenix("migrate-check", "101", "pve2").code == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["101", "pve1"], 2, "pve1 is this node"),
        (["101", "pve9"], 2, "the cluster has no node 'pve9'"),
        (["101,102", "pve2"], 2, "name one container"),
        (["999", "pve2", "--facts", "FACTS"], 1, "container 999 is not on this node"),
        (["101", "pve2", "--facts", "/nowhere"], 2, "--facts cannot be read"),
        (["101", "pve3", "--facts", "FACTS"], 2, "facts of node pve2, not of pve3"),
        (["101", "pve2", "--max-age", "soon"], 2, "--max-age takes a time"),
        (["101"], 2, "NODE"),
    ],
    ids=["this node", "no node", "two", "not here", "no file", "another's facts", "no time", "no word"],
)
def test_what_makes_no_sense(pair: tuple[LiveHost, Path], words: list[str], code: int, said: str) -> None:
    here, facts = pair
    (here.root / "etc/pve/nodes/pve3").mkdir()
    done = here.phoenix("migrate-check", *[str(facts) if word == "FACTS" else word for word in words])
    assert done.code == code and said in done.err
