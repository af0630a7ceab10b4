"""What stands below one directory, below others that are alike.

Owns finding directories behind which the automaton is the same: what is true below one is true below all,
without asking.  Must not know what is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from phoenix_hypervisor.policy.images import Images
from phoenix_hypervisor.policy.shapes import Pattern, Step


def exchanged(images: Images, slash: Step, patterns: Iterable[Pattern]) -> Iterator[Pattern]:
    """Each beginning of a pattern with each end of another one, where both beginnings lead to the same.

    No directory is put below itself.
    """
    heads: dict[frozenset[int], dict[Pattern, None]] = {}
    tails: dict[frozenset[int], dict[Pattern, None]] = {}
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
                tails.setdefault(states, {})[pattern[at:]] = None
    for states, some in heads.items():
        if len(some) > 1:
            for head in some:
                for tail in tails[states]:
                    found = (*head, *tail)
                    if found not in known:
                        known[found] = None
                        yield found
