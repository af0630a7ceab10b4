"""Paths are compared with many patterns at once, as with each by itself."""

from __future__ import annotations

import random

from phoenix_hypervisor.policy.shapes import MAYBE, Alphabet, Filed, Pattern, Shapes, Step

MEMBERS = [b"\0", b"/", b"a", b"b", b"01"]
ALPHABET = Alphabet(
    [next((n for n, some in enumerate(MEMBERS) if byte in some), 2) for byte in range(256)], MEMBERS
)
SLASH: Step = (ALPHABET.slash, False)


def some_pattern(chance: random.Random) -> Pattern:
    steps: list[Step] = [SLASH]
    for _ in range(chance.randint(1, 6)):
        mask = chance.choice(
            (0b00100, 0b01000, 0b10000, 0b01100, ALPHABET.slash, ALPHABET.part, ALPHABET.any)
        )
        steps.append((mask, chance.choice((False, False, False, True, MAYBE))))
    return tuple(steps)


def some_path(chance: random.Random) -> list[int]:
    return [1, *chance.choices((1, 2, 3, 4), k=chance.randint(1, 6))]


def test_patterns_by_their_first_directory_match_what_they_match_alone() -> None:
    chance = random.Random(8)
    met = {True: 0, False: 0}
    for _ in range(300):
        patterns = [some_pattern(chance) for _ in range(chance.randint(1, 12))]
        filed, together = Filed(ALPHABET), Shapes(ALPHABET)
        for pattern in patterns:
            filed.add(pattern)
            together.add(pattern)
        for path in (some_path(chance) for _ in range(60)):
            alone = any(_matches(pattern, path) for pattern in patterns)
            assert filed.matches(path) is alone, (patterns, path)
            assert together.matches(path) is alone, (patterns, path)
            met[alone] += 1
    assert min(met.values()) > 1000


def _matches(pattern: Pattern, path: list[int]) -> bool:
    """The same by trying each way."""
    if not pattern:
        return not path
    (mask, loop), rest = pattern[0], pattern[1:]
    fits = bool(path) and bool(mask >> path[0] & 1)
    if loop == MAYBE:
        return _matches(rest, path) or (fits and _matches(rest, path[1:]))
    if loop:
        return _matches(rest, path) or (fits and _matches(pattern, path[1:]))
    return fits and _matches(rest, path[1:])
