"""Patterns over classes of bytes: whether a path is among those of many, and how one is written.

Owns patterns as steps, walked bit by bit.  Must not know what a path means to a profile.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, takewhile

from phoenix_hypervisor.policy.patterns import one_of

Step = tuple[int, int]
"""Which classes, as bits, and how many of them: False for one, True for any number, none too, or MAYBE."""
MAYBE = 2
"""One or none."""
Pattern = tuple[Step, ...]
_FIRST = 0x80
"""The character that stands for class 0; none from here on means anything in a regular expression.

Python compiles sets of characters below 0x100 much faster, and there are seldom more than 128 classes.
"""


class Alphabet:
    """The classes of bytes that patterns are made of, and the steps that globs have."""

    def __init__(self, classes: Sequence[int], members: Sequence[bytes]) -> None:
        self.classes, self.members = classes, members
        self._spelled: dict[Pattern, str] = {}
        self._charsets: dict[int, str] = {}
        self._numbers: dict[int, tuple[int, ...]] = {}
        self.any = ((1 << len(members)) - 1) & ~(1 << classes[0])
        self.slash = 1 << classes[0x2F]
        self.part = self.any & ~self.slash
        self.digits = self.of(b"0123456789")
        self.words = self.of(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
        self.star: Pattern = ((self.part, False), (self.part, True))
        """A component of any name."""
        self.deep: Pattern = ((self.part, False), (self.any, True))
        """Everything below a directory."""
        self.loose: Pattern = ((self.any, True),)
        """The same and the directory itself."""
        self.number: Pattern = ((self.digits, False), (self.part, True))

    def of(self, found: bytes) -> int:
        mask = 0
        for byte in found:
            mask |= 1 << self.classes[byte]
        return mask

    def numbers(self, mask: int) -> tuple[int, ...]:
        """The classes of a mask."""
        found = self._numbers.get(mask)
        if found is None:
            found = self._numbers[mask] = tuple(n for n in range(mask.bit_length()) if mask >> n & 1)
        return found

    def components(self, path: Sequence[int]) -> list[Pattern]:
        """A path of classes, component by component; the last one of a directory is empty."""
        slash = self.classes[0x2F]
        found: list[list[Step]] = [[]]
        for one in path[1:]:
            if one == slash:
                found.append([])
            else:
                found[-1].append((1 << one, False))
        return [tuple(component) for component in found]

    def join(self, components: Sequence[Pattern]) -> Pattern:
        slash, steps = (self.slash, False), list[Step]()
        for component in components:
            steps.append(slash)
            steps += component
        return tuple(steps)

    def parse(self, name: str) -> Pattern:
        """A name with `*` and sets of bytes in brackets, as a pattern."""
        steps: list[Step] = []
        for part in name.encode().split(b"/")[1:]:
            steps.append((self.slash, False))
            if part == b"*":
                steps += self.star
                continue
            at = 0
            while at < len(part):
                if part[at : at + 1] == b"*":
                    steps.append((self.part, True))
                elif part[at : at + 1] == b"[":
                    end = part.index(b"]", at)
                    first, last = part[at + 1], part[end - 1]
                    steps.append((self.of(bytes(range(first, last + 1))), False))
                    at = end
                else:
                    steps.append((1 << self.classes[part[at]], False))
                at += 1
        return tuple(steps)

    def spelled(self, pattern: Pattern) -> str:
        """A pattern as a glob."""
        found = self._spelled.get(pattern)
        if found is None:
            found = self._spelled[pattern] = self._spell(pattern)
        return found

    def _spell(self, pattern: Pattern) -> str:
        slash = (self.slash, False)
        out, at = b"", 0
        while at < len(pattern):
            mask, loop = pattern[at]
            following = pattern[at + 1] if at + 1 < len(pattern) else slash
            whole = out.endswith(b"/")
            if not loop and mask == self.part and whole and following[1] == 1:
                after = pattern[at + 2] if at + 2 < len(pattern) else slash
                if after == slash:
                    out += b"**" if following[0] == self.any else b"*"
                    at += 2
                    continue
            if loop == MAYBE:
                out += b"{," + self._one_of(mask) + b"}"
            elif loop:
                star = b"**" if mask == self.any else b"*"
                out += b"{," + star + b"}" if whole and following == slash else star
            else:
                out += self._one_of(mask)
            at += 1
        return out.decode("utf-8", "backslashreplace")

    def _one_of(self, mask: int) -> bytes:
        return one_of(frozenset(b"".join(some for n, some in enumerate(self.members) if mask >> n & 1)))

    def text(self, path: Sequence[int]) -> str:
        """A path of classes as text that `expression` is for."""
        return "".join([chr(_FIRST + one) for one in path])

    def expression(self, pattern: Pattern) -> str:
        """A pattern as a regular expression over `text`; many paths are compared fast with it."""
        out = []
        for (mask, loop), some in groupby(pattern):
            number = len(list(some))
            more = f"{{{number}}}" if number > 1 and not loop else ""
            out.append(self._charset(mask) + (more or ("", "*", f"{{0,{number}}}")[loop]))
        return "".join(out)

    def _charset(self, mask: int) -> str:
        found = self._charsets.get(mask)
        if found is None:
            signs = [chr(_FIRST + n) for n in range(len(self.members)) if mask >> n & 1]
            if mask in (self.any, self.part):
                nul, slash = chr(_FIRST + self.classes[0]), chr(_FIRST + self.classes[0x2F])
                found = f"[^\n{nul}{slash if mask == self.part else ''}]"
            else:
                found = signs[0] if len(signs) == 1 else f"[{''.join(signs)}]"
            self._charsets[mask] = found
        return found

    def literal(self, pattern: Pattern) -> str:
        """How every `text` begins that matches."""
        return "".join(
            chr(_FIRST + mask.bit_length() - 1)
            for mask, _ in takewhile(lambda step: not step[1] and not step[0] & (step[0] - 1), pattern)
        )


_LONG = 8192
"""Bits from which on a number takes longer."""


class Shapes:
    """Many patterns walked at once: a position is a number whose bits are the steps that come next."""

    def __init__(self, alphabet: Alphabet) -> None:
        self._alphabet, self._any = alphabet, alphabet.any
        self._single = [0] * len(alphabet.members)
        self._loop = [0] * len(alphabet.members)
        self._skipped = 0
        """Steps that may stand for nothing; the first ones of their runs, the bits behind, and both."""
        self._run_starts = self._run_ends = self._runs = 0
        self._size = 0
        self.start = 0
        self.ends = 0
        """The bits of a position at which a pattern is matched."""
        self.absorbed = 0
        """The bits of a position behind which everything is matched."""
        self.steps = 0
        """What `contains` has taken, as `untold` counts it."""

    def add(self, pattern: Pattern) -> int:
        """Returns the bits of this pattern."""
        size = self._size
        # Numbers of many bits: each is changed once for each different step.
        single: dict[int, int] = {}
        loops: dict[int, int] = {}
        skipped, bit = 0, 1
        for mask, loop in pattern:
            kept = loops if loop == 1 else single
            kept[mask] = kept.get(mask, 0) | bit
            if loop:
                skipped |= bit
            bit <<= 1
        for steps, rows in ((single, self._single), (loops, self._loop)):
            for mask, own in steps.items():
                own <<= size
                for one in self._alphabet.numbers(mask):
                    rows[one] |= own
        self._skipped |= skipped << size
        behind = skipped << 1 & ~skipped
        self._run_starts |= (skipped & ~(skipped << 1)) << size
        self._run_ends |= behind << size
        self._runs |= (skipped | behind) << size
        self.ends |= bit << size
        if pattern[-1] == (self._any, True):
            self.absorbed |= bit << size >> 1
        self._size += len(pattern) + 1
        self.start |= self._closed(1 << size)
        return (bit << 1) - 1 << size

    def _closed(self, bits: int) -> int:
        """With what comes behind steps that may stand for nothing.

        All runs of such steps at once: subtracting one from the bits of a run, with a bit behind its end,
        changes those up to the lowest that is set, and the rest is what comes next.
        """
        behind = bits | self._run_ends
        return bits | self._runs & ~((behind - self._run_starts) ^ behind)

    def step(self, bits: int, one: int) -> int:
        bits = bits & self._loop[one] | (bits & self._single[one]) << 1
        return self._closed(bits) if bits & self._skipped else bits

    @property
    def weight(self) -> int:
        """How much longer a step takes than where there are few patterns, about."""
        return 1 + self._size // _LONG

    def contains(self, pattern: Pattern, start: int) -> bool:
        """Whether every path that matches `pattern` matches one of these, from `start` on."""
        own = Shapes(self._alphabet)
        own.add(pattern)
        classes = range(len(self._single))
        tried = {(self.told(one), own.told(one)): one for one in classes if own.told(one) != (0, 0)}
        least: dict[int, list[int]] = {}
        queue = [(own.start, start)]
        for at, bits in queue:
            for one in tried.values():
                inner, following = own.step(at, one), self.step(bits, one)
                if not inner or following & self.absorbed:
                    continue
                if inner & own.ends and not following & self.ends:
                    return False
                known = least.setdefault(inner, [])
                self.steps += (1 + len(known)) * self.weight
                if not any(had & following == had for had in known):
                    known.append(following)
                    queue.append((inner, following))
        return True

    def told(self, one: int) -> tuple[int, int]:
        """What the patterns make of a class; they treat two alike where this is equal."""
        return self._single[one], self._loop[one]

    def matches(self, path: Sequence[int], start: int | None = None) -> bool:
        bits = self.start if start is None else start
        single, loops, skipped = self._single, self._loop, self._skipped
        for one in path:  # `step`, without a call for each
            bits = bits & loops[one] | (bits & single[one]) << 1
            if not bits:
                return False
            if bits & skipped:
                bits = self._closed(bits)
        return bool(bits & self.ends)


class Filed:
    """Many patterns by their first directory: of those, a path is compared with its own only."""

    def __init__(self, alphabet: Alphabet) -> None:
        self._alphabet = alphabet
        self._slash = alphabet.classes[0x2F]
        self._by_name: dict[tuple[int, ...], Shapes] = {}
        self._others = Shapes(alphabet)
        """Of any first directory, or of none."""

    def add(self, pattern: Pattern) -> None:
        name: list[int] = []
        for mask, loop in pattern[1:]:
            if loop or mask & (mask - 1):
                break
            if mask == self._alphabet.slash:
                own = self._by_name.get(tuple(name))
                if own is None:
                    own = self._by_name[tuple(name)] = Shapes(self._alphabet)
                own.add(pattern)
                return
            name.append(mask.bit_length() - 1)
        self._others.add(pattern)

    def matches(self, path: Sequence[int]) -> bool:
        end = path.index(self._slash, 1) if self._slash in path[1:] else 0
        own = self._by_name.get(tuple(path[1:end]))
        return (own is not None and own.matches(path)) or self._others.matches(path)
