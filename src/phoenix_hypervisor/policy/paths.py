"""The askable paths of a profile as one automaton over classes of bytes.

Owns the product of a file automaton and a glob, bytes taken together that neither tells apart, and what
each state grants.  Must not look for patterns.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from operator import itemgetter

from phoenix_hypervisor.policy.dfa import Dfa
from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.grammar import DEAD, Grammar
from phoenix_hypervisor.policy.merged import Merger

LIMIT = 20_000
"""States of an automaton up to which a profile is listed; its product with a glob may have twice as many."""

MOVES = 1_500_000
"""States times classes of bytes up to which it is: the time goes by both."""

_SINGLE = "ask for single paths with `policy query`; that has no limit"
_BASE = 0xFFFFFF


def too_large(states: int) -> PolicyError:
    return PolicyError(
        f"the automaton is too large to be listed: {states} states, and the limit is {LIMIT}",
        hint=_SINGLE,
    )


class Paths:
    """States by number, 0 is the start; `rows[state][class]` is the next one, or DEAD where nobody asks."""

    def __init__(self, dfa: Dfa, start: int, grammar: Grammar, allows: Sequence[int]) -> None:
        """`allows`: the permission bits of each state of `dfa`.  Raises PolicyError behind LIMIT states."""
        self.classes = _classes(dfa, grammar)
        self.bytes: list[bytes] = [b""] * (max(self.classes) + 1)
        for byte, number in enumerate(self.classes):
            self.bytes[number] += bytes((byte,))
        self.rows: list[list[int]] = []
        self.allows: list[int] = []
        """The permission bits of a state; -1 where no path ends."""
        self.back: list[tuple[int, int]] = [(0, 0)]
        """From which state, and by which class, a shortest path comes."""
        self._explore(dfa, start, grammar, allows)
        self._merge()

    def _explore(self, dfa: Dfa, start: int, grammar: Grammar, allows: Sequence[int]) -> None:
        faces = [found[0] for found in self.bytes]
        numbers = {(grammar.start, start): 0}
        queue = [(grammar.start, start)]
        pick = itemgetter(*faces)
        narrow = [pick(row) for row in grammar.rows]
        for number, (shape, state) in enumerate(queue):
            out = []
            for number_of, pair in enumerate(zip(narrow[shape], pick(dfa.row(state)), strict=True)):
                if pair[0] == DEAD:
                    out.append(DEAD)
                    continue
                found = numbers.get(pair)
                if found is None:
                    found = numbers[pair] = len(queue)
                    queue.append(pair)
                    self.back.append((number, number_of))
                out.append(found)
            self.rows.append(out)
            self.allows.append(allows[state] if grammar.reads[shape] else -1)
            if len(queue) > 2 * LIMIT:
                raise too_large(len(queue))
            if len(queue) * len(faces) > MOVES:
                raise PolicyError(
                    f"the automaton is too large to be listed: more than {MOVES:,} ways on, states times"
                    " kinds of bytes, and that is the limit",
                    hint=_SINGLE,
                )

    def _merge(self) -> None:
        """Take states together that no path tells apart: most are alike where only some permissions count."""
        blocks = Merger(self.rows).merge(self.allows)
        first: dict[int, int] = {}
        for state, number in enumerate(blocks):
            first.setdefault(number, state)
        kept = list(first.values())
        blocks.append(DEAD)  # so that blocks[DEAD] is DEAD
        rows = [[blocks[target] for target in self.rows[state]] for state in kept]
        self.allows = [self.allows[state] for state in kept]
        # Classes, too: what told them apart may be gone.
        numbers: dict[object, int] = {}
        own = [
            numbers.setdefault(
                (column, found[0] in b"0123456789", found[0] if found[0] in b"\0/." else -1), len(numbers)
            )
            for column, found in zip(zip(*rows, strict=True), self.bytes, strict=True)
        ]
        self.classes = [own[number] for number in self.classes]
        self.bytes = [b""] * len(numbers)
        for byte, number in enumerate(self.classes):
            self.bytes[number] += bytes((byte,))
        first_of = [own.index(number) for number in range(len(numbers))]
        self.rows = [[row[one] for one in first_of] for row in rows]
        # The first state of a block was found before all others, so what leads to it is shortest.
        self.back = [(blocks[self.back[state][0]], own[self.back[state][1]]) for state in kept]

    def __len__(self) -> int:
        return len(self.rows)

    def classes_of(self, path: bytes) -> list[int]:
        return [self.classes[byte] for byte in path]

    def walk(self, path: Sequence[int]) -> int:
        """The state behind a path of classes, or DEAD."""
        at = 0
        for one in path:
            at = self.rows[at][one]
            if at == DEAD:
                return DEAD
        return at

    def witness(self, state: int) -> list[int]:
        """A shortest path to `state`, as classes."""
        out = []
        while state:
            state, one = self.back[state]
            out.append(one)
        out.reverse()
        return out

    @cached_property
    def merger(self) -> Merger:
        return Merger(self.rows)

    @cached_property
    def neutral(self) -> int:
        """The class of the bytes that no rule names."""
        return max(range(len(self.bytes)), key=lambda number: len(self.bytes[number]))


def _classes(dfa: Dfa, grammar: Grammar) -> list[int]:
    """For each byte a number, alike where neither automaton tells the bytes apart; digits by themselves."""
    marks = [hash((byte in b"0123456789", byte if byte in b"\0/." else -1)) for byte in range(256)]
    for row in grammar.rows:
        if len(set(row)) > 1:
            marks = [hash((mark, target)) for mark, target in zip(marks, row, strict=True)]
    own = [0] * 256
    base, check, following = dfa.base, dfa.check, dfa.next
    if dfa.ec is None:
        for at, state in enumerate(check):
            byte = at - (base[state] & _BASE)
            if 0 <= byte < 256:
                own[byte] = hash((own[byte], state, following[at]))
    else:
        groups = [0] * 256
        for at, state in enumerate(check):
            byte = at - (base[state] & _BASE)
            if 0 <= byte < 256:
                groups[byte] = hash((groups[byte], state, following[at]))
        own = [groups[group] for group in dfa.ec]
    numbers: dict[tuple[int, int], int] = {}
    return [numbers.setdefault(pair, len(numbers)) for pair in zip(marks, own, strict=True)]
