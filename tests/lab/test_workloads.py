"""An ordinary guest under our default profile: it boots whole, and a few things of a user work in it.

`make workloads` asks more, in every kind of container, under every profile.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from workloads import catalogue, checks, guests
from workloads.cell import Place, run_cell
from workloads.host import install, prepare

from phoenix_hypervisor.lab.booted import Lab
from phoenix_hypervisor.lab.cache import Cache
from phoenix_hypervisor.lab.rootdisk import ensure_root_disk

pytestmark = pytest.mark.slow


def test_an_ordinary_guest_runs_under_the_default_profile(
    lab_tools: None, tell: Callable[[str], None]
) -> None:
    made = ensure_root_disk(Cache(), guests.disk("trixie", "systemd", few=True))
    rows = [row for row in catalogue.load() if row.few]
    said: list[str] = []
    with Lab("trixie", memory=1536, more_disks=[made.disk]) as lab:
        prepare(lab)
        install(lab, [], [], None, wanted=f"{checks.BASE}*")
        place = Place("trixie", "unprivileged", checks.BASE)
        outcome = run_cell(lab, 901, place, "/dev/vdb", rows, seccomp=False, say=said.append)
    assert outcome.label.startswith(f"{outcome.assigned} (")
    assert outcome.assigned.startswith(checks.BASE)
    assert outcome.failed_units == [] and outcome.state == "running", outcome.boot_denied
    assert set(outcome.verdicts) == {row.name for row in rows}
    assert outcome.reasons == {}
    tell(f"an ordinary guest under {outcome.assigned}: {outcome.state}, {len(rows)} checks")
