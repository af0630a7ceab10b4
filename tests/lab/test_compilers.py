"""One source, two compilers: the difference that `policy diff` finds is real.

Debian 12's parser 3.0.8 makes more of a mount rule than it says (the CVE-2016-1585 class).  Both outputs are
loaded into the same kernel, and the witness is done as a real mount.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from phoenix_hypervisor.cli.main import main
from phoenix_hypervisor.lab.booted import Lab
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.queries import MountQuery
from phoenix_hypervisor.policy.reader import read_policy

GUEST = Path(__file__).parent / "guest"
NAME = "lxc-t-widened"
SOURCE = f"""profile {NAME} flags=(attach_disconnected) {{
  file,
  capability,
  mount options=(ro, remount, bind),
}}
"""
BIND = 4096


def compile_in(lab: Lab) -> bytes:
    lab.put("/tmp/widened", SOURCE)
    lab.run("apparmor_parser -QKS /tmp/widened > /tmp/widened.bin", check=True, timeout=120)
    return lab.get("/tmp/widened.bin")


def mount(lab: Lab, blob: bytes, query: MountQuery) -> int:
    """errno of the witness's mount under `blob`, loaded as it is."""
    lab.put("/tmp/witness.bin", blob)
    lab.run(["apparmor_parser", "-B", "-r", "/tmp/witness.bin"], check=True)
    lab.put("/tmp/operations.py", (GUEST / "operations.py").read_bytes())
    target = query.target.decode()
    assert target == "/" or lab.run(["mkdir", "-p", target]).ok
    operation = ["mount", (query.source or b"/etc").decode(), target, None, query.flags]
    order = json.dumps({"profile": NAME, "operations": [operation]}).encode()
    done = lab.run(["python3", "-I", "-S", "/tmp/operations.py"], input=order, check=True)
    return int(json.loads(done.stdout)[0])


def test_the_witness_of_two_parsers_is_a_real_mount(
    labs: Callable[[str], Lab], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = compile_in(labs("bookworm")), compile_in(labs("trixie"))
    (tmp_path / "old").write_bytes(old)
    (tmp_path / "new").write_bytes(new)
    assert main(["policy", "diff", "--json", str(tmp_path / "old"), str(tmp_path / "new")]) == 3
    differences = json.loads(capsys.readouterr().out)["differences"]
    assert any("bind" in json.dumps(one) for one in differences), differences
    query = MountQuery(b"/etc/", b"/mnt/", None, BIND, None)
    judges = [Evaluator(read_policy(blob).profiles[0]) for blob in (old, new)]
    assert [judge.ask(query).allowed for judge in judges] == [True, False]
    for release in ("trixie", "bookworm"):
        lab = labs(release)
        assert mount(lab, old, query) == 0, "what parser 3.0.8 compiled lets the bind mount through"
        assert mount(lab, new, query) == errno.EACCES, "what parser 4.1 compiled does not"
