"""`make mutants` itself: it notices a planted mutant, finds a planted survivor, and leaves words out."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tools.mutants.__main__ import functions, words_only

TOP = Path(__file__).parents[2]
LISTS = TOP / "tools/mutants"

SOURCE = """
def passed(points: int) -> str:
    if points >= 50:
        return "yes"
    return "no such luck"
"""
WEAK = """
from planted.marks import passed

def test_marks() -> None:
    assert passed(80) == "yes"
    assert passed(10) == "no such luck"
"""
STRONG = WEAK + "    assert (passed(49), passed(50)) == ('no such luck', 'yes')\n"
MODULES = """
[[module]]
path = "src/planted/marks.py"
tests = ["tests/test_marks.py"]
"""
SURVIVOR = """
[[survivor]]
module = "marks.py"
function = "passed"
diff = ["-if points >= 50:", "+if points >= 51:"]
reason = "planted"
"""


def run(top: Path, tests: str, survivors: str = "") -> subprocess.CompletedProcess[str]:
    """The tool, on a package of one function."""
    if importlib.util.find_spec("mutmut") is None:
        pytest.skip(f"mutmut is not installed beside {sys.executable}")
    for name, text in (
        ("src/planted/__init__.py", ""),
        ("src/planted/marks.py", SOURCE),
        ("tests/test_marks.py", tests),
        ("pyproject.toml", '[tool.pytest.ini_options]\npythonpath = ["src"]\n'),
        ("modules.toml", MODULES),
        ("survivors.toml", survivors),
    ):
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    command = [sys.executable, str(LISTS), "--each", "all", "--top", str(top), "--lists", str(top)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_a_planted_mutant_is_noticed_and_a_planted_survivor_fails_the_run(tmp_path: Path) -> None:
    done = run(tmp_path, WEAK, SURVIVOR)
    assert done.returncode == 1, done.stderr
    # What becomes of "yes" is noticed; the words with a blank are left out.
    assert done.stdout.splitlines()[1].split() == ["marks.py", "4", "4", "2", "0", "1", "1"]
    assert "survivor of marks.py, in passed:\n    -if points >= 50:\n    +if points > 50:\n" in done.stdout
    assert "points >= 51" not in done.stdout, "its reason is listed"
    assert "noticed=2 of=3 (66.7 %, wanted 95 %)" in done.stdout


def test_a_test_that_looks_closely_notices_all(tmp_path: Path) -> None:
    done = run(tmp_path, STRONG)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "noticed=4 of=4 (100.0 %, wanted 95 %)" in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("raise E('no such file')", "raise E('NO SUCH FILE')", True),
        ("raise E('gone')", "raise E('GONE')", False),
        ("raise E('no such file')", "raise E(None)", True),
        ("raise E('no such file', where=x)", "raise E('no such file', where=None)", False),
        ("raise E(m, hint='retry')", "raise E(m, hint=None)", True),
        ("raise E(m, hint='retry')", "raise E(m)", True),
        ("raise E(m, where=x)", "raise E(m)", False),
        ("return a < b, 'a b'", "return a <= b, 'a b'", False),
        ("x.decode('utf-8')", "x.decode('UTF-8')", True),
        ("x.decode('utf-8')", "x.decode('XXutf-8XX')", False),
        ("return b'a b'", "return b'A B'", False),
    ],
)
def test_what_is_words_only(old: str, new: str, expected: bool) -> None:
    assert words_only(ast.parse(old), ast.parse(new)) is expected


def test_every_survivor_has_a_reason_and_its_line_stands_in_the_module() -> None:
    """A line that was changed since has its reason no more."""
    modules = {
        "/".join(Path(one["path"]).parts[2:]): TOP / one["path"]
        for one in tomllib.loads((LISTS / "modules.toml").read_text())["module"]
    }
    for one in tomllib.loads((LISTS / "survivors.toml").read_text()).get("survivor", []):
        assert len(one["reason"]) > 20, one
        source = modules[one["module"]].read_text()
        assert one["function"].rpartition(".")[2] in functions(source), one
        lines = {line.strip() for line in source.splitlines()}
        old = [line[1:] for line in one["diff"] if line.startswith("-")]
        assert old and set(old) <= lines, one
