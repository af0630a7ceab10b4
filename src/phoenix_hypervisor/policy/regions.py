"""Directories below which nearly everything is allowed, each with what is refused there.

Owns finding them and their exceptions; of all that is below a region only its exceptions are refused.
Must not choose which lines are told, nor word them.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from phoenix_hypervisor.policy import constants
from phoenix_hypervisor.policy.exceptions import Exceptions, spell
from phoenix_hypervisor.policy.grammar import DEAD
from phoenix_hypervisor.policy.learning import Learner
from phoenix_hypervisor.policy.paths import Paths
from phoenix_hypervisor.policy.shapes import Alphabet, Pattern, Shapes

_PLACES = (
    "/bin /boot /etc /home /lib /media /mnt /opt /root /run /sbin /srv /tmp /usr /usr/bin /usr/lib /usr/local"
    " /usr/share /var /var/cache /var/lib /var/log /var/run /var/spool /var/tmp /dev/shm"
)
"""Directories of every system: what is allowed there is worth saying."""
ROW = 100
"""Characters of exceptions in a row, about."""
_DEEPEST = 9
"""Directories above a region, at most."""
_TRIED = 24
"""Directories of one access whose exceptions are looked for."""
_STEPS = 2_000_000
"""Steps of the searches for what is refused in regions, for one access."""
_MOST = 60
"""Exceptions of a region, at most."""
_ROUNDS = 12
"""Searches for what is refused in one region."""
_WORTH = 0.003
"""Of all random paths: what a region has to stand for, for each row that it takes."""
_LEAST = 0.001
"""The same for a directory in which the same is refused as below others."""


class Region:
    """Everything below some directories but for the exceptions allows all of `mask`."""

    def __init__(self, alphabet: Alphabet, mask: int, below: Pattern, refused: Iterable[Pattern]) -> None:
        """`below`: how a pattern of all that is below a directory ends.  `refused`: below each of them."""
        self.mask, self.below = mask, below
        self.refused = dict.fromkeys(refused, -1)
        """Each with what is allowed there all the same."""
        self.heads: list[Pattern] = []
        self.within, self.but = Shapes(alphabet), Shapes(alphabet)

    def add(self, head: Pattern, allows: Callable[[Pattern], int]) -> list[tuple[Pattern, int]]:
        """One more directory.  Returns its exceptions, whole, with what is allowed there all the same."""
        self.heads.append(head)
        self.within.add((*head, *self.below))
        found = []
        for tail in self.refused:
            one = (*head, *tail)
            self.but.add(one)
            found.append((one, allows(one)))
            self.refused[tail] &= found[-1][1]
        return found

    @property
    def patterns(self) -> list[Pattern]:
        return [(*head, *self.below) for head in self.heads]

    def matches(self, path: Sequence[int]) -> bool:
        return self.within.matches(path) and not self.but.matches(path)


def whole(
    paths: Paths,
    alphabet: Alphabet,
    top: bytes,
    named: list[Pattern],
    samples: Callable[[int], list[list[int]]],
    allows: Callable[[Pattern], int],
    shown: int,
    budget: int,
    rounds: int,
) -> tuple[Region | None, int]:
    """Everything below `top`, where names that no rule has are allowed; and what of the budget that took.

    `named`: names that kernels have.  `samples`: random paths below `top` for a mask.  `rounds`: searches.
    """
    start = paths.classes_of(top)
    slash, other = paths.classes[0x2F], paths.neutral
    probes = ([slash, other], [slash, other, slash, other])
    found = [paths.allows[state] for p in probes if (state := paths.walk([*start, *p])) != DEAD]
    mask = shown
    for allow in found:
        mask &= allow
    if not found or not mask:
        return None, 0
    own = paths.walk([*start, slash])
    all_of_it = own != DEAD and paths.allows[own] != -1 and paths.allows[own] & mask == mask
    below = alphabet.loose if all_of_it else alphabet.deep
    pattern: Pattern = (*((1 << one, False) for one in start), (alphabet.slash, False), *below)
    within = Shapes(alphabet)
    within.add(pattern)
    learner = Learner(paths, alphabet, mask, budget)

    def allowed(path: list[int]) -> bool | None:
        state = paths.walk(path)
        allow = -1 if state == DEAD else paths.allows[state]
        return None if allow == -1 else allow & mask == mask

    known: list[list[int]] = []
    refused: list[list[int]] = []
    for one in named:
        path = spell(paths.neutral, one)
        if (answer := allowed(path)) is not None:
            (known if answer else refused).append(path)
    places = [path for place in constants.words(_PLACES) for path in _below(paths, place) if allowed(path)]
    exceptions = Exceptions(learner, within, samples(mask), known, places, rounds).find(refused)
    if exceptions is None:
        return None, learner.images.spent
    region = Region(
        alphabet, mask, pattern, exceptions
    )  # below no directory: `**` stands for what is above, too
    region.add((), allows)
    return region, learner.images.spent


def _below(paths: Paths, place: str) -> list[list[int]]:
    """A file and a directory's file there, of names that no rule has."""
    slash, other = paths.classes[0x2F], paths.neutral
    head = paths.classes_of(place.encode())
    return [[*head, slash, other], [*head, slash, other, slash, other]]


