"""What speaks against moving a container to another node.

Owns the judgement, each reason a code.  Pure: the facts of both nodes and what the container needs come in,
notes go out; must not gather (`engine.moving` does).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from phoenix_hypervisor.plan.bundle import Bundle, LoadedThere, Number
from phoenix_hypervisor.plan.migration_codes import MoveCode
from phoenix_hypervisor.plan.model import Note, container
from phoenix_hypervisor.plan.roles import Role
from phoenix_hypervisor.values import dataclass

MAX_AGE = 24 * 3600.0
"""Seconds; after that a node's facts are taken for old, unless the operator says otherwise."""
AHEAD = 300.0
"""Seconds by which another node's clock may be ahead."""
_ENFORCING = ("enforce", "kill", "unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A GPU's device node that the container's configuration names."""

    path: str
    """A node, or a directory with nodes."""
    line: str
    by_name: bool
    """Proxmox looks its number up at every start (`devN`): a rule of its own comes with it."""
    lets: Callable[[Number], bool]
    """Whether the container's device rules let a node of that number through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What the container needs of a node."""

    ctid: str
    profile: str | None
    """Its profile line; None: none, so that the runtime confines it by its own."""
    nodes: tuple[Passed, ...] = ()
    seccomp: str | None = None
    """The seccomp file that its configuration names, where that is ours."""


def judge(needs: Needs, here: Bundle, there: Bundle, *, now: float, max_age: float = MAX_AGE) -> list[Note]:
    """Everything that speaks against it, and what is only worth knowing (`is_against`)."""
    return [
        *_age(there, now, max_age),
        *_runtime(here, there),
        *_kernel(needs, here, there),
        *_profiles(needs, here, there),
        *_nodes(needs, here, there),
        *_seccomp(needs, here, there),
    ]


def is_against(note: Note) -> bool:
    """Whether the note is a reason not to move it."""
    return Role.AGAINST in note.code.roles


def _age(there: Bundle, now: float, max_age: float) -> Iterator[Note]:
    age = now - there.gathered
    if age > max_age or age < -AHEAD:
        data = {"gathered": there.gathered, "age": round(age), "limit": round(max_age)}
        yield Note(MoveCode.FACTS_OLD, _node(there), data)


def _runtime(here: Bundle, there: Bundle) -> Iterator[Note]:
    if here.runtime != there.runtime:
        data = {"here": here.runtime, "there": there.runtime}
        yield Note(MoveCode.OTHER_RUNTIME, _node(there), data)
        return
    for name in sorted(here.packages.keys() & there.packages.keys()):
        if is_older(there.packages[name], here.packages[name]):
            data = {"package": name, "here": here.packages[name], "there": there.packages[name]}
            yield Note(MoveCode.RUNTIME_OLDER, _node(there), data)


def _kernel(needs: Needs, here: Bundle, there: Bundle) -> Iterator[Note]:
    if there.apparmor is False and here.apparmor is not False:
        yield Note(MoveCode.NO_APPARMOR, _node(there))
        return
    if here.features is None or there.features is None or needs.profile == "unconfined":
        return
    for what in here.features.mediated:
        if what not in there.features.mediated:
            yield Note(MoveCode.NOT_MEDIATED, _node(there), {"what": what})


def _profiles(needs: Needs, here: Bundle, there: Bundle) -> Iterator[Note]:
    target = container(needs.ctid)
    if there.apparmor is False:
        return
    for name in parts(needs.profile):
        mine, theirs = here.profiles.get(name), there.profiles.get(name)
        if theirs is None:
            yield Note(MoveCode.PROFILE_MISSING, target, {"profile": name})
            continue
        if theirs.mode not in _ENFORCING:
            yield Note(MoveCode.THERE_NOT_ENFORCED, target, {"profile": name, "mode": theirs.mode})
        same = None if mine is None else _same(mine, theirs)
        source = mine is not None and mine.source is not None and mine.source == theirs.source
        if same is not True and source and _compiles_otherwise(here, there):
            yield Note(MoveCode.COMPILED_OTHERWISE, target, {"profile": name})
        elif same is False:
            yield Note(MoveCode.THERE_POLICY_DIFFERS, target, {"profile": name})
        elif same is None and not source:
            yield Note(MoveCode.THERE_POLICY_UNKNOWN, target, {"profile": name})


def parts(profile: str | None) -> list[str]:
    """The profiles that a line needs in the kernel; what the runtime generates needs none."""
    if profile is None or profile in ("generated", "unconfined", "unchanged"):
        return []
    return [one for one in profile.split("//&") if not one.startswith(":") and one != "unconfined"]


def _same(mine: LoadedThere, theirs: LoadedThere) -> bool | None:
    """Whether two kernels have the same policy, by the surest hash that both show; None: there is none."""
    algorithms = [(one or "").partition(":")[0] for one in (mine.kernel, theirs.kernel)]
    if mine.kernel and algorithms[0] == algorithms[1]:
        return mine.kernel == theirs.kernel
    if mine.compiled and theirs.compiled:
        return mine.compiled == theirs.compiled
    if mine.source and theirs.source and mine.source != theirs.source:
        return False
    return None


def _compiles_otherwise(here: Bundle, there: Bundle) -> bool:
    kernels = [None if one.features is None else one.features.hash for one in (here, there)]
    return here.parser != there.parser or kernels[0] != kernels[1]


def _nodes(needs: Needs, here: Bundle, there: Bundle) -> Iterator[Note]:
    target = container(needs.ctid)
    for one in needs.nodes:
        wanted = [path for path in here.devices if _is_below(path, one.path)] or [one.path]
        if not any(_is_below(path, one.path) for path in there.devices):
            yield Note(MoveCode.GPU_MISSING, target, {"path": one.path, "line": one.line})
            continue
        for path in wanted:
            before, after = here.devices.get(path), there.devices.get(path)
            if after is None:
                yield Note(MoveCode.GPU_MISSING, target, {"path": path, "line": one.line})
            elif not one.by_name and before is not None and one.lets(before) and not one.lets(after):
                data = {"path": path, "here": _shown(before), "there": _shown(after)}
                yield Note(MoveCode.GPU_NUMBER, target, data)


def _is_below(path: str, place: str) -> bool:
    return path == place or path.startswith(place.rstrip("/") + "/")


def _shown(number: Number) -> str:
    kind, major, minor = number
    return f"{kind} {major}:{minor}"


def _seccomp(needs: Needs, here: Bundle, there: Bundle) -> Iterator[Note]:
    path = needs.seccomp
    if path is None:
        return
    mine, theirs = here.files.get(path), there.files.get(path)
    if theirs is None:
        yield Note(MoveCode.THERE_SECCOMP_MISSING, container(needs.ctid), {"path": path})
    elif mine is not None and mine != theirs:
        yield Note(MoveCode.SECCOMP_DIFFERS, container(needs.ctid), {"path": path})


def _node(there: Bundle) -> str:
    return f"node {there.node}"


# Debian's versions -------------------------------------------------------------------


def is_older(one: str, other: str) -> bool:
    """Whether a Debian version comes before another (deb-version(7))."""
    first, second = _split(one), _split(other)
    if first[0] != second[0]:
        return first[0] < second[0]
    keys = [_key(a) for a in first[1:]], [_key(b) for b in second[1:]]
    return keys[0] < keys[1]


def _split(version: str) -> tuple[int, str, str]:
    epoch, colon, rest = version.partition(":")
    if not colon or not epoch.isdigit():
        epoch, rest = "0", version
    upstream, dash, revision = rest.rpartition("-")
    return int(epoch), upstream if dash else rest, revision if dash else "0"


def _key(text: str) -> list[tuple[list[int], int]]:
    """Words and numbers in turn; `~` comes before the end, the end before letters, those before the rest."""
    pieces = re.findall(r"([^0-9]*)([0-9]*)", text)
    return [([*(_weight(letter) for letter in word), 0], int(number or "0")) for word, number in pieces]


def _weight(letter: str) -> int:
    if letter == "~":
        return -1
    return ord(letter) if letter.isalpha() else ord(letter) + 256
