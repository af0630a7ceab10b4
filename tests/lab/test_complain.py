"""Why a trial's copy enforces: what a profile in complain mode still refuses, asked of real kernels.

docs/internals/trials.md tells it.  If one of these changes, a copy that complains may be thought of again.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from phoenix_hypervisor.lab.booted import Lab

PROGRAM = Path(__file__).parent / "guest/leaving.py"
PROFILE = """abi <abi/3.0>,
profile lxc-t-leaving flags=({flags}) {{
  /[^r]** rwmlk,
  /{{usr/,}}{{bin,lib*}}/** rix,
  /run/unruled rw,
  deny change_profile,
  deny /run/secret rwmlk,
  deny /run/half w,
  deny /run/denied x,
  audit deny /run/audited r,
}}
"""
LEAVES = (
    "denied beside what no rule allows", "audit deny", "changeprofile unconfined", "changeprofile of no profile",
    "exec unconfined", "changehat", "exec without a rule", "exec denied",
)  # fmt: skip


def _secrets(lab: Lab, flags: str) -> dict[str, bool]:
    lab.put("/tmp/leaving", PROFILE.format(flags=flags))
    lab.run("apparmor_parser -R /tmp/leaving 2>/dev/null; apparmor_parser -rK /tmp/leaving", check=True)
    done = lab.run("aa-exec -p lxc-t-leaving -- python3 -I -S /tmp/leaving.py", timeout=60, check=True)
    return {way: said == "secret" for way, said in json.loads(done.stdout).items()}


@pytest.fixture
def prepared(lab: Lab) -> Lab:
    lab.put("/tmp/leaving.py", PROGRAM.read_bytes())
    files = "for f in secret half audited; do echo secret > /run/$f; done"
    lab.run(f"{files}; cp /bin/cat /run/unruled; cp /bin/cat /run/denied", check=True)
    return lab


def test_a_profile_that_complains_is_left_by_one_write(prepared: Lab) -> None:
    """The deny rule holds by name, and behind each of these ways it does not exist any more."""
    found = _secrets(prepared, "complain, attach_disconnected")
    assert not found["by name"]
    assert [way for way in LEAVES if not found[way]] == []
    kernel = prepared.run("uname -r", check=True).stdout
    assert found["changehat, system call"] is not kernel.startswith("6.1."), "as of Linux 6.8"


def test_one_that_enforces_is_not(prepared: Lab) -> None:
    assert not any(_secrets(prepared, "attach_disconnected").values())
