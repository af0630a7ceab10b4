"""`phoenix watch`, with a double of systemctl; and the units, judged by systemd itself."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from phoenix_hypervisor.engine.watching import TIMERS
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.host.process import DEFAULT_TIMEOUT, Completed
from support.hosts import TOP, DirectoryHost, LiveHost, run

UNITS = TOP / "units"


class Systemd:
    """A double of systemctl: units that are on or off."""

    def __init__(self) -> None:
        self.on: set[str] = set()
        self.fails = False

    def find(self, program: str) -> str | None:
        return None

    def run(
        self, argv: Sequence[str], *, input: bytes | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> Completed:
        assert argv[0] == "systemctl"
        if self.fails:
            return Completed(tuple(argv), 1, b"", b"Failed to connect to bus")
        if argv[1] in ("is-enabled", "is-active"):
            word = {"is-enabled": (b"disabled", b"enabled"), "is-active": (b"inactive", b"active")}
            return Completed(tuple(argv), 0, word[argv[1]][argv[2] in self.on], b"")
        assert argv[2] == "--now"
        self.on = set(argv[3:]) if argv[1] == "enable" else self.on - set(argv[3:])
        return Completed(tuple(argv), 0, b"", b"")


@pytest.fixture
def systemd() -> Systemd:
    return Systemd()


@pytest.fixture
def running(live: LiveHost, systemd: Systemd) -> Host:
    folder = live.root / "usr/lib/systemd/system"
    folder.mkdir(parents=True)
    for unit in TIMERS:
        (folder / unit).touch()
    (live.root / "run/systemd/system").mkdir(parents=True)
    return Host(str(live.root), systemd, live=True)


def test_on_and_off(running: Host, systemd: Systemd) -> None:
    assert run(["watch"], running).out.splitlines() == [f"{unit}: off" for unit in TIMERS]
    assert run(["watch", "on"], running).out.splitlines() == [f"{unit}: on" for unit in TIMERS]
    assert systemd.on == set(TIMERS)
    found = run(["watch", "--json"], running).document["timers"]
    assert [(one["unit"], one["enabled"], one["active"]) for one in found] == [
        (u, True, True) for u in TIMERS
    ]
    assert run(["watch", "off"], running).code == 0 and systemd.on == set()


def test_what_stands_in_the_way_is_told(running: Host, systemd: Systemd, live: LiveHost) -> None:
    systemd.fails = True
    done = run(["watch", "on"], running)
    assert done.code == 1 and "Failed to connect to bus" in done.err
    systemd.fails = False
    (live.root / "usr/lib/systemd/system" / TIMERS[0]).unlink()
    done = run(["watch", "on"], running)
    assert done.code == 1 and f"{TIMERS[0]} is not installed" in done.err and systemd.on == set()
    (live.root / "run/systemd/system").rmdir()
    assert "systemd does not run here" in run(["watch"], running).err


def test_a_directory_has_no_timers(host: DirectoryHost) -> None:
    assert host.phoenix("watch", "on", config=False).code == 2


@pytest.mark.parametrize("path", sorted(UNITS.glob("*.service")), ids=lambda path: path.name)
def test_a_service_is_locked_down(path: Path) -> None:
    """systemd's own measure, from 0 (best) to 10."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    match = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert match is not None and float(match[1]) < 3, done.stdout + done.stderr


def test_nothing_is_enabled_by_itself_and_each_timer_has_its_service() -> None:
    for unit in TIMERS:
        text = (UNITS / unit).read_text()
        assert "WantedBy=timers.target" in text
        assert (UNITS / unit).with_suffix(".service").is_file()
    for path in UNITS.glob("*.service"):
        assert "[Install]" not in path.read_text()
