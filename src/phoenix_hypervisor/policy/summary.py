"""What a profile allows of files, in few lines that are all true.

Owns which lines are told: real names of the kernel's file systems, then patterns, the widest first.
Where nearly everything is allowed, one line says so and names the exceptions.  Must not print.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, islice

from phoenix_hypervisor.policy import constants, perms
from phoenix_hypervisor.policy.braces import joined
from phoenix_hypervisor.policy.drawn import sampled
from phoenix_hypervisor.policy.exceptions import spell
from phoenix_hypervisor.policy.exchanged import exchanged
from phoenix_hypervisor.policy.images import Images
from phoenix_hypervisor.policy.learning import Learner
from phoenix_hypervisor.policy.named import by_name
from phoenix_hypervisor.policy.paths import Paths
from phoenix_hypervisor.policy.ranked import ranked
from phoenix_hypervisor.policy.regions import ROW, Around, Region, whole
from phoenix_hypervisor.policy.shapes import Alphabet, Filed, Pattern
from phoenix_hypervisor.values import dataclass, field

SHOWN = perms.READ | perms.WRITE | perms.APPEND | perms.EXEC | perms.MMAP_EXEC | perms.LOCK
"""What is told of a path.  Links are decided by two paths."""
EACH = (perms.WRITE, perms.APPEND, perms.EXEC, perms.READ, perms.MMAP_EXEC, perms.LOCK)
"""The accesses that lines are looked for, the most dangerous first."""
BUDGET = 20_000_000
"""States and steps that are looked at for all accesses together; each takes up to half of what is left."""
SAMPLES = 3000
_LESSER = (perms.APPEND, perms.MMAP_EXEC, perms.LOCK)
_LESS = 2
"""How much less of them is worth a line."""
_OFTEN = {perms.EXEC: 6, **dict.fromkeys(_LESSER, 1)}
"""Thirds of the random paths: programs are found fast, and have long names of versions."""
WHOLE = 2000
"""Those of a line for everything."""
_AT_ONCE = 1000
"""Random paths between two looks at directories that are alike."""
_EXCHANGED = 600
"""Patterns of one access that such looks find at most."""
_ENOUGH = 0.97
"""Of random paths; what is left of the exceptions of a line for everything is not worth lines then."""
_LAST = "\U0010ffff"
"""Behind everything that `Alphabet.text` writes."""
ROUNDS = 20
"""Searches for the exceptions of a line for everything."""
NAMED = 50
"""Lines of real names."""
_PUT_TOGETHER = 8
"""Patterns for each line, the best, of which lines are made."""


@dataclass(frozen=True, slots=True)
class Line:
    """Paths that all allow the same."""

    pattern: str
    access: str
    """The letters that every path of `pattern` allows, but for those in `but`; empty for none."""
    but: tuple[str, ...] = ()
    named: bool = False
    """Made of names that kernels have."""

    def as_json(self) -> dict[str, object]:
        return {
            "pattern": self.pattern,
            "access": self.access,
            "except": list(self.but),
            "named": self.named,
        }


_Sample = tuple[int, int, list[str]]


@dataclass(slots=True, eq=False, kw_only=True)
class _Told:
    """Lines so far, and which access they cover."""

    allows: Callable[[Pattern], int]
    """What all paths of a pattern allow."""
    named: dict[Pattern, int] = field(default_factory=dict)
    """The same of what is told by name."""
    patterns: list[tuple[Pattern, int]] = field(default_factory=list)
    samples: list[_Sample] = field(default_factory=list)
    """For each access: how many random paths it had, and those that neither a name nor everything covers."""
    regions: list[Region] = field(default_factory=list)
    """Where nearly everything is allowed."""
    whole: int = 0
    """What is allowed everywhere but for the exceptions of the first region."""


@dataclass(frozen=True, slots=True)
class Scale:
    """What permission bits are told, in which words."""

    shown: int = SHOWN
    words: Callable[[int], str] = constants.file_letters
    samples: int = SAMPLES
    """Random paths to read or write; twice as many to execute, a third of the lesser ones."""
    rounds: int = ROUNDS
    """Searches for the exceptions of a line for everything, at most."""


FILES = Scale()


def summarise(
    paths: Paths,
    top: bytes,
    names: Iterable[str],
    masks: Sequence[int],
    limit: int,
    scale: Scale = FILES,
) -> tuple[Line, ...]:
    """Lines for the paths of an automaton, about `limit`: exceptions are told in full.

    `top`: the directory whose paths are told, without a slash at its end; `paths` are all paths.
    `masks`: the accesses that matter, each by itself.
    """
    alphabet = Alphabet(paths.classes, paths.bytes)
    spelled = list(names)
    named = [alphabet.parse(name) for name in spelled]
    images = Images(paths.rows)

    def allows(pattern: Pattern) -> int:
        return images.allows(pattern, paths.allows) & scale.shown

    told = _Told(allows=allows)

    def samples(mask: int) -> list[list[int]]:
        return sampled(paths, mask, WHOLE, paths.classes_of(top))

    everywhere, spent = whole(
        paths, alphabet, top, named, samples, allows, scale.shown, BUDGET // 2, scale.rounds
    )
    if everywhere is not None:
        told.regions.append(everywhere)
        told.whole = everywhere.mask
    left = BUDGET - spent
    wanted = sum(set(masks))
    found = [one for one in by_name(alphabet, allows, spelled) if one[0] & wanted]
    if len(found) > NAMED:
        found.sort(key=lambda one: (not one[0] & perms.WRITE, one[1].count("/")))
        found = sorted(found[:NAMED], key=lambda one: one[1])
    told.named = {pattern: access for access, _, patterns in found for pattern in patterns}
    known: dict[tuple[bool, ...], tuple[int, list[_Sample]]] = {}
    for mask in masks:
        where = tuple([allow & mask == mask for allow in paths.allows])
        if where not in known:
            before = len(told.samples)
            learner = Learner(paths, alphabet, mask, left // 2)
            number = scale.samples * _OFTEN.get(mask, 3) // 3
            _one_access(learner, top, named, told, number)
            left -= learner.images.spent
            known[where] = mask, told.samples[before:]
        else:  # it is allowed where another access is, and told with that
            same, drawn = known[where]
            told.samples += [(mask, size, texts) for _, size, texts in drawn]
            for region in told.regions:
                region.mask |= mask if region.mask & same == same else 0
    lines = [Line(text, scale.words(access), named=True) for access, text, _ in found]
    return (*lines, *_by_pattern(alphabet, told, limit - len(lines), scale))


def _instance(learner: Learner, pattern: Pattern) -> list[int] | None:
    """A path of a real name that is allowed."""
    image = learner.images.of(pattern)
    if image and all(learner.labels[state] == 1 for state in image):
        return spell(learner.paths.neutral, pattern)
    return None


# One access ------------------------------------------------------------------------


def _one_access(learner: Learner, top: bytes, named: list[Pattern], told: _Told, number: int) -> None:
    """Add patterns until what is allowed is told, as far as so many random paths can tell."""
    paths, alphabet, mask = learner.paths, learner.alphabet, learner.mask
    head = paths.classes_of(top)
    union, shown = Filed(alphabet), Filed(alphabet)
    for pattern, access in told.patterns:
        if access & mask == mask:
            union.add(pattern)
    for region in told.regions:
        for tail, access in region.refused.items():
            if access & mask == mask:
                for directory in region.heads:
                    union.add((*directory, *tail))
    everywhere = told.whole & mask == mask != 0
    look = not everywhere and mask not in _LESSER

    def wide(path: list[int]) -> bool:
        return any(one.mask & mask == mask and one.matches(path) for one in told.regions)

    def covered(path: list[int]) -> bool:
        return union.matches(path) or wide(path)

    def take(path: list[int]) -> None:
        if learner.budget > 0 and not covered(path):
            pattern = learner.generalise(path, 1)
            while look and not covered(path):
                exceptions = around.find(pattern)
                if exceptions is None:
                    break
                for one, access in exceptions:
                    if access & mask == mask:
                        union.add(one)
            if not covered(path):
                union.add(pattern)
                told.patterns.append((pattern, told.allows(pattern)))

    samples = sampled(paths, mask, number, head)
    if not samples:
        return
    if everywhere and sum(map(covered, samples)) >= _ENOUGH * len(samples):
        return
    around = Around(learner, samples, told.allows, told.regions)
    for one in named:
        path = _instance(learner, one)
        if path is not None:
            take(path)
    more = 0 if mask in _LESSER else _EXCHANGED
    for first in range(0, len(samples), _AT_ONCE):
        for path in samples[first : first + _AT_ONCE]:
            take(path)
        own = [pattern for pattern, access in told.patterns if access & mask == mask]
        others = exchanged(learner.images, (alphabet.slash, False), own, lambda one: learner.inside(one, 1))
        for pattern in islice(others, more):
            more -= 1
            if not covered(spell(paths.neutral, pattern)):
                union.add(pattern)
                told.patterns.append((pattern, told.allows(pattern)))
    if not everywhere:
        for state, allow in enumerate(paths.allows):
            if allow != -1 and allow & mask == mask:
                path = paths.witness(state)
                if path[: len(head)] == head:
                    take(path)
    for pattern, access in told.named.items():
        if access & mask == mask:
            shown.add(pattern)
    left = [alphabet.text(path) for path in samples if not shown.matches(path) and not wide(path)]
    told.samples.append((mask, len(samples), left))


def _hits(alphabet: Alphabet, told: _Told, patterns: dict[Pattern, int]) -> dict[Pattern, list[int]]:
    """Which random paths of each access each pattern stands for, as bits."""
    hits: dict[Pattern, list[int]] = {pattern: [] for pattern in patterns}
    told_as = [
        (one, access, alphabet.literal(one), re.compile(f"(?m:^{alphabet.expression(one)}$)"))
        for one, access in patterns.items()
    ]
    for mask, _, texts in told.samples:
        places: dict[str, int] = {}
        for number, path in enumerate(texts):
            places[path] = places.get(path, 0) | 1 << number
        lines = sorted(places)
        starts = [0, *accumulate(len(line) + 1 for line in lines)]
        text = "\n".join(lines)
        for pattern, access, literal, expression in told_as:
            matched: list[str] = []
            if access & mask == mask:
                first, end = bisect_left(lines, literal), bisect_left(lines, literal + _LAST)
                matched = expression.findall(text, starts[first], max(starts[end] - 1, 0))
            hits[pattern].append(sum(places[path] for path in matched))
    return hits


# Lines -----------------------------------------------------------------------------


def _by_pattern(alphabet: Alphabet, told: _Told, limit: int, scale: Scale) -> list[Line]:
    """The patterns as lines: what is allowed nearly everywhere, what is left of its exceptions, the rest."""
    lines: list[Line] = []
    hidden: dict[Line, None] = {}
    for region in told.regions:
        kept = _lines(alphabet, region.refused, scale)
        below = alphabet.spelled(region.below)
        some = _lines(alphabet, dict.fromkeys(region.patterns, region.mask), scale)
        for line in some:
            directory = line.pattern.removesuffix(below)
            own = [Line(directory + tail.pattern, tail.access) for tail in kept]
            lines.append(Line(line.pattern, line.access, tuple(one.pattern for one in own)))
            hidden.update(dict.fromkeys(one for one in own if one.access))
        limit -= len(some)
        beside = below.startswith("/*/")
        for access in {one.access for one in kept}:
            own = [one for one in kept if one.access == access]
            rows = -(-sum(len(one.pattern) + 12 for one in own) // ROW)
            # They are told once, but for those beside the first star: with a name of each directory.
            limit -= len(some) * min(len(own), rows) if beside else rows
    lines += hidden
    rest = {one: access for one, access in told.patterns if access and told.named.get(one) != access}
    hits = _hits(alphabet, told, rest)
    samples = [(len(texts), size * _LESS if mask in _LESSER else size) for mask, size, texts in told.samples]
    if len(rest) > _PUT_TOGETHER * limit:
        rest = {one: rest[one] for one in ranked(hits, samples)[: _PUT_TOGETHER * limit]}
    more = _lines(alphabet, rest, scale)
    stands = {
        line: [_either(some) for some in zip(*(hits[one] for one in members), strict=True)]
        for line, members in more.items()
    }
    best = ranked(stands, samples)
    first = set(best[: max(limit, 1)])
    first.update([line for line in more if line not in first][: max(limit, 1) - len(first)])
    return [*lines, *(line for line in more if line in first)]


def _either(some: Iterable[int]) -> int:
    found = 0
    for bits in some:
        found |= bits
    return found


def _lines(alphabet: Alphabet, patterns: dict[Pattern, int], scale: Scale) -> dict[Line, list[Pattern]]:
    """Lines by access, each with its patterns."""
    groups: dict[int, dict[str, Pattern]] = {}
    for pattern, access in patterns.items():
        groups.setdefault(access, {})[alphabet.spelled(pattern)] = pattern
    return {
        Line(text, scale.words(access) if access else ""): [group[one] for one in members]
        for access, group in groups.items()
        for text, members in joined(group).items()
    }
