"""One cell: a guest booted in a fresh container of one kind under one profile, and asked every check.

Owns the container's configuration (Proxmox's lines for a container with nesting), the bounded waits and what is
kept of a cell.  Must not know what a check is about, nor rules of a profile.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from phoenix_hypervisor.lab import logged as log
from phoenix_hypervisor.lab.guest_containers import LXC_PATH, Container, make_container
from phoenix_hypervisor.lab.guestlink import Guest
from workloads.checks import PRELUDE, Check
from workloads.guests import Init

REFERENCE = "generated+nesting"
"""What Proxmox's dialog makes: LXC's generated profile, with nesting."""
BOOT = 400.0
"""Seconds until systemd has no job left, on a busy machine that emulates."""
AT_ONCE = 15
"""Checks in one visit of the container: entering it costs as much as a check."""
INSIDE = Path(__file__).with_name("inside.py")
SETTLED = ("running", "degraded", "maintenance", "stopping")
DATA = ("docker", "containerd", "containers", "workloads", ".local")
"""Directories below /var/lib on the host's own disk: an overlay cannot lie on the container's, which is one.
`.local` is where podman keeps a user's layers."""
ENVIRONMENT = (
    "export HOME=/root LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
)
PATIENT = "[Manager]\nDefaultTimeoutStartSec=360s\n"
SECCOMP = "/run/workloads/seccomp"

CONFIG = """\
lxc.net.0.type = veth
lxc.net.0.link = vmbr0
lxc.net.0.flags = up
lxc.net.0.name = eth0
lxc.tty.max = 2
lxc.environment = TERM=linux
lxc.monitor.unshare = 1
lxc.cgroup.relative = 0
lxc.cgroup.dir.monitor = lxc.monitor/{name}
lxc.cgroup.dir.container = lxc/{name}
lxc.cgroup.dir.container.inner = ns
lxc.mount.entry = /dev/fuse dev/fuse none bind,create=file
lxc.mount.entry = /dev/net/tun dev/net/tun none bind,create=file
lxc.mount.entry = /sys/kernel/debug sys/kernel/debug none bind,optional
lxc.apparmor.allow_nesting = 1
"""
DEVICES = "lxc.cgroup2.devices.allow = c 10:229 rwm\nlxc.cgroup2.devices.allow = c 10:200 rwm\n"
_LATE = re.compile(r"audit: type=\d+ audit\([^)]*\): | pid=\d+| ?class=\"\w+\"")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the checks are run."""

    release: str
    kind: str
    profile: str
    """REFERENCE, `generated`, `unconfined`, or a profile of ours by its declared name."""
    init: Init = "systemd"


@dataclass(slots=True)
class Outcome:
    """What one cell gave; JSON as `asdict` makes it."""

    state: str = "not started"
    boot_seconds: float = 0.0
    label: str = ""
    assigned: str = ""
    seccomp: bool = False
    failed_units: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    boot_denied: list[str] = field(default_factory=list)
    verdicts: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def assigned_name(profile: str, kind: str, loaded: Iterable[str]) -> str:
    """What stands in `lxc.apparmor.profile`: a variant for unprivileged containers where there is one."""
    if profile == REFERENCE:
        return "generated"
    variant = f"{profile}-unprivileged"
    return variant if kind == "unprivileged" and variant in loaded else profile


def configuration(place: Place, name: str, seccomp: bool) -> str:
    """What is added to the lab's *stock* configuration."""
    text = CONFIG.format(name=name)
    if place.profile == "generated":
        text = text.replace("lxc.apparmor.allow_nesting = 1\n", "")
        text += "lxc.apparmor.raw = deny mount -> /proc/,\nlxc.apparmor.raw = deny mount -> /sys/,\n"
    if place.kind == "privileged":
        text += DEVICES
    else:
        text += "lxc.mount.auto = sys:mixed\n"
    if seccomp:
        text += f"lxc.seccomp.profile = {SECCOMP}\n"
    return text


