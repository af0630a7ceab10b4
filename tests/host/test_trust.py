"""What others could have written is not acted upon, and said."""

from __future__ import annotations

import base64
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from phoenix_hypervisor.containers.steps import ContainerSteps
from phoenix_hypervisor.engine.perform import LOCK
from phoenix_hypervisor.plan.actions import AssignLines
from support.hosts import TOP, DirectoryHost, LiveHost, contents, snapshot
from support.killed import killed

STATE = "var/lib/phoenix"


def _chmod(path: str, mode: int) -> Callable[[DirectoryHost], None]:
    return lambda host: (host.root / path).chmod(mode)


def _chown(path: str) -> Callable[[DirectoryHost], None]:
    return lambda host: os.chown(host.root / path, 1000, 1000)


def _group(path: str) -> Callable[[DirectoryHost], None]:
    def give(host: DirectoryHost) -> None:
        os.chown(host.root / path, 0, 1000)
        (host.root / path).chmod(0o770)

    return give


def _link_into_tmp(host: DirectoryHost) -> None:
    (host.root / "tmp").mkdir()
    (host.root / "tmp").chmod(0o1777)
    place = host.installed / "abstractions/phoenix"
    shutil.move(place, host.root / "tmp/d")
    place.symlink_to("/tmp/d")


OPEN: dict[str, tuple[Callable[[DirectoryHost], None], str]] = {
    "the records": (_chmod(STATE, 0o777), "var/lib/phoenix"),
    "the records, sticky": (_chmod(STATE, 0o1777), "var/lib/phoenix"),
    "the manifest": (_chmod(f"{STATE}/manifest.json", 0o666), "manifest.json"),
    "the journal": (_chmod(f"{STATE}/journal", 0o777), "journal"),
    "compiled": (_chmod(f"{STATE}/compiled", 0o777), "compiled"),
    "a compiled copy": (_chmod(f"{STATE}/compiled/lxc-a", 0o666), "compiled/lxc-a"),
    "apparmor.d": (_chmod("etc/apparmor.d", 0o777), "etc/apparmor.d"),
    "a directory of includes": (_chmod("etc/apparmor.d/abstractions/phoenix", 0o777), "abstractions/phoenix"),
    "a directory of includes is a link": (_link_into_tmp, "abstractions/phoenix"),
    "the configurations": (_chmod("etc/pve/nodes/pve1/lxc", 0o777), "etc/pve/lxc"),
}
THEIRS: dict[str, tuple[Callable[[DirectoryHost], None], str]] = {
    "the records of another": (_chown(STATE), "belongs to uid 1000"),
    "the journal of another": (_chown(f"{STATE}/journal"), "belongs to uid 1000"),
    "a journal of another": (_chown(f"{STATE}/journal/00000001.jsonl"), "belongs to uid 1000"),
    "the manifest of another": (_chown(f"{STATE}/manifest.json"), "belongs to uid 1000"),
    "the records of a group": (_group(STATE), "can be written by group 1000"),
}


@pytest.fixture
def done(live: LiveHost) -> LiveHost:
    """Two transactions, so that there is one to roll back."""
    live.source("abstractions/phoenix/x", data=b"  network,\n")
    live.source("lxc-a", "include <abstractions/phoenix/x>")
    live.conf("101")
    live.declare({"101": {"apparmor_profile": "lxc-a", "start": False}})
    assert live.apply().code == 0
    live.source("lxc-b")
    assert live.apply().code == 0
    assert live.phoenix("verify").code == 0
    return live


def _refused(live: LiveHost, words: str) -> None:
    live.source("lxc-c")
    before = snapshot(live.root, without=("double",))
    verify = live.phoenix("verify", "--json")
    findings = verify.document["host"]["findings"]
    assert verify.code == 3 and {f["code"] for f in findings} == {"open-to-others"}, verify
    assert any(words in f["cause"] and f["hint"] for f in findings), findings
    assert "open-to-others" in live.phoenix("status").out
    for command in (("setup",), ("apply", "--all"), ("rollback",), ("rollback", "1")):
        result = live.phoenix(*command)
        assert result.code == 1 and words in result.err and "internal" not in result.err, result
        assert snapshot(live.root, without=("double",)) == before, f"{command} changed something"


@pytest.mark.parametrize("which", OPEN)
def test_what_everybody_can_write_is_said_and_refused(done: LiveHost, which: str) -> None:
    OPEN[which][0](done)
    _refused(done, OPEN[which][1])


