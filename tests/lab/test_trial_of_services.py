"""A container full of services on trial: nothing breaks, no danger comes through, and what its report offers is
enough for the real profile.

The guest is that of `make workloads`; the profile is an operator's own, who did not think of all that services need.
`make trial-test` runs it, a quarter of an hour a release and kind on a machine that does nothing else.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from efficacy import labside, operations
from workloads.cell import CONFIG as LINES
from workloads.cell import DATA, DEVICES, ENVIRONMENT, PATIENT, SETTLED
from workloads.guests import disk
from workloads.host import add_programs, prepare

from phoenix_hypervisor.lab.booted import Lab
from phoenix_hypervisor.lab.cache import Cache
from phoenix_hypervisor.lab.guest_containers import LXC_PATH, Container
from phoenix_hypervisor.lab.guestlink import Result
from phoenix_hypervisor.lab.rootdisk import ensure_root_disk
from support.lab_host import SOURCES, box, declare, phoenix

pytestmark = pytest.mark.slow
LONG = 2400.0
MEASURED = Path(__file__).parents[2] / "docs" / "efficacy.json"
NARROW = """# An operator's own, as far as they thought of it: no netlink, no packets, half of the capabilities.
abi <abi/phoenix>,
include <tunables/global>
include <tunables/phoenix>

profile lxc-narrow flags=({flags}) {{
  file,
  # Nobody is offered these: they are dangers to a profile without policy tests of its own.
  capability bpf audit_read sys_rawio,
  capability chown dac_override fowner fsetid kill setgid setuid setpcap sys_admin sys_chroot,
  network inet,
  network inet6,
  unix,
  signal (receive),
  signal (send) peer=@{{profile_name}},
  ptrace (trace, read) peer=@{{profile_name}},
  ptrace (readby, tracedby),
{rules}
  include if exists <accepted/lxc-narrow>
}}
"""
INCLUDE = "include <abstractions/phoenix/{}>"
NOT_HELD = {row.name for row in operations.load() if row.no_hook or row.accepted}
"""What docs/efficacy.md says of no profile that it holds it, and why: only a capability of ordinary work stops it,
which a trial lets a privileged container have (docs/internals/trials.md)."""
WIDE = ("mount,", "pivot_root,")
BY_PLACE = ("kernel-files", "host-filesystems", "kernel-addresses", "host-capabilities", "gpu-only")
BY_NAME = ("switches", "mounts", "detached", "host-capabilities", "gpu-only")


def narrow(release: str, kind: str) -> str:
    """What every guest with systemd mounts is allowed; parser 3.0.8 has no rules that would tell it from more."""
    flags, rules = "attach_disconnected, mediate_deleted", [*WIDE, *map(INCLUDE.format, BY_PLACE)]
    if kind == "unprivileged":
        rules = [INCLUDE.format("unprivileged")]
    elif release != "bookworm":
        flags = "attach_disconnected.path=/.detached, mediate_deleted"
        rules = [*map(INCLUDE.format, BY_NAME)]
    return NARROW.format(flags=flags, rules="".join(f"  {line}\n" for line in rules))


@pytest.fixture(scope="module")
def full(release: str, lab_tools: None) -> Iterator[Lab]:
    """A lab of its own with the guest's disk, and what a node has of itself."""
    made = ensure_root_disk(Cache(), disk(release, "systemd"), progress=said)
    with Lab(release, memory=3072, more_disks=[made.disk], phoenix=True) as lab:
        prepare(lab)
        assert add_programs(lab, "/dev/vdb") == []
        assert lab.image is not None
        labside.install_targets(lab, lab.image.vmlinuz.read_bytes(), None)
        # Few profiles, to be quick.
        lab.run(
            f"find {SOURCES} {SOURCES}/if-parser-accepts -maxdepth 1 -type f ! -name 'lxc-base*' -delete;"
            f" rm -rf {SOURCES}/accepted {SOURCES}/if-parser-accepts/abstractions/phoenix/docker-detached"
        )
        yield lab


