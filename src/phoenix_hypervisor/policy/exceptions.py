"""What is refused where nearly everything is allowed, in few patterns.

Owns the exceptions: no refused path is left out, and few allowed ones are taken with them.  Must not
know accesses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from phoenix_hypervisor.policy.grammar import DEAD
from phoenix_hypervisor.policy.images import Images
from phoenix_hypervisor.policy.learning import Learner
from phoenix_hypervisor.policy.shapes import Alphabet, Pattern, Shapes, Step

_MOST = 3000
"""Exceptions after which there is no line for everything."""
_ONE = 0.001
"""Of all random paths: what one exception may take with it at first; twice that later, and so on."""
_FEW = 4
"""Rounds after which it is more."""
_MANY = 4
"""Patterns in one directory that people cannot read, after which it is more for that directory."""
_PREFIX = 0.004
"""The same for names that are put together by how they begin."""
_ALL = 0.06
"""The same for all exceptions together."""
_KNOWN = (10.0, 2.0, 0.2, 0.0)
"""How many random paths a kernel's name counts for, by level: such names are told by themselves, too."""
_ROOM = 5200
"""Characters of all exceptions: some sixty lines."""
_SHORTEST = 3
"""Characters of a beginning that names are put together by."""

_Components = tuple[Pattern, ...]


