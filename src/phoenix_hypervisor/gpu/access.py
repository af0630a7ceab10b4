"""Can a container open a node, and what lets it in or stops it?

Owns the walls and their order: no node and no way to make one, the user namespace, a capability, the device
cgroup, the node's mode and owner, the profile.  Pure, over facts; compiled policy is asked through
`Names`, which somebody fills in.  Root of the container asks: whoever is inside may become that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from phoenix_hypervisor.gpu.device_rules import MKNOD, READ, WRITE, Number
from phoenix_hypervisor.gpu.guest import Guest, Passed, nodes_of
from phoenix_hypervisor.gpu.hardware import Gpu, Hardware, Node, Slice
from phoenix_hypervisor.values import dataclass, field

NO_NODE = "no node"
CGROUP = "cgroup"
PROFILE = "profile"
USERNS = "user namespace"
CAPABILITY = "capability"
MODE = "mode"
WALLS: Mapping[str, str] = {
    NO_NODE: "no line brings the node",
    USERNS: "in a user namespace no node can be made",
    CAPABILITY: "it has no capability to make a node",
    CGROUP: "the device cgroup refuses the device",
    MODE: "the node's mode and owner refuse it",
    PROFILE: "the profile refuses the node's name",
}
"""What stops an opening, in the order in which it is told."""
MADE = "/tmp/node"
"""Stands for any name: a node that a container makes can be called anything."""


class Names(Protocol):
    """What a profile says of names; None: its policy is not known, so nothing is stopped by it."""

    def opens(self, profile: str | None, path: str) -> str | None:
        """With which access a file of that name may be opened: `rw`, `r`, `w` or nothing."""
        ...

    def makes(self, profile: str | None) -> bool | None:
        """Whether a device node may be made."""
        ...


class Unasked:
    """No policy is known."""

    def opens(self, profile: str | None, path: str) -> str | None:
        return None

    def makes(self, profile: str | None) -> bool | None:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to a node."""

    path: str
    """Its name inside."""
    by: tuple[str, ...]
    """The lines that let it in so far, or `mknod`."""
    walls: Mapping[str, str] = field(default_factory=dict)
    """What stops it, each with the line or the reason."""
    access: str = ""
    """What it opens for where nothing stops it."""
    made: bool = False
    """The node is made inside; else a line brings it."""
    others: bool = True
    """Users inside who are not root may open it, too."""

    @property
    def is_open(self) -> bool:
        return not self.walls


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAccess:
    """A container and one node of the host."""

    node: str
    """Its path on the host."""
    ways: tuple[Way, ...]
    bound: Mapping[str, str] = field(default_factory=dict)
    """What would stop it if a line brought the node under its own name."""

    @property
    def can_open(self) -> bool:
        """Through a node that a line brings."""
        return any(way.is_open and not way.made for way in self.ways)

    @property
    def can_make(self) -> bool:
        """By making the node itself."""
        return any(way.is_open and way.made for way in self.ways)

    @property
    def best(self) -> Way:
        """The open way, else the one with the fewest walls: what a line brings first."""
        return min(self.ways, key=lambda way: (len(way.walls), way.made))

    @property
    def by(self) -> tuple[str, ...]:
        return self.best.by if self.best.is_open else ()

    @property
    def walls(self) -> Mapping[str, str]:
        """All that stops it; empty where something is open.

        Where no line brings a node: that, what keeps it from being made, and what would stop it all the same.
        """
        if self.best.is_open:
            return {}
        if any(not way.made for way in self.ways):
            return self.shut
        return _ordered({**self.shut, **self.best.walls})

    @property
    def shut(self) -> Mapping[str, str]:
        """What stops the node that a line brings, or is to bring: whether it could be made does not count."""
        brought = [way for way in self.ways if not way.made]
        if brought:
            return min(brought, key=lambda way: len(way.walls)).walls
        return _ordered({NO_NODE: WALLS[NO_NODE], **self.bound})

    def without(self, wall: str) -> tuple[str, ...]:
        """The walls that remain if one falls; nothing: it opens then.

        A node that is brought need not be made, and one that can be made need not be brought.
        """
        left = [({name for name in way.walls if name != wall}, way.made) for way in self.ways]
        if wall == NO_NODE:
            left.append((set(self.bound), False))
        fewest, made = min(left, key=lambda one: (len(one[0]), one[1]))
        if made and fewest & {USERNS, CAPABILITY, PROFILE}:
            # It cannot be made, so that it must be brought.
            fewest |= {NO_NODE, *self.bound} - {wall}
        return tuple(name for name in WALLS if name in fewest)


