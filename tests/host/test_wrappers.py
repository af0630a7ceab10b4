"""bin/: the program from a bare checkout under the system's Python, and the documents' names for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support.hosts import TOP, DirectoryHost

PYTHON = "/usr/bin/python3"
ORCHESTRATOR = "phoenix_orchestrator.sh"
SETUP = "hypervisor_setup/hypervisor_feature_setup_apparmor.sh"


def _run(argv: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | environment
    return subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60, env=env)


@pytest.fixture
def system_python() -> None:
    code = "import click, jsonschema, fastjsonschema, rich"
    if _run([PYTHON, "-I", "-c", code]).returncode != 0:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("the system's Python lacks a library")


@pytest.fixture
def two(host: DirectoryHost) -> DirectoryHost:
    host.source("lxc-a")
    host.conf("101")
    host.conf("102")
    host.declare({"101": "lxc-a", "102": "lxc-a"})
    return host


def _on(
    host: DirectoryHost, name: str, *words: str, bin: Path = TOP / "bin"
) -> subprocess.CompletedProcess[str]:
    return _run([str(bin / name), "--root", str(host.root), "--config", str(host.config), *words])


@pytest.mark.usefixtures("system_python")
def test_every_command_under_the_libraries_of_the_system(two: DirectoryHost) -> None:
    runs = [
        (("check",), 0, "ok=2 changed=0"),
        (("plan", "--detailed-exitcode"), 3, "to change"),
        (("apply", "--all", "--no-start"), 0, "changed=3"),
        (("plan", "--detailed-exitcode"), 0, "nothing to change"),
        (("setup",), 0, "changed=0"),
        (("status",), 0, "0 of 2 containers confined"),
        (("verify",), 0, "as declared"),
        (("aply",), 2, ""),
        (("apply",), 2, ""),
        (("apply", "103"), 1, ""),
    ]
    for words, code, text in runs:
        done = _on(two, "phoenix", *words)
        assert done.returncode == code, (words, done)
        assert text in done.stdout, (words, done)
        assert (code in (1, 2)) == bool(done.stderr), (words, done)
        assert "Traceback" not in done.stderr
    assert "Did you mean 'apply'?" in _on(two, "phoenix", "aply").stderr


@pytest.mark.usefixtures("system_python")
def test_faults_of_a_configuration_under_the_old_jsonschema(two: DirectoryHost) -> None:
    two.declare({"101": {"aparmor_profile": "lxc-a", "memory_mb": 1}}, reload="never")
    done = _on(two, "phoenix", "--json", "check")
    assert done.returncode == 1
    problems = {p["pointer"] for p in json.loads(done.stdout)["error"]["problems"]}
    assert {"/lxc_configs/101/aparmor_profile", "/lxc_configs/101/memory_mb", "/reload"} <= problems


@pytest.mark.usefixtures("system_python")
def test_the_documents_names(two: DirectoryHost) -> None:
    done = _on(two, SETUP)
    assert done.returncode == 0, done
    assert (two.installed / "lxc-a").exists()
    assert b"lxc.apparmor" not in (two.lxc / "101.conf").read_bytes()
    assert _on(two, ORCHESTRATOR, "--setup-hypervisor").stdout.endswith("changed=0 failed=0 skipped=0\n")
    done = _on(two, ORCHESTRATOR, "101")
    assert done.returncode == 0, done
    assert b"lxc.apparmor.profile: lxc-a\n" in (two.lxc / "101.conf").read_bytes()
    assert b"lxc.apparmor" not in (two.lxc / "102.conf").read_bytes()
    assert _on(two, "phoenix_orchestrator", "101").stdout.endswith("changed=0 failed=0 skipped=0\n")
    for words in ((), ("--setup-hypervisor", "101"), ("x",)):
        assert _on(two, ORCHESTRATOR, *words).returncode == 2
    assert _on(two, ORCHESTRATOR, "999").returncode == 1


@pytest.mark.usefixtures("system_python")
def test_links_to_the_wrappers_work(two: DirectoryHost, tmp_path: Path) -> None:
    place = tmp_path / "usr local bin"
    place.mkdir()
    for name in ("phoenix", "phoenix_orchestrator", ORCHESTRATOR):
        (place / name).symlink_to(TOP / "bin" / name)
    assert _on(two, "phoenix", "plan", bin=place).returncode == 0
    for name in ("phoenix_orchestrator", ORCHESTRATOR):
        done = _on(two, name, "--setup-hypervisor", bin=place)
        assert done.returncode == 0, done


def _elsewhere(folder: Path, *, site: bool) -> Path:
    """A copy of bin/ for a machine whose Debian packages bring no library; `site`: another place does."""
    shutil.copytree(TOP / "bin", folder / "bin", symlinks=True)
    program = folder / "bin/phoenix"
    text = program.read_text()
    assert '"/usr/lib/python3/dist-packages"' in text and "site.main()" in text
    text = text.replace('"/usr/lib/python3/dist-packages"', f'"{folder}/none"')
    program.write_text(text if site else text.replace("site.main()", "pass"))
    (folder / "src").symlink_to(TOP / "src")
    return folder / "bin"


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The programs as on a machine without the libraries."""
    return _elsewhere(tmp_path, site=False)


