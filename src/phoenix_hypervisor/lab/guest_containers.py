"""Containers inside the lab: the combinations that a profile has to hold in.

Owns the four settings (bare or stock layer, privileged or not), two root file systems, and the
bounded use of lxc-start, lxc-attach and lxc-stop.  Must not know any profile.

*bare* is AppArmor alone: no capability is dropped, no seccomp, no device cgroup, /proc and /sys
writable.  *stock* is what LXC's own common.conf gives, which is what containers really run with.
Test both: a profile that holds only in *stock* is held by something else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.lab.guestlink import Guest, Result
from phoenix_hypervisor.lab.recipe import guest_file

Layer = Literal["bare", "stock"]
Rootfs = Literal["busybox", "debian"]

LXC_PATH = "/var/lib/lxc"
DATA_PATH = "/home"
"""On the guest's disk: data of containers, no deeper than a disk of the container's own would have it."""
FIXTURE = "/run/phoenix-lab/fixture.py"
FIRST_ID, ID_COUNT = 100000, 65536
"""Of an unprivileged container's users in the guest."""
START_TIMEOUT = 60.0
ATTACH_TIMEOUT = 60.0

_NAME = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9_.-]*\Z")

BARE = """\
lxc.mount.auto = proc:rw sys:rw cgroup:rw
lxc.autodev = 1
lxc.pty.max = 1024
lxc.cap.drop =
"""
STOCK = "lxc.include = /usr/share/lxc/config/common.conf\n"
STOCK_UNPRIVILEGED = "lxc.include = /usr/share/lxc/config/userns.conf\n"

NVIDIA_NODES = (
    "nvidia0",
    "nvidia1",
    "nvidiactl",
    "nvidia-modeset",
    "nvidia-uvm",
    "nvidia-uvm-tools",
    "nvidia-caps/nvidia-cap1",
    "nvidia-caps/nvidia-cap2",
)
"""Fake ones in the guest's /dev: no driver answers, so opening gives ENXIO or ENODEV where it is allowed."""


@dataclass(frozen=True, slots=True)
class Container:
    """A container that exists in the guest; `name` is its CTID."""

    guest: Guest
    name: str
    privileged: bool
    layer: Layer
    rootfs: Rootfs

    @property
    def config_path(self) -> str:
        return f"{LXC_PATH}/{self.name}/config"

    @property
    def log_path(self) -> str:
        return f"/tmp/lxc-{self.name}.log"

    def start(self, *, timeout: float = START_TIMEOUT) -> Result:
        """lxc-start; what LXC logged is appended to the standard error where it fails."""
        argv = ["lxc-start", "-n", self.name, "-d", "-l", "INFO", "-o", self.log_path]
        result = self.guest.run(argv, timeout=timeout)
        if result.ok:
            return result
        logged = self.guest.run(["grep", "-E", " (ERROR|WARN) ", self.log_path]).stdout
        return Result(result.rc, result.stdout, result.stderr + logged, result.timed_out, result.unkillable)

    def stop(self, *, kill: bool = False, timeout: float = 30.0) -> Result:
        """lxc-stop: a shutdown that becomes a kill, or with `kill` at once."""
        how = ["-k"] if kill else ["-t", "10"]
        return self.guest.run(["lxc-stop", "-n", self.name, *how], timeout=timeout)

    def attach(self, command: str | Sequence[str], *, timeout: float = ATTACH_TIMEOUT) -> Result:
        """Run a command (a text is a shell script) inside, by lxc-attach: it gets the profile too."""
        argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
        return self.guest.run(["lxc-attach", "-n", self.name, "--clear-env", "--", *argv], timeout=timeout)

    def state(self) -> str:
        """RUNNING, STOPPED, ... as lxc-info says."""
        return self.guest.run(["lxc-info", "-n", self.name, "-sH"], timeout=30).stdout.strip()

    def init_pid(self) -> int:
        """PID of the container's init in the guest; PhoenixError where it does not run."""
        text = self.guest.run(["lxc-info", "-n", self.name, "-pH"], timeout=30).stdout.strip()
        if not text.isdigit() or int(text) <= 0:
            raise PhoenixError(f"container {self.name} is not running")
        return int(text)

    def label(self) -> str:
        """The AppArmor label of its init, read from the guest's own /proc, never from inside."""
        return self.guest.label(self.init_pid())

    def set_profile(self, profile: str | None) -> None:
        """Write the profile line of its config, or none."""
        text = self.guest.get(self.config_path).decode()
        lines = [line for line in text.splitlines() if not line.startswith("lxc.apparmor.profile")]
        if profile is not None:
            lines.append(f"lxc.apparmor.profile = {profile}")
        self.guest.put(self.config_path, "\n".join(lines) + "\n")

    def remove(self) -> None:
        """Kill it and remove everything of it."""
        _fixture(self.guest, {"name": self.name, "remove": True})


