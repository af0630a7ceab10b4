"""The workloads' pure parts: the table of checks, what counts as lost, what must hold, the document."""

from __future__ import annotations

from typing import Any

import pytest
from workloads import catalogue, checks, guests, report
from workloads.cell import REFERENCE, Place, assigned_name, configuration

from phoenix_hypervisor.lab.rootdisk import recipe_hash

ROWS = catalogue.load()
NAMED = ("nginx", "apache2", "Docker", "NFS")


def cell(profile: str, kind: str, lost: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    verdicts = {name: "failed" if name in lost else "passed" for name in NAMED}
    denied = ['audit: apparmor="DENIED" operation="mount" profile="p" name="/x/" error=-13']
    return {
        **{"release": "trixie", "init": "systemd", "kind": kind, "profile": profile, "state": "running"},
        **{"failed_units": [], "jobs": [], "seccomp": False, "verdicts": verdicts},
        "reasons": {name: {"said": "no", "denied": denied} for name in lost},
        **more,
    }


def faults(*cells: dict[str, Any]) -> list[str]:
    return report.faults({"cells": list(cells)}, ROWS)


def test_every_row_is_one_bounded_command_under_a_heading() -> None:
    for row in ROWS:
        assert row.do.strip() and row.missed and 0 < row.limit <= 180, row.name
        assert set(row.inits) <= set(guests.INITS) and set(row.kinds) <= set(checks.KINDS)
        assert bool(row.forbids) == bool(row.purpose), row.name
        for one in row.forbids:
            profile, _, kind = one.partition("/")
            assert profile in checks.OURS and kind in ("", *checks.KINDS), row.name
    assert 5 <= sum(row.few for row in ROWS) <= 12


def test_a_name_that_stands_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from workloads import services

    monkeypatch.setattr(services, "ROWS", (services.ROWS[0], services.ROWS[0]))
    with pytest.raises(ValueError, match="the same name: nginx"):
        catalogue.load()


def test_what_the_reference_cannot_do_or_the_profile_forbids_is_not_lost() -> None:
    reference = cell(REFERENCE, "privileged", ("NFS",))
    base = cell(checks.BASE, "privileged", ("NFS", "Docker", "nginx"))
    assert report.fewer(base, [reference, base], ROWS) == ["nginx"]
    docker = cell(checks.DOCKER, "privileged", ("Docker",))
    assert report.fewer(docker, [reference, docker], ROWS) == ["Docker"]
    assert report.fewer(base, [base], ROWS) == []


def test_an_unprivileged_guest_may_lose_nothing_and_a_privileged_one_two() -> None:
    for kind, allowed in report.ALLOWED_FEWER.items():
        reference = cell(REFERENCE, kind)
        lost = ("nginx", "apache2", "NFS")[: allowed + 1]
        assert faults(reference, cell(checks.DOCKER, kind, lost[:allowed])) == []
        assert len(faults(reference, cell(checks.DOCKER, kind, tuple(n for n in lost if n != "NFS")))) == (
            allowed < 2
        )


def test_state_and_failed_units_count_but_only_where_the_release_is_the_gate() -> None:
    bad = cell(checks.BASE, "unprivileged", state="degraded", failed_units=["a.service"])
    found = faults(cell(REFERENCE, "unprivileged"), bad)
    assert [fault.split(": ", 1)[1] for fault in found] == ["state degraded", "failed units a.service"]
    assert faults({**bad, "release": "bookworm"}) == []
    assert faults({**bad, "profile": REFERENCE}) == []


def test_a_cell_without_its_reference_does_not_hold() -> None:
    assert "nothing is compared" in faults(cell(checks.BASE, "unprivileged"))[0]


def test_a_variant_for_unprivileged_containers_is_taken_where_there_is_one() -> None:
    loaded = ["lxc-a", "lxc-a-unprivileged", "lxc-b"]
    assert assigned_name("lxc-a", "unprivileged", loaded) == "lxc-a-unprivileged"
    assert assigned_name("lxc-a", "privileged", loaded) == "lxc-a"
    assert assigned_name("lxc-b", "unprivileged", loaded) == "lxc-b"
    assert assigned_name(REFERENCE, "unprivileged", loaded) == "generated"


def test_the_configuration_is_what_proxmox_writes_for_nesting() -> None:
    text = configuration(Place("trixie", "privileged", checks.BASE), "901", seccomp=True)
    assert "lxc.apparmor.allow_nesting = 1\n" in text and "lxc.seccomp.profile = " in text
    plain = configuration(Place("trixie", "unprivileged", "generated"), "901", seccomp=False)
    assert "allow_nesting" not in plain and "deny mount -> /proc/," in plain and "seccomp" not in plain


def test_the_document_tells_what_failed_with_the_kernels_reason() -> None:
    cells = [
        cell(REFERENCE, "privileged", ("NFS",)),
        cell(checks.BASE, "privileged", ("NFS", "Docker", "nginx")),
    ]
    text = report.text({"cells": cells}, ROWS)
    assert (
        "| trixie, systemd | privileged | lxc-nvidia-gpu-base | running | 0 | 1 of 4 | 1 | Docker |" in text
    )
    assert "- fail under the reference too: NFS" in text
    assert "- **nginx** failed: no\n" in text and 'operation="mount" name="/x/"' in text


def test_each_root_file_system_has_a_hash_of_its_own() -> None:
    disks = [guests.disk(suite, init) for suite in ("trixie", "forky") for init in guests.INITS]
    disks.append(guests.disk("trixie", "systemd", few=True))
    assert len({recipe_hash(one) for one in disks}) == len({one.name for one in disks}) == len(disks)
