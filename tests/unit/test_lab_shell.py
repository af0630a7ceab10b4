"""`phoenix lab shell`: the guest's real agent and a real shell, on this machine instead of in a guest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"
BOTH_ENDS = """
import os, socket, sys
ours, theirs = socket.socketpair()
if os.fork() == 0:
    ours.close()
    path = sys.argv[1] + "/phoenix_hypervisor/lab/guest/agent.py"
    source = open(path).read()
    assert source.endswith("\\nmain()\\n")
    names = {}
    exec(compile(source.removesuffix("main()\\n"), path, "exec"), names)
    wire = object.__new__(names["Wire"])
    theirs.setblocking(False)
    wire.fd, wire.buffer, wire.arrived = theirs.fileno(), bytearray(), 0.0
    os.chdir("/")
    names["serve"](wire)
    os._exit(0)
theirs.close()
sys.path.insert(0, sys.argv[1])
from phoenix_hypervisor.lab.guestlink import Guest
from phoenix_hypervisor.lab.terminal import interact
from phoenix_hypervisor.lab.wire import Wire
sys.exit(interact(Guest(Wire(ours)), sys.argv[2:]))
"""


def _shell(given: bytes, *argv: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", BOTH_ENDS, str(SRC), *argv],
        input=given,
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("given", "argv", "code", "said"),
    [
        (b"", ("bash", "-l"), 0, b""),
        (b"echo $((20 + 3))\n", ("bash", "--norc"), 0, b"23"),
        (b"exit 5\n", ("bash", "--norc"), 5, b""),
        (b"cat\nline\n", ("bash", "--norc"), 0, b"line"),
        (b"", ("sh", "-c", "sleep 2; exit 7"), 7, b""),
    ],
    ids=["nothing", "a command", "its exit code", "a program that reads", "a program that does not"],
)
def test_a_shell_ends_when_its_input_does(
    given: bytes, argv: tuple[str, ...], code: int, said: bytes
) -> None:
    done = _shell(given, *argv)
    assert (done.returncode, done.stderr) == (code, b"")
    assert said in done.stdout
