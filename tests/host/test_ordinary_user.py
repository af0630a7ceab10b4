"""What an ordinary user sees: as much as may be read, and where that is nothing, who to ask."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from support.hosts import TOP, DirectoryHost

NOBODY = 65534
Asked = Callable[..., subprocess.CompletedProcess[str]]


LIBRARIES = ("click", "fastjsonschema", "jsonschema", "rich")


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources and the libraries where everybody may read them: a checkout may lie below root's home."""
    folder = tmp_path_factory.mktemp("code")
    shutil.copytree(TOP / "src/phoenix_hypervisor", folder / "phoenix_hypervisor")
    todo, done = list(LIBRARIES), set[str]()
    while todo:
        name = todo.pop()
        if name in done:
            continue
        done.add(name)
        found = distribution(name)
        needed = [Requirement(text) for text in found.requires or ()]
        todo += [one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
        for file in found.files or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(file.locate()), folder / file)
    folder.chmod(0o755)  # imports list it
    _open(folder)
    return folder


def _open(folder: Path) -> None:
    """Let everybody go through it."""
    for one in (folder, *folder.parents):
        if not one.stat().st_mode & 0o001:
            one.chmod(one.stat().st_mode | 0o011)


@pytest.fixture
def applied(host: DirectoryHost, code: Path) -> DirectoryHost:
    """Two containers under a profile of ours; its folder can be entered by everybody."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    host.source("lxc-a")
    host.conf("101", "hostname: web\nunprivileged: 1\n")
    host.conf("102", "hostname: db\nunprivileged: 1\n")
    host.declare({"101": {"apparmor_profile": "lxc-a", "start": False}, "102": "generated"})
    assert host.apply().code == 0
    _open(host.folder)
    return host


@pytest.fixture
def asked(applied: DirectoryHost, code: Path) -> Asked:
    """The command line as nobody runs it."""
    # The interpreter behind the virtual environment, which may lie below root's home, too.
    argv = [os.path.realpath(sys.executable), "-m", "phoenix_hypervisor", "--root", str(applied.root)]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*argv, "--config", str(applied.config), *words],
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            env={"PYTHONPATH": str(code), "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_status_shows_what_may_be_read(applied: DirectoryHost, asked: Asked) -> None:
    """The records are root's; nothing is called edited, older or missing that is only not known."""
    document = json.loads(asked("status", "--json").stdout)
    assert [f["code"] for f in document["host"]["findings"]] == ["records-hidden"]
    assert [(c["ctid"], c["name"], c["assigned"]) for c in document["containers"]] == [
        ("101", "web", "lxc-a"),
        ("102", "db", None),
    ]
    assert [f for c in document["containers"] for f in c["findings"]] == []
    (one,) = document["profiles"]
    assert (one["installed"], one["loaded"], one["findings"]) == ("same", "unknown", [])
    assert document["as_declared"] is False, "that is not known"
    named = asked("status", "web")
    assert named.returncode == 0 and "container 101 web" in named.stdout and "run it as root" in named.stdout


def test_a_file_that_differs_is_not_called_edited(applied: DirectoryHost, asked: Asked) -> None:
    (applied.installed / "lxc-a").write_text("# another\n")
    document = json.loads(asked("status", "--json").stdout)
    assert [f["code"] for f in document["profiles"][0]["findings"]] == ["file-differs"]


def test_verify_says_nothing_that_it_does_not_know(applied: DirectoryHost, asked: Asked) -> None:
    for words in (("verify",), ("plan",), ("apply", "--all"), ("history",)):
        result = asked(*words)
        assert result.returncode == 1 and "run it as root" in result.stderr and not result.stdout.strip()


def test_configurations_that_root_alone_may_read(applied: DirectoryHost, asked: Asked) -> None:
    (applied.lxc / "101.conf").chmod(0o640)
    document = json.loads(asked("status", "--json").stdout)
    findings = {c["ctid"]: [(f["code"], f["hint"]) for f in c["findings"]] for c in document["containers"]}
    assert findings == {"101": [("conf-unusable", "run it as root")], "102": []}
    (applied.lxc / "102.conf").chmod(0o640)
    result = asked("status")
    assert result.returncode == 1 and "root alone may read the containers' configurations" in result.stderr


@pytest.mark.parametrize("place", ["etc/pve", "etc/pve/nodes/pve1/lxc"])
def test_a_directory_that_may_not_be_entered_is_not_called_empty(
    applied: DirectoryHost, asked: Asked, place: str
) -> None:
    folder: Path = applied.root / place
    folder.chmod(0o750)
    result = asked("status")
    assert result.returncode == 1 and "Permission denied\n  next: run it as root" in result.stderr
    assert "pve-cluster" not in result.stderr


def test_report_has_what_may_be_read_and_keeps_nothing(applied: DirectoryHost, asked: Asked) -> None:
    done = asked("report", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert [one["ctid"] for one in found["containers"]] == ["101", "102"]
    assert "records-hidden" in [one["code"] for one in found["findings"]]
    assert "Permission denied" in found["compared"]["not_kept"]
    assert not (applied.root / "var/lib/phoenix/report.json").exists()
