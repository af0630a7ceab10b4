"""What a profile allows, as a list.

Owns which files under a path, which mounts, capabilities and target profiles are within
reach, with shortest examples and, where possible, readable patterns.  Must not print.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

from phoenix_hypervisor.policy import constants, perms
from phoenix_hypervisor.policy.abilities import Ability, grouped
from phoenix_hypervisor.policy.globs import glob_grammar, under
from phoenix_hypervisor.policy.grammar import DEAD, Grammar
from phoenix_hypervisor.policy.grants import Space
from phoenix_hypervisor.policy.paths import LIMIT, Paths, too_large
from phoenix_hypervisor.policy.patterns import Graph, patterns
from phoenix_hypervisor.policy.product import Node, Search, Side
from phoenix_hypervisor.policy.profile import Mode, Profile
from phoenix_hypervisor.policy.spaces import kind
from phoenix_hypervisor.policy.summary import EACH, FILES, SHOWN, Line, Scale, summarise
from phoenix_hypervisor.values import dataclass

_UNASKABLE = re.compile(rb"//|/\.{1,2}(/|$)")
"""No kernel asks for an empty component, nor for `.` and `..`."""
LINES = 110
"""Lines about files where nobody says how many."""
ROWS = 200
"""Lines that people are shown, of everything together."""
_LEAST = 60
"""Lines about files, however much there is beside."""
_HEADINGS = 6
"""Rows for the profile, both titles of files, what is left out, capabilities, and one to spare."""
_EXAMPLES = 3
"""Rows of a kind of mount that people are shown."""


@dataclass(frozen=True, slots=True)
class Found:
    """Questions of one kind that a profile answers with yes."""

    kind: str
    access: str
    """What is allowed there, in the words of the kind."""
    patterns: tuple[str, ...]
    """Globs, each of which stands only for allowed strings; there may be more."""
    examples: tuple[str, ...]
    """Shortest strings, one for each different situation."""
    count: int
    """How many different situations there are."""

    @property
    def shown(self) -> tuple[str, ...]:
        """What people are shown of it; files and umount are told by lines and abilities."""
        told = self.kind in ("file", "umount") or not self.count
        return () if told else (*self.patterns, *self.examples)[:_EXAMPLES]

    def as_json(self) -> dict[str, object]:
        return {
            "kind": self.kind,
            "access": self.access,
            "patterns": list(self.patterns),
            "examples": list(self.examples),
            "count": self.count,
        }


def require_listable(profile: Profile) -> None:
    """Raise PolicyError where an automaton has more than `paths.LIMIT` states."""
    for database in (profile.file, profile.policy):
        if database is not None and len(database.dfa) > LIMIT:
            raise too_large(len(database.dfa))


def room(found: Sequence[Found], able: Sequence[Ability]) -> int:
    """How many of `ROWS` are left for files beside what is told of mounts, targets and abilities."""
    others = sum(1 + len(one.shown) for one in found if one.shown)
    others += sum(1 + len(texts) for _, texts in grouped(able))
    return max(_LEAST, ROWS - _HEADINGS - others)


def list_lines(
    profile: Profile,
    where: bytes,
    names: Iterable[str],
    access: str | None = None,
    *,
    other: bool = False,
    limit: int = LINES,
) -> tuple[Line, ...]:
    """The paths under `where` and what they allow, in about `limit` lines of which each is true.

    `access`: only what allows all of it; None: whatever may be written, executed or read.  `names`: of
    files that kernels have.  Raises PolicyError for a bad glob or access, or too large an automaton.
    """
    masks = EACH if access is None else (constants.file_access(access),)
    if profile.mode is Mode.UNCONFINED:
        return (Line("/{,**}", constants.file_letters(SHOWN)),)
    database = profile.file
    if database is None:
        return ()
    found = (database.file_perms(state, owner=not other) for state in range(len(database.dfa)))
    allows = [one.allow & ~one.deny for one in found]
    if under(where) == where:
        # Below a glob: what is general above it would say too much.
        found_lines = []
        for mask in masks:
            letters = constants.file_letters(mask)
            some = list_files(profile, where, letters, other=other, limit=limit)
            found_lines += [Line(pattern, letters) for pattern in some.patterns]
        return tuple(found_lines)
    top = where.rstrip(b"/")
    paths = Paths(database.dfa, profile.file_start, glob_grammar(under(b"/"), 1), allows)
    below = [name for name in names if name.startswith(os.fsdecode(top) + "/")]
    scale = Scale(SHOWN | masks[0]) if access is not None else FILES
    return summarise(paths, top, below, masks, limit, scale)


def list_files(
    profile: Profile, where: bytes, access: str = "w", *, other: bool = False, limit: int = 20
) -> Found:
    """The paths under `where` (a path or a glob) that allow all of `access`.

    Raises PolicyError for a bad glob or access.
    """
    mask = constants.file_access(access)
    glob = under(where)
    space = kind("file").space(profile, other)
    # Patterns are read with a looser grammar: one that watches over slashes and dots tears every `*` apart.
    loose = glob_grammar(glob, mask, is_path=False)
    return _list("file", constants.file_letters(mask), (glob_grammar(glob, mask), loose), space, mask, limit)


def list_targets(profile: Profile, *, limit: int = 20) -> Found:
    """The profiles that a process may change to."""
    one = kind("change_profile")
    both = (one.grammar(), one.grammar())
    return _list(one.name, "change", both, one.space(profile, False), perms.CHANGE_PROFILE, limit)


def list_mounts(profile: Profile, *, limit: int = 20) -> list[Found]:
    """What may be mounted, by kind of mount, and unmounted and pivoted to; examples are queries."""
    found = []
    one = kind("mount")
    space = one.space(profile, False)
    assert one.plain is not None
    for tag in ("new", "bind", "remount", "propagation", "move"):
        grammar = one.plain()
        tagged = Grammar(
            grammar.rows,
            tuple(mask if word == tag else 0 for mask, word in zip(grammar.reads, grammar.tags, strict=True)),
            grammar.tags,
        )
        strings, count = _examples(tagged, space, perms.MAY_MOUNT, limit)
        if count:
            queries = tuple(str(one.query(string, perms.MAY_MOUNT, False)) for string in strings)
            found.append(Found(f"mount ({tag})", "mount", (), queries, count))
    for name, mask in (("umount", perms.MAY_UMOUNT), ("pivot_root", perms.MAY_PIVOT_ROOT)):
        one = kind(name)
        strings, count = _examples(one.grammar(), one.space(profile, False), mask, limit)
        if count:
            queries = tuple(str(one.query(string, mask, False)) for string in strings)
            found.append(Found(name, name, (), queries, count))
    return found


def list_capabilities(profile: Profile) -> list[str]:
    """The names of the capabilities that may be used."""
    if profile.mode is Mode.UNCONFINED:
        return list(constants.CAPABILITIES)
    allow = profile.capabilities.allow
    return [word for number, word in enumerate(constants.CAPABILITIES) if allow >> number & 1]


def _search(grammar: Grammar, space: Space) -> Search:
    return Search(grammar, space.side, Side.constant(alive=False))


def _examples(grammar: Grammar, space: Space, mask: int, limit: int) -> tuple[list[bytes], int]:
    """Shortest strings that allow all of `mask`, and in how many situations it is allowed."""
    search = _search(grammar, space)
    strings: list[bytes] = []
    count = 0
    for node in search:
        if grammar.reads[node[0]] and space.grants(node[1]).allow & mask == mask:
            count += 1
            if len(strings) < limit:
                strings.append(search.string(node))
    return strings, count


def _list(
    name: str, access: str, grammars: tuple[Grammar, Grammar], space: Space, mask: int, limit: int
) -> Found:
    strict, loose = grammars
    strings, count = _examples(strict, space, mask, limit)
    raw = patterns(_graph(loose, space, mask), 50 * limit) if count else ()
    askable = (glob for glob in raw if not _UNASKABLE.search(glob))
    globs = sorted({_tidy(glob) for glob in askable}, key=_breadth)
    return Found(
        name,
        access,
        tuple(glob.decode("utf-8", "backslashreplace") for glob in globs[:limit]),
        tuple(string.decode("utf-8", "backslashreplace") for string in strings),
        count,
    )


def _tidy(glob: bytes) -> bytes:
    """A star that is a whole component already asks for one character."""
    for tail in (b"?**", b"?*"):
        if glob.endswith(b"/" + tail):
            return glob.removesuffix(tail) + tail[1:]
    return glob


def _breadth(glob: bytes) -> tuple[int, int, bytes]:
    """Sorts what covers most to the front."""
    return 0 if b"**" in glob else 1 if b"*" in glob else 2, len(glob), glob


def _graph(grammar: Grammar, space: Space, mask: int) -> Graph:
    """The searched combinations as a graph."""
    nodes: dict[Node, int] = {}
    for node in _search(grammar, space):
        nodes[node] = len(nodes)
    # Bytes that neither tells apart go together, here and in every edge.
    alike: dict[tuple[int, ...], list[int]] = {}
    for byte, key in enumerate(zip(space.side.classes, *grammar.rows, strict=True)):
        alike.setdefault(key, []).append(byte)
    groups = [(key[0], some[0], frozenset(some)) for key, some in alike.items()]
    unions: dict[tuple[int, ...], frozenset[int]] = {}
    edges: dict[int, dict[int, frozenset[int]]] = {}
    final = set()
    for node, number in nodes.items():
        state, at, _ = node
        if grammar.reads[state] and space.grants(at).allow & mask == mask:
            final.add(number)
        shapes, row = grammar.rows[state], space.side.row(at)
        targets: dict[int, list[int]] = {}
        for group, (one, face, _some) in enumerate(groups):
            target = shapes[face]
            if target != DEAD:
                following = nodes.get((target, row[one], 0))
                if following is not None:
                    targets.setdefault(following, []).append(group)
        own: dict[int, frozenset[int]] = {}
        for following, found in targets.items():
            key = tuple(found)
            union = unions.get(key)
            if union is None:
                union = unions[key] = frozenset().union(*(groups[group][2] for group in found))
            own[following] = union
        edges[number] = own
    root = nodes.get((grammar.start, space.side.start, 0), -1)
    return Graph(root, edges, frozenset(final))
