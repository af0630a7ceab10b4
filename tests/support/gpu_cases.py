"""Configurations whose device rules and nodes are put before a kernel: the table of tests/lab/test_gpu.py.

Each is what an LXC configuration says beyond its layer; in an unprivileged container and in a privileged one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

A, D = "lxc.cgroup2.devices.allow = ", "lxc.cgroup2.devices.deny = "
OLD = "lxc.cgroup.devices."


def bind(number: int, options: str = "bind,optional,create=file", target: str | None = None) -> str:
    where = f"dev/nvidia{number}" if target is None else target
    return f"lxc.mount.entry = /dev/nvidia{number} {where} none {options}"


BOTH = (bind(0), bind(1))


@dataclass(frozen=True)
class Case:
    """One configuration, asked as a privileged container, as an unprivileged one, or both."""

    lines: tuple[str, ...]
    layer: Literal["stock", "bare"] = "stock"
    kinds: tuple[bool, ...] = (True, False)
    """Privileged or not."""


RULES: tuple[tuple[str, ...], ...] = (
    (),
    (f"{D}a",),
    (f"{A}a",),
    (f"{A}c 195:0 rwm",),
    (f"{A}c 195:1 rw",),
    (f"{A}c 195:* rwm",),
    (f"{A}c *:* rwm",),
    (f"{A}a *:* rwm",),
    (f"{A}a *:* rw",),
    (f"{A}a", f"{D}a *:* rwm"),
    (f"{A}b 195:* rwm",),
    (f"{A}c *:1 rw",),
    (f"{A}c 195:0 r",),
    (f"{A}c 195:0 w",),
    (f"{A}c 195:0 r", f"{A}c 195:0 w"),
    (f"{A}c 195:0 wr",),
    (f"{D}c 195:1 rwm",),
    (f"{D}c 195:1 rw",),
    (f"{D}c 195:* r",),
    (f"{A}c 195:* rwm", f"{D}c 195:1 rwm"),
    (f"{A}c 195:1 rwm", f"{D}c 195:1 rwm"),
    (f"{A}c 195:1 rwm", f"{D}c 195:1 rw"),
    (f"{D}c 195:1 rwm", f"{A}c 195:1 rwm"),
    (f"{A}a", f"{D}c 195:1 rwm"),
    (f"{A}a", f"{D}c 195:1 w"),
    (f"{A}a", f"{D}c 195:1 rw"),
    (f"{A}a", f"{D}c 195:* rwm", f"{A}c 195:1 rwm"),
    (f"{A}a", f"{D}c 195:1 rwm", f"{A}c 195:1 rwm"),
    (f"{A}c 195:* rwm", f"{D}a", f"{A}c 1:* rwm", f"{A}c 136:* rwm"),
    (f"{D}a", f"{A}c 195:1 rwm", f"{A}c 1:* rwm"),
    (f"{A}a", f"{D}a", f"{A}c 195:0 rwm"),
    (f"{OLD}allow = c 195:* rwm",),
    (f"{OLD}deny = a",),
    (f"{A}c 195:1 rwm", D.rstrip(), f"{A.rstrip()}"),
)
"""With both nodes bound in."""
OTHERS: tuple[Case, ...] = (
    Case(()),
    Case((f"{A}a",)),
    Case((bind(0, "bind,optional"),)),
    Case((bind(0, "bind,nodev,create=file"), f"{A}c 195:* rwm")),
    Case((bind(0, "bind,ro,create=file"), f"{A}c 195:0 rwm")),
    Case((bind(0, target="mnt/gpu"), f"{A}c 195:0 rwm")),
    Case((bind(0, target="/outside/gpu"), f"{A}c 195:0 rwm")),
    Case(("lxc.mount.entry = /dev/dri dev/dri none bind,optional,create=dir", f"{A}c 226:* rwm")),
    Case(("lxc.mount.entry = /dev hostdev none rbind,create=dir", f"{A}c 195:* rwm")),
    Case(("lxc.cap.drop = mknod", f"{A}a"), kinds=(True,)),
    Case(("lxc.cap.drop = mknod sys_admin", f"{A}a"), kinds=(True,)),
    Case(("lxc.cap.drop = mknod", "lxc.cap.drop =", f"{A}a"), kinds=(True,)),
    Case((f"{A}c *:* m", f"{A}c 195:0 rw"), kinds=(True,)),
    Case((*BOTH, f"{A}c 195:* rw"), layer="bare", kinds=(True,)),
    Case(BOTH, layer="bare"),
    Case((*BOTH, f"{D}a"), layer="bare", kinds=(True,)),
    Case((*BOTH, f"{A}a", f"{D}c 195:0 rwm"), layer="bare", kinds=(True,)),
    # Nodes that not everybody may open: nvidia2 is 0660 root:root, nvidia3 0660 with the group 104.
    Case((bind(2), bind(3), f"{A}c 195:* rwm")),
)


def cases() -> list[tuple[Case, bool]]:
    """Every configuration, each with whether it is privileged."""
    ruled = [Case((*BOTH, *rules)) for rules in RULES]
    return [(case, privileged) for case in (*ruled, *OTHERS) for privileged in case.kinds]
