"""The command line: what it imports, its options in either place, its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from phoenix_hypervisor.cli import bare_doctor
from phoenix_hypervisor.cli.main import COMMANDS, main
from phoenix_hypervisor.host.machine import Host

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
    ("arguments", "words"),
    [
        ([], "Usage: phoenix"),
        (["sttus"], "No such command 'sttus'. Did you mean 'status'?"),
        (["apply"], "name containers, or use --all"),
        (["apply", "950", "--all"], "name containers, or use --all"),
        (["apply", "99"], "'99' is not a CTID"),
        (["apply", "0950"], "'0950' is not a CTID"),
        (["apply", "950; rm"], "'950; rm' is not a CTID"),
        (["plan", "99"], "'99' is not a CTID"),
        (["plan", "--nope"], "No such option '--nope'"),
        (["--root", "/no/such", "status"], "/no/such: --root is not a directory"),
        (["status", "--config", "/no/such.json"], "/no/such.json: --config is not a file"),
        (["status", "--runtime", "docker"], "'docker' is not one of"),
        (["apply", "--all", "--no-start", "--restart"], "--no-start and --restart exclude each other"),
        (["plan", "--no-start", "--restart"], "--no-start and --restart exclude each other"),
    ],
)
def test_usage_errors(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By their words: a configuration that is not there ends with 2 as well."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert "Traceback" not in captured.err


def test_the_version_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("phoenix ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--json", "no-such-command"], "No such command"),
        (["plan", "--json", "--bogus"], "No such option"),
        (["plan", "--bogus", "--json"], "No such option"),
        (["status", "--runtime", "docker", "--json"], "is not one of"),
        (["apply", "--json", "--all", "--no-start", "--restart"], "exclude each other"),
        (["apply", "--json"], "name containers"),
    ],
)
def test_a_usage_error_is_one_object_too(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["version"] == 1 and words in document["error"]["message"]
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
         "from phoenix_hypervisor.cli.bare_doctor import run\nraise SystemExit(run([]))"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "apt-get install -y" in done.stdout and "python3-click" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(("apparmor", "code"), [(True, 0), (False, 1)])
def test_doctor_ends_with_1_where_apparmor_is_off(
    apparmor: bool, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bare_doctor, "needs", lambda: [])
    monkeypatch.setattr(bare_doctor, "_kernel", lambda: (apparmor, "what the kernel says"))
    assert bare_doctor.run() == code
    assert capsys.readouterr().out.startswith(
        f"{'ok     ' if apparmor else 'MISSING'} what the kernel says\n"
    )


@pytest.mark.parametrize(
    ("kernel", "pin", "told"),
    [
        ("af_mask af_unix", b"network { af_unix { yes } }", False),
        ("af_mask af_unix", b"network_v8 { af_inet { yes } }", True),
        ("af_mask", b"network_v8 { af_inet { yes } }", False),
        ("af_mask af_unix", None, False),
    ],
    ids=["both", "Proxmox's kernel with Debian's pin", "Debian's kernel", "no pin"],
)
def test_doctor_tells_where_unix_sockets_are_refused_to_profiles_of_others(
    tmp_path: Path, kernel: str, pin: bytes | None, told: bool
) -> None:
    features = tmp_path / "sys/kernel/security/apparmor/features/network"
    features.mkdir(parents=True)
    for name in kernel.split():
        (features / name).touch()
    (tmp_path / "etc/apparmor").mkdir(parents=True)
    if pin is not None:
        (tmp_path / "etc/apparmor/parser.conf").write_text("policy-features=/usr/share/pin\n")
        (tmp_path / "usr/share").mkdir(parents=True)
        (tmp_path / "usr/share/pin").write_bytes(pin)
    said = bare_doctor._sockets(Host(str(tmp_path)))
    assert (said is not None and "docker-default" in said) is told


def test_a_second_signal_does_not_stop_the_undoing() -> None:
    script = """
import os, signal
from phoenix_hypervisor.cli.running import _end_as_interrupted
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
    assert done.stderr.count("rolling back") == 3
