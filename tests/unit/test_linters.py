"""Linters and import rules are tests, and each rule is shown to fail when it is broken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
ENV = {**os.environ, "PYTHONPATH": "src"}


def run(tool: str, *arguments: str, cwd: Path = TOP) -> subprocess.CompletedProcess[str]:
    path = BIN / tool
    if not path.exists():
        pytest.skip(f"{tool} is not installed beside {sys.executable}")
    env = {**ENV, "PYTHONPATH": str(cwd / "src")}
    return subprocess.run(
        [str(path), *arguments], cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False
    )


def test_ruff() -> None:
    done = run("ruff", "check", ".")
    assert done.returncode == 0, done.stdout


def test_format() -> None:
    done = run("ruff", "format", "--check", ".")
    assert done.returncode == 0, done.stdout


def test_types() -> None:
    done = run("mypy")
    assert done.returncode == 0, done.stdout


def test_types_outside_the_package() -> None:
    scripts = ["tools/faults", "tools/kernel_lists.py", "tools/powercut", "tools/reference"]
    scripts += ["tools/pictures", "tools/mutants/__main__.py"]
    done = run("mypy", "--scripts-are-modules", "tests", "bench", "workloads", "efficacy", *scripts)
    assert done.returncode == 0, done.stdout


def test_import_rules() -> None:
    done = run("lint-imports", "--no-cache")
    assert done.returncode == 0, done.stdout


PURE = "containers/conf.py plan/model.py plan/containers.py plan/labels.py policy/reader.py config/load.py gpu/access.py"
BROKEN = [
    # (file, line that breaks a rule, tool, words it must say)
    ("errors.py", "import phoenix_hypervisor.host.root", "lint-imports", "BROKEN"),
    ("host/root.py", "import phoenix_hypervisor.lab", "lint-imports", "BROKEN"),
    ("audit/line.py", "import phoenix_hypervisor.host.root", "lint-imports", "BROKEN"),
    ("gpu/access.py", "import phoenix_hypervisor.containers.conf", "lint-imports", "BROKEN"),
    ("plan/model.py", "import phoenix_hypervisor.gpu.device_rules", "lint-imports", "BROKEN"),
    ("policy/query.py", "import phoenix_hypervisor.audit.line", "lint-imports", "BROKEN"),
    ("lab/__init__.py", "import phoenix_hypervisor.policy.reader", "lint-imports", "BROKEN"),
    ("policy/reader.py", "import phoenix_hypervisor.plan.model", "lint-imports", "BROKEN"),
    ("plan/model.py", "import phoenix_hypervisor.containers.conf", "lint-imports", "BROKEN"),
    ("containers/conf.py", "import phoenix_hypervisor.profiles.includes", "lint-imports", "BROKEN"),
    ("profiles/includes.py", "import phoenix_hypervisor.config.document", "lint-imports", "BROKEN"),
    ("config/load.py", "import phoenix_hypervisor.engine.session", "lint-imports", "BROKEN"),
    ("engine/workflow.py", "import phoenix_hypervisor.cli.options", "lint-imports", "BROKEN"),
    ("engine/workflow.py", "import click", "lint-imports", "BROKEN"),
    ("plan/verify.py", "import rich.table", "lint-imports", "BROKEN"),
    *((path, "import phoenix_hypervisor.host.root", "lint-imports", "BROKEN") for path in PURE.split()),
    *((path, "import subprocess", "lint-imports", "BROKEN") for path in PURE.split()),
    ("cli/apply.py", "import subprocess", "ruff", "TID251"),
    ("containers/steps.py", "import subprocess", "ruff", "TID251"),
    ("profiles/install.py", "import os\nos.system('true')", "ruff", "TID251"),
    ("cli/main.py", "import rich", "ruff", "TID253"),
    ("config/schema.py", "import jsonschema", "ruff", "TID253"),
    ("cli/main.py", "from . import apply", "ruff", "TID252"),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tree")
    shutil.copytree(TOP / "src", place / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(TOP / "pyproject.toml", place)
    return place


@pytest.mark.parametrize(("path", "line", "tool", "words"), BROKEN)
def test_a_broken_rule_is_found(copy: Path, path: str, line: str, tool: str, words: str) -> None:
    target = copy / "src/phoenix_hypervisor" / path
    before = target.read_text()
    try:
        target.write_text(before + "\n" + line + "\n")
        if tool == "ruff":
            done = run("ruff", "check", "--no-cache", "--output-format", "concise", str(target), cwd=copy)
        else:
            done = run("lint-imports", "--no-cache", cwd=copy)
        assert done.returncode != 0
        assert words in done.stdout
    finally:
        target.write_text(before)


FORGOTTEN = """

@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    kind = "forgotten"
    target: str

"""
MATCHES = (
    "cli/words.py containers/steps.py plan/inverse.py plan/recorded.py plan/rollback.py "
    "profiles/records.py profiles/install.py"
)
"""Where an action that is of no family must be thought of."""


def test_an_action_that_a_place_forgets_does_not_type_check(tmp_path: Path) -> None:
    shutil.copytree(TOP / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(TOP / "pyproject.toml", tmp_path)
    actions = tmp_path / "src/phoenix_hypervisor/plan/actions.py"
    text = actions.read_text()
    at = text.index("\nProfileAction = ")
    text = text[:at] + FORGOTTEN + text[at:]
    for room in ("ProfileAction", "ContainerAction"):
        assert f"\n{room} = " in text
        text = text.replace(f"\n{room} = ", f"\n{room} = Forgotten | ", 1)
    actions.write_text(text)
    done = run("mypy", "--no-incremental", cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    for path in MATCHES.split():
        lines = [line for line in done.stdout.splitlines() if f"phoenix_hypervisor/{path}" in line]
        assert any("assert_never" in line and "Forgotten" in line for line in lines), (path, done.stdout)
