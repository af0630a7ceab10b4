"""Random paths that a profile allows.

Owns drawing them, the same ones each time.  Must not know patterns.
"""

from __future__ import annotations

import random
from bisect import bisect
from itertools import accumulate
from typing import TypeAlias

from phoenix_hypervisor.policy.grammar import DEAD
from phoenix_hypervisor.policy.paths import Paths

_LONGEST = 200
_STOPS = 0.15

_Way: TypeAlias = "tuple[int, list[int], list[int]]"
"""A state, the classes that lead there, and how many bytes they have, added up."""


def sampled(paths: Paths, mask: int, count: int, head: list[int]) -> list[list[int]]:
    """About `count` paths below `head` that allow all of `mask`.

    They are walks that stop now and then where a path may end.  Every other one chooses among bytes, the
    rest among the ways to go on.
    """
    labels = [int(allow != -1 and allow & mask == mask) for allow in paths.allows]
    alive = [bits & 2 for bits in paths.merger.below(labels)]
    first = paths.walk(head)
    if first == DEAD or not alive[first]:
        return []
    draw = random.Random(0).random  # the same lines for the same policy
    sizes = [len(found) for found in paths.bytes]
    ways: dict[int, tuple[list[_Way], list[int]]] = {}

    def onward(state: int) -> tuple[list[_Way], list[int]]:
        targets: dict[int, list[int]] = {}
        for one, target in enumerate(paths.rows[state]):
            if target != DEAD and alive[target]:
                targets.setdefault(target, []).append(one)
        choices = [(t, own, list(accumulate(sizes[one] for one in own))) for t, own in targets.items()]
        ways[state] = found = choices, list(accumulate(weights[-1] for _, _, weights in choices))
        return found

    out = []
    longest = _LONGEST + len(head)
    for number in range(count):
        state, path = first, list(head)
        while len(path) < longest:
            if labels[state] and draw() < _STOPS:
                break
            choices, sums = ways.get(state) or onward(state)
            if not choices:
                break
            at = bisect(sums, draw() * sums[-1]) if number & 1 else int(draw() * len(choices))
            state, own, weights = choices[at]
            path.append(own[bisect(weights, draw() * weights[-1])])
        if labels[state]:
            out.append(path)
    return out