def said(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def done(lab: Lab, *words: str, code: int = 0) -> Result:
    found = phoenix(lab, *words, timeout=LONG)
    said(f"{' '.join(words)[:60]}: {found.rc}")
    assert found.rc == code, found.stdout + found.stderr
    return found


def guest(lab: Lab, ctid: int, kind: str) -> Container:
    made = box(
        lab, ctid, layer="stock", privileged=kind == "privileged", rootfs="debian", disk="/dev/vdb", data=DATA,
        masked=None,
        extra=LINES.format(name=ctid) + (DEVICES if kind == "privileged" else "lxc.mount.auto = sys:mixed\n"),
    )  # fmt: skip
    lab.put(f"{LXC_PATH}/{ctid}/rootfs/etc/systemd/system.conf.d/emulated.conf", PATIENT)
    return made


def settled(container: Container) -> tuple[str, list[str], int]:
    """What systemd says of itself, the units that failed, and how many services run."""
    end = time.monotonic() + LONG
    state = ""
    while state not in SETTLED and time.monotonic() < end:
        ask = f"{ENVIRONMENT}timeout 100 systemctl is-system-running --wait"
        state = container.attach(ask, timeout=150).stdout.strip()
    units = "systemctl list-units --plain --no-legend"
    failed = container.attach(f"{units} --failed", timeout=100).stdout.split("\n")
    running = container.attach(f"{units} --type=service --state=running", timeout=100).stdout.split("\n")
    found = state, sorted(line.split()[0] for line in failed if line.strip()), len(running) - 1
    said(f"{container.name} {container.label()}: {found}")
    return found


def came_through(lab: Lab, container: Container) -> tuple[set[str], int]:
    """Of the dangers that succeed in such a container unconfined, those that succeed now; how many were asked."""
    kind = "privileged" if container.privileged else "unprivileged"
    free = json.loads(MEASURED.read_text())["combinations"][f"trixie/{kind}/stock/unconfined"]["done"]
    rows = [row.as_order() for row in operations.load() if row.dangerous and row.name in free]
    order = {
        "container": container.name,
        "upper": "",
        "limit": LONG,
        "rows": rows,
        "sweep": False,
        "runs": True,
    }
    argv = ["python3", "-I", "-S", f"{labside.GUEST}/outside.pyz"]
    found = lab.run(argv, input=json.dumps(order).encode(), timeout=LONG + 300)
    assert found.ok, found.stderr
    answer: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    assert "cut" not in answer and len(answer["results"]) == len(rows)
    through = {one["name"] for one in answer["results"] if one["done"]}
    said(f"{container.name}: {len(through)} of {len(rows)} dangers")
    return through, len(rows)


@pytest.mark.parametrize("kind", ["unprivileged", "privileged"])
def test_a_trial_of_a_container_full_of_services(full: Lab, kind: str, tell: Callable[[str], None]) -> None:
    lab, ctid = full, 901 if kind == "unprivileged" else 902
    name, one = full.release.name, str(ctid)
    lab.run(f"rm -rf {SOURCES}/accepted", check=True)
    lab.put(f"{SOURCES}/lxc-narrow", narrow(name, kind))
    declare(lab, {one: "lxc-narrow"})
    container = guest(lab, ctid, kind)
    try:
        done(lab, "apply", one, "--no-start")
        done(lab, "try", one, "lxc-narrow", "--for", "6h")
        assert container.start(timeout=180).ok
        assert container.label() == f"lxc-trial-{one} (enforce)"
        state, failed, running = settled(container)
        found = json.loads(done(lab, "try", one, "--report", "--json", code=3).stdout)
        by = {
            verdict: [d for d in found["denials"] if d["verdict"] == verdict]
            for verdict in ("offered", "refused")
        }
        for denial in found["denials"]:
            if denial["verdict"] != "offered":
                said(f"{denial['comm']}: {denial['meaning']}: {denial['verdict']}: {denial['reason'][:100]}")
        assert (state, failed) == ("running", []), found["denials"]

        offered = [denial["id"] for denial in by["offered"]]
        rules = {denial["proposal"]["rule"] for denial in by["offered"]}
        assert {"network netlink raw,", "capability net_admin,"} <= rules
        assert any(denial["operation"] == "capget" for denial in by["offered"]), "no log tells of these"
        others = [denial for denial in found["denials"] if denial["verdict"] not in by]
        # Linux 6.1 refuses systemd's lock on a socket whatever a profile says, Proxmox's too (docs/workloads.md).
        assert {(denial["verdict"], denial["operation"]) for denial in others} <= {
            ("allowed-now", "file_lock")
        }
        assert found["unread"] == 0
        done(lab, "accept", *offered)
        done(lab, "try", one, "--end")
        assert container.stop(kill=True).ok
        plan = done(lab, "plan", one).stdout
        assert "lxc-narrow opens" in plan
        done(lab, "apply", one)
        assert container.label() == "lxc-narrow (enforce)"
        real = settled(container)
        assert real[:2] == ("running", []), phoenix(lab, "denials", one, timeout=LONG).stdout[-4000:]
        # Last: what the dangers aim at (configfs among it) is mounted on the host for them, and a boot would see it.
        held, asked = came_through(lab, container)
        assert container.stop(kill=True).ok
        done(lab, "try", one, "lxc-narrow", "--for", "6h")
        assert container.start(timeout=180).ok and container.label() == f"lxc-trial-{one} (enforce)"
        settled(container)
        through, _ = came_through(lab, container)
        assert through <= held | (NOT_HELD if kind == "privileged" else set())
        assert held <= through
        said(f"more than without the trial: {sorted(through - held)}")
        tell(
            f"{name}, {kind}, a trial of a guest full of services: {state}, {running} services run; "
            f"{len(found['denials'])} denials, {len(offered)} offered and accepted ({len(rules)} rules), "
            f"{len(by['refused'])} refused; then {real[0]}, {real[2]} services; "
            f"{asked - len(through)} of {asked} dangers blocked, {asked - len(held)} without the trial"
        )
    finally:
        container.remove()
        phoenix(lab, "try", one, "--end", timeout=LONG)
