"""Where the paths that match a pattern end in an automaton.

Owns walking sets of states, each step of each set once.  Must not know what a state grants.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from phoenix_hypervisor.policy.grammar import DEAD
from phoenix_hypervisor.policy.shapes import Pattern, Step

_KEPT = 2_000_000
"""States in all sets that are remembered."""
_SEVERAL = 8
"""Columns from which on it is worth keeping where they lead to from each state."""
_States = frozenset[int]
_Ways: TypeAlias = "dict[Step, tuple[_States, _Ways]]"
"""By the step, the states behind it and what is known of the steps from there."""


class Images:
    """Sets of states behind patterns; `spent` counts the states and the steps that were walked."""

    def __init__(self, rows: Sequence[Sequence[int]]) -> None:
        """State 0 is the start."""
        self.spent = 0
        self._rows = rows
        self._columns = list(zip(*rows, strict=True))
        self._start: _States = frozenset((0,))
        self._known: dict[_States, _Ways] = {}
        self._size = 0
        self._members: dict[int, list[tuple[int, ...]]] = {}
        self._targets: dict[int, list[tuple[int, ...] | None]] = {}

    def allows(self, pattern: Pattern, allows: Sequence[int]) -> int:
        """The permission bits that every path that matches has; 0 where none does.

        `allows`: those of each state, or -1 where no path ends.
        """
        bits = -1
        for state in self.of(pattern):
            if allows[state] != -1:
                bits &= allows[state]
        return max(bits, 0)

    def of(self, pattern: Pattern) -> _States:
        """The states behind all paths that match."""
        return self.onward(self._start, pattern)

    def onward(self, at: _States, steps: Pattern) -> _States:
        """The states behind `steps` from any of `at`."""
        ways = self._ways(at)
        self.spent += len(steps)
        for step in steps:
            found = ways.get(step)
            if found is None:
                if self._size > _KEPT:
                    self._known.clear()
                    self._size = 0
                    ways = self._ways(at)
                states = self._step(at, *step)
                self._size += len(states) + 1
                found = ways[step] = states, self._ways(states)
            at, ways = found
        return at

    def _ways(self, at: _States) -> _Ways:
        """What is known of the steps from a set; the same for the same set."""
        ways = self._known.get(at)
        if ways is None:
            ways = self._known[at] = {}
        return ways

    def _step(self, at: _States, mask: int, loop: int) -> _States:
        found: set[int] = set()
        if loop != 1:
            among = self._among(mask)
            if len(among) < _SEVERAL:
                for column in among:
                    found.update([column[state] for state in at])
                    self.spent += len(at)
                found.discard(DEAD)
            else:
                following = self._following(mask)
                for state in at:
                    found.update(following(state))
                self.spent += len(at)
            return at.union(found) if loop else frozenset(found)
        following = self._following(mask)
        found.update(at)
        todo = list(at)
        while todo:
            more = [one for one in following(todo.pop()) if one not in found]
            found.update(more)
            todo += more
        self.spent += len(found)
        return frozenset(found)

    def _following(self, mask: int) -> Callable[[int], tuple[int, ...]]:
        """Where some classes lead to from a state, each state looked at once."""
        targets = self._targets.get(mask)
        if targets is None:
            targets = self._targets[mask] = [None] * len(self._rows)
        among = self._among(mask)

        def following(state: int) -> tuple[int, ...]:
            found = targets[state]
            if found is None:
                found = targets[state] = tuple({column[state] for column in among} - {DEAD})
                self.spent += len(found)
            return found

        return following

    def _among(self, mask: int) -> list[tuple[int, ...]]:
        """The columns of some classes, each different one once."""
        members = self._members.get(mask)
        if members is None:
            some = dict.fromkeys(one for number, one in enumerate(self._columns) if mask >> number & 1)
            members = self._members[mask] = list(some)
        return members
