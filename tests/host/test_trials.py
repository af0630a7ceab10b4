"""Trials on a host in a directory: what they write, how they end, and what becomes of other commands meanwhile."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from phoenix_hypervisor.containers.steps import ContainerSteps
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.plan.actions import AssignLines
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.profile import Profile
from phoenix_hypervisor.policy.queries import parse_query
from phoenix_hypervisor.policy.reader import read_policy
from support.hosts import DirectoryHost, LiveHost, Result, snapshot, told, world
from support.killed import killed

NAME = "lxc-trial-101"
RULES = (
    "file,",
    "capability,",
    "deny capability sys_time,",
    "mount fstype=tmpfs,",
    "signal (send) peer=@{profile_name},",
)
NFS = {"kind": "mount", "source": "h:/x", "target": "/mnt/x/", "fstype": "nfs4"}
PROC = {"kind": "mount", "source": "proc", "target": "/mnt/x/", "fstype": "proc"}
OWN = {"kind": "signal", "signal": "kill", "access": "send", "peer": NAME}


@pytest.fixture
def tried(live: LiveHost) -> LiveHost:
    """Container 101 runs under lxc-a, as declared; lxc-b is there to be tried."""
    live.source("lxc-a", *RULES)
    live.source("lxc-b", *RULES)
    live.conf("101")
    live.declare({"101": {"apparmor_profile": "lxc-a", "start": True}})
    assert live.apply("--all").code == 0
    assert live.labels()["101"].startswith("lxc-a ")
    return live


def allows(live: LiveHost, question: Mapping[str, object]) -> bool:
    """Whether the kernel's profile of the trial lets it through."""
    return asked(in_kernel(live), question)


def asked(profile: Profile, question: Mapping[str, object]) -> bool:
    return Evaluator(profile).ask(parse_query(question)).allowed  # type: ignore[arg-type]


def in_kernel(live: LiveHost) -> Profile:
    return read_policy(live.policy()[NAME]).profiles[0]


def line(live: LiveHost) -> str | None:
    lines = (live.lxc / "101.conf").read_text().splitlines()
    return next((one.partition(": ")[2] for one in lines if one.startswith("lxc.apparmor.profile:")), None)


@pytest.fixture
def timers(tried: LiveHost, tmp_path: Path) -> Path:
    """A host with systemd; what is asked of it is in the file that this gives."""
    (tried.root / "run/systemd/system").mkdir(parents=True)
    calls = tmp_path / "calls"
    for name in ("systemd-run", "systemctl"):
        script = tmp_path / name
        script.write_text(f'#!/bin/sh\necho "{name} $*" >> {calls}\n[ ! -e {tmp_path}/{name}.fails ]\n')
        script.chmod(0o755)
        tried.runner._inner._replacements[name] = [str(script)]  # type: ignore[attr-defined]
    return calls


def later(monkeypatch: pytest.MonkeyPatch, hours: float) -> None:
    monkeypatch.setattr(Host, "now", lambda self: time.time() + hours * 3600)


def codes(found: Result) -> list[str]:
    return [f["code"] for c in found.document["containers"] for f in c["findings"]]


def begin(live: LiveHost, *words: str) -> Result:
    found = live.phoenix("try", "101", "lxc-b", "--restart", *words)
    assert found.code == 0, found.err
    return found


def test_a_trial_begins_and_ends(tried: LiveHost) -> None:
    before = world(tried)
    begin(tried)
    assert line(tried) == NAME and tried.labels()["101"] == f"{NAME} (enforce)"
    assert allows(tried, NFS) and not allows(tried, PROC) and allows(tried, OWN)
    file = (tried.installed / NAME).read_text()
    assert f"profile {NAME} flags=(attach_disconnected) {{" in file and "nfs" not in file
    found = tried.phoenix("verify", "--json")
    assert (found.code, codes(found)) == (0, ["on-trial"])
    ended = tried.phoenix("try", "101", "--end")
    assert ended.code == 0, ended.err
    assert line(tried) == "lxc-a" and not (tried.installed / NAME).exists()
    assert not allows(tried, NFS), "at once: the container runs on under that name"
    found = tried.phoenix("verify", "--json")
    assert (found.code, codes(found)) == (3, ["old-label"])
    assert tried.apply("101", "--restart").code == 0
    assert tried.phoenix("verify").code == 0
    assert world(tried)[:2] == before[:2]


def test_a_stopped_container_leaves_nothing_behind(tried: LiveHost) -> None:
    assert tried.pct("stop", "101").ok
    before = world(tried)
    assert tried.phoenix("try", "101", "lxc-b").code == 0
    assert NAME in tried.loaded()
    assert tried.phoenix("try", "101", "--end").code == 0
    assert world(tried)[:3] == before[:3] and NAME not in tried.loaded()
    assert not list((tried.root / "var/lib/phoenix/trials").iterdir())


