"""Readable patterns for a set of strings that an automaton accepts.

Owns turning a searched graph back into globs: paths through the graph without repetition,
where a state that returns to itself becomes `*` or `**`.  Where a graph is more tangled
than that, the part is marked with `...`.  Must not know profiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from phoenix_hypervisor.values import dataclass

_ANY = frozenset(range(1, 256))
_PART = _ANY - {0x2F}
_MEMBERS = frozenset(range(0x20, 0x7F)) - {0x5D}
"""Bytes that a bracket can hold as they are."""
_SPECIAL = b'*?[]{}\\,^" \t'


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """States by number; `edges[state][target]` is the set of bytes that lead there."""

    start: int
    edges: Mapping[int, Mapping[int, frozenset[int]]]
    final: frozenset[int]


def patterns(graph: Graph, limit: int) -> Iterator[bytes]:
    """Up to `limit` globs, shortest first, of which each stands for strings that are accepted."""
    alive = _alive(graph)
    if graph.start not in alive:
        return
    steps = 0
    queue: list[tuple[int, tuple[int, ...], bytes]] = [(graph.start, (graph.start,), b"")]
    given = 0
    for state, seen, text in queue:
        text += _loop(graph.edges.get(state, {}).get(state), text)
        if state in graph.final:
            yield text
            given += 1
            if given >= limit:
                return
        for target, found in graph.edges.get(state, {}).items():
            steps += 1
            if target == state or target not in alive or steps > 50_000:
                continue
            if target in seen:
                continue
            queue.append((target, (*seen, target), text + one_of(found)))


def _alive(graph: Graph) -> set[int]:
    """The states from which something is accepted."""
    back: dict[int, list[int]] = {}
    for state, targets in graph.edges.items():
        for target in targets:
            back.setdefault(target, []).append(state)
    alive = set(graph.final)
    todo = list(alive)
    while todo:
        for state in back.get(todo.pop(), ()):
            if state not in alive:
                alive.add(state)
                todo.append(state)
    return alive


def _loop(found: frozenset[int] | None, before: bytes) -> bytes:
    if not found:
        return b""
    if found >= _ANY:
        return b"**"
    if found >= _PART:
        return b"*"
    return one_of(found) + b"..."


def one_of(found: frozenset[int]) -> bytes:
    """One byte of `found` as a glob, or of some of them where a bracket cannot hold them all.

    In a bracket nothing is escaped: it holds what can be printed, and no `]`.
    """
    if found >= _PART:
        return b"?"
    missing = _ANY - found
    if len(found) > 1 and len(missing) < len(found) and missing <= _MEMBERS:
        return b"[^" + _ranges(sorted(missing)) + b"]"
    members = found & _MEMBERS
    if len(members) > 1:
        return b"[" + _ranges(sorted(members)) + b"]"
    return _literal(min(members or found))


def _literal(byte: int) -> bytes:
    if byte in _SPECIAL:
        return b"\\" + bytes((byte,))
    return bytes((byte,)) if 0x20 < byte < 0x7F or byte >= 0x80 else b"\\x%02x" % byte


def _ranges(numbers: Sequence[int]) -> bytes:
    # A minus makes no range in front; a caret and an exclamation mark exclude nothing at the end.
    out, last = b"-" * (0x2D in numbers), bytes(one for one in b"!^" if one in numbers)
    numbers = [one for one in numbers if one not in b"-!^"]
    at = 0
    while at < len(numbers):
        end = at
        while end + 1 < len(numbers) and numbers[end + 1] == numbers[end] + 1:
            end += 1
        if end - at >= 2:
            out += bytes((numbers[at], 0x2D, numbers[end]))
        else:
            out += bytes(numbers[at : end + 1])
        at = end + 1
    return out + last
