"""What the next run makes of a transaction that a killed one left unfinished."""

from __future__ import annotations

from typing import Any

import pytest

from support.hosts import LiveHost, contents, profile, snapshot, temporary_files, told
from support.journals import FIELDS, created_is_left, lines, much_to_do, world
from support.killed import killed


@pytest.fixture
def busy(live: LiveHost) -> LiveHost:
    return much_to_do(live)


STEPS = 10


@pytest.mark.parametrize(
    ("when", "number"), [*(("begin", n) for n in range(STEPS)), *(("done", n) for n in (0, 3, 5, 7, 8, 9))]
)
def test_the_next_run_undoes_what_a_killed_one_left(busy: LiveHost, when: str, number: int) -> None:
    before = world(busy)
    with killed(when, number):
        busy.apply("--all", "--no-start")
    halfway = snapshot(busy.root, without=("double",))
    verify = busy.phoenix("verify")
    assert verify.code == 3 and "unfinished-transaction: transaction 2" in verify.out
    assert "unfinished-transaction" in busy.phoenix("plan").out
    assert busy.apply("--all", "--dry-run").code == 0
    assert (
        busy.phoenix("status", "--json").document["host"]["findings"][0]["code"] == "unfinished-transaction"
    )
    assert snapshot(busy.root, without=("double",)) == halfway, "a command that reads has written"
    # A configuration that is broken by now does not stand in the way.
    good = busy.config.read_bytes()
    busy.config.write_text("{")
    result = busy.apply("--all", "--no-start")
    assert result.code == 1
    assert "recovered: transaction 2" in result.out and "has been rolled back" in result.out
    assert created_is_left(busy, world(busy)) == before
    assert lines(busy, 2)[-1]["end"] == "undone"
    assert temporary_files(busy.root) == []
    busy.config.write_bytes(good)
    assert busy.apply("--all").code == 0
    assert busy.phoenix("verify").code == 0
    assert busy.apply("--all").recap["changed"] == 0


def test_there_are_that_many_steps(busy: LiveHost) -> None:
    actions = busy.phoenix("plan", "--no-start", "--json").document["actions"]
    assert len(actions) == STEPS
    kinds = {a["kind"] for a in actions}
    assert kinds == {"install", "load", "create", "assign", "unload", "remove"}


def test_killed_between_the_last_step_and_the_end(busy: LiveHost) -> None:
    before = world(busy)
    with killed("end", 0):
        busy.apply("--all", "--no-start")
    busy.config.write_text("{")
    assert "recovered" in busy.apply("--all", "--no-start").out
    assert created_is_left(busy, world(busy)) == before


def test_recovery_leaves_alone_what_somebody_changed_meanwhile(busy: LiveHost) -> None:
    with killed("end", 0):
        busy.apply("--all", "--no-start")
    (busy.installed / "lxc-c").write_bytes(profile("lxc-c", "/srv/theirs r,"))
    busy.conf("102", "lxc.apparmor.profile: theirs\n")
    text = (busy.lxc / "101.conf").read_text()
    busy.conf("101", f"cores: 3\n{text}")
    busy.config.write_text("{")
    out = busy.apply().out
    assert "lxc-c: changed by someone else" in out and "102.conf: changed by someone else" in out
    assert b"/srv/theirs" in (busy.installed / "lxc-c").read_bytes()
    assert (busy.lxc / "102.conf").read_text() == "lxc.apparmor.profile: theirs\n"
    assert (busy.lxc / "101.conf").read_text() == f"cores: 3\n{text.replace('lxc-b', 'lxc-a')}"
    end = lines(busy, 2)[-1]
    # lxc-old was loaded by hand, and this kernel shows nothing of it.
    assert end["end"] == "undone" and told(end["left"])[2:] == [
        ("policy-guessed", "profile lxc-old"),
        ("created", "container 950"),
    ]


@pytest.mark.parametrize("line", ["lxc.apparmor.profile: lxc-a # site", "lxc.apparmor.profile:"])
def test_recovery_puts_back_a_line_that_it_would_never_write(live: LiveHost, line: str) -> None:
    live.source("lxc-a")
    live.conf("101", f"memory: 512\n{line}\n")
    live.declare({"101": "lxc-a"})
    with killed("end", 0):
        live.apply("--all", "--no-start")
    path = live.lxc / "101.conf"
    path.write_text(path.read_text().replace("512", "1024"))
    live.config.write_text("{")
    assert "has been rolled back" in live.apply().out
    assert path.read_text() == f"memory: 1024\n{line}\n"


