"""How LXC shows its containers to the host: cgroups, monitors, profiles of its own.

Owns that grammar, for every runtime that starts its containers by LXC (Proxmox does).  Must
not read /proc: the kernel's room does, and asks here what it sees.
"""

from __future__ import annotations

import re

from phoenix_hypervisor.host.kernel import Process
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.plan.model import Manager

LXC_DIR = "/var/lib/lxc"

_NUMBERED = r"(.+)-[1-9][0-9]*"
# From the root of the hierarchy on: whoever may make cgroups further down, a container in its own
# or a user in theirs, can give them any name.
_PAYLOAD = rb"(?m)^[0-9]+:[^:\n]*:/(?:lxc/(?P<pve>[1-9][0-9]*)|lxc\.payload\.(?P<lxc>[^/\n]+))(?:/|$)"

# lxc-start in the foreground, as Proxmox's unit runs it, or the title of LXC's monitor (lxccontainer.c).
_MONITOR = (
    rb"(?:[^\0]*/)?lxc-start\0(?:[^\0]+\0)*?-n\0(?P<started>[^\0]+)\0"
    rb"|\[lxc monitor\] \S+ (?P<daemon>[^\0\s]+)"
)


STOCK = tuple(f"lxc-container-default{more}" for more in ("", "-cgns", "-with-mounting", "-with-nesting"))
"""The profiles that LXC ships (config/apparmor/profiles)."""


class LibLxc:
    """What runs in LXC's containers of a host, for a runtime to inherit.

    A process belongs to the outermost container whose payload cgroup it is in: `/lxc/CTID` on
    Proxmox, `/lxc.payload.NAME` with plain LXC, or that with `-1` after it where the name was
    taken, unless a container in /var/lib/lxc is called just so.  Root's lxc-start makes it there
    from wherever it is called (LXC 5.0 and 6.0), but for `lxc.cgroup.relative = 1`, whose
    containers are not seen.
    """

    def __init__(self, host: Host) -> None:
        self._host = host

    def processes(self) -> dict[str, list[Process]] | None:
        """By container name; None where /proc of the root is not filled."""
        names: dict[bytes, str] = {}

        def container(cgroups: bytes) -> str | None:
            match = re.search(_PAYLOAD, cgroups)
            if match is None:
                return None
            payload = match["pve"] or match["lxc"]
            if payload not in names:
                names[payload] = self._owner(payload.decode("utf-8", "surrogateescape"))
            return names[payload]

        return self._host.kernel.grouped_processes(container)

    def own_profiles(self, ctid: str) -> tuple[str, ...]:
        """The profile that LXC generates for a container (lsm/apparmor.c), and its stock ones."""
        return (f"lxc-{ctid}_<*", *STOCK)

    def manager(self, ctid: str) -> Manager | None:
        return None

    def unsettled(self) -> frozenset[str]:
        """The containers that are starting or stopping: LXC's monitor lives, and nothing in them."""
        monitored = set()
        for command, cgroups in self._host.kernel.own_commands():
            match = re.match(_MONITOR, command)
            if match is not None and not re.search(_PAYLOAD, cgroups):
                monitored.add((match["started"] or match["daemon"]).decode("utf-8", "surrogateescape"))
        return frozenset(monitored - set(self.processes() or {})) if monitored else frozenset()

    def _owner(self, payload: str) -> str:
        """Whose payload cgroup it is: LXC appends a number where a cgroup of the name was left."""
        match = re.fullmatch(_NUMBERED, payload)
        if match is None or self._host.lexists(f"{LXC_DIR}/{payload}"):
            return payload
        return match[1]
