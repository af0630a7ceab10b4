"""What AppArmor cannot mediate on this host, so that rules about it do nothing.

Owns the reading of a feature dump and what each missing feature means.  Derived from what the
kernel (securityfs) and the parser's pinned features say, never from a release number.  Pure:
bytes in, gaps out.  Source: security/apparmor/apparmorfs.c, apparmor_parser(8).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from phoenix_hypervisor.values import dataclass

Features = Mapping[str, frozenset[str]]
"""Words by path below the tree: `mount/mask` has `mount`, `umount`, `pivot_root`."""

_TOKEN = re.compile(rb"[{}]|[^\s{}]+")


@dataclass(frozen=True, slots=True)
class Gap:
    """One thing that nothing mediates here; `code` is stable."""

    code: str
    what: str
    by: str
    """`kernel`, or `pinned features`: the kernel would ask, the policy's ABI does not say so."""
    means: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a feature dump, and what it means where nothing is there."""

    code: str
    what: str
    places: tuple[tuple[str, str], ...]
    """Any of these features is enough: path, and a word in it (empty: any)."""
    means: str
    by_rule: bool = True
    """Whether the features that a policy is written for can switch it off."""


ASKED = (
    Asked("file", "files", (("file/mask", ""),), "no file rule holds"),
    Asked("capability", "capabilities", (("caps/mask", ""),), "no capability is denied"),
    Asked("mount", "mounts", (("mount/mask", "mount"),), "no mount rule holds"),
    Asked(
        "move_mount",
        "attaching a detached mount (move_mount)",
        (("mount/move_mount", ""),),
        "a detached procfs or sysfs can be attached anywhere; there only rules for every name hold",
        by_rule=False,
    ),
    Asked("ptrace", "ptrace", (("ptrace/mask", "trace"),), "processes are kept apart by namespaces only"),
    Asked("signal", "signals", (("signal/mask", "kill"),), "signals are kept apart by namespaces only"),
    Asked(
        "network",
        "socket families",
        (("network_v8/af_mask", "inet"), ("network_v9/af_mask", "inet"), ("network/af_mask", "inet")),
        "sockets of every family can be made",
    ),
    Asked(
        "unix",
        "unix sockets by address and peer",
        (("network/af_unix", ""), ("network_v8/af_unix", ""), ("network_v9/af_unix", "")),
        "`unix` rules allow the family as a whole",
    ),
    Asked("userns", "making user namespaces", (("namespaces/mask", "userns_create"),), "every container may"),
    Asked("mqueue", "POSIX message queues", (("ipc/posix_mqueue", ""),), "every container may use its own"),
    Asked("io_uring", "io_uring", (("io_uring/mask", ""),), "every container may use it"),
)


def read_dump(data: bytes) -> Features:
    """A feature file as the kernel dump and `--policy-features` have it; ValueError where it is none."""
    found: dict[str, set[str]] = {}
    path: list[str] = []
    last = ""
    for match in _TOKEN.finditer(data):
        token = match[0].decode("utf-8", "surrogateescape")
        if token == "{":
            if path:
                # What was taken for a word is the name of what follows.
                found.get("/".join(path), set()).discard(last)
            path.append(last)
        elif token == "}":
            if not path:
                raise ValueError("more blocks end than begin")
            path.pop()
        else:
            last = token
            if path:
                found.setdefault("/".join(path), set()).add(token)
    if path or not found:
        raise ValueError("is not a feature file")
    return {name: frozenset(words) for name, words in found.items() if words}


def gaps(kernel: Features, pinned: Features | None) -> list[Gap]:
    """What neither rule nor profile can hold here; `pinned` are the policy's, None: as the kernel's.

    A class is mediated where both lists have the same feature: `network/af_unix` of a policy says
    nothing to a kernel that has `network_v9/af_unix` only, as Linux has from 6.17.
    """
    missing = []
    for one in ASKED:
        offered = [place for place in one.places if _has(kernel, place)]
        if not offered:
            missing.append(Gap(one.code, one.what, "kernel", one.means))
        elif one.by_rule and pinned is not None and not any(_has(pinned, place) for place in offered):
            missing.append(Gap(one.code, one.what, "pinned features", one.means))
    return missing


def _has(features: Features, place: tuple[str, str]) -> bool:
    path, word = place
    return path in features and (not word or word in features[path])