class Exceptions:
    """Patterns for all that is refused."""

    def __init__(
        self,
        learner: Learner,
        within: Shapes,
        samples: Sequence[list[int]],
        known: Sequence[list[int]],
        places: Sequence[list[int]],
        rounds: int,
    ) -> None:
        """Allowed paths: `samples` random ones, `known` ones that are told by name, `places` to be kept.

        `rounds`: searches for what is refused after which there is no line for everything.
        """
        self._rounds = rounds
        self._learner, self._within = learner, within
        self._alphabet = learner.alphabet
        self._kept = _Kept(self._alphabet, samples, known, places)
        self.found: dict[Pattern, None] = {}
        self._union = Shapes(self._alphabet)
        self._round = 0
        self._families: dict[_Components, int] = {}
        """How many patterns that people cannot read have been met in a directory."""

    def find(self, named: Iterable[list[int]]) -> list[Pattern] | None:
        """The patterns; None where that takes too many.  `named`: refused paths to begin with."""
        missing: list[list[int]] | None = [path for path in named if self._within.matches(path)]
        for number in range(self._rounds):
            self._round = number
            self._kept.patience(number // _FEW)
            for path in missing or ():
                self._take(path)
                if len(self.found) > _MOST:
                    return None
            self._compact()
            missing = self._learner.untold.find(self._union, 0, self._within)
            if missing is None:
                return None
            if not missing:
                return list(self.found)
        return None

    def _take(self, path: list[int]) -> None:
        if self._union.matches(path):
            return
        learner, alphabet = self._learner, self._alphabet
        if learner.budget > 0:
            pattern = learner.generalise(path, 0)
        else:
            pattern = alphabet.join(alphabet.components(path))
        if learner.budget > 0 and self._readable(pattern):
            pattern = self._onward(pattern)
        else:
            pattern = next(self._coarser(pattern), pattern)
        self._add(pattern)
        components = self._split(pattern)
        if len(components) > 1 and components[0] == alphabet.deep:
            twin = alphabet.join(components[1:])
            refused = any(learner.labels[state] == 0 for state in learner.images.of(twin))
            if refused and self._kept.bears(twin):
                self._add(twin)

    def _add(self, pattern: Pattern) -> None:
        if pattern not in self.found:
            self.found[pattern] = None
            self._union.add(pattern)
            self._kept.lose(pattern)

    # Coarser ------------------------------------------------------------------------

    def _split(self, pattern: Pattern) -> _Components:
        slash, found = (self._alphabet.slash, False), list[list[Step]]()
        for step in pattern:
            if step == slash:
                found.append([])
            else:
                found[-1].append(step)
        return tuple(tuple(component) for component in found)

    def _general(self, component: Pattern) -> bool:
        """Whether it says next to nothing: one byte, or none, beside a star."""
        neutral = self._learner.paths.neutral
        plain = sum(not mask >> neutral & 1 for mask, _ in component)
        return bool(component) and plain < 2 and plain < len(component)

    def _odd(self, component: Pattern) -> int:
        """How many brackets it has that exclude bytes, or single bytes of any kind."""
        alphabet, neutral = self._alphabet, self._learner.paths.neutral
        if component in (alphabet.star, alphabet.deep):
            return 0
        return sum(not loop and bool(mask >> neutral & 1) for mask, loop in component)

    def _readable(self, pattern: Pattern) -> bool:
        """At most one such bracket, and only `**` in front of what is named."""
        components = self._split(pattern)
        first = next((at for at, one in enumerate(components) if not self._general(one)), 0)
        if first and components[:first] != (self._alphabet.deep,):
            return False
        odd = [self._odd(one) for one in components]
        return sum(odd) == 0 or (sum(odd) == 1 and components[-1][-1:] == ((self._alphabet.any, True),))

    def _coarser(self, pattern: Pattern) -> Iterator[Pattern]:
        """The same and more, the most general first, as far as next to nothing is lost."""
        alphabet, kept = self._alphabet, self._kept
        components = self._split(pattern)
        first = next((at for at, one in enumerate(components) if not self._general(one)), None)
        if first is None:
            return
        named = components[first:]
        folder = named[:-1]
        self._families[folder] = self._families.get(folder, 0) + 1
        deep = alphabet.deep
        below = deep if named[-1] else alphabet.loose
        heads = [(deep,), components[:first]] if first else [()]
        tails: list[_Components] = [(*named[:size], below) for size in range(1, len(named))]
        last = named[-1]
        plain = next((at for at, one in enumerate(last) if one[1] or self._odd((one,))), len(last))
        if len(named) > 1 and last and last != alphabet.star:
            tails.append((*named[:-1], alphabet.star))
        if plain:
            tails += [(*named[:-1], (*last[:plain], (mask, True))) for mask in (alphabet.any, alphabet.part)]
        tails.append(named)
        for tail in tails:
            kept.patience(self._round // _FEW + self._families.get(tail[:-1], 0) // _MANY)
            for head in heads:
                wider = alphabet.join((*head, *tail))
                if wider != pattern and kept.bears(wider) and self._holds(wider, pattern):
                    yield wider

    def _onward(self, pattern: Pattern) -> Pattern:
        """With what is below, too, as far as next to nothing is lost."""
        alphabet = self._alphabet
        if pattern[-1] == (alphabet.part, True):
            wider = (*pattern[:-1], (alphabet.any, True))
        elif pattern[-1] == (alphabet.slash, False):
            wider = (*pattern, *alphabet.loose)
        else:
            return pattern
        return wider if self._kept.bears(wider) else pattern

    def _holds(self, wider: Pattern, pattern: Pattern) -> bool:
        own = Shapes(self._alphabet)
        own.add(wider)
        return own.contains(pattern, own.start)

    # Fewer --------------------------------------------------------------------------

    def _compact(self) -> None:
        """Leave out what others stand for, and put names together until there is room for all."""
        self._prune()
        room = sum(self._length(one) for one in self.found) - _ROOM
        if room <= 0:
            return
        for wider, members in self._beginnings():
            members = [one for one in members if one in self.found]
            saved = sum(map(self._length, members)) - self._length(wider)
            if saved > 0 and self._kept.loss(wider) <= self._kept.share(_PREFIX):
                for one in members:
                    del self.found[one]
                self._add(wider)
                room -= saved
            if room <= 0:
                break
        self._prune()

    def _length(self, pattern: Pattern) -> int:
        """How many characters it takes beside its neighbours."""
        components = self._split(pattern)
        if self._alphabet.join((self._alphabet.deep, *components)) in self.found:
            return 0
        return len(components[-1]) + 1

    def _beginnings(self) -> list[tuple[Pattern, list[Pattern]]]:
        """Beginnings that names of one directory share, the cheapest first."""
        star = (self._alphabet.part, True)
        groups: dict[Pattern, list[Pattern]] = {}
        for pattern in self.found:
            head, last = self._split(pattern)[:-1], self._split(pattern)[-1]
            for size in range(_SHORTEST, len(last) + 1):
                if self._odd(last[size - 1 : size]) or last[size - 1][1]:
                    break
                groups.setdefault(self._alphabet.join((*head, (*last[:size], star))), []).append(pattern)
        worth = []
        for wider, members in groups.items():
            saved = sum(map(self._length, members)) - self._length(wider)
            if len(members) > 1 and saved > 0:
                loss = self._kept.loss(wider)
                if loss <= self._kept.share(_PREFIX):
                    worth.append(((loss + 0.3) / saved, wider, members))
        worth.sort(key=lambda one: one[0])
        return [(wider, members) for _, wider, members in worth]

    def _prune(self) -> None:
        """Leave out what more general ones stand for."""
        general, neutral = Shapes(self._alphabet), self._learner.paths.neutral
        bits = {one: general.add(one) for one in self.found if any(loop for _, loop in one)}
        start = general.start
        for one in list(self.found):
            others = start & ~bits.get(one, 0)
            if general.matches(spell(neutral, one), others) and general.contains(one, others):
                del self.found[one]
                start = others
        self._learner.untold.steps -= general.steps
        self._union = Shapes(self._alphabet)
        for one in self.found:
            self._union.add(one)


def spell(neutral: int, pattern: Pattern) -> list[int]:
    """A shortest path that matches."""
    return [
        neutral if mask >> neutral & 1 else (mask & -mask).bit_length() - 1
        for mask, loop in pattern
        if not loop
    ]


class _Kept:
    """Allowed paths as a tree: how many of them a pattern would take."""

    def __init__(self, alphabet: Alphabet, *paths: Sequence[list[int]]) -> None:
        """`paths`: as for `Exceptions`."""
        rows = [[DEAD] * len(alphabet.members)]
        ends = []
        for path in chain.from_iterable(paths):
            at = 0
            for one in path:
                if rows[at][one] == DEAD:
                    rows[at][one] = len(rows)
                    rows.append([DEAD] * len(alphabet.members))
                at = rows[at][one]
            ends.append(at)
        samples, known, _ = map(len, paths)
        self._ends = Counter(ends[:samples])
        self._names = set(ends[samples : samples + known])
        self._places = set(ends[samples + known :])
        self._images = Images(rows)
        self._all = samples
        self._left = _ALL * samples
        self._one = self._known = 0.0

    def patience(self, level: int) -> None:
        """How much one exception may take: more from level to level."""
        self._one = _ONE * (1 + level)
        self._known = _KNOWN[min(level, len(_KNOWN) - 1)]

    def bears(self, pattern: Pattern) -> bool:
        """Whether next to nothing would be lost."""
        return self.loss(pattern) <= self.share(self._one)

    def share(self, part: float) -> float:
        """How many may be lost."""
        return min(part * self._all, self._left)

    def loss(self, pattern: Pattern) -> float:
        image = self._images.of(pattern)
        if image & self._places:
            return float("inf")
        ends = self._ends
        return sum(ends.get(state, 0) for state in image) + self._known * len(image & self._names)

    def lose(self, pattern: Pattern) -> None:
        """They are lost, and not counted again."""
        for state in self._images.of(pattern):
            self._left -= self._ends.pop(state, 0)
            self._names.discard(state)
            self._places.discard(state)