def _ordered(walls: Mapping[str, str]) -> dict[str, str]:
    return {name: walls[name] for name in WALLS if name in walls}


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuAccess:
    """A container and one GPU."""

    gpu: Gpu
    nodes: tuple[NodeAccess, ...]
    """Of each of its own nodes; the one that it needs first."""
    slices: tuple[tuple[Slice, bool], ...] = ()
    """Each MIG slice, and whether it can be used."""

    @property
    def can_open(self) -> bool:
        return any(node.can_open for node in self.nodes)

    @property
    def can_make(self) -> bool:
        return any(node.can_make for node in self.nodes)

    @property
    def works(self) -> bool:
        """The node without which nothing runs on it opens for reading and writing."""
        return any(way.is_open and not way.made and way.access == "rw" for way in self.nodes[0].ways)

    @property
    def deciding(self) -> NodeAccess:
        """The node that says most: one that is open, else the one that it needs."""
        opened = [node for node in self.nodes if node.can_open] or [n for n in self.nodes if n.can_make]
        return opened[0] if opened else self.nodes[0]


class Judge:
    """Answers for one host; keeps what it looked up."""

    def __init__(
        self,
        hardware: Hardware,
        node_at: Callable[[str], Node | None],
        names: Names | None = None,
    ) -> None:
        self._hardware = hardware
        self._node_at = node_at
        self._names: Names = Unasked() if names is None else names

    def judge(self, guest: Guest) -> tuple[GpuAccess, ...]:
        """What the container can do with each GPU."""
        brought = self._brought(guest)
        return tuple(
            GpuAccess(
                gpu=gpu,
                nodes=tuple(self._access(guest, path, brought) for path in gpu.nodes),
                slices=tuple((one, self._usable(guest, gpu, one, brought)) for one in gpu.slices),
            )
            for gpu in self._hardware.gpus
        )

    def shared(self, guest: Guest) -> tuple[NodeAccess, ...]:
        """What it can do with each node that belongs to no single GPU."""
        brought = self._brought(guest)
        return tuple(self._access(guest, one.path, brought) for one in self._hardware.shared)

    def _usable(
        self, guest: Guest, gpu: Gpu, one: Slice, brought: Mapping[Number, Sequence[tuple[str, Passed, Node]]]
    ) -> bool:
        found = [self._access(guest, path, brought) for path in (gpu.needs, *one.nodes)]
        return all(node.can_open for node in found)

    def _brought(self, guest: Guest) -> dict[Number, list[tuple[str, Passed, Node]]]:
        """By number, each node that a line brings: where it is inside."""
        found: dict[Number, list[tuple[str, Passed, Node]]] = {}
        for passed in guest.passed:
            for path, node in nodes_of(passed, self._hardware.nodes, self._node_at):
                found.setdefault(node.number, []).append((path, passed, node))
        return found

    def _access(
        self, guest: Guest, path: str, brought: Mapping[Number, Sequence[tuple[str, Passed, Node]]]
    ) -> NodeAccess:
        node = self._hardware.nodes.get(path)
        if node is None:
            way = Way(path=path, by=(), walls={NO_NODE: "the host has no such node"}, made=True)
            return NodeAccess(node=path, ways=(way,))
        ways = [
            self._way(guest, inside, passed, found, node)
            for inside, passed, found in brought.get(node.number, ())
        ]
        own = Passed(source=path, target=path, line="")
        bound = {} if ways else self._way(guest, path, own, node, node).walls
        return NodeAccess(node=path, ways=(*ways, *self._made(guest, node)), bound=bound)

    def _way(self, guest: Guest, inside: str, passed: Passed, found: Node, node: Node) -> Way:
        walls: dict[str, str] = {}
        granted, line = self._granted(guest, node.number)
        if not granted:
            walls[CGROUP] = line
        bits, others = permitted(guest, found, passed)
        if not set(granted or "rw") & set(bits):
            walls[MODE] = mode_line(found, passed)
        named = self._names.opens(guest.profile, inside)
        if named is not None and not set(granted or "rw") & set(named):
            walls[PROFILE] = f"{guest.profile} refuses {inside}"
        access = "".join(
            letter
            for letter in "rw"
            if letter in granted and letter in bits and (named is None or letter in named)
        )
        if not access and not walls:
            # Each allows something, and all together nothing.
            walls[CGROUP] = line
        by = (passed.line, *([line] if line and line != passed.line else []))
        return Way(
            path=inside, by=by, walls=_ordered(walls), access=access, others=others == "rw", made=False
        )

    def _granted(self, guest: Guest, number: Number) -> tuple[str, str]:
        """With which access the device cgroup lets it through, and the line that decides."""
        granted = guest.program.access(number)
        wanted = READ | WRITE if granted in ("", "rw") else READ if granted == "r" else WRITE
        _, line = guest.program.decide(number, wanted)
        return granted, line or ("no rule allows it" if not granted else "")

    def _made(self, guest: Guest, node: Node) -> Iterable[Way]:
        """The ways of a container that makes the node itself: by mknod(2), or with a devtmpfs of its own."""
        walls: dict[str, str] = {}
        granted, line = self._granted(guest, node.number)
        if not granted:
            walls[CGROUP] = line
        if guest.unprivileged:
            walls[USERNS] = WALLS[USERNS]
            yield Way(path=MADE, by=("mknod",), walls=_ordered(walls), made=True)
            return
        by = (line,) if line else ()
        mknod = dict(walls)
        if "mknod" not in guest.capabilities:
            mknod[CAPABILITY] = "mknod is dropped"
        makes, who = guest.program.decide(node.number, MKNOD)
        if not makes:
            mknod[CGROUP] = who or "no rule allows making it"
        named = self._names.opens(guest.profile, MADE)
        if self._names.makes(guest.profile) is False or named == "":
            mknod[PROFILE] = f"{guest.profile} lets no node be made"
        yield Way(path=MADE, by=("mknod", *by), walls=_ordered(mknod), access=granted, made=True)
        # A devtmpfs has every node of the host. AppArmor has no hook for fsopen(2), which makes one.
        mount = dict(walls)
        if "sys_admin" not in guest.capabilities:
            mount[CAPABILITY] = "sys_admin is dropped"
        yield Way(path=MADE, by=("a devtmpfs", *by), walls=_ordered(mount), access=granted, made=True)


