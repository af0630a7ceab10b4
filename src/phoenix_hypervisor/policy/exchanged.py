"""What stands below one directory, below others that are alike.

Owns finding such directories: behind some the automaton is the same, so what is true below one is true below
all; others have much in common, and the rest is asked.  Must not know what is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations

from phoenix_hypervisor.policy.images import Images
from phoenix_hypervisor.policy.shapes import Pattern, Step

_ALIKE = 2
"""Ends that two directories have in common, at least."""
_OFTEN = 12
"""Directories behind which an end says nothing of their being alike: many have a `/cache`."""


def exchanged(
    images: Images, slash: Step, patterns: Iterable[Pattern], true: Callable[[Pattern], bool]
) -> Iterator[Pattern]:
    """Beginnings of patterns with ends of others, where both beginnings are alike and all of it is true.

    No directory is put below itself.
    """
    heads: dict[frozenset[int], dict[Pattern, None]] = {}
    tails: dict[Pattern, dict[Pattern, None]] = {}
    known = dict.fromkeys(patterns)
    for pattern in known:
        met = set()
        for at, step in enumerate(pattern):
            if at and step == slash:
                states = images.of(pattern[:at])
                if states in met:
                    continue  # below itself, as below `**`
                met.add(states)
                heads.setdefault(states, {})[pattern[:at]] = None
                tails.setdefault(pattern[:at], {})[pattern[at:]] = None
    same = [pair for some in heads.values() for pair in combinations(some, 2)]
    sure = set(map(frozenset, same))
    for one, other in [*same, *(pair for pair in _alike(tails) if frozenset(pair) not in sure)]:
        alike = frozenset((one, other)) in sure
        for first, second in ((one, other), (other, one)):
            for tail in tails[first]:
                found = (*second, *tail)
                if found not in known and (alike or true(found)):
                    known[found] = None
                    yield found


def _alike(tails: dict[Pattern, dict[Pattern, None]]) -> list[tuple[Pattern, Pattern]]:
    """Pairs of beginnings that have ends in common, those with most first."""
    behind: dict[Pattern, list[Pattern]] = {}
    for head, some in tails.items():
        for tail in some:
            behind.setdefault(tail, []).append(head)
    pairs: Counter[tuple[Pattern, Pattern]] = Counter()
    for found in behind.values():
        if 1 < len(found) <= _OFTEN:
            pairs.update(combinations(sorted(found), 2))
    return [pair for pair, number in pairs.most_common() if number >= _ALIKE]
