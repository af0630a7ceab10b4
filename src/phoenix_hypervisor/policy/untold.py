"""Paths that no pattern stands for yet.

Owns the search through an automaton and patterns together, and its bounds: `steps` counts what it takes.
Must not make patterns.
"""

from __future__ import annotations

from collections.abc import Sequence

from phoenix_hypervisor.policy.grammar import DEAD
from phoenix_hypervisor.policy.shapes import Shapes

_COMBINATIONS = 40_000
"""Combinations of states and patterns after which a search gives up."""
STEPS = 9_000_000
"""Steps of all searches for what is left, together: some seconds."""
_WAYS = 2000
_OTHERS = 300
_PASSED = 100_000
"""Ways to what was found already that are remembered."""


class Untold:
    """What is left of the paths of a label."""

    def __init__(
        self, rows: Sequence[Sequence[int]], labels: Sequence[int], below: Sequence[int], order: Sequence[int]
    ) -> None:
        """`labels`, `below`: as of `Merger`.  `order`: the classes that may be met, in the order of trial."""
        self._rows, self._labels, self._below, self._order = rows, labels, below, order
        self.steps = STEPS
        """Those that are left, of all searches together."""

    def find(self, union: Shapes, want: int, region: Shapes | None = None) -> list[list[int]] | None:
        """Paths of `want` (within a region) that `union` has no pattern for; None where that is too much."""
        rows, labels, below = self._rows, self._labels, self._below
        good = 1 << want
        alike = self._alike(union, region)
        weight = union.weight
        start = (0, union.start, region.start if region is not None else 1)
        came: dict[_Place, tuple[_Place, int] | None] = {start: None}
        queue = [start]
        least: dict[int, list[_Place]] = {}
        open_ones: list[tuple[_Place, int]] = []
        passed: list[tuple[_Place, int, _Place]] = []
        moves: dict[int, list[int]] = {}
        for key in queue:
            state, bits, at = key
            row = rows[state]
            moved = moves.get(bits)
            if moved is None:
                moved = moves[bits] = [union.step(bits, one) for one in alike]
            for one, following in zip(alike, moved, strict=True):
                target = row[one]
                if target == DEAD or not below[target] & good:
                    continue
                inner = region.step(at, one) if region is not None else 1
                if not inner:
                    continue
                if following & union.absorbed:
                    continue
                within = region is None or inner & region.ends
                ends = labels[target] == want and within and not following & union.ends
                if ends and len(open_ones) < _WAYS:
                    open_ones.append((key, one))  # each way in: many names end alike
                    if below[target] == good:
                        continue  # a pattern for this one is one for all below, nearly always
                found = (target, following, inner)
                known = least.setdefault(target, [])
                # Behind a place with fewer patterns left, or more of the region, all is missing that is here.
                looked = 0
                for less in known:
                    looked += 1
                    if less[1] & following == less[1] and inner & less[2] == inner:
                        if len(passed) < _PASSED:
                            passed.append((key, one, less))
                        break
                else:
                    known.append(found)
                    came[found] = (key, one)
                    queue.append(found)
                self.steps -= looked * weight
            self.steps -= len(alike) * weight
            if len(queue) > _COMBINATIONS or self.steps < 0:
                return None
        return self._found(union, region, came, open_ones, passed)

    def _found(
        self,
        union: Shapes,
        region: Shapes | None,
        came: dict[_Place, tuple[_Place, int] | None],
        open_ones: list[tuple[_Place, int]],
        passed: list[tuple[_Place, int, _Place]],
    ) -> list[list[int]]:
        """A path for each end, and one for each other way to where one was found behind."""
        behind: dict[_Place, tuple[int, _Place | None]] = {}
        out = []
        for key, one in open_ones:
            out.append([*_string(came, key), one])
            following: _Place | None = None
            while key not in behind:
                behind[key] = (one, following)
                step = came[key]
                if step is None:
                    break
                following = key
                key, one = step
        most = len(out) + _OTHERS
        for key, one, less in passed:
            if less in behind and len(out) < most:
                path = [*_string(came, key), one]
                place: _Place | None = less
                while place is not None:
                    last, place = behind[place]
                    path.append(last)
                if not union.matches(path) and (region is None or region.matches(path)):
                    out.append(path)
        return out

    def _alike(self, union: Shapes, region: Shapes | None) -> list[int]:
        """A class for each way that bytes are told apart, by the automaton or by patterns."""
        columns = list(zip(*self._rows, strict=True))
        found: dict[tuple[object, ...], int] = {}
        for one in self._order:
            found.setdefault((columns[one], union.told(one), region.told(one) if region else None), one)
        return list(found.values())


_Place = tuple[int, int, int]


def _string(came: dict[_Place, tuple[_Place, int] | None], key: _Place) -> list[int]:
    out = []
    step = came[key]
    while step is not None:
        key, one = step
        out.append(one)
        step = came[key]
    out.reverse()
    return out
