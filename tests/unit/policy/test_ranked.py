"""Choosing what is told first: the best each time, without looking at everything each time."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from phoenix_hypervisor.policy.ranked import ranked


def require_the_best_each_time(
    chosen: list[int], hits: dict[int, list[int]], samples: list[tuple[int, int]]
) -> None:
    """Look at everything anew for each choice."""
    missing = [(1 << count) - 1 for count, _ in samples]
    left = list(hits)
    for best in [*chosen, None]:
        weights = [bits.bit_count() / size**2 for bits, (_, size) in zip(missing, samples, strict=True)]
        gains = {
            one: sum((a & b).bit_count() * w for a, b, w in zip(hits[one], missing, weights, strict=True))
            for one in left
        }
        if best is None:
            assert not any(gains.values())
            return
        assert gains[best] == pytest.approx(max(gains.values()), rel=1e-8)
        assert gains[best] > 0
        left.remove(best)
        missing = [bits & ~own for bits, own in zip(missing, hits[best], strict=True)]


class Counted(list[int]):
    """Counts how often it is looked through."""

    looked = 0

    def __iter__(self):  # type: ignore[no-untyped-def]
        Counted.looked += 1
        return super().__iter__()


@pytest.mark.parametrize("seed", range(50))
def test_each_choice_is_the_best_that_is_left(seed: int) -> None:
    chance = random.Random(seed)
    samples = [(chance.randint(0, 40), 40) for _ in range(3)]
    hits: dict[int, list[int]] = {}
    for one in range(chance.randint(0, 60)):
        density = chance.randint(1, 6)
        bits = [[chance.getrandbits(count) if count else 0 for _ in range(density)] for count, _ in samples]
        hits[one] = [_all(some) for some in bits]
    require_the_best_each_time(ranked(hits, samples), hits, samples)


def _all(some: Sequence[int]) -> int:
    found = -1
    for bits in some:
        found &= bits
    return found


def test_what_gains_nothing_new_is_not_looked_at_for_each_choice() -> None:
    size = 300
    hits = {one: Counted([1 << one]) for one in range(size)}
    Counted.looked = 0
    assert ranked(hits, [(size, size)]) == list(hits)
    assert Counted.looked < 10 * size
