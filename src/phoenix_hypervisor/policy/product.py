"""Breadth-first search through automata side by side.

Owns reaching every combination of states that an askable string can lead to, once, with a
shortest string for each.  Bytes that no automaton tells apart are tried once.  Must not
know classes or permissions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from phoenix_hypervisor.policy.dfa import Dfa
from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.grammar import DEAD, Grammar
from phoenix_hypervisor.values import dataclass

LIMIT = 1_000_000
"""Combinations of states after which the search gives up."""

_NICE = (
    *b"abcdefghijklmnopqrstuvwxyz",
    *b"0123456789",
    *b"/-_.",
    *b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    *range(0x21, 0x7F),
    *range(0x80, 0x100),
    *range(0x20, -1, -1),
    0x7F,
)
_BYTES = tuple(dict.fromkeys(_NICE))
"""All bytes, the readable ones first, so that examples look like paths."""


@dataclass(frozen=True, eq=False)
class Side:
    """One automaton of a search."""

    rows: Sequence[Sequence[int]]
    start: int
    dead: int
    """The state that can lead nowhere, or -1."""

    @classmethod
    def of(cls, dfa: Dfa, start: int) -> Side:
        rows = [dfa.row(state) for state in range(len(dfa))]
        return cls(rows, start, DEAD if any(rows[0]) else 0)

    @classmethod
    def constant(cls, *, alive: bool) -> Side:
        """An automaton of one state: everything (`alive`) or nothing."""
        return cls([[0] * 256], 0, DEAD if alive else 0)

    def gated(self, closed: Sequence[bool], byte: int) -> Side:
        """The same, but `byte` leads from the `closed` states to nowhere."""
        rows = []
        for row, shut in zip(self.rows, closed, strict=True):
            if shut and row[byte]:
                row = list(row)
                row[byte] = 0
            rows.append(row)
        return Side(rows, self.start, self.dead)

    @cached_property
    def classes(self) -> list[int]:
        """A number for each byte: alike where every state treats the bytes alike."""
        numbers: dict[tuple[int, ...], int] = {}
        return [numbers.setdefault(column, len(numbers)) for column in zip(*self.rows, strict=True)]


Node = tuple[int, int, int]


class Search:
    """All reachable (grammar, a, b) combinations.  Iterating yields them shortest first."""

    def __init__(self, grammar: Grammar, a: Side, b: Side) -> None:
        self._grammar = grammar
        self._a, self._b = a, b
        self._seen: dict[Node, tuple[Node, int] | None] = {}
        self._classes = _byte_classes(a, b)
        self._moves: dict[int, list[tuple[int, int]]] = {}

    def _moves_of(self, state: int) -> list[tuple[int, int]]:
        """One byte for each class that the automata or the grammar tell apart here."""
        moves = self._moves.get(state)
        if moves is None:
            row, classes = self._grammar.rows[state], self._classes
            first: dict[tuple[int, int], int] = {}
            for byte in _BYTES:
                if row[byte] != DEAD:
                    first.setdefault((classes[byte], row[byte]), byte)
            moves = self._moves[state] = [(byte, target) for (_, target), byte in first.items()]
        return moves

    def __iter__(self) -> Iterator[Node]:
        """Raises PolicyError behind LIMIT combinations."""
        rows_a, rows_b = self._a.rows, self._b.rows
        dead_a, dead_b = self._a.dead, self._b.dead
        seen = self._seen
        root = (self._grammar.start, self._a.start, self._b.start)
        seen[root] = None
        if root[1] == dead_a and root[2] == dead_b:
            return
        queue = [root]
        for node in queue:
            yield node
            state, at_a, at_b = node
            row_a, row_b = rows_a[at_a], rows_b[at_b]
            for byte, target in self._moves_of(state):
                to_a, to_b = row_a[byte], row_b[byte]
                if to_a == dead_a and to_b == dead_b:
                    continue
                following = (target, to_a, to_b)
                if following not in seen:
                    seen[following] = (node, byte)
                    queue.append(following)
            if len(queue) > LIMIT:
                raise PolicyError("the automata are too large to be searched together")

    def string(self, node: Node) -> bytes:
        """A shortest string that leads to `node`."""
        out = bytearray()
        step = self._seen[node]
        while step is not None:
            node, byte = step
            out.append(byte)
            step = self._seen[node]
        out.reverse()
        return bytes(out)


def _byte_classes(a: Side, b: Side) -> list[int]:
    numbers: dict[tuple[int, int], int] = {}
    return [numbers.setdefault(pair, len(numbers)) for pair in zip(a.classes, b.classes, strict=True)]
