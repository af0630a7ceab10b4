"""Random paths that a profile allows.

Owns drawing them, the same ones each time.  Must not know patterns.
"""

from __future__ import annotations

import random
from bisect import bisect
from itertools import accumulate

from phoenix_hypervisor.policy.grammar import DEAD
from phoenix_hypervisor.policy.merged import below
from phoenix_hypervisor.policy.paths import Paths

_LONGEST = 200
_STOPS = 0.15


def sampled(paths: Paths, mask: int, count: int, head: list[int]) -> list[list[int]]:
    """About `count` paths below `head` that allow all of `mask`.

    They are walks that stop now and then where a path may end.  Every other one chooses among bytes, the
    rest among the ways to go on.
    """
    labels = [int(allow != -1 and allow & mask == mask) for allow in paths.allows]
    alive = [bits & 2 for bits in below(paths.rows, labels)]
    first = paths.walk(head)
    if first == DEAD or not alive[first]:
        return []
    draw = random.Random(0).random  # the same lines for the same policy
    sizes = [len(found) for found in paths.bytes]
    ways: dict[int, tuple[list[list[int]], list[list[int]], list[int]]] = {}

    def onward(state: int) -> tuple[list[list[int]], list[list[int]], list[int]]:
        found = ways.get(state)
        if found is None:
            targets: dict[int, list[int]] = {}
            for one, target in enumerate(paths.rows[state]):
                if target != DEAD and alive[target]:
                    targets.setdefault(target, []).append(one)
            weights = [list(accumulate(sizes[one] for one in own)) for own in targets.values()]
            sums = list(accumulate(own[-1] for own in weights))
            found = ways[state] = (list(targets.values()), weights, sums)
        return found

    out = []
    for number in range(count):
        state, path = first, list(head)
        while len(path) < _LONGEST + len(head):
            if labels[state] and draw() < _STOPS:
                break
            choices, weights, sums = onward(state)
            if not choices:
                break
            at = bisect(sums, draw() * sums[-1]) if number & 1 else int(draw() * len(choices))
            own = weights[at]
            one = choices[at][bisect(own, draw() * own[-1])]
            path.append(one)
            state = paths.rows[state][one]
        if labels[state]:
            out.append(path)
    return out
