"""The rules of the house hold beside the package too: in tests, the collection, efficacy, workloads, bench, tools."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

TOP = Path(__file__).parents[2]
BESIDE = ("ansible", "bench", "bin", "efficacy", "tests", "tools", "workloads")
LONGEST = 450
ROOTS = ("bench", "efficacy", "workloads", "support")
"""Packages whose modules import each other; those of the package itself are import-linter's."""


def programs() -> list[Path]:
    """Every tracked file beside the package that is Python, or that a shell runs."""
    done = subprocess.run(["git", "ls-files", "-z", *BESIDE], cwd=TOP, capture_output=True, check=True)
    paths = [TOP / name for name in done.stdout.decode().split("\0") if name]
    found = [p for p in paths if p.is_file() and (p.suffix == ".py" or p.read_bytes()[:2] == b"#!")]
    assert {p.relative_to(TOP).parts[0] for p in found} == set(BESIDE)
    return found


def test_no_file_is_longer_than_a_room() -> None:
    lengths = {str(p.relative_to(TOP)): len(p.read_text().splitlines()) for p in programs()}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def modules() -> dict[str, Path]:
    """By its dotted name, every module that another one can import."""
    found = {}
    for path in programs():
        parts = list(path.relative_to(TOP).with_suffix("").parts)
        parts = parts[1:] if parts[0] == "tests" else parts
        if path.suffix == ".py" and parts[0] in ROOTS:
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    assert len(found) > 40
    return found


def imported(tree: ast.AST) -> Iterator[str]:
    """What a module imports, inside functions too, and by `import_module` with a literal name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            yield from (str(one.value) for one in node.args if isinstance(one, ast.Constant))


def cycle(graph: Mapping[str, set[str]]) -> list[str]:
    """Modules that import each other in a ring; empty where there is none."""
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> list[str]:
        if name in way:
            return way[way.index(name) :]
        if name not in done:
            for other in sorted(graph.get(name, ())):
                if ring := walk(other, [*way, name]):
                    return ring
        done.add(name)
        return []

    return next((ring for name in sorted(graph) if (ring := walk(name, []))), [])


def test_no_modules_import_each_other_in_a_ring() -> None:
    found = modules()
    graph = {
        name: {one for one in imported(ast.parse(path.read_text())) if one in found and one != name}
        for name, path in found.items()
    }
    assert sum(map(len, graph.values())) > 40
    assert cycle(graph) == []


def test_a_ring_is_found() -> None:
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c"]
    assert cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_nothing_evaluates_text_or_imports_what_is_private() -> None:
    """Private names of another module are its own."""
    found = []
    for path in programs():
        if path.suffix != ".py" or "tests" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "eval":
                found.append(f"{path.relative_to(TOP)}:{node.lineno}: eval")
            if isinstance(node, ast.ImportFrom):
                private = [one.name for one in node.names if one.name.startswith("_")]
                found += [f"{path.relative_to(TOP)}:{node.lineno}: {name}" for name in private]
    assert found == []
