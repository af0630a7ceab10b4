"""`make mutants`: change one thing at a time in what writes, undoes or removes, and see whether a test fails.

    tools/mutants [--each N|all] [--seed N] [--seconds N] [MODULE]...

Takes a sample of each module in modules.toml, the same with each run.  mutmut makes the mutants and runs
the module's tests on each, in a copy of the tree.  Mutants of words alone are left out: a string with a
blank in it, what becomes of a `hint`, and "UTF-8", which is the same.  mutmut makes none of what runs at
import, nor of functions with a decorator.

A survivor in survivors.toml has its reason there and does not count.  Exit 1 where fewer than 95 % of the
others are noticed, or the time of a module was too short for its sample.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[2]
WANTED = 0.95
NOTICED = {1: "test", 3: "test", -11: "crash", -9: "time", -24: "time", 24: "time", 36: "time", 152: "time"}
"""By mutmut's exit code of a mutant: what noticed it.  A test that never ends is noticed by its time."""
SURVIVED = (0, 5, 33)
"""Every test passed; no test runs the function."""
COPIED = ("src", "tests", "etc", "bin", "tools", "docs")

SETTINGS = """

[tool.mutmut]
source_paths = ["src"]
only_mutate = {module}
pytest_add_cli_args = ["-p", "no:cacheprovider", "-p", "no:cov", "-p", "no:xdist", "--hypothesis-seed=0"]
pytest_add_cli_args_test_selection = {tests}
also_copy = {copied}
timeout_constant = 2.0
timeout_multiplier = 8.0
use_git_change_detection = false
track_dependencies = false
use_setproctitle = false
"""


@dataclass(frozen=True)
class Survivor:
    """A mutant that no test noticed."""

    module: str
    function: str
    diff: tuple[str, ...]
    """The lines that differ, as `-old` and `+new`, without their indentation."""


@dataclass
class Report:
    """One module's mutants."""

    module: str
    possible: int
    """All that are not words alone."""
    tried: int = 0
    noticed: dict[str, int] = field(default_factory=dict)
    survivors: list[Survivor] = field(default_factory=list)
    not_run: int = 0


def functions(source: str) -> dict[str, ast.FunctionDef]:
    """Every function by its name; mutmut gives each mutant a name of its own."""
    return {node.name: node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)}


def changed(old: ast.AST, new: ast.AST) -> list[tuple[ast.AST, ast.AST]]:
    """The nodes around what differs, outermost first, each with what stands in its place."""
    pair = (old, new)
    if type(old) is not type(new):
        return [pair]
    inner: list[list[tuple[ast.AST, ast.AST]]] = []
    for name in old._fields:
        if name == "name" and isinstance(old, ast.FunctionDef):
            continue
        before, after = getattr(old, name, None), getattr(new, name, None)
        befores, afters = (x if isinstance(x, list) else [x] for x in (before, after))
        if len(befores) != len(afters):
            return [pair]
        for one, other in zip(befores, afters, strict=True):
            if isinstance(one, ast.AST) and isinstance(other, ast.AST):
                found = changed(one, other)
                if found:
                    inner.append(found)
            elif one != other or type(one) is not type(other):
                return [pair]
    if not inner:
        return []
    return [pair, *inner[0]] if len(inner) == 1 else [pair]


def words_only(old: ast.AST, new: ast.AST) -> bool:
    """Whether a mutant changes nothing but what people read."""
    path = changed(old, new)
    if not path:
        return False
    if any(isinstance(node, ast.keyword) and node.arg == "hint" for node, _ in path):
        return True
    before, after = path[-1]
    if isinstance(before, ast.Call) and isinstance(after, ast.Call):
        names = [keyword.arg for keyword in before.keywords]
        gone = [name for name in names if name not in [keyword.arg for keyword in after.keywords]]
        return gone == ["hint"] and len(before.args) == len(after.args)
    if not isinstance(before, ast.Constant) or not isinstance(before.value, str):
        return False
    same_codec = before.value == "utf-8" and isinstance(after, ast.Constant) and after.value == "UTF-8"
    return " " in before.value or same_codec


def mutants_of(tree: Path, module: str) -> list[str]:
    """The names of all mutants that mutmut makes of a module, but for those of words alone."""
    from mutmut.configuration import reset_config
    from mutmut.mutation.file_mutation import mutate_file_contents
    from mutmut.utils.format_utils import get_mutant_name

    with chdir(tree):
        reset_config()
        made = mutate_file_contents(module, Path(module).read_text())
    by_name = functions(made.code)
    kept = []
    for name in made.mutant_names:
        original = by_name[name.rpartition("__mutmut_")[0] + "__mutmut_orig"]
        if not words_only(original, by_name[name]):
            kept.append(get_mutant_name(Path(module), name))
    return kept


def plant(top: Path, tree: Path, module: str, tests: Sequence[str]) -> None:
    """Copy what the tests need, with mutmut's settings."""
    for name in COPIED:
        if (top / name).exists():
            ignored = shutil.ignore_patterns("__pycache__", ".hypothesis")
            shutil.copytree(top / name, tree / name, symlinks=True, ignore=ignored)
    settings = SETTINGS.format(
        module=json.dumps([module]), tests=json.dumps(list(tests)), copied=json.dumps(list(COPIED[2:]))
    )
    (tree / "pyproject.toml").write_text((top / "pyproject.toml").read_text() + settings)