def permitted(guest: Guest, node: Node, passed: Passed) -> tuple[str, str]:
    """With which access mode and owner let root of the container through, and everybody else inside."""
    mode, uid, gid = node.mode, node.uid, node.gid
    if passed.own is not None:
        mode, inside_uid, inside_gid = passed.own
        uid, gid = guest.outside("u", inside_uid) or 0, guest.outside("g", inside_gid) or 0
    others = _letters(mode)
    mapped = guest.is_mapped("u", uid), guest.is_mapped("g", gid)
    if all(mapped) and (guest.unprivileged or "dac_override" in guest.capabilities):
        # A capability counts where the container has both ids (privileged_wrt_inode_uidgid).
        return "rw", others
    found = set(others)
    if mapped[0]:
        found |= set(_letters(mode >> 6))
    if mapped[1]:
        found |= set(_letters(mode >> 3))
    return "".join(letter for letter in "rw" if letter in found), others


def _letters(mode: int) -> str:
    return "r" * bool(mode & 4) + "w" * bool(mode & 2)


def mode_line(node: Node, passed: Passed) -> str:
    """What mode and owner are, as they count."""
    mode, uid, gid = passed.own if passed.own is not None else (node.mode, node.uid, node.gid)
    which = "inside" if passed.own is not None else "of the host"
    return f"mode {mode:04o}, owner {uid}:{gid} {which}"
