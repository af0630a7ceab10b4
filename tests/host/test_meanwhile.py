"""Others write while a live run is at work, and runs that die between two processes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.hosts import CREATION, LiveHost, profile, snapshot, temporary_files, world


def _meanwhile(live: LiveHost, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """While the profiles are installed, between plan and edit, 102 gets this configuration."""
    from phoenix_hypervisor.profiles.install import ProfileSteps

    real = ProfileSteps.install

    def install(self: ProfileSteps, action: Any) -> Any:
        live.conf("102", text)
        return real(self, action)

    monkeypatch.setattr(ProfileSteps, "install", install)


@pytest.mark.parametrize(
    "text",
    [
        "arch: amd64\nmemory: 512\nlxc.apparmor.profile: lxc-a\n",
        "arch: amd64\nmemory: 512\nlxc.apparmor.profile: unconfined\n",
        "arch: amd64\nmemory: 512\nlxc.apparmor.allow_nesting: 1\n",
        "arch: amd64\nmemory: 512\nunprivileged: 1\n",
        "arch: amd64\nmemory: 512\nfeatures: nesting=1\n",
        "arch: amd64\nmemory: 512\ntemplate: 1\n",
        "arch: amd64\nmemory: 512\nlock: backup\n",
        "arch: amd64\n[1x]\nmemory: 512\n",
    ],
)
def test_what_the_plan_was_decided_from_changes_meanwhile(
    two: LiveHost, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Our own lines, the container's kind, a lock: nothing is written, and all of it taken back."""
    before = world(two)
    _meanwhile(two, monkeypatch, text)
    result = two.apply("--all", "--json")
    codes = [code for code, _ in result.problems]
    assert result.code == 1 and codes[:2] == [
        "step-failed",
        "locked" if "lock:" in text else "failed" if "[1x]" in text else "changed-meanwhile",
    ]
    assert "102" in result.err
    after = world(two)
    assert after[1].pop("102.conf") == text.encode()
    before[1].pop("102.conf")
    assert after == before