@pytest.mark.parametrize("name", ["phoenix", "phoenix_orchestrator"])
def test_without_libraries_it_goes_on_in_the_venv_under_its_own_name(bare: Path, name: str) -> None:
    venv = bare.parent / ".venv/bin"
    venv.mkdir(parents=True)
    (venv / "python").write_text('#!/bin/sh\nfor word; do printf "%s\\n" "$word"; done\n')
    (venv / "python").chmod(0o755)
    done = _run([str(bare / name), "plan", "--x y"])
    assert done.stdout.splitlines() == ["-I", str(bare / name), "plan", "--x y"], done


def test_an_installation_fetches_no_libraries(bare: Path) -> None:
    """Whatever command it is: as root on a node, apt is the way."""
    shutil.copy(TOP / "requirements.lock", bare.parent)
    for words in (["status"], ["policy", "list", "x"]):
        done = _run([str(bare / "phoenix"), *words])
        assert done.returncode == 1
        assert done.stderr.startswith("phoenix: python3 lacks click, jsonschema, fastjsonschema, rich\n")
        assert "apt-get install -y --no-remove python3-click" in done.stderr
    assert not (bare.parent / ".venv").exists()


def test_the_parser_is_found_under_the_path_of_cron(two: DirectoryHost) -> None:
    """apparmor_parser is in /usr/sbin, which cron's PATH does not name."""
    words = ["--root", str(two.root), "--config", str(two.config), "apply", "--all", "--no-start"]
    done = _run([str(TOP / "bin/phoenix"), *words], PATH="/usr/bin:/bin")
    assert done.returncode == 0, done


def test_doctor_runs_on_a_bare_python(bare: Path) -> None:
    for words in (["doctor"], ["--root", "/tmp", "doctor"]):
        done = _run([str(bare / "phoenix"), *words])
        assert done.returncode == 1, done
        assert "apt-get install -y --no-remove python3-click python3-fastjsonschema" in done.stdout
    document = json.loads(_run([str(bare / "phoenix"), "doctor", "--json"]).stdout)
    assert document["version"] == 1


@pytest.mark.usefixtures("system_python")
def test_libraries_are_found_where_debian_has_none(tmp_path: Path) -> None:
    """By pip, or in another distribution's place: `site` knows."""
    done = _run([str(_elsewhere(tmp_path, site=True) / "phoenix"), "--version"])
    assert done.stdout.startswith("phoenix "), done


def test_a_reader_that_goes_away_is_no_traceback(two: DirectoryHost) -> None:
    phoenix = f"{TOP}/bin/phoenix --root {two.root} --config {two.config}"
    for command in ("status", "plan", "--help", "plan --json"):
        done = _run(["/bin/bash", "-c", f"set -o pipefail; {phoenix} {command} | true"])
        assert "Traceback" not in done.stderr and "Exception" not in done.stderr, (command, done)


@pytest.mark.parametrize("to", ["| true", "> /dev/full"])
def test_a_reader_that_goes_away_ends_no_transaction_half_way(two: DirectoryHost, to: str) -> None:
    phoenix = f"{TOP}/bin/phoenix --root {two.root} --config {two.config}"
    done = _run(["/bin/bash", "-c", f"{phoenix} apply --all --no-start {to}"])
    assert "Traceback" not in done.stderr, done
    for ctid in ("101", "102"):
        assert b"lxc.apparmor.profile: lxc-a\n" in (two.lxc / f"{ctid}.conf").read_bytes()
    assert _on(two, "phoenix", "plan", "--detailed-exitcode").returncode == 0
