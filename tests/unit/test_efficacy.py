"""The efficacy suite's rows: enough of each class, well formed, and promised before they are measured."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
sys.path.insert(0, str(TOP))

from efficacy import claims, report, rows  # noqa: E402

ROWS = rows.load()
CLASSES = (
    "kernel knobs", "aliases of proc and sysfs", "detached mounts", "block and memory devices", "modules",
    "cgroup release agents", "securityfs", "change_profile", "ptrace and signals across the border",
    "namespaces", "keyrings", "bpf", "perf",
)  # fmt: skip


def test_there_are_enough_of_each_class() -> None:
    dangerous = Counter(row.klass for row in ROWS if row.dangerous)
    assert sum(dangerous.values()) >= 80
    assert all(dangerous[name] >= 4 for name in CLASSES), dangerous
    assert sum(not row.dangerous for row in ROWS) >= 60


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_is_well_formed(row: rows.Row) -> None:
    compile(row.do, row.name, "exec")
    assert set(row.promises) <= set(rows.OURS)
    assert sum(map(bool, (row.watch, row.check, row.secret))) <= 1
    assert not (row.promises and row.no_hook) or row.no_hook_kernel
    assert row.promises or row.no_hook or row.dangerous


def test_operations_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from efficacy import legitimate

    monkeypatch.setattr(legitimate, "ROWS", (ROWS[0],))
    with pytest.raises(ValueError, match="same name"):
        rows.load()


def test_numbers_are_taken_of_what_succeeds_unconfined() -> None:
    document = {
        "operations": [
            {"name": "a", "class": "x", "dangerous": True, "promises": []},
            {"name": "b", "class": "x", "dangerous": True, "promises": [], "no_hook": "none"},
            {"name": "c", "class": "x", "dangerous": True, "promises": []},
            {"name": "d", "class": "gpu", "dangerous": False, "promises": [rows.BASE]},
        ],
        "combinations": {
            "t/privileged/bare/unconfined": {"done": ["a", "b", "d"]},
            f"t/privileged/bare/{rows.BASE}": {"done": ["b"]},
        },
    }
    n = report.numbers(document, "t", "privileged", "bare", rows.BASE)
    assert (n["dangerous"], n["blocked"], n["hooked"], n["hooked_blocked"]) == (2, 1, 1, 1)
    assert (n["legitimate"], n["allowed"], n["broken_promises"]) == (1, 0, ["d"])


def test_what_was_measured_is_what_the_suite_has() -> None:
    """A row that was added is reported only once it was run."""
    path = TOP / "docs" / "efficacy.json"
    if not path.exists():
        pytest.skip("the suite was not run yet")
    measured = {one["name"] for one in json.loads(path.read_text())["operations"]}
    assert measured <= {row.name for row in ROWS}


def _document(base: list[str], generated: list[str]) -> dict[str, object]:
    life = {"attach": True, "killed": True}
    operations = [
        {"name": "core", "class": "x", "dangerous": True, "promises": [], "watch": report.CORE},
        {
            "name": "log",
            "class": "x",
            "dangerous": True,
            "promises": [],
            "no_hook": "y",
            "no_hook_kernel": "6.1.",
        },
        {"name": "open nvidia0", "class": "gpu", "dangerous": False, "promises": [rows.BASE]},
    ]
    everything = [str(one["name"]) for one in operations]
    done = {
        "unconfined": everything,
        rows.BASE: base,
        "generated": generated,
        "generated+nesting": everything,
    }
    return {
        "releases": {"t": {"kernel": "6.1.0-50", "compiled": {rows.BASE: {"sha256": "a", "bytes": 1}}}},
        "operations": operations,
        "combinations": {
            f"t/{kind}/{layer}/{profile}": {
                "done": done.get(profile, []),
                "policy": "a",
                "names": everything,
                **life,
            }
            for kind in report.KINDS
            for layer in report.LAYERS
            for profile in report.PROFILES
        },
    }


def _judged(document: dict[str, object], part: str) -> set[bool | None]:
    return {claim.holds for claim in claims.all_claims(document) if part in claim.text}


def test_claims_hold_where_what_was_measured_bears_them_out() -> None:
    document = _document(base=["log", "open nvidia0"], generated=["core", "log"])
    mine = [c for c in claims.all_claims(document) if rows.BASE in c.text or "every combination" in c.text]
    assert len(mine) > 10
    assert {c.holds for c in mine} == {True}


def test_claims_do_not_hold_where_it_does_not() -> None:
    worse = _document(base=["core", "log"], generated=[])
    assert _judged(worse, "at least 95 %") == {False}
    assert _judged(worse, "no fewer than generated") == {False}
    assert _judged(worse, f"no way to write core_pattern under {rows.BASE}") == {False}
    assert _judged(worse, f"{rows.BASE} allows all that it promises") == {False}
    other = _document(base=["open nvidia0"], generated=["core", "log"])
    other["releases"]["t"]["compiled"][rows.BASE]["sha256"] = "b"  # type: ignore[index]
    assert _judged(other, "same policy") == {False}


def test_what_was_not_measured_is_not_claimed() -> None:
    document = _document(base=["open nvidia0"], generated=["core", "log"])
    del document["combinations"]["t/privileged/bare/generated"]  # type: ignore[attr-defined]
    assert None in _judged(document, "privileged, bare: lxc-nvidia-gpu-base blocks no fewer")
    assert _judged(document, "every combination starts") == {None}
    document["combinations"]["t/privileged/bare/unconfined"]["broken"] = ["core"]  # type: ignore[index]
    assert _judged(document, "every combination starts") == {False}


def test_a_mark_for_one_kernel_counts_on_no_other() -> None:
    document = _document(base=["log"], generated=[])
    assert report.numbers(document, "t", "privileged", "bare", rows.BASE)["hooked"] == 1
    document["releases"]["t"]["kernel"] = "6.12.107"  # type: ignore[index]
    assert report.numbers(document, "t", "privileged", "bare", rows.BASE)["hooked"] == 2
