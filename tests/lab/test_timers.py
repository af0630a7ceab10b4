"""Phoenix's units under a real systemd, on a real kernel: the timers, what monitoring sees, the end of a trial.

The lab's own process 1 is no systemd, so the guest is booted again from a disk on which Debian's is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from phoenix_hypervisor.lab.guest_containers import Container
from support.lab_host import HOME, box, phoenix
from support.powercut import KeptMachine, kept_machine

CONFIG = "/etc/phoenix_hypervisor/phoenix_lxc_configs.json"
METRICS = "/var/lib/prometheus/node-exporter/phoenix.prom"
VERIFY, METER = "phoenix-verify", "phoenix-metrics"
AGENT = """[Unit]
Description=the lab's agent
DefaultDependencies=no
[Service]
ExecStart=/usr/bin/python3 -I -S /usr/lib/phoenix-lab/agent.py
Restart=always
KillMode=process
OOMScoreAdjust=-900
"""
WANTS = "/etc/systemd/system/sysinit.target.wants"
UNIT = "phoenix-lab-agent.service"
BOOTED = 300.0
"""Seconds until systemd has no job left, under emulation and beside other work."""
PATIENCE = 240.0
"""Seconds that anything else is waited for."""


class Systemd:
    """A guest in which systemd is process 1."""

    def __init__(self, machine: KeptMachine) -> None:
        self._machine = machine
        self.guest = machine.boot()

    def again(self) -> None:
        """Boot once more, from what is on the disk."""
        self.guest.run("sync", check=True)
        self._machine.cut()
        self.guest = self._machine.boot()
        self.settled()

    def settled(self) -> str:
        """What systemd says of itself when it has no job left."""
        done = self.guest.run(["systemctl", "is-system-running", "--wait"], timeout=BOOTED)
        return done.stdout.strip()

    def show(self, unit: str, *names: str) -> dict[str, str]:
        done = self.guest.run(["systemctl", "show", unit, *(f"-p{name}" for name in names)], check=True)
        return dict(line.partition("=")[::2] for line in done.stdout.splitlines())

    def until(self, holds: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < end, (
                f"{what}\n{self.guest.run('journalctl -b --no-pager | tail -30').stdout}"
            )
            time.sleep(2)

    def fired(self, service: str) -> dict[str, str]:
        """Let two hours pass, and wait until the service's timer has run it."""
        before = self.show(f"{service}.service", "InvocationID")["InvocationID"]
        self.guest.run(["date", "-s", "+2 hours"], check=True)
        wanted = ("InvocationID", "ActiveState", "Result", "ExecMainStatus", "TriggeredBy")
        found: dict[str, str] = {}

        def ran() -> bool:
            found.update(self.show(f"{service}.service", *wanted))
            return found["InvocationID"] not in ("", before) and found["ActiveState"] in (
                "inactive",
                "failed",
            )

        self.until(ran, f"{service} was not run by its timer")
        return found

    def states(self) -> list[str]:
        timers = [f"{VERIFY}.timer", f"{METER}.timer"]
        words = [self.guest.run(["systemctl", word, *timers]).stdout for word in ("is-enabled", "is-active")]
        return " ".join(words).split()

    def journal(self, unit: str) -> str:
        """What a unit said, also the last of it: journald reads that after the unit has ended."""
        self.guest.run(["journalctl", "--sync"], check=True)
        return self.guest.run(["journalctl", "-b", "-u", unit, "-o", "cat", "--no-pager"]).stdout


@pytest.fixture(params=("trixie", "bookworm"))
def systemd(
    request: pytest.FixtureRequest, lab_tools: None, small: Path, tmp_path: Path
) -> Iterator[Systemd]:
    with kept_machine(request.param, tmp_path) as machine:
        first = machine.boot()
        first.run(f"rm -rf {HOME} /usr/local/bin/phoenix {WANTS}/x; mkdir -p {WANTS}", check=True)
        first.put("/root/one.deb", small.read_bytes())
        first.run(["dpkg", "-i", "/root/one.deb"], check=True, timeout=300)
        first.put(f"/etc/systemd/system/{UNIT}", AGENT)
        first.run(["ln", "-s", f"../{UNIT}", f"{WANTS}/{UNIT}"], check=True)
        first.put("/usr/lib/phoenix-lab/init", "#!/bin/sh\nexec /sbin/init\n", 0o755)
        first.run("sync", check=True)
        machine.cut()
        yield Systemd(machine)


