"""What a container's configuration asks for, and a named profile may refuse or switch off.

Owns reading that, each with the line that asks.  Pure; asked of a container whose profile would change, or
that somebody looks at, never of one that is at rest.  Must not know what any profile says: what compiled
policy is asked is `engine.losses`'s, what becomes of the answers `plan.risks`'s.

`keyctl=1` is not asked: AppArmor has no hook for it, and Proxmox keeps its seccomp rules for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from phoenix_hypervisor.containers.conf import Conf, Dialect
from phoenix_hypervisor.containers.details import other_snapshots
from phoenix_hypervisor.containers.generated import flag, mounts
from phoenix_hypervisor.plan.lines import names_a_profile
from phoenix_hypervisor.plan.model import Ask, Wishes

_LINE = re.compile(
    rb"(?m)^[ \t]*(dev[0-9]+|lxc\.apparmor\.raw|lxc\.mount\.(?:auto|entry)|lxc\.cgroup2?\.devices\.allow)"
    rb"[ \t]*[:=][ \t]*([^\n]*?)[ \t\r]*$"
)
_NODES = {
    ("c", "10", "200"): "/dev/net/tun",
    ("c", "10", "229"): "/dev/fuse",
    ("c", "10", "232"): "/dev/kvm",
    ("c", "10", "237"): "/dev/loop-control",
    ("c", "166", ""): "/dev/ttyACM0",
    ("c", "188", ""): "/dev/ttyUSB0",
    ("c", "195", ""): "/dev/nvidia0",
    ("c", "226", ""): "/dev/dri/renderD128",
    ("b", "7", ""): "/dev/loop0",
    ("b", "8", ""): "/dev/sda",
}
"""A node by kind and number, as far as numbers are fixed (Linux Documentation/admin-guide/devices.txt); an
empty minor: of the whole major."""


def wishes(conf: Conf, wanted: str | None) -> Wishes:
    """All that the configuration asks for; `wanted` is the profile line that it would have."""
    asks: dict[str, Ask] = {}
    raw: list[str] = []
    every = None
    if conf.dialect is Dialect.PVE:
        for ask in of_features(conf.features):
            asks.setdefault(ask.what, ask)
    for key, value in _lines(conf):
        line = f"{key}: {value}"
        if key == "lxc.apparmor.raw":
            raw.append(value)
        elif key.endswith("devices.allow") and value.split()[:1] == ["a"]:
            every = line
        else:
            for what in _asked(key, value):
                asks.setdefault(what, Ask(what, line))
    snapshots = other_snapshots(conf, wanted) if conf.dialect is Dialect.PVE else ()
    return Wishes(
        named=names_a_profile(wanted),
        asks=tuple(asks.values()),
        raw=tuple(raw),
        all_devices=every,
        snapshots=snapshots,
    )


def of_features(features: str) -> tuple[Ask, ...]:
    """What Proxmox's `features` ask for: in place of a named profile Proxmox would generate rules for it."""
    line = f"features: {features}"
    found = [Ask(f"mount {kind}", line) for kind in mounts(features)]
    for name, whats in (
        ("fuse", ("fuse",)),
        ("mknod", ("mknod",)),
        ("nesting", ("services", "docker", "lxc")),
    ):
        if flag(features, name):
            found += [Ask(what, line) for what in whats]
    # In an order of their own: that of `features` means nothing.
    return tuple(sorted(found, key=lambda ask: ask.what))


def of_declared(wanted: str | None, features: str, nodes: Sequence[str]) -> Wishes:
    """What a container that is to be created will ask for."""
    found = tuple(Ask(f"device {path}", "gpu_assignment") for path in nodes)
    return Wishes(named=names_a_profile(wanted), asks=(*of_features(features), *found))


def _lines(conf: Conf) -> Iterator[tuple[str, str]]:
    for key, value in _LINE.findall(conf.data[: conf.head]):
        text = value.decode("utf-8", "surrogateescape")
        if len(text) >= 2 and text[0] in "'\"" and text[0] == text[-1]:
            text = text[1:-1]
        yield key.decode(), text


def _asked(key: str, value: str) -> Iterator[str]:
    if key.startswith("dev"):
        path = value.split(",")[0].removeprefix("path=")
        if path.startswith("/dev/"):
            yield f"device {path}"
    elif key == "lxc.mount.entry":
        fields = value.split()
        if len(fields) >= 2 and fields[0].startswith("/dev/"):
            # The second is relative to the container's root, or below it on the host.
            inside = fields[0] if fields[1].startswith("/") else f"/{fields[1]}"
            whole = len(fields) >= 4 and "create=dir" in fields[3].split(",")
            yield f"device {inside.rstrip('/')}{'/any' if whole else ''}"
    elif key == "lxc.mount.auto":
        found = set(value.split())
        yield from (name for name in ("proc:rw", "sys:rw") if name in found)
    else:
        node = fixed_node(value)
        if node is not None:
            yield f"device {node}"


def fixed_node(rule: str) -> str | None:
    """The node that a rule of the device cgroup, `c 10:200 rwm`, names; None: its number is not fixed."""
    kind, _, number = " ".join(rule.split()[:2]).partition(" ")
    major, _, minor = number.partition(":")
    return _NODES.get((kind, major, minor)) or _NODES.get((kind, major, ""))
