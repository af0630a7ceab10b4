"""What a container's configuration says of devices.

Owns the facts about one container, and which lines bring a node of the host into it: LXC's mount entries,
Proxmox's `devN` and `mpN`; its capabilities and its id map.  Pure; must not read a file:
`containers.device_lines` gives the settings in the order in which LXC reads them.

Sources: lxc.container.conf(5), LXC's conf.c; PVE::LXC of pve-container 6.1 (update_lxc_config,
create_passthrough_device_node).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from phoenix_hypervisor.gpu.device_rules import Given, Number, Program, program
from phoenix_hypervisor.gpu.hardware import Node
from phoenix_hypervisor.values import dataclass, field

DEVICES = "lxc.cgroup2.devices."
OLD_DEVICES = "lxc.cgroup.devices."
"""cgroup v1's: LXC reads them and does nothing with them on a host that has cgroup v2 alone."""
_HOOKS = ("lxc.hook.mount", "lxc.hook.autodev", "lxc.hook.pre-mount", "lxc.hook.pre-start", "lxc.hook.start")
_OF_PROXMOX = "/usr/share/lxc/hooks/lxc-pve-"
"""Proxmox's own hooks: what they bring is what `devN` says."""
DEFAULT_MODE = 0o660
"""Of a node that `devN` brings, where the line says none (create_passthrough_device_node)."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of a configuration, as LXC reads it."""

    key: str
    value: str
    line: str
    """As it stands; with its file where that is not the container's own configuration."""
    own: bool = True
    """It stands in the container's own configuration."""


@dataclass(frozen=True, slots=True)
class Range:
    """One range of the id map."""

    kind: str
    """`u` or `g`."""
    inside: int
    outside: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A line that brings something of the host's /dev into the container."""

    source: str
    """The host's path: a node, or a directory with nodes."""
    target: str
    """Where that is inside."""
    line: str
    own: tuple[int, int, int] | None = None
    """Mode, and owner and group as inside, where it is a node made anew (`devN`)."""
    access: str = "rw"
    """What the line itself allows in the device cgroup; `r`: deny-write."""
    is_dev: bool = False
    """It is a `devN` line, which brings its own device rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """One container, as far as devices go: as it will be at its next start."""

    ctid: str
    name: str = ""
    idmap: tuple[Range, ...] = ()
    """Empty: it has no user namespace."""
    capabilities: frozenset[str] = frozenset()
    """Of those that matter here, what it has: mknod, sys_admin, dac_override."""
    program: Program = field(default_factory=Program)
    passed: tuple[Passed, ...] = ()
    profile: str | None = None
    """What LXC takes its profile line for; None: it has none."""
    unseen: tuple[str, ...] = ()
    """Lines that may bring nodes of which nothing is known: hooks, an fstab."""
    inert: tuple[str, ...] = ()
    """Its own device lines that do nothing."""
    fault: str | None = None
    """Why nothing can be said of it."""

    @property
    def unprivileged(self) -> bool:
        """It has a user namespace."""
        return bool(self.idmap)

    def outside(self, kind: str, inside: int) -> int | None:
        """The host's id for one of the container's; None: it has none."""
        if not self.idmap:
            return inside
        for one in self.idmap:
            if one.kind == kind and one.inside <= inside < one.inside + one.count:
                return one.outside + inside - one.inside
        return None

    def is_mapped(self, kind: str, outside: int) -> bool:
        """Whether somebody inside has that id of the host's."""
        if not self.idmap:
            return True
        return any(o.kind == kind and o.outside <= outside < o.outside + o.count for o in self.idmap)


_CAPABILITIES = {"mknod": 27, "sys_admin": 21, "dac_override": 1}


def guest(
    ctid: str,
    settings: Sequence[Setting],
    node_at: Callable[[str], Node | None],
    *,
    name: str = "",
    profile: str | None = None,
    passed: Sequence[Passed] = (),
) -> Guest:
    """A container from its settings in LXC's order; `passed` is what Proxmox brings by its own keys."""

    def number_of(path: str) -> Number | None:
        found = node_at(path)
        return None if found is None else found.number

    found = program(_given(settings), number_of)
    lines = {one.line for one in settings if one.own}
    inert = [line for line in found.inert() if line in lines] if found.rules else []
    old = [s.line for s in settings if s.key.startswith(OLD_DEVICES) and s.own]
    return Guest(
        ctid=ctid,
        name=name,
        idmap=tuple(_idmap(settings)),
        capabilities=_capabilities(settings),
        program=found,
        passed=(*passed, *_entries(settings, ctid)),
        profile=profile,
        unseen=tuple(_unseen(settings)),
        inert=(*inert, *old),
        fault=f"LXC takes no `{found.fault}`: the container does not start" if found.fault else None,
    )


def _given(settings: Iterable[Setting]) -> Iterator[Given]:
    """The device rules; an empty value forgets those of its key."""
    found: list[tuple[str, Given]] = []
    for one in settings:
        if one.key.startswith(DEVICES) or one.key in ("lxc.cgroup2", DEVICES.rstrip(".")):
            if not one.value:
                found = [] if one.key == "lxc.cgroup2" else [old for old in found if old[0] != one.key]
            elif one.key in (f"{DEVICES}allow", f"{DEVICES}deny"):
                found.append((one.key, Given(one.key.endswith("allow"), one.value, one.line, one.own)))
    return (given for _, given in found)


