"""A live host: doubles of pct and of the kernel's half of apparmor_parser, everything else real."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.hosts import LiveHost, contents, profile, snapshot, temporary_files

FIELDS: dict[str, Any] = {
    "name": "gpu-one",
    "apparmor_profile": "lxc-a",
    "memory_mb": 2048,
    "cores": 2,
    "template": "local:vztmpl/ubuntu.tar.zst",
    "storage_pool": "local-zfs",
    "storage_size_gb": 16,
    "network_config": {"name": "eth0", "bridge": "vmbr0", "ip": "10.0.0.5/24", "gw": "10.0.0.1"},
    "mac_address": "52:54:00:67:89:50",
    "features": ["nesting=1", "keyctl=1"],
    "gpu_assignment": "0",
    "unprivileged": False,
}


@pytest.fixture
def two(live: LiveHost) -> LiveHost:
    live.source("lxc-a")
    live.source("lxc-b")
    live.conf("101")
    live.conf("102")
    live.declare({"101": "lxc-a", "102": "lxc-b"})
    return live


def _nvidia(live: LiveHost, *names: str) -> None:
    dev = live.root / "dev"
    dev.mkdir(exist_ok=True)
    for name in names:
        (dev / name).parent.mkdir(exist_ok=True)
        (dev / name).touch()


# The whole way ---------------------------------------------------------------------------


def test_setup_create_assign_start(live: LiveHost) -> None:
    live.source("lxc-a")
    live.declare({"950": FIELDS})
    _nvidia(live, "nvidia0", "nvidiactl", "nvidia-uvm", "nvidia-caps/nvidia-cap1")
    with live.recorded() as argvs:
        result = live.apply()
    assert (result.code, result.err) == (0, "")
    create = [argv for argv in argvs if argv[:2] == ("pct", "create")]
    assert create == [
        (
            *("pct", "create", "950", "local:vztmpl/ubuntu.tar.zst", "--hostname", "gpu-one"),
            *("--memory", "2048", "--cores", "2", "--rootfs", "local-zfs:16", "--unprivileged", "0"),
            *("--net0", "name=eth0,bridge=vmbr0,ip=10.0.0.5/24,gw=10.0.0.1,hwaddr=52:54:00:67:89:50"),
            *("--features", "nesting=1,keyctl=1"),
            *("--dev0", "/dev/nvidia0,mode=0666", "--dev1", "/dev/nvidiactl,mode=0666"),
            *("--dev2", "/dev/nvidia-uvm,mode=0666", "--dev3", "/dev/nvidia-caps/nvidia-cap1"),
        )
    ]
    order = [argv[1] for argv in argvs if argv[0] == "pct" or "--replace" in argv]
    assert order == ["--binary", "create", "start"]
    conf = (live.lxc / "950.conf").read_text()
    assert conf.endswith("unprivileged: 0\nlxc.apparmor.profile: lxc-a\n")
    assert live.labels() == {"950": "lxc-a (enforce)"}
    status = live.phoenix("status")
    assert status.out.startswith("1 of 1 containers confined\n")
    assert live.phoenix("verify").code == 0

    applied = snapshot(live.folder, without=("root/double",))
    assert live.phoenix("plan", "--detailed-exitcode").code == 0
    assert live.apply().recap["changed"] == 0
    assert snapshot(live.folder, without=("root/double",)) == applied


def test_plan_lists_the_very_processes_that_apply_runs(live: LiveHost) -> None:
    live.source("lxc-a")
    live.source("lxc-b")
    live.conf("101", "memory: 512\n")
    live.conf("102", "lxc.apparmor.profile: lxc-old\n")
    live.pct("start", "101")
    (live.installed / "lxc-old").write_bytes(profile("lxc-old"))
    live.load_by_hand("lxc-old")
    live.declare(
        {"101": "lxc-a", "102": "lxc-b", "950": {**FIELDS, "gpu_assignment": "none"}},
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
    result = two.apply("--all", "--no-start")
    assert result.code == 0
    assert "container 101: restart needed: it runs under lxc-101_<" in result.out
    assert "phoenix apply 101 --restart" in result.out
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
    assert two.phoenix("status").out.startswith("1 of 2 containers confined\n")
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
    assert two.phoenix("status").out.startswith("1 of 2 containers confined\n")


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
        result = two.apply()
    assert result.code == 1
    assert "cannot start under lxc-site: the profile is not loaded" in result.err
    assert "apparmor_parser -r FILE" in result.err
    assert not [a for a in argvs if a[0] == "pct" or "--replace" in a]
    assert snapshot(two.root, without=("double",)) == before
    assert two.apply("--all", "--no-start").code == 0
    two.load_by_hand("lxc-site")
    assert two.apply().code == 0
    assert two.labels()["101"] == "lxc-site (enforce)"


def test_what_the_double_says_without_us(two: LiveHost) -> None:
    """The double itself fails as LXC does, so the test above means something."""
    two.conf("101", "lxc.apparmor.profile: lxc-nowhere\n")
    done = two.pct("start", "101")
    assert done.returncode == 255
    assert b'Failed to write AppArmor profile "lxc-nowhere"' in done.stderr


def test_a_name_that_someone_else_has_loaded(two: LiveHost) -> None:
    two.load_by_hand("lxc-a")
    before = snapshot(two.root, without=("double",))
    result = two.phoenix("setup")
    assert result.code == 1
    assert "is already loaded in the kernel by someone else" in result.err
    assert snapshot(two.root, without=("double",)) == before
    assert two.phoenix("setup", "--adopt", "lxc-a").code == 0


@pytest.mark.parametrize("missing", ["name", "template", "storage_pool", "storage_size_gb"])
def test_fields_that_creation_needs(live: LiveHost, missing: str) -> None:
    live.source("lxc-a")
    fields = {k: v for k, v in FIELDS.items() if k not in (missing, "gpu_assignment")}
    live.declare({"950": fields})
    result = live.apply()
    assert result.code == 1
    assert f"{missing} is needed to create the container" in result.err
    assert not (live.lxc / "950.conf").exists() and "lxc-a" not in live.loaded()


def test_a_gpu_that_is_not_there(live: LiveHost) -> None:
    live.source("lxc-a")
    live.declare({"950": FIELDS})
    result = live.apply()
    assert result.code == 1
    assert "/dev/nvidia0 does not exist on this host" in result.err
    assert "/lxc_configs/950/gpu_assignment" in result.err
    assert "lxc-a" not in live.loaded()


def test_no_quorum_stops_a_creation(live: LiveHost) -> None:
    live.source("lxc-a")
    live.declare({"950": {**FIELDS, "gpu_assignment": "none"}})
    live.lose_quorum()
    with live.recorded() as argvs:
        result = live.apply()
    assert result.code == 1 and "no quorum" in result.err
    assert not [a for a in argvs if a[0] == "pct"]


def test_a_locked_container_is_not_started(two: LiveHost) -> None:
    two.conf("101", "lxc.apparmor.profile: lxc-a\nlock: snapshot-delete\n")
    result = two.apply()
    assert result.code == 0
    assert "container 101: not started: locked by Proxmox (snapshot-delete)" in result.out
    assert set(two.labels()) == {"102"}


def test_a_template_is_not_started(two: LiveHost) -> None:
    two.conf("101", "template: 1\n")
    assert two.apply().code == 0
    assert set(two.labels()) == {"102"}


def test_the_lock_of_proxmox_is_respected(two: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phoenix_hypervisor.containers.proxmox.LOCK_TIMEOUT", 0.2)
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
    monkeypatch.setattr("phoenix_hypervisor.cli.recovery.LOCK_TIMEOUT", 0.2)
    with two.host.lock("/run/lock/phoenix.lock", timeout=1, what="the test"):
        result = two.apply()
    assert result.code == 1 and "Phoenix's lock is held by another process" in result.err


# Failures after the first write ----------------------------------------------------------


def _world(live: LiveHost) -> tuple[dict[str, bytes], dict[str, bytes], dict[str, str], dict[str, bytes]]:
    """Everything that a failure must leave as it was; locks may be left, they are empty."""
    return (contents(live.installed), contents(live.lxc), live.loaded(), live.policy())


@pytest.mark.parametrize("how", ["exit", "says", "silent"])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_failed_first_load_restores_everything(two: LiveHost, nth: int, how: str) -> None:
    before = _world(two)
    two.fail(parser_replace=[nth, how])
    result = two.apply()
    assert result.code == 1
    failed = ("lxc-a", "lxc-b")[nth - 1]
    assert f"load {failed} failed" in result.err
    assert "files and kernel are as before" in result.err
    assert _world(two) == before
    assert temporary_files(two.root) == []
    two.no_more_failures()
    assert two.apply().code == 0
    assert two.phoenix("verify").code == 0
    assert two.apply().recap["changed"] == 0


@pytest.mark.parametrize("nth", [1, 2])
def test_a_failed_reload_puts_the_previous_policy_back(two: LiveHost, nth: int) -> None:
    assert two.apply().code == 0
    before = _world(two)
    for name in ("lxc-a", "lxc-b"):
        two.source(name, "network,")
    # Twice: what the first failure leaves must not become the "previous policy" of the second.
    for attempt in (nth, 2):
        two.fail(parser_replace=attempt)
        result = two.apply()
        assert result.code == 1
        assert _world(two) == before, "kernel or files differ from before"
    two.no_more_failures()
    assert two.apply().code == 0
    assert two.phoenix("verify").code == 0
    assert two.policy() != before[3]


def test_a_failed_creation_undoes_files_and_kernel(two: LiveHost) -> None:
    two.declare(
        {
            "101": "lxc-a",
            "103": {**FIELDS, "gpu_assignment": "none"},
            "104": {**FIELDS, "gpu_assignment": "none", "mac_address": "52:54:00:67:89:51"}
            | {"network_config": {"name": "eth0", "bridge": "vmbr0", "ip": "dhcp"}},
        }
    )
    before = _world(two)
    two.fail(pct_create=2)
    result = two.apply()
    assert result.code == 1
    assert "create 104 failed" in result.err
    assert "failed because the test said so" in result.err
    assert "created and left in place: container 103" in result.err
    after = _world(two)
    created = after[1].pop("103.conf")
    assert after == before
    assert b"lxc.apparmor.profile" not in created
    two.no_more_failures()
    assert two.apply().code == 0
    assert two.phoenix("verify").code == 0


def test_a_failed_start_undoes_files_and_kernel(two: LiveHost) -> None:
    two.declare({"101": "lxc-a", "102": "lxc-b", "103": {**FIELDS, "gpu_assignment": "none"}})
    two.conf("101", "a: 1\r\nlxc.apparmor.profile = unconfined\r\nb: 2")
    before = _world(two)
    two.fail(pct_start=2)
    result = two.apply()
    assert result.code == 1
    assert "start 102 failed" in result.err
    assert "created and left in place: container 103" in result.err
    assert "started meanwhile and left running: container 101" in result.err
    after = _world(two)
    after[1].pop("103.conf")
    assert "everything else is as before" in result.err
    # lxc-a stays in the kernel: unloading it would leave container 101 unconfined.
    assert "lxc-a stays loaded" in result.err
    assert after[2].pop("lxc-a") == "enforce" and after[3].pop("lxc-a")
    assert after == before
    assert two.labels() == {"101": "lxc-a (enforce)"}
    two.no_more_failures()
    assert two.apply().code == 0
    assert two.phoenix("verify").code == 0


def test_a_failed_restart_says_that_the_container_may_be_down(two: LiveHost) -> None:
    assert two.pct("start", "101").ok
    two.fail(pct_reboot=1)
    result = two.apply("--all", "--restart")
    assert result.code == 1
    assert "container 101 may be stopped now" in result.err
    assert b"lxc.apparmor" not in (two.lxc / "101.conf").read_bytes()


def test_undoing_an_assignment_that_pct_has_rewritten(two: LiveHost) -> None:
    """A start applies pending changes and writes the file anew, so the bytes are no longer ours."""
    two.conf("101", "#a: b\nmemory: 512\nlxc.apparmor.profile: unconfined\n\n[pve:pending]\nmemory: 1024\n")
    two.fail(pct_start=2)
    result = two.apply()
    assert result.code == 1
    assert "could not undo" not in result.err
    assert (two.lxc / "101.conf").read_text() == "#a%3A b\nmemory: 1024\nlxc.apparmor.profile: unconfined\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_run_is_undone(
    two: LiveHost, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    from phoenix_hypervisor.containers.steps import ContainerSteps

    def start(self: ContainerSteps, action: object) -> None:
        raise error

    before = _world(two)
    monkeypatch.setattr(ContainerSteps, "start", start)
    assert two.apply().code == 1
    assert _world(two) == before


def test_an_interrupted_run_names_what_it_created(two: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    from phoenix_hypervisor.containers.steps import ContainerSteps

    def start(self: ContainerSteps, action: object) -> None:
        raise KeyboardInterrupt

    two.declare({"101": "lxc-a", "950": {**FIELDS, "gpu_assignment": "none"}})
    before = _world(two)
    monkeypatch.setattr(ContainerSteps, "start", start)
    result = two.apply()
    assert result.code == 1
    assert "start 101 failed: interrupted; files and kernel are as before" in result.err
    assert "created and left in place: container 950" in result.err
    after = _world(two)
    after[1].pop("950.conf")
    assert after == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupt_while_progress_is_shown(
    two: LiveHost, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def say(settings: object, text: str = "", **style: object) -> None:
        if "assign" in text:
            raise error

    before = _world(two)
    monkeypatch.setattr("phoenix_hypervisor.cli.apply.say", say)
    assert two.apply("--all", "--no-start").code == 1
    assert _world(two) == before


def test_pct_writing_the_configuration_anew_changes_nothing_for_us(two: LiveHost) -> None:
    two.conf(
        "101",
        "lxc.cap.drop: mknod\nlxc.apparmor.profile = x\r\nmemory: 1\n#caf%C3%A9: 100%25\n\n"
        "[zz]\nmemory: 2\nlxc.apparmor.profile: old\n\n[pve:pending]\ncores: 3\n\n[aa]\nmemory: 3\n",
    )
    assert two.apply().code == 0
    assert two.pct("set", "101", "--memory", "1024").ok
    text = (two.lxc / "101.conf").read_text()
    assert text.startswith("#caf%C3%A9%3A 100%25\ncores: 3\nmemory: 1024\nlxc.cap.drop: mknod\nlxc.apparmor")
    assert two.phoenix("plan", "--detailed-exitcode").code == 0
    assert two.phoenix("verify").code == 0
    assert two.pct("config", "101").stdout.decode().endswith("lxc.apparmor.profile: lxc-a\n")


def test_raw_keys_in_pending_are_warned_of(two: LiveHost) -> None:
    """The next start replaces all raw keys by them: the line is lost, and verify sees it."""
    two.conf("101", "memory: 1\n\n[pve:pending]\nlxc.apparmor.profile: lxc-b\n")
    result = two.apply()
    assert "raw lxc.* keys stand under [pve:pending]" in result.out
    verify = two.phoenix("verify")
    assert verify.code == 3 and "conf-edited" in verify.out and "old-label" in verify.out


def test_a_duplicate_id_that_appears_meanwhile(live: LiveHost) -> None:
    """A VM that takes the id after the plan: pct refuses, and everything is undone."""
    live.source("lxc-a")
    live.declare({"950": {**FIELDS, "gpu_assignment": "none"}})
    # .vmlist is a moment old: it knows other guests only.
    live.vmlist(_100=("qemu", "pve1"))
    (live.root / "etc/pve/nodes/pve1/qemu-server/950.conf").write_text("name: vm\n")
    before = _world(live)
    result = live.apply()
    assert result.code == 1
    assert "VM 950 already exists on node 'pve1'" in result.err
    assert _world(live) == before


# Races, and death between two processes ---------------------------------------------------


def test_a_configuration_that_changes_meanwhile(two: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    from phoenix_hypervisor.profiles.steps import ProfileSteps

    before = _world(two)
    real = ProfileSteps.install

    def install(self: ProfileSteps, action: Any) -> Any:
        two.conf("102", "arch: amd64\nmemory: 9999\n")
        return real(self, action)

    monkeypatch.setattr(ProfileSteps, "install", install)
    result = two.apply()
    assert result.code == 1
    assert "changed by someone else" in result.err and "102.conf" in result.err
    after = _world(two)
    assert after[1].pop("102.conf") == b"arch: amd64\nmemory: 9999\n"
    before[1].pop("102.conf")
    assert after == before


def test_a_source_that_changes_while_it_is_proven(two: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    before = snapshot(two.root, without=("double",))
    real = two.runner.run

    def run(argv: Any, **more: Any) -> Any:
        done = real(argv, **more)
        if "--stdout" in argv:
            two.source("lxc-b", "/changed r,")
        return done

    monkeypatch.setattr(two.runner, "run", run)
    result = two.apply()
    assert result.code == 1
    assert "changed while it was being proven" in result.err
    assert snapshot(two.root, without=("double",)) == before


def test_a_changed_file_of_the_site_reloads_what_includes_it(two: LiveHost) -> None:
    two.source("lxc-a", "include if exists <local/lxc-a>")
    assert two.apply().code == 0
    (two.installed / "local/lxc-a").write_text("/etc/site r,\n")
    verify = two.phoenix("verify")
    assert verify.code == 3 and "stale-policy" in verify.out
    with two.recorded() as argvs:
        assert two.apply().code == 0
    assert [Path(a[-1]).name for a in argvs if "--replace" in a] == ["lxc-a"]
    assert two.phoenix("verify").code == 0


class _Dies:
    """A runner whose process ends, with no word, before or after the nth call."""

    def __init__(self, inner: Any, nth: int, after: bool) -> None:
        self._inner, self._left, self._after = inner, nth, after

    def run(self, argv: Any, **more: Any) -> Any:
        self._left -= 1
        if self._left == 0 and not self._after:
            os._exit(9)
        done = self._inner.run(argv, **more)
        if self._left == 0:
            os._exit(9)
        return done


@pytest.mark.slow
def test_death_at_each_process(tmp_path: Path, tell: Callable[[str], None]) -> None:
    """Killed before or after each program that a live apply runs: the next run ends it."""
    killed = 0
    for nth in range(1, 100):
        after = nth % 2 == 0
        live = LiveHost(tmp_path / str(nth))
        live.source("lxc-a")
        live.source("lxc-b")
        (live.installed / "lxc-old").write_bytes(profile("lxc-old"))
        live.load_by_hand("lxc-old")
        live.conf("101", "lxc.apparmor.profile: lxc-old\n")
        live.conf("102")
        assert live.pct("start", "102").ok
        live.declare(
            {"101": "lxc-a", "102": "lxc-b", "950": {**FIELDS, "gpu_assignment": "none"}},
            deprecated_profiles={"lxc-old": "lxc-a"},
        )
        pid = os.fork()
        if pid == 0:
            live.host.runner = _Dies(live.runner, nth, after)
            live.apply("--all", "--restart")
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0:
            break
        killed += 1
        what = f"{'after' if after else 'before'} process {nth}"
        result = live.apply("--all", "--restart")
        assert (result.code, result.err) == (0, ""), what
        assert live.phoenix("verify").code == 0, what
        assert set(live.labels().values()) == {"lxc-a (enforce)", "lxc-b (enforce)"}, what
        assert "lxc-old" not in live.loaded() and not (live.installed / "lxc-old").exists(), what
        assert temporary_files(live.root) == [], what
        assert live.apply("--all", "--restart").recap["changed"] == 0, what
    tell(f"apply killed around {killed} processes that it starts")
    assert killed >= 10


# Deprecated profiles ---------------------------------------------------------------------


@pytest.fixture
def old(two: LiveHost) -> LiveHost:
    (two.installed / "lxc-old").write_bytes(profile("lxc-old"))
    two.load_by_hand("lxc-old")
    two.conf("101", "lxc.apparmor.profile: lxc-old\n")
    two.declare({"101": "lxc-a", "102": "lxc-b"}, deprecated_profiles={"lxc-old": "lxc-a"})
    return two


def test_setup_refuses_and_apply_retires_last(old: LiveHost) -> None:
    before = _world(old)
    assert old.phoenix("setup").code == 1
    assert _world(old) == before
    with old.recorded() as argvs:
        result = old.apply()
    assert result.code == 0
    assert "--remove" in argvs[-1]
    lines = [line for line in result.out.splitlines() if line[:1] in "+-~"]
    assert [line.split(":")[0] for line in lines[-2:]] == ["- lxc-old", "- lxc-old"]
    assert "lxc-old" not in old.loaded() and not (old.installed / "lxc-old").exists()
    assert old.apply().recap["changed"] == 0


def test_a_process_that_carries_it_keeps_it(old: LiveHost) -> None:
    assert old.pct("start", "101").ok
    assert old.labels()["101"] == "lxc-old (enforce)"
    result = old.apply()
    assert result.code == 0
    assert "deprecated, kept: 1 running processes carry it" in result.out and "restart needed" in result.out
    assert "lxc-old" in old.loaded() and (old.installed / "lxc-old").exists()
    assert old.labels()["101"] == "lxc-old (enforce)"
    assert old.apply("--all", "--restart").code == 0
    assert "lxc-old" not in old.loaded() and not (old.installed / "lxc-old").exists()
    assert old.labels()["101"] == "lxc-a (enforce)"


@pytest.mark.parametrize("label", ["lxc-old (enforce)", "lxc-old//child (enforce)", "x//&lxc-old (enforce)"])
def test_any_process_of_the_host_counts(old: LiveHost, label: str) -> None:
    old.process(5000, "/system.slice/x.service", label)
    assert old.apply().code == 0
    assert "lxc-old" in old.loaded() and (old.installed / "lxc-old").exists()


def test_loaded_only(old: LiveHost) -> None:
    (old.installed / "lxc-old").unlink()
    assert old.apply().code == 0
    assert "lxc-old" not in old.loaded()


def test_a_failed_unload_undoes_everything(old: LiveHost) -> None:
    before = _world(old)
    old.fail(parser_remove=1)
    result = old.apply("--all", "--no-start")
    assert result.code == 1
    assert "unload lxc-old failed" in result.err
    assert _world(old) == before


def test_a_failed_removal_loads_it_again(old: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    from phoenix_hypervisor.errors import PhoenixError
    from phoenix_hypervisor.host.files import Directory

    before = _world(old)
    real = Directory.remove

    def remove(self: Directory, name: str, *, before: bytes | None = None) -> None:
        if name == "lxc-old" and self.path == "/etc/apparmor.d":
            raise PhoenixError("cannot remove: said by the test")
        real(self, name, before=before)

    monkeypatch.setattr(Directory, "remove", remove)
    result = old.apply("--all", "--no-start")
    assert result.code == 1 and "said by the test" in result.err
    after = _world(old)
    assert after[:3] == before[:3]


# Reload through the service, and a kernel without AppArmor -------------------------------


def test_reload_service_reads_back(two: LiveHost, tmp_path: Path) -> None:
    two.declare({"101": "lxc-a", "102": "lxc-b"}, reload="service")
    script = tmp_path / "systemctl"
    script.write_text("#!/bin/sh\nexit 0\n")
    script.chmod(0o755)
    two.runner._inner._replacements["systemctl"] = [str(script)]  # type: ignore[attr-defined]
    before = _world(two)
    result = two.apply("--all", "--no-start")
    assert result.code == 1, "a reload that loads nothing passed"
    assert "lxc-a" in result.err
    assert _world(two) == before
    # One that loads a part and fails is run once more when the files are back.
    script.write_text(
        f"#!/bin/sh\necho x >> {tmp_path}/runs\n[ -e {two.installed}/lxc-a ] && exit 1\nexit 0\n"
    )
    assert two.apply("--all", "--no-start").code == 1
    assert (tmp_path / "runs").read_text() == "x\nx\n"
    assert _world(two) == before
    script.write_text(
        "#!/bin/sh\n[ \"$*\" = 'reload apparmor.service' ] || exit 3\n"
        f"printf 'lxc-a (enforce)\\nlxc-b (enforce)\\n' >> {two.profiles}\n"
    )
    with two.recorded() as argvs:
        result = two.apply("--all", "--no-start")
    assert (result.code, result.err) == (0, "")
    assert ("systemctl", "reload", "apparmor.service") in argvs
    assert not [a for a in argvs if "--replace" in a]
    assert two.apply("--all", "--no-start").recap["changed"] == 0


def test_a_kernel_without_apparmor(two: LiveHost) -> None:
    import shutil

    shutil.rmtree(two.root / "sys")
    result = two.apply("--all", "--no-start")
    assert result.code == 0
    assert "AppArmor is off in this kernel" in result.out
    assert (two.installed / "lxc-a").exists()
    assert two.apply("--all", "--no-start").recap["changed"] == 0
    verify = two.phoenix("verify")
    assert verify.code == 3 and "not-loaded" in verify.out
    started = two.apply()
    assert started.code == 1
    assert "AppArmor is off in this kernel" in started.err and "boot with apparmor=1" in started.err
    assert two.labels() == {}


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