def run_cell(
    lab: Guest,
    number: int,
    place: Place,
    device: str,
    checks: Sequence[Check],
    *,
    seccomp: bool,
    say: Callable[[str], None],
) -> Outcome:
    """Boot one container and ask it every check that is meant for its kind and init."""
    started = time.monotonic()
    outcome = Outcome(assigned=assigned_name(place.profile, place.kind, lab.profiles()), seccomp=seccomp)
    lab.mark()
    box = make_container(
        lab,
        number,
        layer="stock",
        privileged=place.kind == "privileged",
        rootfs="debian",
        profile=outcome.assigned,
        nvidia=True,
        extra=configuration(place, str(number), seccomp),
        disk=device,
        data=DATA,
        masked=None,
    )
    # Units have 90 seconds to start, which an emulated machine with other work can miss.
    lab.put(f"{LXC_PATH}/{number}/rootfs/etc/systemd/system.conf.d/emulated.conf", PATIENT)
    try:
        result = box.start(timeout=120)
        if not result.ok:
            outcome.reasons["lxc-start"] = {"said": result.stderr[-1500:], "denied": denied(lab.kernel_log())}
            return outcome
        outcome.label = box.label()
        _boot(box, place.init, outcome)
        outcome.boot_denied = denied(lab.kernel_log(), most=25)
        say(f"{number} {outcome.state} after {outcome.boot_seconds} s, failed: {outcome.failed_units}")
        meant = [check for check in checks if place.kind in check.kinds and place.init in check.inits]
        windows: dict[str, tuple[float, float]] = {}
        for start in range(0, len(meant), AT_ONCE):
            windows.update(_ask(box, meant[start : start + AT_ONCE], outcome, say))
            say(f"{number} {len(outcome.verdicts)} of {len(meant)} checks")
        records = lab.kernel_log()
        for name, reason in outcome.reasons.items():
            if name in windows:
                first, last = windows[name]
                reason["denied"] = denied(r for r in records if first <= r.seconds <= last)
        return outcome
    finally:
        box.remove()
        outcome.seconds = round(time.monotonic() - started, 1)


def _boot(box: Container, init: Init, outcome: Outcome) -> None:
    """Wait until its init has started everything, or BOOT seconds, and keep the state it is in."""
    began = time.monotonic()
    # The state of a system without systemd is asked of it by its checks.
    ask = "timeout 100 systemctl is-system-running --wait" if init == "systemd" else "sleep 5; echo booted"
    settled = (*SETTLED, "booted")
    while True:
        outcome.state = box.attach(ENVIRONMENT + ask, timeout=120).stdout.strip() or "starting"
        outcome.boot_seconds = round(time.monotonic() - began, 1)
        if outcome.state in settled or outcome.boot_seconds > BOOT:
            break
        time.sleep(4)
    if init != "systemd":
        return
    units = box.attach("systemctl list-units --failed --plain --no-legend", timeout=40).stdout
    outcome.failed_units = sorted(line.split()[0] for line in units.splitlines() if line.strip())
    for unit in outcome.failed_units:
        status = box.attach(["systemctl", "status", "--no-pager", "--lines=8", unit], timeout=40).stdout
        outcome.reasons[unit] = {"said": status[-600:]}
    jobs = box.attach("systemctl list-jobs --plain --no-legend", timeout=40).stdout
    outcome.jobs = sorted(line.split()[1] for line in jobs.splitlines() if len(line.split()) > 1)


def _ask(
    box: Container, checks: Sequence[Check], outcome: Outcome, say: Callable[[str], None]
) -> dict[str, tuple[float, float]]:
    """Run some checks one after another; when each began and ended, in seconds since the lab's boot."""
    order = [
        {"name": c.name, "limit": c.limit, "script": f"{ENVIRONMENT}{PRELUDE}set -e\n{c.do}"} for c in checks
    ]
    # Bounded from outside as well: a profile can make a process that cannot be ended.
    limit = sum(check.limit + 5.0 for check in checks) + 30
    argv = [
        "lxc-attach",
        "-n",
        box.name,
        "--clear-env",
        "--",
        "python3",
        "-I",
        "-S",
        "-c",
        INSIDE.read_text(),
    ]
    result = box.guest.run(argv, input=json.dumps(order).encode(), timeout=limit)
    answers = {one["name"]: one for one in map(json.loads, filter(None, result.stdout.splitlines()))}
    windows: dict[str, tuple[float, float]] = {}
    for check in checks:
        lost = {"rc": -1, "said": f"no answer: {result.stderr.strip()[-300:]}", "first": 0.0, "last": 0.0}
        answer = answers.get(check.name, lost)
        verdict = "too late" if answer["rc"] is None else "failed" if answer["rc"] else "passed"
        outcome.verdicts[check.name] = verdict
        if verdict != "passed":
            outcome.reasons[check.name] = {"said": answer["said"]}
            say(f"{box.name} {check.name}: {verdict}: {' '.join(answer['said'].split())[-160:]}")
        windows[check.name] = (answer["first"] - 0.05, answer["last"] + 0.05)
    return windows


def denied(records: Iterable[log.Record], most: int = 5) -> list[str]:
    """What AppArmor refused, each line once, without the parts that differ from time to time; the last ones."""
    found: dict[str, None] = {}
    for one in log.denials(records):
        found[_LATE.sub("", one.text)] = None
    return list(found)[-most:]
