"""What a run at rest loads: each module costs more than a container."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from bench.hosts import build

TOP = Path(__file__).parents[2]
NEVER = {"ast", "click", "dataclasses", "datetime", "difflib", "fastjsonschema", "inspect", "jsonschema", "rich",
         "shutil", "subprocess", "tempfile", "threading", "tokenize", "typing"}  # fmt: skip
UNUSED = {
    "phoenix_hypervisor.cli": {"main", "changes", "notes", "options", "complete", "tables", "words"},
    "phoenix_hypervisor.engine": {
        "ask",
        "condition",
        "diagnosis",
        "effects",
        "perform",
        "policy_sources",
        "profile_of",
        "undo",
    },
    "phoenix_hypervisor.plan": {
        "chosen",
        "inverse",
        "kernel_holes",
        "recorded",
        "recorded_v1",
        "rollback",
        "transaction",
        "verify",
    },
    "phoenix_hypervisor.profiles": {"features", "foreign", "install", "installed", "prove"},
    "phoenix_hypervisor.containers": {"details", "gpu", "runtime", "steps"},
    "phoenix_hypervisor.host": {"append", "locks", "policyfs", "process", "zstd"},
}
"""What compiles, performs, undoes, words or asks for more than is there."""

SCRIPT = """
import os, sys
sys.path.insert(0, {src!r})
def leave(code):
    sys.stderr.write(" ".join(sorted(sys.modules)))
    sys.stderr.flush()
    raise SystemExit(code)
os._exit = leave
from phoenix_hypervisor.cli.entry import phoenix
raise SystemExit(phoenix())
"""


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    host = build(tmp_path_factory.mktemp("rest"), 3, 1)
    code, _ = run(host, "apply", "--all", "--no-start")
    assert code == 0
    return host


def run(host: Path, *words: str) -> tuple[int, set[str]]:
    """The exit code, and the modules that were loaded."""
    done = subprocess.run(
        [
            "/usr/bin/python3",
            "-I",
            "-S",
            "-c",
            SCRIPT.format(src=str(TOP / "src")),
            "--root",
            str(host),
            *words,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, set(done.stderr.split())


@pytest.mark.parametrize("words", ["apply --all --no-start", "plan", "setup", "plan --json"])
def test_a_run_that_finds_nothing_to_do_loads_nothing_for_more(applied: Path, words: str) -> None:
    code, loaded = run(applied, *words.split())
    assert code == 0 and "phoenix_hypervisor.engine.workflow" in loaded
    assert sorted(loaded & NEVER) == []
    unused = {f"{room}.{name}" for room, names in UNUSED.items() for name in names}
    assert sorted(loaded & unused) == []
    assert not {name for name in loaded if name.startswith("phoenix_hypervisor.policy")}
