"""Breadth-first search through automata side by side.

Owns reaching every combination of states that an askable string can lead to, once, with a
shortest string for each.  Bytes that no automaton tells apart are tried once.  Must not
know classes of questions or permissions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

from phoenix_hypervisor.policy.alphabet import Alphabet, Literal
from phoenix_hypervisor.policy.dfa import Dfa
from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.grammar import DEAD, Grammar

LIMIT = 1_000_000
"""Combinations of states after which one search gives up."""
STEPS = 20_000_000
"""Steps from one combination to another after which all searches of one Budget give up."""

_NICE = (
    *b"abcdefghijklmnopqrstuvwxyz",
    *b"0123456789",
    *b"/-_.",
    *b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    *range(0x21, 0x7F),
    *range(0x80, 0x100),
    0,
    *range(0x20, 0, -1),
    0x7F,
)
_BYTES = tuple(dict.fromkeys(_NICE))
"""All bytes, the readable ones first, so that examples look like paths."""


class Budget:
    """How much several searches may do together."""

    def __init__(self, steps: int = STEPS) -> None:
        self._all = self._left = steps

    def spend(self, steps: int) -> None:
        """Raises PolicyError behind the last step."""
        self._left -= steps
        if self._left < 0:
            raise PolicyError(
                f"the automata are too large to be searched together: more than {self._all:,} steps",
                hint="compare single profiles of them: phoenix policy diff --policy FILE NAME NAME",
            )


class Side:
    """One automaton of a search."""

    def __init__(self, alphabet: Alphabet | Literal | None, start: int, dead: int) -> None:
        """`dead`: the state that can lead nowhere, or -1."""
        self._alphabet = alphabet
        self.start, self.dead = start, dead
        self.size = alphabet.size if alphabet is not None else 1
        self._closed: Callable[[int], bool] | None = None
        self._gated: dict[int, list[int]] = {}

    @classmethod
    def of(cls, dfa: Dfa, start: int) -> Side:
        """Raises PolicyError for an automaton that is too large to be searched."""
        alphabet = Alphabet.of(dfa)
        return cls(alphabet, start, DEAD if any(alphabet.row(0)) else 0)

    @classmethod
    def literal(cls, text: bytes) -> Side:
        """An automaton of one string."""
        return cls(Literal(text), 1, 0)

    @classmethod
    def constant(cls, *, alive: bool) -> Side:
        """An automaton of one state: everything (`alive`) or nothing."""
        return cls(None, 0, DEAD if alive else 0)

    def to_the_end(self) -> Side:
        """The same without a state that leads nowhere: where that one means something, too."""
        side = Side(self._alphabet, self.start, DEAD)
        side._closed = self._closed
        return side

    def gated(self, closed: Callable[[int], bool]) -> Side:
        """The same, but a NUL leads from the `closed` states to nowhere."""
        side = Side(self._alphabet, self.start, self.dead)
        side._closed = closed
        return side

    @property
    def classes(self) -> Sequence[int]:
        """A number for each byte: alike where every state treats the bytes alike."""
        return self._alphabet.classes if self._alphabet is not None else _ONE_CLASS

    def row(self, state: int) -> list[int]:
        """What follows `state`, by the class of the byte."""
        if self._alphabet is None:
            return _ONE_ROW
        row = self._alphabet.row(state)
        if self._closed is None:
            return row
        known = self._gated.get(state)
        if known is None:
            known = row
            nul = self._alphabet.classes[0]
            if row[nul] and self._closed(state):
                known = list(row)
                known[nul] = 0
            self._gated[state] = known
        return known

    @cached_property
    def rows(self) -> _Wide:
        """What follows each state, by the byte: `rows[state][byte]`."""
        return _Wide(self)


class _Wide:
    """Rows of 256 columns, made when they are looked at."""

    def __init__(self, side: Side) -> None:
        self._side = side

    def __getitem__(self, state: int) -> list[int]:
        row = self._side.row(state)
        return [row[number] for number in self._side.classes]


_ONE_CLASS, _ONE_ROW = [0] * 256, [0]

Node = tuple[int, int, int]


class Search:
    """All reachable (grammar, a, b) combinations.  Iterating yields them shortest first."""

    def __init__(self, grammar: Grammar, a: Side, b: Side, budget: Budget | None = None) -> None:
        self._grammar = grammar
        self._a, self._b = a, b
        self._budget = budget
        self._seen: dict[int, int] = {}
        """Each combination as one number, and the one before with the byte between, or -1."""
        self._moves: dict[int, list[tuple[int, int, int, int]]] = {}

    def _moves_of(self, state: int) -> list[tuple[int, int, int, int]]:
        """One byte for each class that the automata or the grammar tell apart here."""
        row, in_a, in_b = self._grammar.rows[state], self._a.classes, self._b.classes
        first: dict[tuple[int, int, int], int] = {}
        for byte in _BYTES:
            if row[byte] != DEAD:
                first.setdefault((in_a[byte], in_b[byte], row[byte]), byte)
        size = self._a.size * self._b.size
        moves = [(one, two, byte, target * size) for (one, two, target), byte in first.items()]
        self._moves[state] = moves
        return moves

    def __iter__(self) -> Iterator[Node]:
        """Raises PolicyError behind LIMIT combinations, and where the budget ends."""
        row_a, row_b = self._a.row, self._b.row
        dead_a, dead_b = self._a.dead, self._b.dead
        size_b = self._b.size
        size = self._a.size * size_b
        seen, known = self._seen, self._moves
        root = (self._grammar.start, self._a.start, self._b.start)
        first = self._number(root)
        seen[first] = -1
        if root[1] == dead_a and root[2] == dead_b:
            return
        queue = [first]
        for number in queue:
            state, pair = divmod(number, size)
            at_a, at_b = divmod(pair, size_b)
            yield state, at_a, at_b
            from_a, from_b = row_a(at_a), row_b(at_b)
            moves = known.get(state) or self._moves_of(state)
            for one, two, byte, ahead in moves:
                to_a, to_b = from_a[one], from_b[two]
                if to_a == dead_a and to_b == dead_b:
                    continue
                following = ahead + to_a * size_b + to_b
                if following not in seen:
                    seen[following] = number << 8 | byte
                    queue.append(following)
            if len(queue) > LIMIT:
                raise PolicyError(
                    f"the automata are too large to be searched together: more than {LIMIT:,} states"
                )
            if self._budget is not None:
                self._budget.spend(len(moves) + 10)

    def _number(self, node: Node) -> int:
        return (node[0] * self._a.size + node[1]) * self._b.size + node[2]

    def string(self, node: Node) -> bytes:
        """A shortest string that leads to `node`."""
        out = bytearray()
        step = self._seen[self._number(node)]
        while step >= 0:
            out.append(step & 0xFF)
            step = self._seen[step >> 8]
        out.reverse()
        return bytes(out)
