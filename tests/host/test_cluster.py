"""One configuration for a cluster: what each node does, what it sees of the others, what follows a move."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

import jsonschema
import pytest

from phoenix_hypervisor.containers.runtimes.proxmox import Proxmox
from support.hosts import TOP, LiveHost, contents, snapshot, told
from support.killed import killed

SCHEMA = TOP / "src/phoenix_hypervisor/data/phoenix_report.schema.json"
CONF = "arch: amd64\nhostname: {}\nmemory: 512\n"


@pytest.fixture
def cluster(live: LiveHost) -> LiveHost:
    """Node pve1, and of pve2 what pmxcfs shows here: 201 as declared, 202 not, 203 not declared."""
    pve2 = live.root / "etc/pve/nodes/pve2/lxc"
    pve2.mkdir(parents=True)
    (live.root / "etc/pve/nodes/pve3").mkdir()
    live.source("lxc-a")
    live.conf("101", CONF.format("one"))
    (pve2 / "201.conf").write_text(CONF.format("two") + "lxc.apparmor.profile: lxc-a\n")
    (pve2 / "202.conf").write_text(CONF.format("web") + "lxc.apparmor.profile: unconfined\n")
    (pve2 / "203.conf").write_text(CONF.format("odd"))
    live.declare({"101": "lxc-a", "201": "lxc-a", "202": "lxc-a"})
    return live


def move(host: LiveHost, ctid: str, source: str, target: str) -> None:
    """As Proxmox does it: one rename in /etc/pve."""
    nodes = host.root / "etc/pve/nodes"
    os.rename(nodes / source / "lxc" / f"{ctid}.conf", nodes / target / "lxc" / f"{ctid}.conf")


@contextmanager
def become(host: LiveHost, node: str) -> Iterator[None]:
    """The same /etc/pve as another node sees it."""
    pve = host.root / "etc/pve"
    before = {name: os.readlink(pve / name) for name in ("local", "lxc", "qemu-server")}
    for name, target in before.items():
        (pve / name).unlink()
        (pve / name).symlink_to(target.replace("pve1", node))
    try:
        yield
    finally:
        for name, target in before.items():
            (pve / name).unlink()
            (pve / name).symlink_to(target)


# What is seen of the others ----------------------------------------------------------


def test_status_sees_all_nodes_and_verifies_its_own(cluster: LiveHost) -> None:
    assert cluster.apply().code == 0
    before = snapshot(cluster.root, without=["double"])
    found = cluster.phoenix("status", "--all-nodes", "--json").document
    assert [one["ctid"] for one in found["containers"] if one["exists"]] == ["101"]
    two, three = found["nodes"]
    assert (two["node"], two["verified"], three["node"], three["containers"]) == ("pve2", False, "pve3", [])
    lines = [(one["ctid"], one["name"], one["line_as_declared"]) for one in two["containers"]]
    assert lines == [("201", "two", True), ("202", "web", False), ("203", "odd", None)]
    (finding,) = two["containers"][1]["findings"]
    assert (finding["code"], finding["data"]) == (
        "not-assigned",
        {"assigned": "unconfined", "declared": "lxc-a"},
    )
    assert found["as_declared"] is True, "of this node alone"
    assert snapshot(cluster.root, without=["double"]) == before


def test_without_the_word_status_is_as_it_was(cluster: LiveHost) -> None:
    assert "nodes" not in cluster.phoenix("status", "--json").document
    assert "nodes" not in cluster.phoenix("plan", "--json").document


def test_people_see_each_node_and_what_is_wrong(cluster: LiveHost) -> None:
    shown = cluster.phoenix("status", "--all-nodes").out
    assert "not verified there" in shown
    assert "pve2: 3 containers, 2 declared, 1 with the declared line" in shown
    assert "container 202 web: not-assigned: assigned unconfined, declared lxc-a" in shown
    assert "container 201" not in shown.split("not verified there")[1]
    wide = cluster.phoenix("status", "--all-nodes", "--wide").out
    assert "container 201 two: lxc-a, as declared" in wide and "203 odd: no line, not declared" in wide


def test_plan_shows_what_would_change_on_the_others(cluster: LiveHost) -> None:
    assert cluster.apply().code == 0
    found = cluster.phoenix("plan", "--all-nodes", "--json").document
    assert found["changes"] == 0
    two, three = found["nodes"]
    (change,) = two["changes"]
    assert (change["ctid"], change["assigned"], change["declared"]) == ("202", "unconfined", "lxc-a")
    assert change["path"] == "/etc/pve/nodes/pve2/lxc/202.conf"
    assert change["diff"][-2:] == ["-lxc.apparmor.profile: unconfined", "+lxc.apparmor.profile: lxc-a"]
    assert three == {"node": "pve3", "verified": False, "creates": [], "changes": []}
    shown = cluster.phoenix("plan", "--all-nodes").out
    assert "~ pve2: container 202: unconfined -> lxc-a" in shown and "nothing to change on pve3" in shown


def test_the_plan_is_what_that_node_does(cluster: LiveHost) -> None:
    planned = cluster.phoenix("plan", "--all-nodes", "--json").document["nodes"][0]["changes"]
    with become(cluster, "pve2"):
        there = cluster.phoenix("plan", "--no-start", "--json").document
        assigned = [one for one in there["actions"] if one["kind"] == "assign"]
        assert [one["target"] for one in assigned] == [one["ctid"] for one in planned]
        for mine, theirs in zip(planned, assigned, strict=True):
            assert mine["diff"][2:] == theirs["diff"][2:]


def test_a_damaged_configuration_of_another_node_is_told_and_stops_nothing(cluster: LiveHost) -> None:
    (cluster.root / "etc/pve/nodes/pve2/lxc/202.conf").unlink()
    (cluster.root / "etc/pve/nodes/pve2/lxc/202.conf").mkdir()
    found = cluster.phoenix("status", "--all-nodes", "--json").document["nodes"][0]
    assert [one["findings"][0]["code"] for one in found["containers"] if one["findings"]] == ["conf-unusable"]


def test_chosen_containers_only(cluster: LiveHost) -> None:
    found = cluster.phoenix("status", "201", "--all-nodes", "--json").document["nodes"]
    assert [one["ctid"] for one in found[0]["containers"]] == ["201"]


def test_plain_lxc_has_no_other_nodes(cluster: LiveHost) -> None:
    done = cluster.phoenix("--runtime", "lxc", "status", "--all-nodes")
    assert done.code == 2 and "--all-nodes needs a cluster" in done.err


def test_the_containers_of_other_nodes_are_skipped_in_one_line(cluster: LiveHost) -> None:
    shown = cluster.phoenix("plan", "--no-start").out
    assert "skipped container 201,202: is a container on node pve2  (run phoenix on that node)" in shown
    skipped = cluster.phoenix("plan", "--no-start", "--json").document["skipped"]
    assert told(skipped) == [("on-another-node", "container 201"), ("on-another-node", "container 202")]


# Who creates what is missing ---------------------------------------------------------


def test_another_nodes_container_is_a_stated_no_op(cluster: LiveHost) -> None:
    cluster.declare({"101": "lxc-a", "300": {"apparmor_profile": "lxc-a", "node": "pve3"}})
    assert cluster.apply().code == 0
    done = cluster.phoenix("plan", "--all-nodes", "--json")
    assert done.code == 0 and told(done.document["skipped"]) == [("made-elsewhere", "container 300")]
    assert done.document["nodes"][1]["creates"] == ["300"]
    assert cluster.phoenix("verify").code == 0
    assert "+ pve3: container 300: create" in cluster.phoenix("plan", "--all-nodes").out


def test_a_node_that_the_cluster_does_not_have(cluster: LiveHost) -> None:
    """Else nobody would ever create it, and every node would say that another one does."""
    cluster.declare({"101": "lxc-a", "300": {"apparmor_profile": "lxc-a", "node": "pve33"}})
    assert cluster.apply().code == 0
    planned = cluster.phoenix("plan", "--json").document
    assert told(planned["skipped"]) == [("node-unknown", "container 300")]
    assert planned["skipped"][0]["data"] == {"node": "pve33", "known": ["pve1", "pve2", "pve3"]}
    verified = cluster.phoenix("verify", "--json")
    assert verified.code == 3
    (found,) = [one for one in verified.document["containers"] if one["ctid"] == "300"]
    assert [one["code"] for one in found["findings"]] == ["node-unknown"]


# A move ------------------------------------------------------------------------------


def test_a_container_that_moved_is_followed(cluster: LiveHost) -> None:
    assert cluster.apply().code == 0
    (cluster.lxc / "101.conf").write_text(CONF.format("one"))
    move(cluster, "101", "pve1", "pve2")
    done = cluster.phoenix("plan", "--json").document
    assert done["changes"] == 0 and ("on-another-node", "container 101") in told(done["skipped"])
    assert cluster.phoenix("verify").code == 0, "its node looks after it"
    with become(cluster, "pve2"):
        assert cluster.apply("101", "--no-start").code == 0
    conf = cluster.root / "etc/pve/nodes/pve2/lxc/101.conf"
    assert conf.read_text().endswith("lxc.apparmor.profile: lxc-a\n")
    assert not (cluster.lxc / "101.conf").exists()


def test_a_rollback_leaves_what_moved_away(cluster: LiveHost) -> None:
    assert cluster.apply("--all", "--no-start").code == 0
    move(cluster, "101", "pve1", "pve2")
    before = contents(cluster.root / "etc/pve")
    done = cluster.phoenix("rollback", "--json")
    assert done.code == 0 and ("container-gone", "container 101") in told(done.document["skipped"])
    assert contents(cluster.root / "etc/pve") == before
    assert not (cluster.installed / "lxc-a").exists(), "the rest is taken back"


def test_the_recovery_of_a_killed_run_leaves_what_moved_away(cluster: LiveHost) -> None:
    with killed("end", 0):
        cluster.apply("--all", "--no-start")
    move(cluster, "101", "pve1", "pve2")
    before = contents(cluster.root / "etc/pve")
    assert b"lxc-a" in before["nodes/pve2/lxc/101.conf"]
    assert cluster.apply("--all", "--no-start").code == 0
    assert contents(cluster.root / "etc/pve") == before


def test_a_move_between_plan_and_edit_ends_the_run_and_writes_nothing_there(
    cluster: LiveHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = Proxmox.lock
    before = (cluster.lxc / "101.conf").read_bytes()

    def lock(self: Proxmox, ctid: str) -> object:
        move(cluster, "101", "pve1", "pve2")
        return really(self, ctid)

    monkeypatch.setattr(Proxmox, "lock", lock)
    done = cluster.apply("--all", "--no-start")
    assert done.code == 1 and "container 101" in done.err and "Traceback" not in done.err
    assert (cluster.root / "etc/pve/nodes/pve2/lxc/101.conf").read_bytes() == before
    assert not (cluster.lxc / "101.conf").exists()
    assert not (cluster.installed / "lxc-a").exists() and "lxc-a" not in cluster.loaded()


# A report ----------------------------------------------------------------------------


def test_a_report_of_all_nodes(cluster: LiveHost) -> None:
    assert cluster.apply().code == 0
    plain = cluster.phoenix("report", "--json").document
    assert plain["other_nodes"] is None
    found = cluster.phoenix("report", "--json", "--all-nodes").document
    jsonschema.validate(found, json.loads(SCHEMA.read_text()))
    two, three = found["other_nodes"]
    assert [(one["ctid"], one["line_as_declared"]) for one in two["containers"]] == [
        ("201", True),
        ("202", False),
        ("203", None),
    ]
    assert three == {"node": "pve3", "containers": []}
    page = cluster.phoenix("report", "--html", "-", "--all-nodes").out
    assert "was not verified" in page and "202 web: assigned unconfined, declared lxc-a" in page
    assert "Other nodes" not in cluster.phoenix("report", "--html", "-").out
