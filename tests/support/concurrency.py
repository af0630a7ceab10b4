"""Phoenix beside itself and beside writers that honour Proxmox's lock: no update is lost.

Owns rounds of 20 phoenix processes and 20 writers on one directory host.  A writer counts
up a line of a configuration under the lock, as `pct set` would change a setting.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from support.hosts import DirectoryHost

PHOENIX, WRITERS = 20, 20
CTIDS = ("101", "102", "103", "104")


@dataclass
class Result:
    """What the rounds came to."""

    rounds: int = 0
    writes: int = 0
    exits: Counter[int] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        ended = ", ".join(f"{n} with {code}" for code, n in sorted(self.exits.items()))
        return (
            f"concurrency: {self.rounds} rounds of {PHOENIX} phoenix and {WRITERS} writers; phoenix ended {ended}; "
            f"{self.writes} writes, {len(self.lost)} lost updates"
        )


def _write(host: DirectoryHost, ctid: str) -> None:
    """One locked read, change, temporary file, rename."""
    folder = host.root / "run/lock/lxc"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"pve-config-{ctid}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = host.lxc / f"{ctid}.conf"
        text = re.sub(r"memory: (\d+)", lambda m: f"memory: {int(m[1]) + 1}", path.read_text(), count=1)
        temporary = host.lxc / f"{ctid}.conf.tmp.{os.getpid()}"
        temporary.write_text(text)
        temporary.rename(path)


def _child(work: object) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 99
    with contextlib.suppress(BaseException):
        code = int(work() or 0)  # type: ignore[operator]
    os._exit(code)


def run(folder: Path, rounds: int) -> Result:
    """`rounds` rounds; each declares the other profile, so that there is something to do."""
    host = DirectoryHost(folder / "host")
    for name in ("lxc-a", "lxc-b"):
        host.source(name)
    for ctid in CTIDS:
        host.conf(ctid, "#d\nmemory: 0\n\n[snap]\nmemory: 7\nlxc.apparmor.profile: s\n")
    host.declare(dict.fromkeys(CTIDS, "lxc-a"))
    assert host.apply().code == 0
    result = Result()

    def phoenix() -> int:
        with contextlib.redirect_stderr(io.StringIO()):
            return host.apply().code

    for index in range(rounds):
        wanted = ("lxc-b", "lxc-a")[index % 2]
        host.declare(dict.fromkeys(CTIDS, wanted))
        pids = {}
        for number in range(max(PHOENIX, WRITERS)):
            if number < WRITERS:
                ctid = CTIDS[number % len(CTIDS)]
                pids[_child(lambda ctid=ctid: _write(host, ctid))] = "writer"
            if number < PHOENIX:
                pids[_child(phoenix)] = "phoenix"
        for pid, what in pids.items():
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if what == "phoenix":
                result.exits[code] += 1
                if code not in (0, 1):
                    result.lost.append(f"round {index}: phoenix ended with {code}")
            elif code:
                result.lost.append(f"round {index}: a writer ended with {code}")
        result.rounds, result.writes = index + 1, result.writes + WRITERS
        last = host.apply()
        if last.code:
            result.lost.append(f"round {index}: the last run ended with {last.code}: {last.err}")
        each = result.writes // len(CTIDS)
        for ctid in CTIDS:
            text = (host.lxc / f"{ctid}.conf").read_text()
            should = f"#d\nmemory: {each}\nlxc.apparmor.profile: {wanted}\n\n[snap]\nmemory: 7\nlxc.apparmor.profile: s\n"
            if text != should:
                result.lost.append(f"round {index}: {ctid}.conf is {text!r}")
    return result
