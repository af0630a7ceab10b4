"""Which strings a kernel really asks, class by class.

Owns the grammar of questions as small automata: comparing two profiles, or listing one,
on any other string would report differences that nobody can meet.  Must not look at a
profile.  Source: the callers in security/apparmor (file.c, mount.c, ipc.c, label.c), and
path.c: paths are absolute and canonical, directories end in `/`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import cache

from phoenix_hypervisor.policy import constants, perms
from phoenix_hypervisor.values import dataclass

DEAD = -1

FILE_BITS = (perms.READ | perms.WRITE | perms.APPEND | perms.EXEC | perms.MMAP_EXEC | perms.LOCK) | (
    perms.GETATTR | perms.CREATE | perms.DELETE | perms.OPEN | perms.SETATTR | perms.CHMOD | perms.CHOWN
)
"""What is read at the end of a path.  LINK is not: only the pair of paths decides it."""


@dataclass(frozen=True, slots=True, eq=False)
class Grammar:
    """A complete automaton over bytes: `rows[state][byte]` is the next state or DEAD.

    `reads[state]` are the permission bits that a kernel looks at when a string ends there.
    """

    rows: tuple[tuple[int, ...], ...]
    reads: tuple[int, ...]
    tags: tuple[str, ...] = ()
    """What a question that ends in the state is called, where a class has several kinds."""
    start: int = 0

    def accepts(self, data: bytes) -> int:
        """The bits read behind `data`; 0 where no kernel asks it."""
        state = self.start
        for byte in data:
            state = self.rows[state][byte]
            if state == DEAD:
                return 0
        return self.reads[state]


Step = Callable[[Hashable, int], Hashable | None]


def build(
    start: Hashable,
    step: Step,
    reads: Callable[[Hashable], int],
    tags: Callable[[Hashable], str] = lambda state: "",
    classes: Sequence[int] = range(256),
) -> Grammar:
    """Explore `step` from `start` and drop what leads nowhere.

    `classes` gives each byte a byte that every state treats alike; only those are tried.
    """
    tried = sorted(set(classes))
    numbers: dict[Hashable, int] = {start: 0}
    order: list[Hashable] = [start]
    rows: list[list[int]] = []
    for state in order:
        found = {}
        for byte in tried:
            target = step(state, byte)
            if target is not None and target not in numbers:
                numbers[target] = len(order)
                order.append(target)
            found[byte] = DEAD if target is None else numbers[target]
        rows.append([found[byte] for byte in classes])
    masks = [reads(state) for state in order]
    alive = {number for number, mask in enumerate(masks) if mask}
    grew = True
    while grew:
        more = {n for n, row in enumerate(rows) if n not in alive and not alive.isdisjoint(row)}
        alive |= more
        grew = bool(more)
    trimmed = tuple(tuple(t if t in alive else DEAD for t in row) for row in rows)
    return Grammar(trimmed, tuple(masks), tuple(tags(state) for state in order))


# A path: states say what the last component looks like so far.
_BEGIN, _SLASH, _DOT, _DOTS, _NAME = "begin", "slash", "dot", "dots", "name"


def path_step(state: str, byte: int) -> str | None:
    """Absolute, no empty component, no `.` and no `..`."""
    if byte == 0:
        return None
    if state == _BEGIN:
        return _SLASH if byte == 0x2F else None
    if byte == 0x2F:
        return _SLASH if state == _NAME else None
    if byte == 0x2E and state in (_SLASH, _DOT):
        return _DOT if state == _SLASH else _DOTS
    return _NAME


def path_ends(state: str) -> bool:
    return state in (_SLASH, _NAME)


@cache
def path(mask: int) -> Grammar:
    """One path."""
    return build(
        _BEGIN,
        lambda state, byte: path_step(str(state), byte),
        lambda state: mask if path_ends(str(state)) else 0,
    )


@cache
def two_paths(mask: int, *, directories: bool = False) -> Grammar:
    """Two paths with a NUL between them; `directories`: both end in `/`."""

    def ends(state: str) -> bool:
        return state == _SLASH if directories else path_ends(state)

    def step(state: Hashable, byte: int) -> Hashable | None:
        assert isinstance(state, tuple)
        part, at = state
        if byte == 0:
            return (1, _BEGIN) if part == 0 and ends(at) else None
        target = path_step(at, byte)
        return None if target is None else (part, target)

    def reads(state: Hashable) -> int:
        assert isinstance(state, tuple)
        return mask if state[0] == 1 and ends(state[1]) else 0

    return build((0, _BEGIN), step, reads)


@cache
def label(
    mask: int,
    *,
    heads: bytes = b"",
    behind_path: bool = False,
    apart: tuple[bytes, int] = (b"", 0),
    empty: int = 0,
) -> Grammar:
    """A peer or target name, behind one byte of `heads` or behind a path and a NUL.

    `apart`: a name of which other bits are read; `empty`: the bits that are read without a name.
    """
    special, other_mask = apart

    def step(state: Hashable, byte: int) -> Hashable | None:
        if isinstance(state, tuple):
            if byte == 0:
                return 0 if path_ends(state[0]) else None
            target = path_step(state[0], byte)
            return None if target is None else (target,)
        if state == "head":
            return 0 if byte in heads else None
        if byte == 0:
            return None
        # A number: how much of `special` has come; "name": it is another.
        if isinstance(state, int) and state < len(special) and special[state] == byte:
            return state + 1
        return "name"

    def reads(state: Hashable) -> int:
        if state == "name":
            return mask
        if not isinstance(state, int):
            return 0
        return empty if state == 0 else other_mask if state == len(special) else mask

    start: Hashable = (_BEGIN,) if behind_path else "head" if heads else 0
    return build(start, step, reads)


@cache
def parts(*read: tuple[int, bool], slash: bool = False) -> Grammar:
    """Strings with NULs between them: for each the bits read behind it, and whether it may be empty.

    `slash`: the first begins with one.
    """

    def step(state: Hashable, byte: int) -> Hashable | None:
        assert isinstance(state, tuple)
        number, filled = state
        if byte:
            return None if slash and state == (0, False) and byte != 0x2F else (number, True)
        ends = filled or read[number][1]
        return (number + 1, False) if ends and number + 1 < len(read) else None

    def reads(state: Hashable) -> int:
        assert isinstance(state, tuple)
        number, filled = state
        return read[number][0] if filled or read[number][1] else 0

    return build((0, False), step, reads)


SIGNAL_BYTES = bytes(
    [
        *range(1, len(constants.SIGNALS)),
        *range(constants.SIGNAL_RT_BASE, constants.SIGNAL_RT_BASE + constants.SIGNAL_RT_COUNT),
    ]
)

_FLAGS = 0xFFFFFFFF & ~constants.MS_IGNORED & ~constants.MOUNT_FLAGS["nouser"]
_BIND = constants.MS_BIND | constants.MS_REC
_CHANGE = constants.MS_PROPAGATION | constants.MS_REC | constants.MS_SILENT
_NEW = _FLAGS & ~(constants.MS_REMOUNT | constants.MS_BIND | constants.MS_PROPAGATION | constants.MS_MOVE)

_KINDS: dict[str, tuple[int, int, frozenset[str], bool]] = {
    "remount": (_FLAGS, constants.MS_REMOUNT, frozenset({"empty"}), False),
    "bind": (_BIND, constants.MS_BIND, frozenset({"path"}), False),
    "propagation": (_CHANGE, constants.MS_PROPAGATION, frozenset({"empty"}), False),
    "move": (constants.MS_MOVE, constants.MS_MOVE, frozenset({"path", "empty"}), False),
    "new": (_NEW, 0, frozenset({"path", "empty", "other"}), True),
}
"""For each kind of mount: flags it may show, flags of which it shows one (0: none needed),
what its source looks like, whether it has a file system type."""


_Flags = tuple[tuple[str, bool], ...]
"""The kinds that a mount can still be, and whether it shows what it needs for that."""


COMMON_TYPES = tuple(
    word.encode()
    for word in constants.words(
        """proc sysfs tmpfs ramfs devtmpfs devpts mqueue cgroup cgroup2 debugfs tracefs securityfs
        bpf configfs pstore hugetlbfs overlay binfmt_misc fuse"""
    )
)
"""File systems that need no device and that most kernels know: only those get as far as AppArmor."""


@cache
def mount(types: tuple[bytes, ...] | None = None) -> Grammar:
    """Target, source, type, one byte for each flag, and the data, as the kernel rewrites a mount(2).

    `types`: only these file systems, for examples that can be tried out.
    """
    letters = {byte for name in types or () for byte in name}
    special = {0x2E, 0x2F, *range(33), *letters}
    return build(
        ("target", _BEGIN),
        lambda state, byte: _mount_step(state, byte, types),
        _mount_reads,
        _mount_tag,
        classes=[byte if byte in special else 0xFF for byte in range(256)],
    )


def _source_kind(state: str) -> str:
    if state in ("empty", "other"):
        return state
    return "path" if path_ends(state) else "other"


def _mount_step(state: Hashable, byte: int, types: tuple[bytes, ...] | None) -> Hashable | None:
    assert isinstance(state, tuple)
    if state[0] == "target":
        if byte == 0:
            return ("source", "empty", state[1] == _SLASH) if path_ends(state[1]) else None
        target = path_step(state[1], byte)
        return None if target is None else ("target", target)
    if state[0] == "source":
        _, source, directory = state
        if byte == 0:
            return ("type", _source_kind(source), b"", directory)
        if source == "other":
            return state
        return ("source", path_step(_BEGIN if source == "empty" else source, byte) or "other", directory)
    if state[0] == "type":
        _, source, name, directory = state
        if byte:
            if not directory:
                return None  # a file system is mounted on a directory, which the kernel writes so
            if types is None:
                return ("type", source, b"*", directory)
            longer = name + bytes((byte,))
            return ("type", source, longer, directory) if any(t.startswith(longer) for t in types) else None
        if types is not None and name and name not in types:
            return None
        kinds = tuple(
            (kind, not needed)
            for kind, (_, needed, sources, typed) in _KINDS.items()
            if source in sources
            and typed is bool(name)
            and not (types is not None and kind == "move" and source == "empty")
        )
        return ("flags", -1, kinds) if kinds else None
    if state[0] == "data":
        return ("data", state[1], True) if byte else None
    return _mount_flag(state, byte, types)


def _mount_flag(
    state: tuple[str, int, _Flags], byte: int, types: tuple[bytes, ...] | None
) -> Hashable | None:
    _, last, kinds = state
    if byte == 0:
        done = _mount_tag(state)
        # Only these two have data that are matched (aa_remount, aa_new_mount).
        return ("data", done, False) if done in ("new", "remount") and types is None else None
    bit = byte - 1
    if not last < bit < 32:
        return None
    left = tuple(
        (kind, done or bool(_KINDS[kind][1] >> bit & 1))
        for kind, done in kinds
        if _KINDS[kind][0] >> bit & 1
        and not (types is not None and done and kind == "propagation")  # two at once are EINVAL
    )
    return ("flags", bit, left) if left else None


def _mount_reads(state: Hashable) -> int:
    assert isinstance(state, tuple)
    if state[0] == "data":
        return perms.MAY_MOUNT if state[2] else 0
    return perms.MAY_MOUNT if state[0] == "flags" and any(done for _, done in state[2]) else 0


def _mount_tag(state: Hashable) -> str:
    assert isinstance(state, tuple)
    if state[0] == "data":
        return f"{state[1]}, by its data" if state[2] else ""
    return next((kind for kind, done in state[2] if done), "") if state[0] == "flags" else ""


@cache
def anything(mask: int) -> Grammar:
    """Any bytes at all; for classes whose questions are not known here."""
    return Grammar((tuple([0] * 256),), (mask,), ("",))
