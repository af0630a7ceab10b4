"""The command line: what it imports, its options in either place, its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from phoenix_hypervisor.cli.main import COMMANDS, main

TOP = Path(__file__).parents[2]
HEAVY = {"rich", "jsonschema", "fastjsonschema", "subprocess", "difflib", "tempfile"}


def modules_after(*arguments: str) -> set[str]:
    code = (
        "import sys\nfrom phoenix_hypervisor.cli.main import main\n"
        f"try:\n    main({list(arguments)!r})\nexcept SystemExit:\n    pass\n"
        "sys.stderr.write(chr(10).join(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(TOP / "src")},
    )
    return set(done.stderr.split())


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("plan", "--help")])
def test_start_up_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    loaded = modules_after(*arguments)
    assert "click" in loaded
    forbidden = HEAVY if arguments == ("--version",) else HEAVY - {"difflib"}
    assert not loaded & forbidden


def test_every_command_of_the_table_can_be_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        assert main([name, "--help"]) == 0
        assert capsys.readouterr().out.startswith(f"Usage: phoenix {name}")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--version"], 0),
        ([], 2),
        (["sttus"], 2),
        (["apply"], 2),
        (["apply", "950", "--all"], 2),
        (["apply", "99"], 2),
        (["apply", "0950"], 2),
        (["apply", "950; rm"], 2),
        (["plan", "--nope"], 2),
        (["--root", "/no/such", "status"], 2),
        (["status", "--config", "/no/such.json"], 2),
        (["status", "--runtime", "docker"], 2),
        (["apply", "--all", "--no-start", "--restart"], 2),
        (["plan", "--no-start", "--restart"], 2),
    ],
)
def test_exit_codes(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    result = main(arguments)
    captured = capsys.readouterr()
    assert result == code
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    "words",
    [
        ["--json", "no-such-command"],
        ["plan", "--json", "--bogus"],
        ["plan", "--bogus", "--json"],
        ["status", "--runtime", "docker", "--json"],
        ["apply", "--json", "--all", "--no-start", "--restart"],
        ["apply", "--json"],
    ],
)
def test_a_usage_error_is_one_object_too(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["version"] == 1 and document["error"]["message"]
    assert captured.err


def test_options_work_before_and_after_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.json"
    config.write_text("{")
    (tmp_path / "apparmor").mkdir()
    for arguments in (
        ["--root", str(tmp_path), "--config", str(config), "--json", "status"],
        ["status", "--root", str(tmp_path), "--config", str(config), "--json"],
        ["--root", str(tmp_path), "status", "--json", "--config", str(config)],
    ):
        assert main(arguments) == 1
        captured = capsys.readouterr()
        document = json.loads(captured.out)
        assert document["version"] == 1
        assert document["error"]["problems"][0]["line"] == 1
        assert str(config) in captured.err


def test_doctor_runs_on_a_bare_python() -> None:
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-S", "-c",
         f"import sys; sys.path.insert(0, {str(TOP / 'src')!r})\n"
         "from phoenix_hypervisor.cli.doctor import run\nraise SystemExit(run([]))"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "apt-get install -y" in done.stdout and "python3-click" in done.stdout
    assert done.stderr == ""


def test_a_second_signal_does_not_stop_the_undoing() -> None:
    script = """
import os, signal
from phoenix_hypervisor.cli.main import _end_as_interrupted
# A shell's background job inherits SIGINT ignored, and stays so.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
_end_as_interrupted()
try:
    os.kill(os.getpid(), signal.SIGTERM)
    print("not interrupted")
except KeyboardInterrupt:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(os.getpid(), number)
    print("undone")
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONPATH": str(TOP / "src")},
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "undone\n"), done
    assert done.stderr.count("taken back") == 3