def test_another_line_that_changes_meanwhile_is_kept(two: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """`pct set` beside it: the one line is edited anew, in what the file holds under Proxmox's lock."""
    text = "#a note\narch: amd64\nmemory: 9999\n\n[snap]\nmemory: 1\n"
    _meanwhile(two, monkeypatch, text)
    result = two.apply()
    assert (result.code, result.err) == (0, "")
    edited = text.replace("9999\n", "9999\nlxc.apparmor.profile: lxc-b\n")
    assert (two.lxc / "102.conf").read_text() == edited
    assert two.labels()["102"] == "lxc-b (enforce)"
    monkeypatch.undo()
    # The journal has what was really there: a rollback brings that back, and not what was planned from.
    for ctid in ("101", "102"):
        assert two.pct("stop", ctid).ok
    assert two.phoenix("rollback").code == 0
    assert (two.lxc / "102.conf").read_text() == text


def test_a_stop_that_has_not_ended_is_waited_for(two: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a container ends by itself, Proxmox's post-stop hook still writes what it read earlier."""

    path = two.lxc / "101.conf"
    read_earlier = path.read_bytes()
    monitor = two.process(4000, "/lxc.monitor/101", "unconfined").parents[2]
    (monitor / "cmdline").write_bytes(b"/usr/bin/lxc-start\0-F\0-n\x00101\0")

    def sleep(seconds: float) -> None:
        if monitor.exists():
            assert path.read_bytes() == read_earlier, "edited before the hook wrote"
            path.write_bytes(read_earlier)
            shutil.rmtree(monitor)

    monkeypatch.setattr("phoenix_hypervisor.containers.steps.time.sleep", sleep)
    assert two.apply("101").code == 0
    assert not monitor.exists()
    assert two.labels() == {"101": "lxc-a (enforce)"}
    assert two.phoenix("verify", "101").code == 0


def test_what_lxc_said_of_a_failed_start_is_shown(two: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands on pct's standard output, and the last line alone tells nothing."""
    from phoenix_hypervisor.containers.steps import ContainerSteps

    monkeypatch.setattr(ContainerSteps, "_require_loaded", lambda self, action: None)
    real = two.runner.run

    def run(argv: Any, **more: Any) -> Any:
        if tuple(argv[:3]) == ("pct", "start", "101"):
            two.profiles.write_text("")
        return real(argv, **more)

    monkeypatch.setattr(two.runner, "run", run)
    result = two.apply("101")
    assert result.code == 1
    assert 'Failed to write AppArmor profile "lxc-a"' in result.err
    assert "startup for container '101' failed" in result.err


def test_a_stop_that_never_ends(two: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    from phoenix_hypervisor.containers import steps

    monkeypatch.setattr(steps, "SETTLE_TIMEOUT", 0.2)
    monitor = two.process(4000, "/lxc.monitor/101", "unconfined").parents[2]
    (monitor / "cmdline").write_bytes(b"[lxc monitor] /var/lib/lxc 101\0\0")
    before = world(two)
    result = two.apply()
    assert result.code == 1 and "has been starting or stopping for" in result.err
    assert world(two) == before


def test_a_line_that_is_lost_before_the_start(two: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    real = two.runner.run

    def run(argv: Any, **more: Any) -> Any:
        if tuple(argv[:3]) == ("pct", "start", "101"):
            two.conf("102", "memory: 1\n")
        return real(argv, **more)

    monkeypatch.setattr(two.runner, "run", run)
    result = two.apply()
    assert result.code == 1
    assert "start 102 failed: its profile line is gone again" in " ".join(result.err.split())
    assert set(two.labels()) == {"101"}


def test_a_start_that_starts_nothing(two: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a container that HA looks after, `pct start` only asks, and says that all is well."""
    from phoenix_hypervisor.containers import steps
    from phoenix_hypervisor.host.process import Completed

    monkeypatch.setattr(steps, "CONFIRM_TIMEOUT", 0.3)
    real = two.runner.run

    def run(argv: Any, **more: Any) -> Any:
        if tuple(argv[:3]) == ("pct", "start", "101"):
            return Completed(tuple(argv), 0, b"Requesting HA start for CT 101\n", b"")
        return real(argv, **more)

    monkeypatch.setattr(two.runner, "run", run)
    result = two.apply("--all", "--json")
    assert result.code == 1
    (note,) = result.document["unconfirmed"]
    assert note["target"] == "container 101" and note["code"] == "not-running"
    assert result.document["failed"] == 1 and result.document["changed"] > 0
    assert b"lxc.apparmor.profile: lxc-a" in (two.lxc / "101.conf").read_bytes(), "it stays applied"
    text = two.apply().out
    assert "applied, but container 101: not-running" in text and text.splitlines()[-1].count("failed=1")


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


@pytest.mark.parametrize("kind", ["a directory", "a link"])
def test_what_a_profile_includes_may_be_more_than_a_file(two: LiveHost, kind: str) -> None:
    """A directory counts with the names in it, a link with what it leads to, as for the parser."""
    two.source("lxc-a", "include if exists <local/x>")
    changes: list[Callable[[], object]]
    if kind == "a directory":
        folder = two.installed / "local/x"
        folder.mkdir()
        one = folder / "one"
        changes = [
            lambda: one.write_text("/etc/site r,\n"),
            lambda: one.write_text("/etc/other r,\n"),
            lambda: (folder / "two").write_text("network,\n"),
            one.unlink,
        ]
    else:
        target = two.installed / "abstractions/site"
        target.write_text("/etc/hosts r,\n")
        (two.installed / "local/x").symlink_to("../abstractions/site")
        changes = [lambda: target.write_text("/etc/site r,\n")]
    assert two.apply().code == 0
    for change in changes:
        before = two.policy()["lxc-a"]
        change()
        verify = two.phoenix("verify")
        assert verify.code == 3 and "stale-policy" in verify.out
        assert two.apply().code == 0
        assert two.policy()["lxc-a"] != before
        assert two.phoenix("verify").code == 0
        assert two.apply().recap["changed"] == 0
    if kind == "a directory":
        (folder / "two.dpkg-old").write_text("what the parser passes over\n")
        assert two.apply().recap["changed"] == 0


class _Dies:
    """A runner whose process ends, with no word, before or after the nth call."""

    def __init__(self, inner: Any, nth: int, after: bool) -> None:
        self._inner, self._left, self._after = inner, nth, after

    def find(self, program: str) -> str | None:
        found: str | None = self._inner.find(program)
        return found

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
            {"101": "lxc-a", "102": "lxc-b", "950": {**CREATION, "gpu_assignment": "none"}},
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
