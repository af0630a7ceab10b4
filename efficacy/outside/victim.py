"""A process of the host, unconfined, that works in the container's process namespace."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

from efficacy.outside.system import SECRET, STATE, read, unlink

PROGRAM = """
import ctypes, os, time, sys
os.environ["X"] = "x"
kept = ctypes.create_string_buffer(b"phoenix-the-hosts-secret", 64)
fd = os.open("secret", os.O_RDONLY)
os.dup2(fd, 9)
open("victim.part", "w").write(str(ctypes.addressof(kept)))
os.rename("victim.part", "victim.address")
while True:
    time.sleep(0.05)
    if kept.value.startswith(b"phoenix-overwritten"):
        open("overwritten", "w").close()
"""


class Victim:
    """Started when an operation needs it; `pid` is the host's name for it."""

    def __init__(self) -> None:
        self.pid = 0
        self._outer: subprocess.Popen[bytes] | None = None

    def start(self, init: int) -> None:
        """Anew, in the process namespace of the container whose init this is."""
        self.end()
        unlink(f"{STATE}/victim.address", f"{STATE}/overwritten")
        argv = ["nsenter", "-t", str(init), "-p", "--", sys.executable, "-I", "-S", "-c", PROGRAM]
        environment = {**os.environ, "SECRET": SECRET}
        self._outer = subprocess.Popen(argv, cwd=STATE, env=environment, start_new_session=True)
        end = time.monotonic() + 10
        while time.monotonic() < end and not os.path.exists(f"{STATE}/victim.address"):
            time.sleep(0.05)
        outer = self._outer.pid
        self.pid = int(read(f"/proc/{outer}/task/{outer}/children").split()[0])

    def end(self) -> None:
        if self._outer is not None:
            if self.there():
                with contextlib.suppress(OSError):
                    os.kill(self.pid, signal.SIGKILL)
            with contextlib.suppress(OSError):
                os.killpg(self._outer.pid, signal.SIGKILL)
            self._outer.wait(10)
            self._outer = None

    def there(self) -> bool:
        try:
            words = read(f"/proc/{self.pid}/cmdline")
            return "victim.address" in words and " (zombie)" not in read(f"/proc/{self.pid}/status")
        except OSError:
            return False

    def state(self) -> str:
        """Its state's letter, as in proc(5)."""
        return read(f"/proc/{self.pid}/stat").rpartition(")")[2].split()[0]

    def inner(self) -> int:
        """Its PID inside the container."""
        line = next(x for x in read(f"/proc/{self.pid}/status").splitlines() if x.startswith("NSpid"))
        return int(line.split()[-1])

    def overwritten(self) -> bool:
        time.sleep(0.3)
        return os.path.exists(f"{STATE}/overwritten")