def _capabilities(settings: Iterable[Setting]) -> frozenset[str]:
    """What of the capabilities that matter it has: `drop` and `keep` exclude each other, an empty value
    forgets both (set_config_cap_drop, lxc_clear_config_caps)."""
    keeps, named = False, set[str]()
    for one in settings:
        if one.key not in ("lxc.cap.drop", "lxc.cap.keep"):
            continue
        if not one.value:
            keeps, named = False, set()
            continue
        keeps = one.key.endswith("keep")
        for word in one.value.split():
            if word == "none":
                named = set()
            else:
                named.add(word.lower().removeprefix("cap_"))
    numbers = {str(number): name for name, number in _CAPABILITIES.items()}
    named = {numbers.get(word, word) for word in named}
    return frozenset(name for name in _CAPABILITIES if (name in named) is keeps)


def _idmap(settings: Iterable[Setting]) -> Iterator[Range]:
    found: list[Range] = []
    for one in settings:
        if one.key not in ("lxc.idmap", "lxc.id_map"):
            continue
        if not one.value:
            found = []
            continue
        words = one.value.split()
        if len(words) == 4 and words[0] in ("u", "g", "b") and all(word.isdigit() for word in words[1:]):
            kinds = "ug" if words[0] == "b" else words[0]
            found += [Range(kind, *(int(word) for word in words[1:])) for kind in kinds]
    return iter(found)


def _unseen(settings: Iterable[Setting]) -> Iterator[str]:
    for one in settings:
        hook = one.key in _HOOKS and one.value and not one.value.startswith(_OF_PROXMOX)
        if hook or (one.key in ("lxc.mount.fstab", "lxc.mount") and one.value):
            yield one.line


# Mount entries ----------------------------------------------------------------------

_ESCAPE = re.compile(r"\\([0-7]{3})")


def _entries(settings: Iterable[Setting], ctid: str) -> Iterator[Passed]:
    autodev = True
    found: list[tuple[Setting, list[str]]] = []
    for one in settings:
        if one.key == "lxc.autodev":
            autodev = one.value != "0"
        elif one.key == "lxc.mount.entry":
            if one.value:
                found.append((one, [_ESCAPE.sub(_unescaped, word) for word in one.value.split()]))
            else:
                found = []
    for one, words in found:
        if len(words) >= 4 and words[0].startswith("/"):
            passed = _entry(one, words, ctid, autodev)
            if passed is not None:
                yield passed


def _unescaped(match: re.Match[str]) -> str:
    return chr(int(match[1], 8))


def _entry(one: Setting, words: Sequence[str], ctid: str, autodev: bool) -> Passed | None:
    source, target, _, options = words[:4]
    said = options.split(",")
    if not {"bind", "rbind"} & set(said) or "relative" in said:
        return None
    if target.startswith("/"):
        # Outside of the container's root LXC ignores it (mount_entry_on_absolute_rootfs).
        _, below, target = target.partition(f"/{ctid}/rootfs/")
        if not below:
            return None
    inside = posixpath.normpath(f"/{target}")
    made = any(word in ("create=file", "create=dir") for word in said)
    if autodev and inside.startswith("/dev/") and not made:
        # A fresh /dev has no such file: LXC does not start, or with `optional` goes on without it.
        return None
    return Passed(
        source=posixpath.normpath(source),
        target=inside,
        line=one.line,
    )


def nodes_of(
    passed: Passed, nodes: Iterable[str], node_at: Callable[[str], Node | None]
) -> Iterator[tuple[str, Node]]:
    """Each node that the line brings, by its path inside; `nodes` are all that the host has."""
    single = node_at(passed.source)
    if single is not None:
        yield passed.target, single
        return
    top = passed.source.rstrip("/") + "/"
    for path in nodes:
        if path.startswith(top):
            node = node_at(path)
            if node is not None:
                yield posixpath.join(passed.target, path.removeprefix(top)), node


# Proxmox's own keys -----------------------------------------------------------------

_PART = re.compile(r"([a-z-]+)=(.*)", re.DOTALL)


def of_device(value: str, line: str) -> Passed | None:
    """What a `devN` line brings; None where it says nothing that Proxmox takes."""
    parts: dict[str, str] = {}
    for number, word in enumerate(value.split(",")):
        match = _PART.fullmatch(word)
        if match is None or (number == 0 and word.startswith("/")):
            parts.setdefault("path", word)
        else:
            parts[match[1]] = match[2]
    path = parts.get("path", "")
    if not path.startswith("/dev/"):
        return None
    mode, uid, gid = parts.get("mode", ""), parts.get("uid", "0"), parts.get("gid", "0")
    return Passed(
        source=posixpath.normpath(path),
        target=posixpath.normpath(path),
        line=line,
        own=(
            int(mode, 8) if re.fullmatch(r"0?[0-7]{3}", mode) else DEFAULT_MODE,
            int(uid) if uid.isdigit() else 0,
            int(gid) if gid.isdigit() else 0,
        ),
        access="r" if parts.get("deny-write") in ("1", "on", "yes", "true") else "rw",
        is_dev=True,
    )


def of_mount_point(value: str, line: str) -> Passed | None:
    """What an `mpN` line brings of the host's own directories; None for a volume."""
    first, *others = value.split(",")
    source = first.removeprefix("volume=")
    parts = dict(word.partition("=")[::2] for word in others)
    if not source.startswith("/") or not parts.get("mp", "").startswith("/"):
        return None
    return Passed(source=posixpath.normpath(source), target=posixpath.normpath(parts["mp"]), line=line)


def device_rules(passed: Iterable[Passed], node_at: Callable[[str], Node | None]) -> Iterator[Setting]:
    """The device rules that Proxmox writes for its `devN` lines, in front of the raw lines."""
    for one in passed:
        node = node_at(one.source) if one.is_dev else None
        if node is None:
            continue
        kind, major, minor = node.number
        yield Setting(f"{DEVICES}allow", f"{kind} {major}:{minor} {one.access}", one.line, own=False)
        if one.access == "r":
            yield Setting(f"{DEVICES}deny", f"{kind} {major}:{minor} w", one.line, own=False)
