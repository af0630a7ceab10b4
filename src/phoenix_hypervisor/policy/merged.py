"""States that no string tells apart, taken together.

Owns making an automaton as small as it can be, for labels of one's own.  Must not know what they mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from phoenix_hypervisor.policy.grammar import DEAD


class Merger:
    """The moves of one automaton, ready to be looked at for more than one kind of labels."""

    def __init__(self, rows: Sequence[Sequence[int]]) -> None:
        narrow = list(zip(*dict.fromkeys(zip(*rows, strict=True)), strict=True))
        self._picks: list[Callable[[list[int]], Any]] = [itemgetter(*row) for row in narrow]
        """For each state the blocks of where it leads to, out of those of all states."""
        self._back: list[list[int]] = [[] for _ in rows]
        for state, row in enumerate(narrow):
            for target in set(row):
                if target != DEAD:
                    self._back[target].append(state)

    def merge(self, labels: Sequence[int]) -> list[int]:
        """For each state the number of its block; 0 is that of state 0.

        Two states have one block where the same strings lead from both to the same labels, or to DEAD.
        """
        first: dict[int, int] = {}
        block = [first.setdefault(label, len(first)) for label in labels]
        groups: list[set[int]] = [set() for _ in first]
        for state, number in enumerate(block):
            groups[number].add(state)
        block.append(DEAD)  # so that block[DEAD] is DEAD
        dirty = set(range(len(labels)))
        while dirty:
            changed = self._splits(block, groups, dirty)
            for number, part in changed:
                groups[number].difference_update(part)
                for state in part:
                    block[state] = len(groups)
                groups.append(set(part))
            dirty = {one for _, part in changed for state in part for one in self._back[state]}
        order: dict[int, int] = {}
        return [order.setdefault(number, len(order)) for number in block[:-1]]

    def _splits(
        self, block: list[int], groups: list[set[int]], dirty: set[int]
    ) -> list[tuple[int, list[int]]]:
        """What leaves its block, as it leads to different ones; only states in `dirty` may differ.

        The largest part of a block stays: who leads there need not be looked at again.
        """
        picks = self._picks
        by_block: dict[int, list[int]] = {}
        for state in dirty:
            by_block.setdefault(block[state], []).append(state)
        found = []
        for number, some in by_block.items():
            parts: dict[object, list[int]] = {}
            for state in some:
                parts.setdefault(picks[state](block), []).append(state)
            rest = len(groups[number]) - len(some)
            alike: list[int] = []
            if rest:
                one = next(state for state in groups[number] if state not in dirty)
                alike = parts.pop(picks[one](block), [])
            leaving = sorted(parts.values(), key=len)
            if leaving and len(leaving[-1]) > rest + len(alike):
                largest = leaving.pop()
                if rest or alike:
                    gone = {state for part in (*leaving, largest) for state in part}
                    leaving.append([state for state in groups[number] if state not in gone])
            found += [(number, part) for part in leaving]
        return found

    def below(self, labels: Sequence[int]) -> list[int]:
        """For each state what ends there or below: bit 1 a path of label 0, bit 2 one of label 1."""
        found = [0 if label == -1 else 1 << label for label in labels]
        todo = [state for state, bits in enumerate(found) if bits]
        while todo:
            state = todo.pop()
            for one in self._back[state]:
                if found[state] & ~found[one]:
                    found[one] |= found[state]
                    todo.append(one)
        return found