@pytest.fixture
def confined(systemd: Systemd) -> Container:
    """A container that is declared and runs under lxc-base."""
    guest = systemd.guest
    assert guest.get("/proc/1/comm") == b"systemd\n"
    assert systemd.settled() in ("running", "degraded")
    assert guest.run(["systemctl", "is-active", "apparmor.service"]).stdout.strip() == "active"
    container = box(guest, 901, profile="unconfined")
    declared = {"lxc_configs": {"901": {"name": "box", "apparmor_profile": "lxc-base"}}}
    guest.run("mkdir -p /etc/phoenix_hypervisor", check=True)
    guest.put(CONFIG, json.dumps(declared))
    done = phoenix(guest, "apply", "--all", timeout=600)
    assert done.ok, done.stdout + done.stderr
    assert container.label() == "lxc-base (enforce)"
    return container


def test_the_timers_run_and_monitoring_sees_what_is_wrong(systemd: Systemd, confined: Container) -> None:
    guest = systemd.guest
    assert systemd.states() == ["disabled", "disabled", "inactive", "inactive"], (
        "off until somebody wants them"
    )
    guest.run(["mkdir", "-p", str(Path(METRICS).parent)], check=True)
    done = phoenix(guest, "watch", "on")
    assert done.ok and done.stdout.splitlines() == [f"{VERIFY}.timer: on", f"{METER}.timer: on"], done.stderr

    found = systemd.fired(VERIFY)
    assert (found["Result"], found["ExecMainStatus"]) == ("success", "0"), found
    assert found["TriggeredBy"] == f"{VERIFY}.timer"
    systemd.until(lambda: guest.run(["test", "-e", METRICS]).ok, "no metrics")
    assert "phoenix_info{version=" in guest.get(METRICS).decode()

    line = f"lxc.apparmor.profile = {'lxc-base'}"
    guest.run(
        ["sed", "-i", f"s/^{line}$/lxc.apparmor.profile = unconfined/", confined.config_path], check=True
    )
    found = systemd.fired(VERIFY)
    assert (found["ActiveState"], found["Result"], found["ExecMainStatus"]) == ("failed", "exit-code", "3")
    assert f"{VERIFY}.service" in guest.run(["systemctl", "--failed", "--no-legend"]).stdout
    journal = systemd.journal(VERIFY)
    assert "container 901" in journal and "phoenix apply 901" in journal, journal

    assert phoenix(guest, "apply", "901").ok
    found = systemd.fired(VERIFY)
    assert (found["ActiveState"], found["Result"]) == ("inactive", "success"), found

    done = phoenix(guest, "try", "901", "lxc-base", "--for", "150s", "--restart", timeout=600)
    assert done.ok, done.stdout + done.stderr
    trial = "phoenix-trial-901"
    assert systemd.show(f"{trial}.timer", "ActiveState")["ActiveState"] == "active"
    assert confined.label().startswith("lxc-trial-901 ")
    systemd.until(
        lambda: not guest.run(["test", "-e", "/var/lib/phoenix/trials/901.json"]).ok, "no end of the trial"
    )
    systemd.until(
        lambda: guest.run(["systemctl", "is-active", f"{trial}.service"]).stdout.strip() == "inactive",
        "still ending",
    )
    assert line in guest.get(confined.config_path).decode()
    journal = systemd.journal(trial)
    assert "lxc-trial-901: remove" in journal, journal
    assert guest.run(["systemctl", "is-active", f"{trial}.timer"]).stdout.strip() == "inactive"

    systemd.again()
    guest = systemd.guest
    assert systemd.states() == ["enabled", "enabled", "active", "active"], "they outlive a boot"
    assert "lxc-base (enforce)" in guest.run("cat /sys/kernel/security/apparmor/profiles", check=True).stdout
    done = phoenix(guest, "watch", "off")
    assert done.ok and systemd.states() == ["disabled", "disabled", "inactive", "inactive"], done.stderr
