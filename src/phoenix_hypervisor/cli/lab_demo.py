"""`phoenix lab demo`: the documents' three containers on a real AppArmor kernel.

Owns the script of the demo.  Phoenix runs inside the guest exactly as on any host; this module
only types its commands, shows what they print, and checks what must hold.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from phoenix_hypervisor.errors import PhoenixError

if TYPE_CHECKING:
    from phoenix_hypervisor.lab.booted import Lab
    from phoenix_hypervisor.lab.guestlink import Result

HOME = "/usr/local/phoenix_hypervisor"
CONFIG = f"{HOME}/etc/phoenix_lxc_configs.json"
BASE = tuple(f"{HOME}/etc/apparmor/{place}lxc-nvidia-gpu-base" for place in ("", "if-parser-accepts/"))
"""The base profile, and what stands in its place where the parser takes it."""
LIMIT = 240.0
"""Seconds that one command in the guest may take."""

# The documents' containers as they can run here: a busybox root file system, no bridge, little memory.
CHANGES: dict[str, dict[str, object]] = {
    "950": {"template": "busybox", "memory_mb": 256, "cores": 1, "unprivileged": False},
    "952": {"template": "busybox", "memory_mb": 256, "cores": 1, "unprivileged": True},
    "955": {"template": "busybox", "memory_mb": 256, "cores": 1, "unprivileged": False},
}
DROPPED = ("network_config", "networks", "mac_address", "features", "storage_pool", "storage_size_gb")
RULE = "  deny /etc/secret r,\n"


class Demo:
    """One run of the demo in a lab that is up."""

    def __init__(self, lab: Lab, say: Callable[[str], None]) -> None:
        self._lab = lab
        self._say = say

    def run(self) -> None:
        """All of it.  Raises PhoenixError at the first thing that is not as it must be."""
        kernel = self._lab.run(["uname", "-r"]).stdout.strip()
        self._say(f"A guest with kernel {kernel}, AppArmor enforcing and real LXC; Phoenix runs inside it.")
        self._prepare()
        self._phoenix("setup")
        self._phoenix("apply", "--all")
        self._phoenix("status")
        self._labels(kernel)
        self._escape()
        again = self._phoenix("apply", "--all")
        if "changed=0" not in again:
            raise PhoenixError("the second apply changed something", where="phoenix lab demo")
        self._edit()

    def _prepare(self) -> None:
        """The shipped configuration, with what cannot be had in this guest left out."""
        # Brought by an installation, the example is not live.
        self._lab.run(["cp", "-n", f"{CONFIG}.example", CONFIG])
        document = json.loads(self._lab.get(CONFIG))
        for ctid, changes in CHANGES.items():
            entry = document["lxc_configs"][ctid]
            for key in DROPPED:
                entry.pop(key, None)
            entry.update(changes)
        self._lab.put(CONFIG, json.dumps(document, indent=4) + "\n")

    def _phoenix(self, *words: str) -> str:
        self._say(
            f"\n\033[1m$ phoenix {' '.join(words)}\033[0m"
            if sys.stdout.isatty()
            else f"\n$ phoenix {' '.join(words)}"
        )
        columns = (
            [f"COLUMNS={os.get_terminal_size(sys.stdout.fileno()).columns}"] if sys.stdout.isatty() else []
        )
        result = self._lab.run(["env", *columns, "phoenix", *words], timeout=LIMIT)
        self._say((result.stdout + result.stderr).rstrip())
        if not result.ok:
            raise PhoenixError(f"ended with {result.rc} inside the lab", where=f"phoenix {words[0]}")
        return str(result.stdout)

    def _inside(self, ctid: str, command: str) -> Result:
        self._say(f"{ctid}# {command}")
        result = self._lab.run(["lxc-attach", "-n", ctid, "--", "/bin/sh", "-c", command], timeout=60)
        self._say((result.stdout + result.stderr).rstrip())
        return result

    def _labels(self, kernel: str) -> None:
        """The same from the kernel itself, past Phoenix."""
        self._say(f"\nWhat kernel {kernel} says, from /proc/PID/attr of each container's init:")
        for ctid in CHANGES:
            pid = self._lab.run(["lxc-info", "-n", ctid, "-pH"], timeout=60).stdout.strip()
            label = self._lab.label(int(pid)) if pid.isdigit() else "not running"
            self._say(f"  container {ctid}  PID {pid}  {label}")
            if ctid == "950" and label != "lxc-nvidia-gpu-base (enforce)":
                raise PhoenixError(f"container {ctid} runs under {label}")

    def _escape(self) -> None:
        """Writes that would run a program as the host's root, or end the confinement; both must fail."""
        path = "/proc/sys/kernel/core_pattern"
        before = self._lab.run(["cat", path]).stdout
        self._say("\nroot in the privileged container 950 tries to have the host's kernel run a program:")
        self._say("(LXC's read-only mount over it would have to go first: the profile keeps it there.)")
        result = self._inside("950", f"umount -l /proc/sys; echo '|/tmp/evil' > {path}")
        after = self._lab.run(["cat", path]).stdout
        self._say(f"host# cat {path}\n{after.rstrip()}")
        if result.ok or after != before or "Permission denied" not in result.stderr:
            raise PhoenixError("the write was not refused", where=path)
        self._say("and to leave its profile:")
        attribute = "/proc/self/attr/current"
        result = self._inside("950", f"echo 'changeprofile unconfined' > {attribute}")
        if result.ok or "Permission denied" not in result.stderr:
            raise PhoenixError("the write was not refused", where=attribute)

    def _edit(self) -> None:
        """A changed profile confines the running container at once."""
        inside = "echo hidden > /etc/secret; cat /etc/secret"
        self._say("\nA profile is edited; the running container is confined by the new policy at once.")
        if not self._inside("950", inside).ok:
            raise PhoenixError("the file could not be read before the profile was edited")
        for path in BASE:
            source = self._lab.get(path).decode()
            self._lab.put(path, source.replace("\n}", f"\n{RULE}}}", 1))
        self._phoenix("plan")
        self._phoenix("apply", "--all")
        if self._inside("950", "cat /etc/secret").ok:
            raise PhoenixError("the new rule does not confine the running container")


def run_demo(release: str, progress: Callable[[str], None]) -> int:
    """Build what is missing, boot, and run the demo on it."""
    from phoenix_hypervisor.lab.booted import Lab

    begin = time.monotonic()
    with Lab(release, phoenix=True, progress=progress) as lab:
        progress(f"the lab is up after {time.monotonic() - begin:.0f} s")
        Demo(lab, lambda text: print(text, flush=True)).run()
    print(f"\ndone in {time.monotonic() - begin:.0f} s")
    return 0
