"""What an ordinary user sees: as much as may be read, and where that is nothing, who to ask."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.hosts import TOP, DirectoryHost

NOBODY = 65534


@pytest.fixture
def applied(host: DirectoryHost, monkeypatch: pytest.MonkeyPatch) -> DirectoryHost:
    """Two containers under a profile of ours; its folder can be entered by everybody."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    if not _may_run():
        pytest.skip("this checkout lies where root alone may go")
    host.source("lxc-a")
    host.conf("101", "hostname: web\nunprivileged: 1\n")
    host.conf("102", "hostname: db\nunprivileged: 1\n")
    host.declare({"101": {"apparmor_profile": "lxc-a", "start": False}, "102": "generated"})
    assert host.apply().code == 0
    for folder in (host.folder, *host.folder.parents):
        if not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    return host


def asked(host: DirectoryHost, *words: str) -> subprocess.CompletedProcess[str]:
    """The command line as nobody runs it."""
    return _as_nobody(
        "-m", "phoenix_hypervisor", "--root", str(host.root), "--config", str(host.config), *words
    )


def _may_run() -> bool:
    """Whether nobody may run this Python and read the libraries and sources: not below root's own home."""
    try:
        return _as_nobody("-c", "import click, phoenix_hypervisor.cli.main").returncode == 0
    except PermissionError:
        return False


def _as_nobody(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        env={"PYTHONPATH": str(TOP / "src"), "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_status_shows_what_may_be_read(applied: DirectoryHost) -> None:
    """The records are root's; nothing is called edited, older or missing that is only not known."""
    document = json.loads(asked(applied, "status", "--json").stdout)
    assert [f["code"] for f in document["host"]["findings"]] == ["records-hidden"]
    assert [(c["ctid"], c["name"], c["assigned"]) for c in document["containers"]] == [
        ("101", "web", "lxc-a"),
        ("102", "db", None),
    ]
    assert [f for c in document["containers"] for f in c["findings"]] == []
    (one,) = document["profiles"]
    assert (one["installed"], one["loaded"], one["findings"]) == ("same", "unknown", [])
    assert document["as_declared"] is False, "that is not known"
    named = asked(applied, "status", "web")
    assert named.returncode == 0 and "container 101 web" in named.stdout and "run it as root" in named.stdout


def test_a_file_that_differs_is_not_called_edited(applied: DirectoryHost) -> None:
    (applied.installed / "lxc-a").write_text("# another\n")
    document = json.loads(asked(applied, "status", "--json").stdout)
    assert [f["code"] for f in document["profiles"][0]["findings"]] == ["file-differs"]


def test_verify_says_nothing_that_it_does_not_know(applied: DirectoryHost) -> None:
    for words in (("verify",), ("plan",), ("apply", "--all"), ("history",)):
        result = asked(applied, *words)
        assert result.returncode == 1 and "run it as root" in result.stderr and not result.stdout.strip()


def test_configurations_that_root_alone_may_read(applied: DirectoryHost) -> None:
    (applied.lxc / "101.conf").chmod(0o640)
    document = json.loads(asked(applied, "status", "--json").stdout)
    findings = {c["ctid"]: [(f["code"], f["hint"]) for f in c["findings"]] for c in document["containers"]}
    assert findings == {"101": [("conf-unusable", "run it as root")], "102": []}
    (applied.lxc / "102.conf").chmod(0o640)
    result = asked(applied, "status")
    assert result.returncode == 1 and "root alone may read the containers' configurations" in result.stderr


@pytest.mark.parametrize("place", ["etc/pve", "etc/pve/nodes/pve1/lxc"])
def test_a_directory_that_may_not_be_entered_is_not_called_empty(applied: DirectoryHost, place: str) -> None:
    folder: Path = applied.root / place
    folder.chmod(0o750)
    result = asked(applied, "status")
    assert result.returncode == 1 and "Permission denied\n  next: run it as root" in result.stderr
    assert "pve-cluster" not in result.stderr
