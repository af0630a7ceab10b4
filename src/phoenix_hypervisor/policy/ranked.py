"""Which of many patterns are told first.

Owns choosing, one after the other, the pattern that stands for most of what no chosen one stands for.
Must not know what a pattern is.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import TypeVar

_ALIKE = 1 + 1e-9
"""Gains that differ by less are alike: rounding."""

_One = TypeVar("_One", bound=Hashable)


def ranked(hits: Mapping[_One, Sequence[int]], samples: Sequence[tuple[int, int]]) -> list[_One]:
    """Those that stand for something, the best first.

    `samples`: for each kind how many paths are to be told (the bits of `hits`), and of how many: a kind that
    lacks more of its own counts more.
    """
    missing = [(1 << count) - 1 for count, _ in samples]
    weights: list[float] = []

    def gain(one: _One) -> float:
        return sum((a & b).bit_count() * w for a, b, w in zip(hits[one], missing, weights, strict=True))

    # A gain falls, at least as fast as the slowest weight.  So the gain of before, brought down by that
    # (`scale`), is a bound: only what may be the best is looked at again.
    numbers = {one: number for number, one in enumerate(hits)}
    bounds = dict.fromkeys(hits, float("inf"))
    queue = [(-bound, numbers[one], one) for one, bound in bounds.items()]
    heapify(queue)
    scale = 1.0
    chosen: list[_One] = []
    while any(missing):
        before = weights
        weights = [bits.bit_count() / size**2 for bits, (_, size) in zip(missing, samples, strict=True)]
        scale *= max((new / old for new, old in zip(weights, before, strict=False) if old), default=1.0)
        best: tuple[float, int, _One] | None = None
        looked: list[tuple[float, int, _One]] = []
        while queue and (best is None or -queue[0][0] * scale > -best[0] * _ALIKE):
            bound, number, one = heappop(queue)
            if bounds.get(one) != -bound:
                continue
            del bounds[one]
            own = (-gain(one), number, one)
            looked.append(own)
            best = own if best is None else min(best, own)
        if best is None or not best[0]:
            break
        for found, number, one in looked:
            if found and one != best[2]:
                bounds[one] = -found / scale
                heappush(queue, (found / scale, number, one))
        one = best[2]
        chosen.append(one)
        missing = [bits & ~own for bits, own in zip(missing, hits[one], strict=True)]
    return chosen
