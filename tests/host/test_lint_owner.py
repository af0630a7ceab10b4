"""`owner` rules where the compiler leaves out what tells the owner of a file from others."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from phoenix_hypervisor import Phoenix
from phoenix_hypervisor.engine.policy_requests import LintRequest

PARSER = "/sbin/apparmor_parser"
SOURCE = "profile lxc-o {\n  signal (receive),\n  owner /srv/** rw,\n  deny owner /x w,\n}\n"

pytestmark = pytest.mark.host


def test_an_owner_rule_that_is_for_everybody_is_named(tmp_path: Path) -> None:
    """Parsers 4.1.0 to 4.1.3, for kernels from 6.17 on."""
    source = tmp_path / "lxc-o"
    source.write_text(SOURCE)
    version = subprocess.run([PARSER, "--version"], capture_output=True, text=True, check=True).stdout
    found = {}
    for features in ("debian-13", "proxmox-9-6.17"):
        done = Phoenix(parser=PARSER, features=features).lint(LintRequest(sources=(str(source),)))
        found[features] = [one.place for one in done.findings if one.code == "owner-open"]
    everybody = re.search(r" 4\.1\.[0-3]\b", version)
    assert found == {"debian-13": [], "proxmox-9-6.17": [f"{source}:3"] if everybody else []}
