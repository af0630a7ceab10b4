"""A live host: doubles of pct and of the kernel's half of apparmor_parser, everything else real."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest

from phoenix_hypervisor.engine.perform import LOCK
from phoenix_hypervisor.host.files import MAX_FILE
from phoenix_hypervisor.profiles.parser import Parser
from phoenix_hypervisor.profiles.records import MAX_COMPILED
from support.hosts import CREATION, LiveHost, contents, profile, snapshot, told

# The whole way ---------------------------------------------------------------------------


def test_plan_lists_the_very_processes_that_apply_runs(live: LiveHost) -> None:
    live.source("lxc-a")
    live.source("lxc-b")
    live.conf("101", "memory: 512\n")
    live.conf("102", "lxc.apparmor.profile: lxc-old\n")
    live.pct("start", "101")
    (live.installed / "lxc-old").write_bytes(profile("lxc-old"))
    live.load_by_hand("lxc-old")
    live.declare(
        {"101": "lxc-a", "102": "lxc-b", "950": {**CREATION, "gpu_assignment": "none"}},
        deprecated_profiles={"lxc-old": "lxc-a"},
    )
    plan = live.phoenix("plan", "--restart", "--json").document
    listed = [tuple(argv) for action in plan["actions"] for argv in action["processes"]]
    proofs = [tuple(argv) for argv in plan["proofs"]]
    with live.recorded() as argvs:
        result = live.apply("--all", "--restart")
    assert (result.code, result.err) == (0, "")
    changing = [a for a in argvs if a[0] == "pct" or "--replace" in a or "--remove" in a]
    assert changing == listed
    assert {a[1] for a in listed if a[0] == "pct"} == {"create", "start", "reboot"}
    # Everything else that ran only asks: it proves, lists names or says a version.
    compiled = [a for a in argvs if "--stdout" in a]
    assert compiled[: len(proofs)] == proofs
    assert set(compiled) == set(proofs)
    rest = [a for a in argvs if a not in changing and a not in compiled]
    assert all(a[0] == "apparmor_parser" and ("--names" in a or "--version" in a) for a in rest), rest
    assert live.labels() == {"101": "lxc-a (enforce)", "102": "lxc-b (enforce)", "950": "lxc-a (enforce)"}


def test_dry_run_and_plan_run_nothing_that_changes(two: LiveHost) -> None:
    before = snapshot(two.folder, without=("root/double",))
    with two.recorded() as argvs:
        assert two.phoenix("plan", "--detailed-exitcode").code == 3
        assert two.apply("--all", "--dry-run").code == 0
        assert two.phoenix("setup", "--dry-run").code == 0
        assert two.phoenix("status").code == 0
        assert two.phoenix("verify").code == 3
    assert all(a[0] == "apparmor_parser" and ("--stdout" in a or "--version" in a) for a in argvs), argvs
    assert snapshot(two.folder, without=("root/double",)) == before


def test_no_start(two: LiveHost) -> None:
    assert two.apply("--all", "--no-start").code == 0
    assert two.labels() == {}
    assert two.apply("102").code == 0
    assert two.labels() == {"102": "lxc-b (enforce)"}


def test_a_container_that_declares_no_start_is_never_started(two: LiveHost) -> None:
    two.declare({"101": {"apparmor_profile": "lxc-a", "start": False}, "102": "lxc-b"})
    assert two.apply().code == 0
    assert set(two.labels()) == {"102"}
    assert two.apply("--all", "--restart").recap["changed"] == 0


def test_loaded_exactly_what_changed_or_is_missing(two: LiveHost) -> None:
    def loads() -> list[str]:
        with two.recorded() as argvs:
            assert two.phoenix("setup").code == 0
        return [Path(a[-1]).name for a in argvs if "--replace" in a]

    assert loads() == ["lxc-a", "lxc-b"]
    assert loads() == []
    two.source("lxc-b", "network,")
    assert loads() == ["lxc-b"]
    text = two.profiles.read_text().replace("lxc-a (enforce)\n", "")
    two.profiles.write_text(text)
    assert loads() == ["lxc-a"]
    # What is loaded is what was proven.
    assert two.policy()["lxc-b"] == (two.root / "var/lib/phoenix/compiled/lxc-b").read_bytes()


def _grow(live: LiveHost, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Whatever is compiled from now on is larger: a real policy of that size takes minutes."""
    real = Parser.compile

    def compile(self: Parser, path: str, *, optional: bool) -> tuple[bytes, list[str]]:
        blob, warnings = real(self, path, optional=optional)
        return blob * (size // len(blob) + 1), warnings

    monkeypatch.setattr(Parser, "compile", compile)
    monkeypatch.setattr("phoenix_hypervisor.profiles.prove._names", lambda blob: ["lxc-a"])
    live.source("lxc-a", "/srv/large r,")


def test_a_large_policy_can_be_read_again(live: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    live.source("lxc-a")
    live.declare({})
    assert live.phoenix("setup").code == 0
    small = live.policy()["lxc-a"]
    _grow(live, monkeypatch, MAX_FILE)
    assert live.phoenix("setup").code == 0
    for words in (("verify",), ("status",), ("setup",), ("history",)):
        assert live.phoenix(*words).code == 0, words
    monkeypatch.undo()
    result = live.phoenix("rollback")
    assert (result.code, result.err) == (0, "")
    assert live.policy()["lxc-a"] == small


def test_a_policy_that_is_too_large_is_not_proven(live: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    live.source("lxc-a")
    live.declare({})
    assert live.phoenix("setup").code == 0
    _grow(live, monkeypatch, MAX_COMPILED + 1)
    before = snapshot(live.root, without=("double",))
    result = live.phoenix("setup")
    assert result.code == 1 and "lxc-a: compiles to over 16777216 bytes" in result.err
    assert snapshot(live.root, without=("double",)) == before


def test_a_changed_include_reloads_every_includer(two: LiveHost) -> None:
    two.source("abstractions/phoenix/x", data=b"  network,\n")
    two.source("lxc-a", "include <abstractions/phoenix/x>")
    assert two.phoenix("setup").code == 0
    before = two.policy()
    two.source("abstractions/phoenix/x", data=b"  network inet,\n")
    with two.recorded() as argvs:
        assert two.phoenix("setup").code == 0
    assert [Path(a[-1]).name for a in argvs if "--replace" in a] == ["lxc-a"]
    assert two.policy()["lxc-a"] != before["lxc-a"]


# Running labels --------------------------------------------------------------------------


def test_restart_needed_and_restart(two: LiveHost) -> None:
    assert two.pct("start", "101").ok
    assert two.labels()["101"].startswith("lxc-101_</var/lib/lxc>//&:lxc-101_<-var-lib-lxc>:unconfined")
    result = two.apply("--all", "--no-start", "--json")
    assert told(result.document["skipped"]) == [("restart-needed", "container 101")]
    assert result.document["skipped"][0]["hint"] == "`phoenix apply 101 --restart`"
    verify = two.phoenix("verify")
    assert verify.code == 3 and "old-label" in verify.out
    assert two.phoenix("plan", "--detailed-exitcode", "--restart").code == 3
    with two.recorded() as argvs:
        assert two.apply("--all", "--restart").code == 0
    assert ("pct", "reboot", "101") in argvs
    assert two.labels() == {"101": "lxc-a (enforce)", "102": "lxc-b (enforce)"}
    assert two.phoenix("verify").code == 0
    assert two.apply("--all", "--restart").recap["changed"] == 0


def test_unconfined_runs_under_what_proxmox_generates(two: LiveHost) -> None:
    two.declare({"101": "unconfined", "102": "lxc-b"})
    assert two.apply().code == 0
    assert two.phoenix("verify").code == 0
    assert two.phoenix("status").out.startswith("2 of 2 containers confined\n")


def test_explicitly_unconfined_counts_as_not_confined(two: LiveHost) -> None:
    two.declare({"101": "unconfined", "102": "lxc-b"}, unconfined_means="explicit-line")
    assert two.apply().code == 0
    assert two.labels()["101"] == "unconfined"
    assert two.phoenix("status").out.startswith("1 of 2 containers confined (1 unconfined)\n")
    assert two.phoenix("verify").code == 0


def _stacked(two: LiveHost, label: str) -> int:
    assert two.apply().code == 0
    for folder in (two.root / "proc").iterdir():
        if "/lxc/101/" in (folder / "cgroup").read_text():
            (folder / "attr/apparmor/current").write_text(label + "\n")
    return two.phoenix("verify", "101").code


@pytest.mark.parametrize(
    ("label", "code"),
    [
        ("lxc-a//&:lxc-101_<-var-lib-lxc>:unconfined (enforce)", 0),
        ("lxc-a//&lxc-site (enforce)", 0),
        ("lxc-a (complain)", 3),
        ("lxc-a (unconfined)", 3),
        ("unconfined", 3),
        ("lxc-aa (enforce)", 3),
        ("lxc-b//&lxc-site (enforce)", 3),
        (":ns:lxc-a (enforce)", 3),
    ],
)
def test_labels_that_count(two: LiveHost, label: str, code: int) -> None:
    assert _stacked(two, label) == code


def test_a_stray_unconfined_process(two: LiveHost) -> None:
    assert two.apply().code == 0
    assert two.phoenix("verify").code == 0
    two.process(4711, "/lxc/102/ns/init.scope", "unconfined", nspid="4711 77")
    verify = two.phoenix("verify")
    assert verify.code == 3
    assert "stray-process" in verify.out and "PID 4711 under unconfined" in verify.out
    assert two.phoenix("status").out.startswith("1 of 2 containers confined (1 unconfined)\n")


def test_processes_of_the_host_and_children_of_the_profile_are_no_strays(two: LiveHost) -> None:
    assert two.apply().code == 0
    two.process(4711, "/system.slice/ssh.service", "unconfined")
    two.process(4712, "/lxc.monitor/102", "unconfined")
    two.process(4713, "/lxc/102/ns/docker", "lxc-b//child (enforce)", nspid="4713 9 1")
    assert two.phoenix("verify").code == 0


def test_a_profile_in_complain_mode(two: LiveHost) -> None:
    assert two.apply().code == 0
    two.profiles.write_text(two.profiles.read_text().replace("lxc-a (enforce)", "lxc-a (complain)"))
    verify = two.phoenix("verify")
    assert verify.code == 3
    assert "complain" in verify.out and "aa-enforce lxc-a" in verify.out


def test_a_running_container_whose_label_is_not_known_is_not_as_declared(two: LiveHost) -> None:
    assert two.apply().code == 0
    for folder in (two.root / "proc").iterdir():
        if "/lxc/101/" in (folder / "cgroup").read_text():
            (folder / "attr/apparmor/current").unlink()
    result = two.phoenix("verify")
    assert result.code == 3
    assert "label-unknown" in result.out


def test_a_line_that_a_rollback_brought_back(two: LiveHost) -> None:
    assert two.apply().code == 0
    two.conf("101", "lxc.apparmor.profile: unconfined\n")
    verify = two.phoenix("verify")
    assert verify.code == 3 and "conf-edited" in verify.out


# Refused before LXC sees it --------------------------------------------------------------


def test_a_profile_that_is_not_loaded_is_refused_before_pct(two: LiveHost) -> None:
    (two.installed / "lxc-site").write_bytes(profile("lxc-site"))
    two.declare({"101": "lxc-site", "102": "lxc-b"})
    before = snapshot(two.root, without=("double",))
    with two.recorded() as argvs:
        result = two.apply("--all", "--json")
    assert result.code == 1
    assert result.problems == [("start-unloaded", "container 101")]
    assert "apparmor_parser -r FILE" in result.err
    assert not [a for a in argvs if a[0] == "pct" or "--replace" in a]
    assert snapshot(two.root, without=("double",)) == before
    assert two.apply("--all", "--no-start").code == 0
    two.load_by_hand("lxc-site")
    assert two.apply().code == 0
    assert two.labels()["101"] == "lxc-site (enforce)"


def test_an_include_is_warned_of(two: LiveHost) -> None:
    two.conf("101", "memory: 1\nlxc.include: /etc/site.conf\n")
    plan = two.phoenix("--json", "plan").document
    assert ("conf-include", "container 101") in [(n["code"], n["target"]) for n in plan["warnings"]]
    assert two.apply().code == 0
    assert "lxc.include" in two.phoenix("verify").out


def test_what_the_double_says_without_us(two: LiveHost) -> None:
    """The double itself fails as LXC does, so the test above means something."""
    two.conf("101", "lxc.apparmor.profile: lxc-nowhere\n")
    done = two.pct("start", "101")
    assert done.returncode == 255
    assert b'Failed to write AppArmor profile "lxc-nowhere"' in done.stdout


def test_a_name_that_someone_else_has_loaded(two: LiveHost) -> None:
    two.load_by_hand("lxc-a")
    before = snapshot(two.root, without=("double",))
    result = two.phoenix("setup", "--json")
    assert result.code == 1
    assert result.problems == [("name-loaded", "lxc-a")]
    assert snapshot(two.root, without=("double",)) == before
    assert two.phoenix("setup", "--adopt", "lxc-a").code == 0


def test_a_locked_container_is_not_started(two: LiveHost) -> None:
    two.conf("101", "lxc.apparmor.profile: lxc-a\nlock: snapshot-delete\n")
    (note,) = two.apply("--all", "--json").document["skipped"]
    assert (note["code"], note["target"]) == ("start-locked", "container 101")
    assert note["data"] == {"by": "Proxmox", "reason": "snapshot-delete", "command": "pct unlock 101"}
    assert set(two.labels()) == {"102"}


def test_a_template_is_not_started(two: LiveHost) -> None:
    two.conf("101", "template: 1\n")
    assert two.apply().code == 0
    assert set(two.labels()) == {"102"}


def test_the_lock_of_proxmox_is_respected(two: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phoenix_hypervisor.containers.runtimes.proxmox.LOCK_TIMEOUT", 0.2)
    folder = two.root / "run/lock/lxc"
    folder.mkdir(parents=True)
    before = contents(two.lxc)
    with (folder / "pve-config-101.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        result = two.apply()
        assert result.code == 1
        assert "configuration lock of container 101" in result.err
        assert not two.pct("set", "101", "--memory", "1024").ok
    assert contents(two.lxc) == before
    assert "lxc-a" not in two.loaded() and not (two.installed / "lxc-a").exists()
    assert two.apply().code == 0


def test_two_runs_wait_for_each_other(two: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phoenix_hypervisor.engine.perform.LOCK_TIMEOUT", 0.2)
    with two.host.lock(LOCK, timeout=1, what="the test", private=True):
        result = two.apply()
    assert result.code == 1 and "Phoenix's lock is held by another process" in result.err


# Plain LXC -------------------------------------------------------------------------------


def test_plain_lxc(live: LiveHost) -> None:
    live.source("lxc-a")
    (live.root / "etc/subuid").write_text("root:100000:65536\n")
    (live.root / "etc/subgid").write_text("root:100000:65536\n")
    fields = {"name": "x", "apparmor_profile": "lxc-a", "template": "busybox", "memory_mb": 64}
    live.declare({"101": fields, "102": {**fields, "name": "y", "apparmor_profile": "unconfined"}})
    lxc = ("--runtime", "lxc")
    plan = live.phoenix(*lxc, "plan", "--json").document
    with live.recorded() as argvs:
        result = live.phoenix(*lxc, "apply", "--all")
    assert (result.code, result.err) == (0, "")
    listed = [tuple(argv) for action in plan["actions"] for argv in action["processes"]]
    assert [a for a in argvs if a[0].startswith("lxc-") or "--replace" in a] == listed
    config = (live.root / "var/lib/lxc/101/config").read_text()
    assert "lxc.idmap = u 0 100000 65536\n" in config
    assert config.endswith("\nlxc.apparmor.profile = lxc-a\n")
    assert "lxc.apparmor.profile" not in (live.root / "var/lib/lxc/102/config").read_text()
    assert live.phoenix(*lxc, "verify").code == 0
    assert live.phoenix(*lxc, "apply", "--all").recap["changed"] == 0
    live.declare(
        {"101": {**fields, "apparmor_profile": "generated"}, "102": {**fields, "apparmor_profile": "lxc-a"}}
    )
    result = live.phoenix(*lxc, "apply", "--all", "--restart")
    assert (result.code, result.err) == (0, "")
    assert live.phoenix(*lxc, "verify").code == 0


def test_json_of_a_live_apply(two: LiveHost) -> None:
    document = two.apply("--all", "--json").document
    assert document["version"] == 1 and document["failed"] == 0
    assert document["changed"] == document["changes"] == len(document["actions"])
    assert json.dumps(document)