class Around:
    """Regions around patterns of one access."""

    def __init__(
        self,
        learner: Learner,
        samples: Sequence[list[int]],
        allows: Callable[[Pattern], int],
        regions: list[Region],
    ) -> None:
        """`allows`: what all paths of a pattern allow, of what is told.  What is found goes to `regions`."""
        self._learner, self._allows, self._regions = learner, allows, regions
        self._samples = Texts(learner.alphabet, samples)
        self._met: set[tuple[Pattern, Pattern]] = set()
        self._left = _TRIED
        learner.untold.steps = min(learner.untold.steps, _STEPS)
        for region in regions:
            new = region.mask & learner.mask != learner.mask
            if new and all(map(self._one, region.patterns)) and self._all_but(region.within, region.but):
                region.mask |= learner.mask

    def find(self, pattern: Pattern) -> list[tuple[Pattern, int]] | None:
        """Look for the widest region, not met before, that a pattern lies in and that is worth its rows.

        Returns its exceptions, each with what is allowed there all the same; None where there is no region.
        """
        alphabet, neutral = self._learner.alphabet, self._learner.paths.neutral
        slash, other = (alphabet.slash, False), (1 << neutral, False)
        heads: list[Pattern] = []
        for at in [at for at, step in enumerate(pattern) if step == slash][1 : _DEEPEST + 1]:
            if any(mask >> neutral & 1 and mask != alphabet.part for mask, _ in pattern[:at]):
                break  # below `**`, or below names of which only some are meant
            heads.append(pattern[:at])
        star = (slash, *alphabet.star)
        # Below names of which only some are meant, all may be: /home/*/d of a path in /home/*[^~]/d.
        heads += [head for head in ((*head, *star) for head in heads) if head not in heads]
        for above in ((), star):
            for head in heads:
                if (head, above) in self._met:
                    continue
                self._met.add((head, above))
                probe = (*head, *(slash, other) * bool(above), slash, other)
                if self._holds(probe) and self._holds((*probe, slash, other)):
                    loose = self._holds(probe[:-1])
                    region = self._look(head, (*above, slash, *(alphabet.loose if loose else alphabet.deep)))
                    if region is not None:
                        return region.add(head, self._allows)
        return None

    def _holds(self, pattern: Pattern) -> bool:
        """Whether it stands for paths, and for allowed ones only."""
        image = self._learner.images.of(pattern)
        return bool(image) and all(self._learner.labels[state] == 1 for state in image)

    def _one(self, pattern: Pattern) -> bool:
        """Whether a shortest path of it is allowed."""
        paths = self._learner.paths
        state = paths.walk(spell(paths.neutral, pattern))
        return state != DEAD and paths.allows[state] & self._learner.mask == self._learner.mask

    def _all_but(self, within: Shapes, but: Shapes) -> bool:
        """Whether all that is refused there is among the exceptions."""
        return self._learner.untold.find(but, 0, within) == []

    def _look(self, head: Pattern, below: Pattern) -> Region | None:
        learner = self._learner
        pattern = (*head, *below)
        inner = self._samples.among(pattern)
        if len(inner) < _LEAST * len(self._samples) or learner.inside(pattern, 1):
            return None
        within = Shapes(learner.alphabet)
        within.add(pattern)
        # An access of the same exceptions that is looked at later is put to it, see above.
        for region in self._regions:
            if region.mask == learner.mask and region.below == below and self._alike(region, head, within):
                return region
        return self._new(head, below, within, inner)

    def _alike(self, region: Region, head: Pattern, within: Shapes) -> bool:
        """Whether the same is refused below another directory, no more and no less."""
        but = Shapes(self._learner.alphabet)
        for tail in region.refused:
            one = (*head, *tail)
            if not self._learner.images.of(one) or not self._learner.inside(one, 0):
                return False
            but.add(one)
        return self._all_but(within, but)

    def _new(
        self, head: Pattern, below: Pattern, within: Shapes, inner: Sequence[list[int]]
    ) -> Region | None:
        """All that is refused below a directory, in few patterns that stand for nothing else."""
        learner, alphabet = self._learner, self._learner.alphabet
        if self._left <= 0 or len(inner) < 2 * _WORTH * len(self._samples):
            return None
        self._left -= 1
        most = len(inner) / (_WORTH * len(self._samples)) * ROW
        refused: dict[Pattern, None] = {}
        union = Shapes(alphabet)
        for _ in range(_ROUNDS):
            missing = learner.untold.find(union, 0, within)
            if missing is None:
                return None
            for path in missing:
                if not union.matches(path):
                    one = learner.generalise(path, 0, head)
                    union.add(one)
                    refused[one[len(head) :]] = None
            if len(refused) > _MOST or sum(len(alphabet.spelled(one)) for one in refused) > most:
                return None
            if not missing:
                region = Region(alphabet, learner.mask, below, refused)
                self._regions.append(region)
                return region
        return None


class Texts:
    """Random paths, sorted as text, so that those of a pattern are found fast."""

    def __init__(self, alphabet: Alphabet, paths: Sequence[list[int]]) -> None:
        self._alphabet = alphabet
        self._lines = sorted((alphabet.text(path), path) for path in paths)

    def __len__(self) -> int:
        return len(self._lines)

    def among(self, pattern: Pattern) -> list[list[int]]:
        literal = self._alphabet.literal(pattern)
        first = bisect_left(self._lines, (literal,))
        matches = re.compile(self._alphabet.expression(pattern)).fullmatch
        found = []
        for text, path in islice(self._lines, first, None):
            if not text.startswith(literal):
                break
            if matches(text):
                found.append(path)
        return found