@pytest.mark.parametrize("which", THEIRS)
def test_records_of_others_are_said_and_refused(done: LiveHost, which: str) -> None:
    if os.geteuid() != 0:
        return  # Only root can give a file to somebody else.
    THEIRS[which][0](done)
    if which == "a journal of another":
        # Only the newest is looked at by runs that undo nothing.
        os.chown(done.root / STATE / "journal/00000002.jsonl", 1000, 1000)
    _refused(done, THEIRS[which][1])


# What the operator gives -----------------------------------------------------------------


def _schema(host: DirectoryHost) -> Path:
    path = host.etc / "phoenix_lxc_configs.schema.json"
    path.write_bytes((TOP / "etc/phoenix_lxc_configs.schema.json").read_bytes())
    return path


def _tests(host: DirectoryHost) -> Path:
    (host.etc / "policy_tests").mkdir()
    path = host.etc / "policy_tests/a.toml"
    path.write_text("")
    return path


def _sources_in_tmp(host: DirectoryHost) -> None:
    open_to_all = host.folder / "tmp"
    open_to_all.mkdir()
    shutil.move(host.sources, open_to_all / "sources")
    host.sources.symlink_to(open_to_all / "sources")
    open_to_all.chmod(0o1777)


GIVEN: dict[str, Callable[[DirectoryHost], object]] = {
    "the configuration's directory": lambda h: h.etc.chmod(0o777),
    "the schema": lambda h: _schema(h).chmod(0o666),
    "the policy tests": lambda h: _tests(h).parent.chmod(0o777),
    "a policy test": lambda h: _tests(h).chmod(0o666),
    "the sources are a link": _sources_in_tmp,
}


@pytest.mark.parametrize("which", GIVEN)
def test_what_the_operator_gives_is_nobody_elses(host: DirectoryHost, which: str) -> None:
    host.source("lxc-a")
    host.conf("101")
    host.declare({"101": "lxc-a"})
    GIVEN[which](host)
    before = contents(host.root)
    for words in (("plan",), ("setup",), ("apply", "--all")):
        result = host.phoenix(*words)
        assert result.code == 1 and "can be written by everybody" in result.err and "next:" in result.err
    assert contents(host.root) == before


def test_what_administrators_do_is_taken(host: DirectoryHost) -> None:
    """A checkout of another user, made with umask 002, linked to from elsewhere."""
    host.source("lxc-a")
    host.conf("101")
    host.declare({"101": "lxc-a"})
    _schema(host)
    _tests(host)
    elsewhere = host.folder / "checkout"
    shutil.move(host.sources, elsewhere)
    host.sources.symlink_to(elsewhere)
    for path in (host.etc, elsewhere, *host.etc.rglob("*"), *elsewhere.rglob("*")):
        path.chmod(path.stat().st_mode | 0o020)
        if os.geteuid() == 0:
            os.chown(path, 1000, 1000)
    shutil.move(host.installed, host.root / "elsewhere")
    host.installed.symlink_to("/elsewhere")
    (host.root / "elsewhere").chmod(0o775)
    assert host.apply().code == 0
    assert host.phoenix("verify", "--json").document["host"]["findings"] == []
    assert host.phoenix("rollback").code == 0


def _plain(live: LiveHost) -> Path:
    shutil.rmtree(live.root / "etc/pve")
    live.source("lxc-a")
    live.declare({"950": {"apparmor_profile": "lxc-a", "start": False}})
    place = live.root / "srv/950"
    place.mkdir(parents=True)
    (place / "config").write_text("lxc.arch = amd64\n")
    (live.root / "var/lib/lxc").mkdir(parents=True)
    (live.root / "var/lib/lxc/950").symlink_to("/srv/950")
    return place


@pytest.mark.parametrize("path", ["var/lib/lxc", "srv", "srv/950"])
def test_a_place_of_containers_that_everybody_can_write(live: LiveHost, path: str) -> None:
    place = _plain(live)
    (live.root / path).chmod(0o1777)
    before = contents(live.installed)
    result = live.apply()
    assert result.code == 1 and "can be written by everybody" in result.err
    assert (place / "config").read_text() == "lxc.arch = amd64\n"
    assert contents(live.installed) == before
    (live.root / path).chmod(0o755)
    assert live.apply().code == 0
    assert "lxc-a" in (place / "config").read_text()


# Locks -----------------------------------------------------------------------------------


