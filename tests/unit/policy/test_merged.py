"""States that no string tells apart are taken together, and no others."""

from __future__ import annotations

import random

from phoenix_hypervisor.policy.grammar import DEAD
from phoenix_hypervisor.policy.images import Images
from phoenix_hypervisor.policy.merged import Merger


def blocks_by_strings(rows: list[list[int]], labels: list[int]) -> list[int]:
    """The same by refining all states until nothing changes."""
    found = labels
    while True:
        keys = [(found[s], *(found[t] if t != DEAD else None for t in row)) for s, row in enumerate(rows)]
        numbers: dict[object, int] = {}
        finer = [numbers.setdefault(key, len(numbers)) for key in keys]
        if len(set(finer)) == len(set(found)):
            return finer
        found = finer


def test_random_automata() -> None:
    chance = random.Random(4)
    sizes = set()
    for _ in range(400):
        size = chance.randrange(1, 30)
        targets = [DEAD, *range(size)]
        rows = [
            [chance.choice(targets[: chance.randrange(1, size + 2)]) for _ in range(3)] for _ in range(size)
        ]
        labels = [chance.randrange(-1, chance.choice((1, 2))) for _ in range(size)]
        assert Merger(rows).merge(labels) == blocks_by_strings(rows, labels)
        sizes.add(len(set(Merger(rows).merge(labels))))
    assert len(sizes) > 5


def test_below() -> None:
    rows = [[1, 2], [1, DEAD], [DEAD, DEAD], [0, 0]]
    assert Merger(rows).below([-1, 0, 1, -1]) == [3, 1, 2, 3]


def test_images_are_sets_of_states() -> None:
    images = Images([[1, 2], [1, DEAD], [DEAD, 0]])
    assert images.of(((0b01, True),)) == {0, 1}
    assert images.of(((0b11, False), (0b10, False))) == {0}
    assert images.of(((0b01, False), (0b10, False))) == frozenset()
    assert images.allows(((0b11, False),), [7, 6, 3]) == 2
    assert images.allows(((0b11, False),), [7, -1, -1]) == 0