# Meanwhile ----------------------------------------------------------------------------


def test_apply_leaves_it_alone(tried: LiveHost) -> None:
    tried.conf("102")
    tried.declare({"101": {"apparmor_profile": "lxc-a", "start": True}, "102": "lxc-a"})
    begin(tried)
    alone = tried.phoenix("apply", "101", "--json")
    assert (alone.code, alone.problems) == (1, [("on-trial", "container 101")])
    every = tried.phoenix("apply", "--all", "--json")
    assert every.code == 0 and ("on-trial", "container 101") in told(every.document["skipped"])
    assert line(tried) == NAME and "lxc-a" in (tried.lxc / "102.conf").read_text()
    assert tried.phoenix("plan", "--detailed-exitcode").code == 0
    assert tried.phoenix("setup", "--json").document["warnings"] == [], "its copy is no file without a source"
    again = tried.phoenix("try", "101", "lxc-b", "--json")
    assert (again.code, again.problems) == (1, [("on-trial", "container 101")])


def test_one_that_waits_for_its_start_is_as_declared(tried: LiveHost) -> None:
    found = tried.phoenix("try", "101", "lxc-b", "--json")
    assert told(found.document["skipped"]) == [("trial-at-start", "container 101")]
    assert tried.labels()["101"].startswith("lxc-a ") and line(tried) == NAME
    assert (tried.phoenix("verify").code, codes(tried.phoenix("verify", "--json"))) == (0, ["on-trial"])
    assert tried.phoenix("try", "101", "--end").code == 0
    assert tried.phoenix("verify").code == 0


