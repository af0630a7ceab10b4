"""Kernels in which AppArmor has a known hole.

Owns which fixes that confinement relies on are in which version of Debian's and Proxmox's kernels.
Pure: what `uname` says comes in.  Sources: the changelogs of Debian's linux and of Proxmox's kernels;
other kernels carry fixes under numbers that say nothing, so nothing is said of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from phoenix_hypervisor.values import dataclass

Series = tuple[int, int]
Rest = tuple[int, int]
"""What follows the series: `6.12.74-2` is (74, 2) of (6, 12)."""


@dataclass(frozen=True, slots=True)
class Hole:
    """One of them; `code` is stable."""

    code: str
    names: str
    means: str
    debian: Mapping[Series, Rest]
    """By series, the first version of Debian's package that has the fix."""
    proxmox: Mapping[Series, Rest]


HOLES = (
    Hole(
        "policy-management",
        "CrackArmor (CVE-2026-23268, -23269, -23403 to -23411)",
        "users of this host, root in a container among them, may replace or remove profiles",
        {(6, 1): (164, 1), (6, 12): (74, 2)},
        {(6, 8): (12, 20), (6, 14): (11, 6), (6, 17): (13, 2), (7, 0): (6, 2)},
    ),
    Hole(
        "complain-change-hat",
        "CVE-2026-90179",
        "a process under a profile in complain mode can hang the kernel: keep profiles out of complain mode",
        {(6, 1): (192, 1), (6, 12): (115, 1)},
        {},
    ),
)


@dataclass(frozen=True, slots=True)
class Open:
    """A hole that a kernel has; `fixed` is the first version of its series without, None: none is known."""

    hole: Hole
    fixed: str | None


_DEBIAN = re.compile(r"\bDebian (\d+)\.(\d+)\.(\d+)-(\d+)")
_PROXMOX = re.compile(r"(\d+)\.(\d+)\.(\d+)-(\d+)-pve\b")


def open_holes(release: str, version: str) -> tuple[Open, ...] | None:
    """The known holes of a kernel, by `uname -r` and `uname -v`; None where its numbers say nothing.

    A series older than all that got a fix counts as without; a newer one came after them.
    """
    match, fixes = _PROXMOX.match(release), [(hole, hole.proxmox) for hole in HOLES]
    if match is None:
        match, fixes = _DEBIAN.search(version), [(hole, hole.debian) for hole in HOLES]
    if match is None:
        return None
    major, minor, *rest = (int(number) for number in match.groups())
    found = []
    for hole, fixed in fixes:
        first = fixed.get((major, minor))
        if first is not None and tuple(rest) < first:
            found.append(Open(hole, f"{major}.{minor}.{first[0]}-{first[1]}"))
        elif first is None and fixed and (major, minor) < max(fixed):
            found.append(Open(hole, None))
    return tuple(found)