def test_nobody_else_may_hold_the_lock(done: LiveHost) -> None:
    """Whoever may open a file for reading may lock it."""
    assert LOCK == "/run/phoenix/lock" and not (done.root / "run/lock/phoenix.lock").exists()
    lock = done.root / LOCK[1:]
    for path in (lock, lock.parent):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    for path, mode in ((lock, 0o644), (lock.parent, 0o777)):
        old = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode)
        done.source("lxc-c")
        result = done.phoenix("setup")
        assert result.code == 1 and "others could hold it" in result.err
        path.chmod(old)
    assert done.phoenix("setup").code == 0


def test_a_living_run_is_not_recovered_though_its_lock_is_gone(
    done: LiveHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    real = ContainerSteps.assign

    def assign(self: ContainerSteps, action: AssignLines) -> AssignLines:
        performed = real(self, action)
        (done.root / LOCK[1:]).unlink()
        seen.append(done.phoenix("setup"))
        seen.append(done.phoenix("verify"))
        return performed

    done.declare({"101": {"apparmor_profile": "lxc-b", "start": False}})
    monkeypatch.setattr(ContainerSteps, "assign", assign)
    assert done.apply().code == 0
    assert seen[0].code == 1 and "is being applied by another process" in seen[0].err
    assert "transaction-under-way" in seen[1].out
    assert "lxc-b" in (done.lxc / "101.conf").read_text()


@pytest.mark.parametrize("place", [STATE, f"{STATE}/compiled", f"{STATE}/manifest.json"])
def test_nothing_is_recovered_by_records_that_others_can_write(done: LiveHost, place: str) -> None:
    done.source("lxc-a", "include <abstractions/phoenix/x>", "/srv/ r,")
    with killed("end", 0):
        done.apply()
    (done.root / place).chmod(0o777)
    before = contents(done.root)
    result = done.phoenix("setup")
    assert result.code == 1 and "can be written by everybody" in result.err and "recovered" not in result.out
    now = contents(done.root)
    assert {k: v for k, v in now.items() if "double" not in k} == {
        k: v for k, v in before.items() if "double" not in k
    }
    (done.root / place).chmod(0o600 if place.endswith("json") else 0o700)
    assert "recovered" in done.phoenix("setup").out


def test_a_planted_journal_is_not_recovered(done: LiveHost) -> None:
    """Who can rename in /var/lib/phoenix can put a journal of their own there, with any mode."""
    if os.geteuid() != 0:
        return
    action: dict[str, object] = {
        "kind": "install", "target": "x", "summary": "", "path": "/etc/apparmor.d/lxc-a", "processes": [],
        "before": base64.b64encode(b"EVIL").decode(), "value": None, "old_value": None,
        "after": base64.b64encode((done.installed / "lxc-a").read_bytes()).decode(),
    }  # fmt: skip
    header = {"version": 1, "id": 1, "time": "t", "user": "u", "command": [], "runtime": "lxc"}
    header |= {"undoes": None, "manifest": None, "actions": [action]}
    journal = done.root / STATE / "journal"
    shutil.rmtree(journal)
    journal.mkdir(mode=0o755)
    (journal / "00000001.jsonl").write_bytes(json.dumps(header).encode() + b'\n{"begin":0}\n')
    for path in (journal, journal / "00000001.jsonl"):
        os.chown(path, 1000, 1000)
    result = done.phoenix("setup")
    assert result.code == 1 and "belongs to uid 1000" in result.err
    assert b"EVIL" not in (done.installed / "lxc-a").read_bytes()


@pytest.mark.parametrize("umask", [0, 0o077])
def test_directories_are_made_with_their_mode_whatever_the_umask(host: DirectoryHost, umask: int) -> None:
    host.source("abstractions/phoenix/x", data=b"")
    host.source("lxc-a")
    host.conf("101")
    host.declare({"101": "lxc-a"})
    old = os.umask(umask)
    try:
        assert host.apply().code == 0
    finally:
        os.umask(old)

    def mode(path: str | Path) -> int:
        return stat.S_IMODE((host.root / path).stat().st_mode)

    assert (mode("run/phoenix"), mode("run/phoenix/lock"), mode("run/lock/lxc")) == (0o700, 0o600, 0o755)
    assert mode(STATE) in (0o700, 0o755)
    assert mode(f"{STATE}/journal") == 0o700
    assert mode("etc/apparmor.d/abstractions/phoenix") == 0o755
    host.source("lxc-b")
    assert host.apply().code == 0