def mutmut(tree: Path, seconds: float, *arguments: str) -> None:
    """Run mutmut in the copy.  Its results so far stay where its time is over."""
    command = [sys.executable, "-c", "from mutmut.__main__ import cli; cli()", *arguments]
    env = {key: value for key, value in os.environ.items() if key not in ("CI", "PYTHONPATH")}
    log = tree / "mutmut.log"
    with log.open("w") as out:
        child = subprocess.Popen(
            command,
            cwd=tree,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
        try:
            code = child.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            code = 0
        finally:
            # Tests that hang are children of its own.
            if child.poll() is None:
                os.killpg(child.pid, 9)
                child.wait()
    if code:
        said = log.read_text(errors="replace")
        raise SystemExit(f"mutants: mutmut {arguments[0]} failed in {tree.name}:\n{said[-3000:]}")


def survivor(tree: Path, module: str, name: str) -> Survivor:
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    with chdir(tree):
        said = get_diff_for_mutant(name, path=module).splitlines()
    lines = [line for line in said if line[:1] in ("+", "-") and line[:3] not in ("+++", "---")]
    function = name.rpartition(".")[2].partition("__mutmut_")[0]
    function = function.removeprefix("xǁ").replace("ǁ", ".").removeprefix("x_")
    return Survivor(short(module), function, tuple(line[0] + line[1:].strip() for line in lines))


def short(module: str) -> str:
    """As ARCHITECTURE.md names modules."""
    return "/".join(Path(module).parts[2:])


def examine(top: Path, tree: Path, entry: Mapping[str, Any], options: argparse.Namespace) -> Report:
    """Sample one module's mutants and run its tests on each."""
    module = str(entry["path"])
    plant(top, tree, module, entry["tests"])
    names = mutants_of(tree, module)
    report = Report(short(module), possible=len(names))
    if options.each != "all" and int(options.each) < len(names):
        names = random.Random(f"{options.seed} {short(module)}").sample(names, int(options.each))
    mutmut(tree, options.seconds, "run", "--max-children", "1", *names)
    codes = json.loads((tree / "mutants" / f"{module}.meta").read_text())["exit_code_by_key"]
    for name in names:
        code = codes.get(name)
        if code is None:
            report.not_run += 1
            continue
        report.tried += 1
        if code in SURVIVED:
            report.survivors.append(survivor(tree, module, name))
        elif code in NOTICED:
            report.noticed[NOTICED[code]] = report.noticed.get(NOTICED[code], 0) + 1
        else:
            raise SystemExit(f"mutants: {name} ended with {code}, which is no result of a test")
    return report


def listed(folder: Path) -> dict[Survivor, str]:
    """The survivors that are known, with their reasons."""
    found = {}
    for one in tomllib.loads((folder / "survivors.toml").read_text()).get("survivor", []):
        found[Survivor(one["module"], one["function"], tuple(one["diff"]))] = str(one["reason"])
    return found


def show(reports: Sequence[Report], reasons: Mapping[Survivor, str]) -> bool:
    """Print the table; whether enough was noticed."""
    print(
        f"{'module':<28}{'possible':>9}{'tried':>7}{'noticed':>9}{'by time':>9}{'listed':>8}{'survivors':>11}"
    )
    tried = noticed = 0
    for one in reports:
        known = sum(1 for survivor in one.survivors if survivor in reasons)
        seen = sum(one.noticed.values())
        tried += one.tried - known
        noticed += seen
        print(
            f"{one.module:<28}{one.possible:>9}{one.tried:>7}{seen:>9}{one.noticed.get('time', 0):>9}"
            f"{known:>8}{len(one.survivors) - known:>11}"
        )
    for one in reports:
        for survivor in one.survivors:
            if survivor not in reasons:
                print(f"\nsurvivor of {survivor.module}, in {survivor.function}:")
                print("".join(f"    {line}\n" for line in survivor.diff), end="")
    late = sum(one.not_run for one in reports)
    if late:
        print(f"\n{late} mutants were not run: the time was over; see --seconds")
    share = noticed / tried if tried else 0.0
    print(f"\nnoticed={noticed} of={tried} ({100 * share:.1f} %, wanted {100 * WANTED:.0f} %)")
    return share >= WANTED and not late


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/mutants", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("modules", nargs="*", help="as in the table; all without one")
    parser.add_argument("--each", default="40", help="how many mutants of each module; `all`")
    parser.add_argument("--seed", default="1", help="another seed takes another sample")
    parser.add_argument("--seconds", type=float, default=600, help="at most, for each module")
    parser.add_argument("--top", type=Path, default=TOP, help="the tree to change")
    parser.add_argument("--lists", type=Path, default=TOP / "tools/mutants", help="where the two lists are")
    options = parser.parse_args()
    if options.each != "all" and not options.each.isdecimal():
        parser.error("--each takes a number or `all`")
    entries = tomllib.loads((options.lists / "modules.toml").read_text())["module"]
    unknown = set(options.modules) - {short(entry["path"]) for entry in entries}
    if unknown:
        parser.error(f"not in modules.toml: {', '.join(sorted(unknown))}")
    # Ended by another program it ends its tests, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    begin = time.monotonic()
    reports = []
    with tempfile.TemporaryDirectory(prefix="phoenix-mutants-") as folder:
        for entry in entries:
            name = short(entry["path"])
            if not options.modules or name in options.modules:
                print(f"{name} ...", file=sys.stderr, flush=True)
                tree = Path(folder) / name.replace("/", "-")
                tree.mkdir()
                reports.append(examine(options.top, tree, entry, options))
    enough = show(reports, listed(options.lists))
    print(f"seconds={time.monotonic() - begin:.0f}")
    return 0 if enough else 1


if __name__ == "__main__":
    raise SystemExit(main())
