"""The efficacy suite's rows: enough of each class, well formed, and promised before they are measured."""

from __future__ import annotations

import ast
import graphlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import pytest

TOP = Path(__file__).parents[2]
sys.path.insert(0, str(TOP))

from efficacy import claims, known, operations, report, rows  # noqa: E402
from efficacy.labside import program  # noqa: E402
from efficacy.outside import judges, lists  # noqa: E402
from efficacy.places import SECCOMP, Place, places  # noqa: E402

ROWS = operations.load()
CLASSES = (
    "kernel knobs", "aliases of proc and sysfs", "detached mounts", "block and memory devices", "modules",
    "cgroup release agents", "securityfs", "change_profile", "ptrace and signals across the border",
    "namespaces", "keyrings", "bpf", "perf", "the host's disk, detached", "the host's /dev, detached",
    "renamed mounts",
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
    assert not (row.promises and row.accepted)
    assert row.promises or row.no_hook or row.accepted
    assert not row.check or row.check.partition(" ")[0] in judges.NAMES


def test_operations_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from efficacy import legitimate

    monkeypatch.setattr(legitimate, "ROWS", (ROWS[0],))
    with pytest.raises(ValueError, match="same name"):
        operations.load()


def test_the_judges_are_those_that_rows_may_name() -> None:
    tree = ast.parse(Path(judges.__file__).read_text())
    tables = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Dict)
    ]
    assert len(tables) == 2
    keys = [str(ast.literal_eval(key)) for node in tables for key in node.value.keys if key is not None]  # type: ignore[union-attr]
    assert sorted(keys) == sorted(judges.NAMES)


def imports_of(path: Path) -> set[str]:
    """Modules of the suite that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("efficacy"):
            found |= {str(node.module), *(f"{node.module}.{name.name}" for name in node.names)}
            private = [
                name.name for name in node.names if name.name.startswith("_") and name.name != "__main__"
            ]
            assert not private, f"{path.name} imports what is another module's own: {private}"
        called = node.func if isinstance(node, ast.Call) else None
        assert not (isinstance(called, ast.Name) and called.id in ("eval", "__import__", "import_module"))
    return found


def test_no_module_of_the_suite_imports_itself_in_the_end() -> None:
    files = {
        "efficacy." + ".".join(path.relative_to(TOP / "efficacy").with_suffix("").parts): path
        for path in (TOP / "efficacy").rglob("*.py")
        if path.name != "__init__.py"
    }
    graph = {name: {one for one in imports_of(path) if one in files} for name, path in files.items()}
    assert len(graph) > 20
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize(("side", "module"), [("inside", "perform"), ("outside", "run")])
def test_each_side_is_a_program_that_starts_without_the_rest(
    side: Literal["inside", "outside"], module: str, tmp_path: Path
) -> None:
    place = tmp_path / "side.pyz"
    place.write_bytes(program(side, module))
    code = (
        f"import sys; sys.path.insert(0, {str(place)!r}); import efficacy.{side}.{module} as m; print(m.main)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.stdout.startswith("<function main"), done.stderr


def test_an_operation_sees_what_the_modules_inside_have_and_is_bounded() -> None:
    from efficacy.inside.perform import names

    assert {"hosts_disk", "turn", "mount", "detached", "docker_run", "sweep", "killer", "os"} <= set(names())


def test_the_container_s_own_settings_are_not_the_host_s() -> None:
    own, sysfs = lists.CONTAINERS["proc"], lists.CONTAINERS["sysfs"]
    assert all(
        own.match(path)
        for path in ("self/attr/current", "sys/net/core/somaxconn", "sys/kernel/hostname", "1/mem")
    )
    assert not any(
        own.match(path) for path in ("sys/kernel/panic", "sys/kernel/sched_rr", "sysrq-trigger", "mtrr")
    )
    assert sysfs.match("class/net/lo/mtu") and not sysfs.match("block/vda/queue/nr_requests")


def test_the_list_of_writable_files_follows_no_links_and_names_no_read_only_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name, mode in (("a/w", 0o600), ("a/r", 0o400), ("x", 0o200)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    (tmp_path / "link").symlink_to("x")
    assert sorted(lists.writable_below(str(tmp_path))) == ["a/w", "x"]


def test_of_files_that_only_root_may_write_no_name_helps_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, mode in (("mine", 0o600), ("everybody's", 0o666)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    monkeypatch.setitem(lists.ROOTS, "proc", str(tmp_path))
    assert lists.for_others({"proc": ["mine", "everybody's", "gone"]}) == {"proc": ["everybody's"]}


def test_the_companion_goes_with_privileged_containers_of_ours_only() -> None:
    found = [place for place in places() if place.layer == SECCOMP]
    assert {place.profile for place in found} == {rows.BASE, rows.DOCKER, rows.STORAGE}
    assert all(place.privileged and place.reference == "stock" for place in found)
    assert "lxc.seccomp.profile" in found[0].config() and "allow_nesting" in found[0].config()
    assert "allow_nesting" not in Place("privileged", "bare", "generated").config()


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


def _document(base: list[str], generated: list[str]) -> dict[str, Any]:
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
            place.key("t"): {
                "done": done.get(place.profile, []),
                "policy": "a",
                "assigned": place.profile,
                "names": everything,
                "sweep": {"opened": 0, "opened_names": [], "cut": "", "ways": {"by name": {"tried": 9}}},
                **life,
            }
            for place in places()
        },
    }


def _judged(document: dict[str, Any], part: str) -> set[bool | None]:
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
    other["releases"]["t"]["compiled"][rows.BASE]["sha256"] = "b"
    assert _judged(other, "same policy") == {False}


def test_a_file_that_the_sweep_opened_must_be_named_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    document = _document(base=["open nvidia0"], generated=["core", "log"])
    assert _judged(document, "no writable file of the host's") == {True}
    swept = document["combinations"][f"t/privileged/stock/{rows.BASE}"]["sweep"]
    swept.update(opened=1, opened_names=["proc:sys/vm/panic_on_oom"])
    assert _judged(document, "t, privileged, stock: no writable file of the host's") == {False}
    monkeypatch.setattr(known, "OPEN", ((r"proc:sys/vm/panic\w+", "a reason"),))
    assert _judged(document, "t, privileged, stock: no writable file of the host's") == {True}
    swept["opened"] = 500
    assert _judged(document, "t, privileged, stock: no writable file of the host's") == {False}


def test_what_was_not_measured_is_not_claimed() -> None:
    document = _document(base=["open nvidia0"], generated=["core", "log"])
    del document["combinations"]["t/privileged/bare/generated"]
    assert None in _judged(document, "privileged, bare: lxc-nvidia-gpu-base blocks no fewer")
    assert _judged(document, "every combination starts") == {None}
    document["combinations"]["t/privileged/bare/unconfined"]["broken"] = ["core"]
    assert _judged(document, "every combination starts") == {False}


def test_a_mark_for_one_kernel_counts_on_no_other() -> None:
    document = _document(base=["log"], generated=[])
    assert report.numbers(document, "t", "privileged", "bare", rows.BASE)["hooked"] == 1
    document["releases"]["t"]["kernel"] = "6.12.107"
    assert report.numbers(document, "t", "privileged", "bare", rows.BASE)["hooked"] == 2