def test_recovery_tells_of_a_container_that_has_left(live: LiveHost) -> None:
    """Migrated between the kill and the recovery: the line travels with it."""
    live.source("lxc-a")
    live.conf("101")
    live.declare({"101": "lxc-a"})
    with killed("end", 0):
        live.apply("--all", "--no-start")
    there = live.root / "etc/pve/nodes/pve2/lxc"
    there.mkdir(parents=True)
    (live.lxc / "101.conf").rename(there / "101.conf")
    live.config.write_text("{")
    assert live.apply().code == 1
    (entry,) = live.phoenix("history", "--json", config=False).document["transactions"]
    assert told(entry["left"]) == [("container-gone", "container 101")]


def test_recovery_tells_what_stays(live: LiveHost) -> None:
    live.source("lxc-a")
    live.conf("101")
    live.declare({"101": "lxc-a", "950": {**FIELDS, "apparmor_profile": "lxc-a"}})
    with killed("end", 0):
        live.apply()
    result = live.phoenix("setup", "--json")
    assert told(result.document["recovered"]["left"])[-3:] == [
        ("created", "container 950"),
        ("now-running", "container 101"),
        ("now-running", "container 950"),
    ]
    assert "container 950: created and left in place" in live.phoenix("history").out.replace("\n", " ")


def test_an_apply_that_finds_another_killed_meanwhile_tells_it(
    busy: LiveHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between this run's first look and its lock."""
    from phoenix_hypervisor.engine.perform import locked as real

    def locked(session: Any) -> Any:
        monkeypatch.undo()
        with killed("end", 0):
            busy.apply("--all", "--no-start")
        return real(session)

    monkeypatch.setattr("phoenix_hypervisor.engine.perform.locked", locked)
    document = busy.apply("--all", "--no-start", "--json").document
    assert document["recovered"]["id"] == 2 and document["changed"] > 0
    assert busy.phoenix("verify").code == 3  # Nothing was started.


def test_recovery_waits_for_what_it_cannot_see(live: LiveHost) -> None:
    """After a power cut Phoenix may run before pve-cluster does."""
    live.source("lxc-a")
    live.conf("101", "memory: 512\n")
    live.declare({"101": "lxc-a"})
    with killed("end", 0):
        live.apply("--all", "--no-start")
    pve, away = live.root / "etc/pve", live.root / "etc/away"
    pve.rename(away)
    pve.mkdir()
    before = live.loaded(), contents(live.installed)
    result = live.phoenix("setup")
    assert result.code == 1 and "pve-cluster" in result.err, result
    assert (live.loaded(), contents(live.installed)) == before
    assert "end" not in lines(live, 1)[-1]
    pve.rmdir()
    away.rename(pve)
    live.config.write_text("{")
    assert "has been rolled back" in live.phoenix("setup").out
    assert (live.lxc / "101.conf").read_text() == "memory: 512\n" and "lxc-a" not in live.loaded()


def test_recovery_unloads_nothing_that_a_process_carries(busy: LiveHost) -> None:
    with killed("end", 0):
        busy.apply("--all", "--no-start")
    assert busy.pct("start", "102").ok
    busy.config.write_text("{")
    assert "profile lxc-c: stays loaded: PID" in busy.apply().out
    assert busy.loaded()["lxc-c"] == "enforce"
    assert busy.labels()["102"] == "lxc-c (enforce)"


def test_recovery_that_fails_is_tried_again(busy: LiveHost) -> None:
    before = world(busy)
    with killed("end", 0):
        busy.apply("--all", "--no-start")
    busy.fail(parser_replace=1)
    result = busy.apply("--all", "--json")
    assert result.code == 1 and [code for code, _ in result.problems] == ["recovery-failed", "undo-failed"]
    assert "docs/guide/failures.md" in result.err
    assert "unfinished-transaction" in busy.phoenix("status").out
    busy.no_more_failures()
    busy.config.write_text("{")
    assert "recovered" in busy.apply().out
    assert created_is_left(busy, world(busy)) == before


def test_recovery_after_a_reboot_into_a_kernel_without_apparmor(busy: LiveHost) -> None:
    before = world(busy)
    with killed("end", 0):
        busy.apply("--all", "--no-start")
    import shutil

    shutil.rmtree(busy.root / "sys")
    busy.config.write_text("{")
    assert "recovered" in busy.apply().out
    assert contents(busy.installed) == before[0]