def test_after_its_time_it_is_a_fault(tried: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(tried, "--for", "2h")
    later(monkeypatch, 1.9)
    assert tried.phoenix("verify").code == 0
    later(monkeypatch, 2.1)
    found = tried.phoenix("verify", "--json")
    assert (found.code, codes(found)) == (3, ["trial-overdue"])
    assert tried.phoenix("try", "--list", "--json").document["trials"][0]["stage"] == "overdue"
    assert "trial-overdue" in tried.phoenix("status").out


def test_a_boot_ends_it(tried: LiveHost) -> None:
    boot = tried.root / "proc/sys/kernel/random/boot_id"
    boot.parent.mkdir(parents=True)
    boot.write_text("one\n")
    begin(tried)
    boot.write_text("two\n")
    tried.load_file(NAME)  # what the service does with every file
    found = tried.phoenix("verify", "--json")
    assert (found.code, codes(found)) == (3, ["trial-ended"])
    assert not allows(tried, NFS)
    assert tried.phoenix("try", "101", "--end").code == 0
    assert line(tried) == "lxc-a"


def test_a_configuration_that_is_locked_keeps_nothing_open(tried: LiveHost) -> None:
    begin(tried)
    path = tried.lxc / "101.conf"
    path.write_text(path.read_text() + "lock: backup\n")
    ended = tried.phoenix("try", "101", "--end", "--json")
    assert (ended.code, told(ended.document["refusals"])) == (1, [("locked", "container 101")])
    assert line(tried) == NAME and not allows(tried, NFS)
    assert codes(tried.phoenix("verify", "--json")) == ["trial-ended"]
    journals = len(tried.phoenix("history", "--json").document["transactions"])
    assert tried.phoenix("try", "101", "--end").code == 1, "systemd tries again every minute"
    assert len(tried.phoenix("history", "--json").document["transactions"]) == journals
    path.write_text(path.read_text().replace("lock: backup\n", ""))
    assert tried.phoenix("try", "101", "--end").code == 0
    assert line(tried) == "lxc-a" and not (tried.installed / NAME).exists()


def test_a_line_that_somebody_changed_meanwhile_stays(tried: LiveHost) -> None:
    begin(tried)
    path = tried.lxc / "101.conf"
    path.write_text(path.read_text().replace(NAME, "lxc-b"))
    ended = tried.phoenix("try", "101", "--end", "--json")
    assert ended.code == 0 and ("trial-line-kept", "container 101") in told(ended.document["skipped"])
    assert line(tried) == "lxc-b" and not allows(tried, NFS)


def test_a_container_that_is_gone(tried: LiveHost) -> None:
    assert tried.pct("stop", "101").ok
    assert tried.phoenix("try", "101", "lxc-b").code == 0
    (tried.lxc / "101.conf").unlink()
    assert tried.phoenix("try", "101", "--end").code == 0
    assert NAME not in tried.loaded() and not (tried.installed / NAME).exists()


def test_nothing_ends_where_there_is_no_trial(tried: LiveHost) -> None:
    before = snapshot(tried.root, without=("double", "proc"))
    ended = tried.phoenix("try", "101", "--end")
    assert ended.code == 0 and "not on trial" in ended.out
    assert snapshot(tried.root, without=("double", "proc")) == before


# The timer ----------------------------------------------------------------------------


def test_systemd_ends_it(tried: LiveHost, timers: Path) -> None:
    planned = tried.phoenix("try", "101", "lxc-b", "--for", "30m", "--dry-run", "--json").document
    kinds = [action["kind"] for action in planned["actions"]]
    assert kinds == ["install", "install", "load", "trial-timer", "load", "assign"]
    argv = planned["actions"][3]["processes"][-1]
    assert argv[0] == "systemd-run" and "--on-active=1800" in argv and "--unit=phoenix-trial-101" in argv
    assert argv[argv.index("--") :][-5:] == ["try", "101", "--end", "--config", str(tried.config)]
    assert not timers.exists(), "a plan runs nothing"
    begin(tried)
    assert tried.phoenix("try", "101", "--end").code == 0
    stop = "systemctl stop phoenix-trial-101.timer"
    assert [one.split(" --")[0] for one in timers.read_text().splitlines()] == [stop, "systemd-run", stop]


def test_without_a_timer_nothing_is_open(tried: LiveHost, timers: Path, tmp_path: Path) -> None:
    (tmp_path / "systemd-run.fails").touch()
    before = world(tried)
    found = tried.phoenix("try", "101", "lxc-b", "--restart")
    assert found.code == 1 and "systemd-run" in found.err
    assert world(tried) == before and not tried.phoenix("try", "--list", "--json").document["trials"]


def test_a_host_without_systemd_is_told(tried: LiveHost) -> None:
    found = tried.phoenix("try", "101", "lxc-b", "--json")
    assert ("trial-no-timer", "container 101") in told(found.document["warnings"])


# Failures, and taking it back -----------------------------------------------------------


@pytest.mark.parametrize("nth", [1, 2])
def test_a_load_that_fails(tried: LiveHost, nth: int) -> None:
    before = world(tried)
    tried.fail(parser_replace=nth)
    assert tried.phoenix("try", "101", "lxc-b", "--restart").code == 1
    tried.no_more_failures()
    assert world(tried) == before


def test_a_start_that_fails_leaves_nothing_open(tried: LiveHost) -> None:
    conf = (tried.lxc / "101.conf").read_bytes()
    tried.fail(pct_reboot=1)
    assert tried.phoenix("try", "101", "lxc-b", "--restart").code == 1
    tried.no_more_failures()
    assert (tried.lxc / "101.conf").read_bytes() == conf
    assert NAME not in tried.loaded() or not allows(tried, NFS)
    assert not tried.phoenix("try", "--list", "--json").document["trials"]


def test_an_end_that_fails_does_not_open_it_again(tried: LiveHost) -> None:
    begin(tried)
    original = ContainerSteps.assign

    def fails(self: ContainerSteps, action: AssignLines) -> AssignLines:
        if action.takes_back:
            return original(self, action)
        raise PhoenixError("no")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ContainerSteps, "assign", fails)
        assert tried.phoenix("try", "101", "--end").code == 1
    assert not allows(tried, NFS)
    assert codes(tried.phoenix("verify", "--json")) == ["trial-ended"]
    assert tried.phoenix("try", "101", "--end").code == 0


def test_rollback_of_the_beginning(tried: LiveHost) -> None:
    begin(tried)
    carried = tried.phoenix("rollback", "--json")
    assert carried.code == 1 and ("carried", f"profile {NAME}") in carried.problems
    assert tried.pct("stop", "101").ok
    assert tried.phoenix("rollback").code == 0
    assert line(tried) == "lxc-a" and NAME not in tried.loaded()
    assert not tried.phoenix("try", "--list", "--json").document["trials"]


def test_rollback_of_the_end_opens_nothing(tried: LiveHost) -> None:
    begin(tried)
    assert tried.phoenix("try", "101", "--end").code == 0
    assert tried.phoenix("rollback").code == 0
    assert line(tried) == NAME and not allows(tried, NFS)
    assert codes(tried.phoenix("verify", "--json")) == ["trial-ended"]


@pytest.mark.parametrize("when", ["begin", "done"])
@pytest.mark.parametrize("number", range(5))
def test_a_run_that_is_killed_leaves_nothing_open(tried: LiveHost, when: str, number: int) -> None:
    """The next run takes it back; what it had loaded is closed, or gone."""
    conf = (tried.lxc / "101.conf").read_bytes()
    with killed(when, number):
        tried.phoenix("try", "101", "lxc-b")
    assert "unfinished-transaction" in str(tried.phoenix("verify", "--json").document["host"])
    assert tried.phoenix("setup").code == 0
    assert (tried.lxc / "101.conf").read_bytes() == conf and NAME not in tried.loaded()
    assert not (tried.installed / NAME).exists() and tried.phoenix("verify").code == 0


