"""What a profile allows of files, in few lines that are all true.

Owns which lines are told: real names of the kernel's file systems, then patterns, the widest first.
Where nearly everything is allowed, one line says so and names the exceptions.  Must not print.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence

from phoenix_hypervisor.policy import constants, perms
from phoenix_hypervisor.policy.braces import braced
from phoenix_hypervisor.policy.grammar import DEAD
from phoenix_hypervisor.policy.learning import Learner
from phoenix_hypervisor.policy.named import by_name
from phoenix_hypervisor.policy.paths import Paths
from phoenix_hypervisor.policy.shapes import Alphabet, Pattern, Shapes
from phoenix_hypervisor.values import dataclass, field

SHOWN = perms.READ | perms.WRITE | perms.APPEND | perms.EXEC | perms.MMAP_EXEC | perms.LOCK
"""What is told of a path.  Links are decided by two paths."""
EACH = (perms.WRITE, perms.APPEND, perms.EXEC, perms.READ)
"""The accesses that lines are looked for, the most dangerous first."""
BUDGET = 12_000_000
"""States that are looked at for one access."""
SAMPLES = 400
_EXCEPTIONS = 600
_EXACT = 3000
"""States up to which exceptions are looked for exactly."""
_ROUNDS = 40
_PATIENT = 12
"""Rounds after which an exception may also be less than exact."""
_LOSS = 0.004
_ENOUGH = 0.97
"""Of random paths; what is left of the exceptions of a line for everything is not worth lines then."""
NAMED = 50
"""Lines of real names."""


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


@dataclass(slots=True, eq=False)
class _Told:
    """Lines so far, and which access they cover."""

    patterns: list[tuple[Pattern, int]] = field(default_factory=list)
    weights: dict[Pattern, int] = field(default_factory=dict)
    """How many random paths a pattern stands for."""
    root: int = 0
    """What is allowed everywhere but for `exceptions`."""
    exceptions: list[tuple[Pattern, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Scale:
    """What permission bits are told, in which words."""

    shown: int = SHOWN
    words: Callable[[int], str] = constants.file_letters


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
    told = _Told()
    _everywhere(paths, alphabet, top, named, told, scale.shown)
    for mask in masks:
        _one_access(Learner(paths, alphabet, mask, BUDGET), top, named, told, scale.shown)
    wanted = sum(set(masks))
    lines = [
        Line(pattern, scale.words(access), named=True)
        for access, pattern in by_name(Learner(paths, alphabet, wanted, 0), spelled, scale.shown)
        if access & wanted
    ]
    if len(lines) > NAMED:
        lines.sort(key=lambda line: ("w" not in line.access, line.pattern.count("/")))
        lines = sorted(lines[:NAMED], key=lambda line: line.pattern)
    return (*lines, *_by_pattern(alphabet, told, limit - len(lines), scale))


# Everything but -------------------------------------------------------------------


def _everywhere(
    paths: Paths, alphabet: Alphabet, top: bytes, named: list[Pattern], told: _Told, shown: int
) -> None:
    """Where names that no rule has are allowed: a line for everything, and its exceptions."""
    start = paths.classes_of(top)
    slash, other = paths.classes[0x2F], paths.neutral
    probes = ([slash, other], [slash, other, slash, other])
    found = [paths.allows[state] for p in probes if (state := paths.walk([*start, *p])) != DEAD]
    mask = shown
    for allow in found:
        mask &= allow
    if not found or not mask:
        return
    own = paths.walk([*start, slash])
    whole = own != DEAD and paths.allows[own] != -1 and paths.allows[own] & mask == mask
    below = alphabet.loose if whole else alphabet.deep
    region: Pattern = (*((1 << one, False) for one in start), (alphabet.slash, False), *below)
    learner = Learner(paths, alphabet, mask, 8 * BUDGET if len(paths) <= _EXACT else 0)
    exceptions = _exceptions(learner, region, start, named)
    if exceptions is not None:
        told.root = mask
        told.exceptions = [(one, learner.allows(one) & shown) for one in exceptions]
        told.patterns.append((region, mask))


def _exceptions(
    learner: Learner, region: Pattern, head: list[int], named: list[Pattern]
) -> list[Pattern] | None:
    """Patterns for all that is refused; None where that takes too many."""
    alphabet = learner.alphabet
    union, within = Shapes(alphabet), Shapes(alphabet)
    within.add(region)
    keep = _sampled(learner, SAMPLES, head)
    keep += [path for one in named if (path := _instance(learner, one)) is not None]
    found: list[Pattern] = []
    kept = "\n".join(alphabet.text(path) for path in keep)
    most = int(_LOSS * len(keep))
    known = {part for one in named for part in alphabet.components(_spell(learner, one)) if len(part) > 2}

    def take(path: list[int]) -> None:
        if not union.matches(path):
            pattern = _exception(learner, path, known, kept, most)
            union.add(pattern)
            found.append(pattern)

    for one in named:
        state = next(iter(learner.image(one)), DEAD)
        if state != DEAD and learner.labels[state] == 0:
            path = _spell(learner, one)
            if within.matches(path):
                take(path)
    for number in range(_ROUNDS):
        if number == _PATIENT:
            learner.budget = 0
        missing = learner.missing(union, 0, within)
        if missing is None:
            return None
        if not missing:
            return found
        for path in missing:
            take(path)
            if len(found) > _EXCEPTIONS:
                return None
    return None


def _exception(learner: Learner, path: list[int], known: set[Pattern], kept: str, most: int) -> Pattern:
    """A pattern for a refused path: an exact one, if it is simple, else one that loses hardly anything."""
    alphabet = learner.alphabet
    exact = learner.generalise(path, 0) if learner.budget > 0 else None
    if exact is not None and _simple(alphabet, exact):
        return exact
    components = alphabet.components(path)
    candidates: list[list[Pattern]] = []
    for at, component in enumerate(components):
        if component in known:
            tail = [alphabet.deep] if at < len(components) - 1 else []
            candidates.append([alphabet.deep, component, *tail])
            candidates.append([*components[:at], component, *tail])
    if exact is None:
        candidates += [[*components[:size], alphabet.loose] for size in range(1, len(components))]
        last = components[-1]
        anything: Pattern = ((alphabet.any, True),)
        candidates += [[*components[:-1], (*last[:size], *anything)] for size in range(3, len(last))]
    for candidate in candidates:
        pattern = alphabet.join(candidate)
        expression = f"(?m:^{alphabet.expression(pattern)}$)"
        if re.fullmatch(expression, alphabet.text(path)) and len(re.findall(expression, kept)) <= most:
            return pattern
    return exact if exact is not None else alphabet.join(components)


def _simple(alphabet: Alphabet, pattern: Pattern) -> bool:
    """Whether people can read it: at most one bracket that excludes bytes."""
    plain = (alphabet.part, alphabet.digits)
    return sum(not loop and bool(mask & (mask - 1)) and mask not in plain for mask, loop in pattern) <= 1


def _instance(learner: Learner, pattern: Pattern) -> list[int] | None:
    """A path of a real name that is allowed."""
    image = learner.image(pattern)
    if image and all(learner.labels[state] == 1 for state in image):
        return _spell(learner, pattern)
    return None


def _spell(learner: Learner, pattern: Pattern) -> list[int]:
    neutral = learner.paths.neutral
    return [
        neutral if mask >> neutral & 1 else (mask & -mask).bit_length() - 1
        for mask, loop in pattern
        if not loop
    ]


# One access ------------------------------------------------------------------------


def _one_access(learner: Learner, top: bytes, named: list[Pattern], told: _Told, shown: int) -> None:
    """Add patterns until what is allowed is told, as far as random paths can tell."""
    paths, alphabet, mask = learner.paths, learner.alphabet, learner.mask
    head = paths.classes_of(top)
    first = paths.walk(head)
    if first == DEAD or not learner.below[first] & 2:
        return
    union, but = Shapes(alphabet), Shapes(alphabet)
    for pattern, access in told.patterns[bool(told.root) :]:
        if access & mask == mask:
            union.add(pattern)
    for pattern, access in told.exceptions:
        if access & mask == mask:
            union.add(pattern)
        but.add(pattern)
    everywhere = told.root & mask == mask and told.root

    def covered(path: list[int]) -> bool:
        return union.matches(path) or bool(everywhere and not but.matches(path))

    def take(path: list[int]) -> None:
        if learner.budget > 0 and not covered(path):
            pattern = learner.generalise(path, 1)
            union.add(pattern)
            told.patterns.append((pattern, learner.allows(pattern) & shown))

    samples = _sampled(learner, SAMPLES, head)
    if everywhere and sum(map(covered, samples)) >= _ENOUGH * len(samples):
        return
    for one in named:
        path = _instance(learner, one)
        if path is not None:
            take(path)
    for path in samples:
        take(path)
    if not everywhere:
        for state, label in enumerate(learner.labels):
            path = paths.witness(state) if label == 1 else []
            if label == 1 and path[: len(head)] == head:
                take(path)
    text = "\n".join(map(alphabet.text, samples))
    for pattern, access in told.patterns[bool(told.root) :]:
        if access & mask == mask:
            hits = len(re.findall(f"(?m:^{alphabet.expression(pattern)}$)", text))
            told.weights[pattern] = told.weights.get(pattern, 0) + hits


def _sampled(learner: Learner, count: int, head: list[int]) -> list[list[int]]:
    """Random allowed paths below `head`: walks that stop now and then where a path may end.

    Every other one chooses among bytes, the rest among the ways to go on.
    """
    paths, below = learner.paths, learner.below
    first = paths.walk(head)
    if first == DEAD or not below[first] & 2:
        return []
    chance = random.Random(0)  # the same lines for the same policy
    sizes = [len(found) for found in paths.bytes]
    ways: dict[int, list[tuple[list[int], list[int]]]] = {}

    def onward(state: int) -> list[tuple[list[int], list[int]]]:
        found = ways.get(state)
        if found is None:
            targets: dict[int, list[int]] = {}
            for one, target in enumerate(paths.rows[state]):
                if target != DEAD and below[target] & 2:
                    targets.setdefault(target, []).append(one)
            found = ways[state] = [(own, [sizes[one] for one in own]) for own in targets.values()]
        return found

    out = []
    for number in range(count):
        state, path = first, list(head)
        while len(path) < 200 + len(head):
            if learner.labels[state] == 1 and chance.random() < 0.15:
                break
            choices = onward(state)
            if not choices:
                break
            weights = [sum(own) for _, own in choices] if number & 1 else None
            members, own = chance.choices(choices, weights)[0]
            one = chance.choices(members, own)[0]
            path.append(one)
            state = paths.rows[state][one]
        if learner.labels[state] == 1:
            out.append(path)
    return out


# Lines -----------------------------------------------------------------------------


def _by_pattern(alphabet: Alphabet, told: _Told, limit: int, scale: Scale) -> list[Line]:
    """The patterns as lines: what is allowed nearly everywhere, what is left of its exceptions, the rest."""
    lines: list[Line] = []
    patterns = list(told.patterns)
    if told.root:
        region, access = patterns.pop(0)
        kept = _lines(alphabet, told.exceptions, scale)
        lines = [Line(alphabet.spelled(region), scale.words(access), tuple(one.pattern for one in kept))]
        lines += kept
    rest = sorted((one for one in patterns if one[1]), key=lambda one: -told.weights.get(one[0], 0))
    more = _lines(alphabet, rest, scale)
    while len(more) > max(limit, 1):
        rest = rest[: len(rest) - max(1, (len(more) - limit) // 2)]
        more = _lines(alphabet, rest, scale)
    return [*lines, *more]


def _lines(alphabet: Alphabet, patterns: list[tuple[Pattern, int]], scale: Scale) -> list[Line]:
    groups: dict[int, list[str]] = {}
    for pattern, access in patterns:
        groups.setdefault(access, []).append(alphabet.spelled(pattern))
    return [
        Line(pattern, scale.words(access) if access else "")
        for access, group in groups.items()
        for pattern in braced(group)
    ]
