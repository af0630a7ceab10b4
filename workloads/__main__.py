"""`python -m workloads`: real guests under every profile in the lab; writes docs/workloads.json and .md.

Owns the choice of cells and the order of work.  What is run again replaces what is on file; the rest stays.
Ends with 1 where a cell does not hold what is asked of it.  Must not know checks.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from phoenix_hypervisor.lab.cache import locked
from phoenix_hypervisor.lab.recipe import RELEASES
from workloads import catalogue, checks, report
from workloads.cell import REFERENCE, Place, run_cell
from workloads.checks import KINDS, OURS
from workloads.guests import INITS, disk
from workloads.host import add_programs, install, prepare

TOP = Path(__file__).parents[1]
PROFILES = (REFERENCE, *OURS)
MORE_PROFILES = ("generated", "unconfined")
MEMORY = 3072
"""MiB of the lab's machine: a container's changes are kept in memory."""


def main() -> int:
    """0 where every cell that was asked holds, 1 where one does not, or the lab died."""
    parser = argparse.ArgumentParser(prog="workloads", description=__doc__)
    parser.add_argument("--release", action="append", choices=tuple(RELEASES))
    parser.add_argument("--kind", action="append", choices=KINDS)
    parser.add_argument(
        "--profile", action="append", help=f"of {', '.join((*PROFILES, *MORE_PROFILES))}, or of --source"
    )
    parser.add_argument("--init", action="append", choices=INITS)
    parser.add_argument(
        "--check", action="append", help="Only checks whose name contains this; nothing is saved."
    )
    parser.add_argument(
        "--source", action="append", type=Path, default=[], help="A further profile's source."
    )
    parser.add_argument(
        "--include", action="append", type=Path, default=[], help="Abstractions for --source."
    )
    parser.add_argument(
        "--seccomp", type=Path, help="lxc.seccomp.profile of privileged containers under our profiles."
    )
    parser.add_argument("--no-seccomp", action="store_true", help="LXC's own rules only.")
    parser.add_argument("--output", type=Path, default=TOP / "docs" / "workloads.json")
    parser.add_argument("--report-only", action="store_true")
    given = parser.parse_args()
    if not given.report_only:
        rows = [r for r in catalogue.load() if not given.check or any(word in r.name for word in given.check)]
        for release in given.release or ("trixie",):
            run(release, rows, given)
    if given.check:
        return 0
    document = load(given.output)
    given.output.with_suffix(".md").write_text(report.text(document, catalogue.load()))
    found = report.faults(document, catalogue.load())
    print("\n".join([*found, f"{len(document['cells'])} cells on file, {len(found)} faults"]))
    return 1 if found else 0


def places(release: str, given: argparse.Namespace) -> list[Place]:
    """The cells of one release, the references first: what they cannot do says nothing about a profile."""
    profiles = given.profile or PROFILES
    return [
        Place(release, kind, profile, init)
        for init in given.init or INITS
        for profile in profiles
        for kind in given.kind or KINDS
    ]


def run(release: str, rows: list[checks.Check], given: argparse.Namespace) -> None:
    """All chosen cells of one release in one lab, saved after each."""
    from phoenix_hypervisor.lab.booted import Lab
    from phoenix_hypervisor.lab.cache import Cache
    from phoenix_hypervisor.lab.rootdisk import ensure_root_disk

    chosen = places(release, given)
    inits = sorted({"systemd", *(place.init for place in chosen)}, key=lambda one: one != "systemd")
    made = {init: ensure_root_disk(Cache(), disk(release, init), progress=say) for init in inits}
    devices = {init: f"/dev/vd{letter}" for init, letter in zip(inits, "bcd", strict=False)}
    say(f"{release}: starting the lab")
    with Lab(release, memory=MEMORY, more_disks=[one.disk for one in made.values()], progress=say) as lab:
        assert lab.image is not None
        prepare(lab)
        for missing in add_programs(lab, devices["systemd"]):
            say(f"the host lacks {missing}")
        loaded = install(lab, given.source, given.include, given.seccomp)
        say(f"loaded: {', '.join(name for name in loaded if name.startswith('lxc-'))}")
        facts = {
            "kernel": lab.image.kernel,
            "apparmor": lab.image.packages["apparmor"],
            "lxc": lab.image.packages["lxc"],
        }
        for number, place in enumerate(chosen, 901):
            ours = place.profile not in (REFERENCE, *MORE_PROFILES)
            seccomp = ours and place.kind == "privileged" and not given.no_seccomp
            say(f"{number} {place.release} {place.init} {place.kind} {place.profile}")
            outcome = run_cell(lab, number, place, devices[place.init], rows, seccomp=seccomp, say=say)
            packages = made[place.init].packages
            cell = {
                "release": place.release, "kind": place.kind, "profile": place.profile, "init": place.init,
                **facts, "systemd": packages.get("systemd", ""), "taken": time.strftime("%Y-%m-%d", time.gmtime()),
                **outcome.as_json(),
            }  # fmt: skip
            passed = sum(verdict == "passed" for verdict in outcome.verdicts.values())
            say(f"{number} {place.kind} {place.profile}: {outcome.state}, {len(outcome.failed_units)} failed units, "
                f"{passed} of {len(outcome.verdicts)} checks, {outcome.seconds} s")  # fmt: skip
            if not given.check:
                keep(cell, given.output)


KEY = ("release", "kind", "profile", "init")


def keep(cell: dict[str, Any], output: Path) -> None:
    """Save a cell in place of the same one on file; several runs may write to it side by side."""
    with locked(output.with_suffix(".lock"), timeout=60, what="the measurements"):
        document = load(output)
        found = {tuple(one[k] for k in KEY): one for one in [*document["cells"], cell]}
        document["cells"] = list(found.values())
        part = output.with_suffix(".part")
        part.write_text(json.dumps(document, indent=1) + "\n")
        part.replace(output)


def load(output: Path) -> dict[str, Any]:
    """What is on file, or nothing yet."""
    empty: dict[str, Any] = {"version": 1, "cells": []}
    return json.loads(output.read_text()) if output.exists() else empty


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