@pytest.mark.parametrize("when", ["begin", "done"])
@pytest.mark.parametrize("number", range(4))
def test_an_end_that_is_killed_opens_nothing(tried: LiveHost, when: str, number: int) -> None:
    begin(tried)
    with killed(when, number):
        tried.phoenix("try", "101", "--end")
    was_open = allows(tried, NFS)
    assert was_open is ((when, number) == ("begin", 0))
    assert tried.phoenix("try", "101", "--end").code == 0
    assert line(tried) == "lxc-a" and not allows(tried, NFS)


# What is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("101",),
        ("101", "lxc-b", "--for", "0h"),
        ("101", "lxc-b", "--for", "31d"),
        ("101", "lxc-b", "--end"),
        ("--list", "101"),
        (),
        ("--end",),
        ("--list", "101"),
    ],
    ids=" ".join,
)
def test_words_that_make_no_sense(tried: LiveHost, words: tuple[str, ...]) -> None:
    found = tried.phoenix("try", *words)
    assert (found.code == 2 and "next:" in found.err) or "a second to 30 days" in found.err


def test_profiles_that_cannot_be_tried(tried: LiveHost) -> None:
    assert "has no source" in tried.phoenix("try", "101", "lxc-none").err
    for rules, why in (
        ("signal (send) peer=lxc-c,", "names the profile itself"),
        ("change_profile -> lxc-c,", "names the profile itself"),
    ):
        tried.source("lxc-c", "file,", rules)
        assert tried.phoenix("try", "101", "lxc-c", "--json").problems == [
            ("trial-not-ready", "profile lxc-c")
        ]
        assert tried.phoenix("setup").code == 0
        found = tried.phoenix("try", "101", "lxc-c", "--json")
        assert found.document["error"]["problems"][0]["code"] == "trial-no-copy" and why in found.err
    for flags in ("complain", "attach_disconnected, complain"):
        tried.source("lxc-c", data=f"profile lxc-c flags=({flags}) {{\n  file,\n}}\n".encode())
        assert tried.phoenix("setup").code == 0
        assert "does not enforce" in tried.phoenix("try", "101", "lxc-c").err
    assert "does not exist" in tried.phoenix("try", "999", "lxc-b").err


def test_somebody_elses_file_in_the_copys_place(tried: LiveHost) -> None:
    (tried.installed / NAME).write_text(f"profile {NAME} {{}}\n")
    found = tried.phoenix("try", "101", "lxc-b", "--json")
    assert (found.code, [code for code, _ in found.problems]) == (1, ["file-foreign"])


def test_a_locked_container_has_no_trial(tried: LiveHost) -> None:
    path = tried.lxc / "101.conf"
    path.write_text(path.read_text() + "lock: backup\n")
    found = tried.phoenix("try", "101", "lxc-b", "--json")
    assert (found.code, [code for code, _ in found.problems]) == (1, ["locked"])


def test_a_directory_has_no_trials(host: DirectoryHost) -> None:
    host.source("lxc-a")
    host.conf("101")
    host.declare({"101": "lxc-a"})
    found = host.phoenix("try", "101", "lxc-a")
    assert found.code == 1 and "running system" in found.err


def test_a_record_that_cannot_be_read(tried: LiveHost) -> None:
    begin(tried)
    record = tried.root / "var/lib/phoenix/trials/101.json"
    good = json.loads(record.read_text())
    for bad in (
        b"",
        b"{}",
        b"[]",
        json.dumps({**good, "lines": [{"key": "x", "value": "1", "old": None}]}).encode(),
    ):
        record.write_bytes(bad)
        found = tried.phoenix("status")
        assert found.code == 1 and "101.json" in found.err and "next:" in found.err


def test_an_unprivileged_container_tries_the_variant(tried: LiveHost) -> None:
    tried.source("lxc-b-unprivileged", *RULES, "mount fstype=nfs4,")
    tried.conf("102", "arch: amd64\nunprivileged: 1\n")
    assert tried.phoenix("setup").code == 0
    assert tried.phoenix("try", "102", "lxc-b").code == 0
    found = tried.phoenix("try", "--list", "--json").document["trials"]
    assert [(one["ctid"], one["profile"]) for one in found] == [("102", "lxc-b-unprivileged")]
    assert tried.phoenix("try", "102", "--end").code == 0