def make_container(
    guest: Guest,
    ctid: int | str,
    *,
    layer: Layer = "stock",
    privileged: bool = True,
    rootfs: Rootfs = "busybox",
    profile: str | None = None,
    nvidia: bool = False,
    extra: str = "",
    disk: str | None = None,
    data: Sequence[str] = (),
    masked: Sequence[str] | None = (),
) -> Container:
    """Create a container in the guest, not started.

    `profile` is its `lxc.apparmor.profile` (None: no line, LXC's default then).  `nvidia` binds the
    fake device nodes into it.  `extra` is appended to its config.  With `disk`, a further disk of the lab
    (`/dev/vdb`) is what lies below a `debian` root instead of the guest's own; each of `data` is a
    directory on the guest's disk (below DATA_PATH) that it sees below /var/lib; `masked` units do not
    start, nor do some that make no sense in the guest's own Debian (None: nothing is masked, it boots as
    it was installed).
    """
    name = str(ctid)
    if not _NAME.match(name):
        raise PhoenixError(f"not a container name: {name!r}")
    config = container_config(
        name, layer=layer, privileged=privileged, profile=profile, nvidia=nvidia, extra=extra
    )
    for place in data:
        config += f"lxc.mount.entry = {DATA_PATH}/{name}/{place} var/lib/{place} none bind,create=dir\n"
    order = {
        "name": name,
        "rootfs": rootfs,
        "config": config,
        "base": 0 if privileged else FIRST_ID,
        "count": ID_COUNT,
        "disk": disk,
        "data": list(data),
        "masked": None if masked is None else list(masked),
    }
    _fixture(guest, order)
    return Container(guest, name, privileged, layer, rootfs)


def container_config(
    name: str, *, layer: Layer, privileged: bool, profile: str | None, nvidia: bool = False, extra: str = ""
) -> str:
    """The text of an LXC config for these settings."""
    text = STOCK if layer == "stock" else BARE
    if not privileged:
        text += STOCK_UNPRIVILEGED if layer == "stock" else ""
        text += f"lxc.idmap = u 0 {FIRST_ID} {ID_COUNT}\nlxc.idmap = g 0 {FIRST_ID} {ID_COUNT}\n"
    text += (
        f"lxc.uts.name = c{name}\nlxc.rootfs.path = dir:{LXC_PATH}/{name}/rootfs\nlxc.net.0.type = empty\n"
    )
    if nvidia:
        for node in NVIDIA_NODES:
            text += f"lxc.mount.entry = /dev/{node} dev/{node} none bind,optional,create=file\n"
        if layer == "stock" and privileged:
            for major in (195, 236, 511):
                text += f"lxc.cgroup2.devices.allow = c {major}:* rwm\n"
    text += extra if not extra or extra.endswith("\n") else f"{extra}\n"
    if profile is not None:
        text += f"lxc.apparmor.profile = {profile}\n"
    return text


def _fixture(guest: Guest, order: dict[str, object]) -> None:
    guest.put(FIXTURE, guest_file("fixture.py"), 0o644)
    guest.run(["python3", "-I", "-S", FIXTURE], input=json.dumps(order).encode(), timeout=120, check=True)
