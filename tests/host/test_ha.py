"""Containers that Proxmox's HA starts and stops: named, asked, waited for, and left as HA was told."""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from phoenix_hypervisor import Phoenix
from phoenix_hypervisor.containers import steps
from phoenix_hypervisor.engine.requests import ApplyRequest
from phoenix_hypervisor.host import locks
from phoenix_hypervisor.plan.model import Note
from support.hosts import LiveHost, contents, told


@pytest.fixture
def one(live: LiveHost, monkeypatch: pytest.MonkeyPatch) -> LiveHost:
    monkeypatch.setattr(steps, "CONFIRM_TIMEOUT", 0.3)
    monkeypatch.setattr(steps, "HA_TIMEOUT", 0.6)
    live.source("lxc-a")
    live.conf("101")
    live.declare({"101": "lxc-a"})
    return live


def resources(live: LiveHost, text: str) -> Path:
    path = live.root / "etc/pve/ha/resources.cfg"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def ha_at_work(one: LiveHost, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """What HA's local resource manager does in the end, while Phoenix waits; called by hand or by waiting."""

    def start() -> None:
        path = one.root / "etc/pve/ha/resources.cfg"
        text = path.read_text()
        path.unlink()
        assert one.pct("start", "101").ok
        path.write_text(text)

    yield start


@pytest.mark.parametrize("state", ["state started", "state enabled", "group x", ""])
def test_a_start_that_ha_makes_is_named_asked_for_and_waited_for(
    one: LiveHost, monkeypatch: pytest.MonkeyPatch, ha_at_work: Callable[[], None], state: str
) -> None:
    for name in ("CONFIRM_TIMEOUT", "HA_TIMEOUT"):
        monkeypatch.setattr(steps, name, 3600.0)
    resources(one, f"vm: 101\n\tstate stopped\n\nct: 101\n\t{state}\n\nct: 102\n\tstate disabled\n")
    plan = one.phoenix("plan")
    assert plan.code == 0 and "start under lxc-a (HA is asked to start it)" in plan.out

    waits: list[float] = []
    real = time.sleep

    def sleep(seconds: float) -> None:
        # The standard library waits for processes by the same function.
        real(seconds)
        if seconds == 0.2:
            waits.append(seconds)
            if len(waits) == 2:
                ha_at_work()

    monkeypatch.setattr("phoenix_hypervisor.containers.steps.time.sleep", sleep)
    result = one.apply("--all")
    assert result.code == 0, result
    assert len(waits) == 2 and one.labels() == {"101": "lxc-a (enforce)"}
    said = "container 101: HA was asked to start it (Requesting HA start for CT 101)"
    assert result.err.startswith(said)
    assert one.phoenix("verify").code == 0


def test_ha_that_does_not_start_it_is_said_who_was_asked(one: LiveHost) -> None:
    resources(one, "ct: 101\n\tstate started\n")
    result = one.apply("--all", "--json")
    assert result.code == 1
    (note,) = result.document["unconfirmed"]
    assert (note["code"], note["target"]) == ("ha-not-started", "container 101")
    assert note["data"]["by"] == "HA" and note["data"]["service"] == "ct:101"
    assert "`ha-manager status`" in note["hint"]
    # What is done stays: the line is there for the start to come.
    assert "lxc.apparmor.profile: lxc-a" in (one.lxc / "101.conf").read_text()


def test_ha_that_starts_it_elsewhere_is_not_waited_for(
    one: LiveHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HA may move a container before it starts it."""
    monkeypatch.setattr(steps, "HA_TIMEOUT", 3600.0)
    resources(one, "ct: 101\n\tstate started\n")
    real = one.runner.run

    def run(argv: list[str], **more: object) -> object:
        done = real(argv, **more)  # type: ignore[arg-type]
        if tuple(argv[:2]) == ("pct", "start"):
            (one.lxc / "101.conf").unlink()
        return done

    monkeypatch.setattr(one.runner, "run", run)
    assert one.apply("--all").code == 1


@pytest.mark.parametrize("state", ["stopped", "disabled"])
def test_what_ha_keeps_stopped_is_never_started(one: LiveHost, state: str) -> None:
    """`pct start` would tell HA otherwise, against what the administrator told it."""
    text = f"ct: 101\n\tgroup x\n\tstate {state}\n"
    path = resources(one, text)
    plan = one.phoenix("plan", "--json")
    assert told(plan.document["skipped"]) == [("ha-stopped", "container 101")]
    with one.recorded() as argvs:
        result = one.apply("--all", "--json")
    assert result.code == 0 and told(result.document["skipped"]) == [("ha-stopped", "container 101")]
    assert result.document["skipped"][0]["hint"] == "`ha-manager set ct:101 --state started` starts it"
    assert not [argv for argv in argvs if argv[0] == "pct"]
    assert one.labels() == {} and path.read_text() == text
    assert "lxc.apparmor.profile: lxc-a" in (one.lxc / "101.conf").read_text()
    # It is as declared, as far as Phoenix goes: nothing that apply would do is left.
    verify = one.phoenix("verify", "--json")
    (row,) = verify.document["containers"]
    assert verify.code == 0 and [(f["code"], f["fault"]) for f in row["findings"]] == [("ha-stopped", False)]
    assert one.apply("--all").recap["changed"] == 0


@pytest.mark.parametrize(
    "text",
    [
        "ct: 101\n\tstate ignored\n",
        "ct: 1011\n\tstate stopped\n",
        "# ct: 101\n",
        "vm: 101\n",
        "\xff\n\tstate\n",
    ],
)
def test_what_ha_does_not_manage_is_started_as_ever(one: LiveHost, text: str) -> None:
    resources(one, text)
    result = one.apply("--all")
    assert (result.code, result.err) == (0, "") and "HA" not in result.out
    assert one.labels() == {"101": "lxc-a (enforce)"}


def test_waiting_for_proxmoxs_lock_is_said(one: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.0)
    path = one.root / "run/lock/lxc/pve-config-101.lock"
    path.parent.mkdir(parents=True)
    held = path.open("a")
    fcntl.flock(held, fcntl.LOCK_EX)
    heard: list[Note] = []

    def progress(event: object) -> None:
        if isinstance(event, Note):
            heard.append(event)
            held.close()

    phoenix = Phoenix(config=str(one.config), host=one.host)
    phoenix.apply(ApplyRequest(start=False), progress)
    (note,) = heard
    assert note.code == "waiting-for-lock" and note.target.endswith("/pve-config-101.lock")
    assert note.data == {"seconds": 10}
    # On standard error, and not with --quiet.
    for words, expected in (((), True), (("--quiet",), False)):
        one.conf("101")
        again = path.open("a")
        fcntl.flock(again, fcntl.LOCK_EX)
        timer = threading.Timer(0.3, again.close)
        timer.start()
        result = one.phoenix("apply", "--all", "--no-start", *words)
        timer.join()
        assert result.code == 0
        assert ("another process holds this lock; waiting for it, up to 10 s" in result.err) is expected


def test_nothing_is_said_of_locks_that_are_free(one: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.0)
    result = one.apply("--all")
    assert (result.code, result.err) == (0, "")
    before = contents(one.lxc)
    assert one.apply("--all").err == "" and contents(one.lxc) == before
