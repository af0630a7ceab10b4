"""The efficacy suite's rows: enough of each class, well formed, and promised before they are measured."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
sys.path.insert(0, str(TOP))

from efficacy import report, rows  # noqa: E402

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
    assert not (row.promises and row.no_hook)
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
