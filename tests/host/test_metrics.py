"""`phoenix metrics`: what monitoring reads, judged by Prometheus's own promtool."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.hosts import LiveHost, temporary_files

SAMPLE = re.compile(r"(?P<name>[a-z_]+)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)")


def _samples(text: str) -> dict[str, float]:
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line[0] != "#"
    }


@pytest.fixture
def three(live: LiveHost) -> LiveHost:
    """One confined, one unconfined and undeclared, one stopped."""
    live.source("lxc-a")
    for ctid in ("101", "102", "103"):
        live.conf(ctid)
    live.declare({"101": "lxc-a", "103": {"apparmor_profile": "lxc-a", "start": False}})
    assert live.apply("--all", "--restart").code == 0
    live.conf("102", "lxc.apparmor.profile: unconfined\n")
    return live


def test_each_container_and_profile_is_told(three: LiveHost) -> None:
    done = three.phoenix("metrics")
    assert done.code == 0
    found = _samples(done.out)
    assert (
        found['phoenix_container_info{ctid="101",declared="lxc-a",assigned="lxc-a",kind="privileged"}'] == 1
    )
    assert found['phoenix_container_running{ctid="101"}'] == 1
    assert found['phoenix_container_confined{ctid="101"}'] == 1
    assert found['phoenix_container_as_declared{ctid="101"}'] == 1
    assert found['phoenix_container_as_declared{ctid="102"}'] == 0
    assert found['phoenix_findings{code="undeclared-unconfined",of="container",fault="true"}'] == 1
    assert found['phoenix_profile_loaded{profile="lxc-a"}'] == 1
    assert found['phoenix_profile_containers{profile="lxc-a"}'] == 2
    assert found["phoenix_transactions_total"] == 1
    assert found["phoenix_last_transaction_timestamp_seconds"] > 1.7e9


def test_labels_hold_no_path_no_name_and_no_command(three: LiveHost) -> None:
    for line in three.phoenix("metrics").out.splitlines():
        match = SAMPLE.fullmatch(line)
        assert line.startswith("#") or match is not None, line
        labels = dict(re.findall(r'([a-z]+)="([^"]*)"', match["labels"] or "")) if match else {}
        assert set(labels) <= {
            "version",
            "ctid",
            "declared",
            "assigned",
            "kind",
            "code",
            "of",
            "fault",
            "profile",
        }
        assert not any("/" in value for value in labels.values())


def test_the_textfile_is_replaced_whole(three: LiveHost, tmp_path: Path) -> None:
    path = tmp_path / "phoenix.prom"
    path.write_text("old\n")
    done = three.phoenix("metrics", "--textfile", str(path))
    assert (done.code, done.out) == (0, "")
    assert path.read_text() == three.phoenix("metrics").out and path.stat().st_mode & 0o777 == 0o644
    assert temporary_files(tmp_path) == []
    for name, code in (("phoenix.txt", 2), ("missing/phoenix.prom", 2)):
        assert three.phoenix("metrics", "--textfile", str(tmp_path / name)).code == code


def test_a_name_with_quotes_is_escaped(three: LiveHost) -> None:
    three.conf("104", 'lxc.apparmor.profile: a"b\\c\n')
    assert 'assigned="a\\"b\\\\c"' in three.phoenix("metrics").out


def test_promtool_finds_no_fault(three: LiveHost) -> None:
    promtool = shutil.which("promtool", path=os.path.dirname(sys.executable))
    assert promtool is not None, "`make test` puts it beside the tests' Python"
    text = three.phoenix("metrics").out
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
