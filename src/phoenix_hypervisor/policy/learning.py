"""Patterns that stand for allowed paths only, or for refused ones only.

Owns making a pattern of one path, as general as it stays true.  Must not choose what is told.  Every answer
is exact; `budget` bounds the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from phoenix_hypervisor.policy.grammar import DEAD
from phoenix_hypervisor.policy.images import Images
from phoenix_hypervisor.policy.merged import Merger
from phoenix_hypervisor.policy.paths import Paths
from phoenix_hypervisor.policy.shapes import MAYBE, Alphabet, Pattern, Step
from phoenix_hypervisor.policy.untold import Untold

_NOWHERE = frozenset((DEAD,))
_KEPT = 20_000
"""Sets of states whose successors are remembered."""
_SHORT = 24
"""Characters of a bracket that people can read: `[a-jl-z]`."""
_SEVERAL = 4
_LONGER = 32
"""Characters that a run of one range may have more than the path that was met."""
_TAIL = 12
"""Characters behind a star in a name."""
_STARS = 3
"""Stars within a name."""
_DEEPS = 2
"""Any directories between named ones."""
_DEEP_ENDS = 4
"""Directories behind them that are tried."""
_CUTS = 5
_KEPT_HEADS = 8
_ENDS = 16
"""What is tried of the ways to put any directories into the middle of a path."""
_LOWER = b"abcdefghijklmnopqrstuvwxyz"
_RANGES = (
    b"-0123456789_" + _LOWER.upper() + _LOWER,
    b"-0123456789_" + _LOWER,
    b"0123456789_" + _LOWER.upper() + _LOWER,
    b"0123456789" + _LOWER.upper() + _LOWER,
    b"0123456789" + _LOWER.upper(),
    b"0123456789" + _LOWER,
    b"0123456789ABCDEFabcdef",
    b"0123456789ABCDEF",
    b"0123456789abcdef",
    b"0123456789",
    b"123456789",
    _LOWER.upper() + _LOWER,
    _LOWER,
    _LOWER.upper(),
)


def _least(first: int, last: int, true: Callable[[int], bool]) -> int:
    """The least number for which it is true; it is for all that are more.  0 for none."""
    if not true(last):
        return 0
    while first < last:
        middle = (first + last) // 2
        first, last = (first, middle) if true(middle) else (middle + 1, last)
    return last


class Learner:
    """The paths that allow all of a mask (`want` 1), and those that do not (`want` 0)."""

    def __init__(self, paths: Paths, alphabet: Alphabet, mask: int, budget: int) -> None:
        self.paths, self.alphabet, self.mask = paths, alphabet, mask
        labels = [-1 if allow == -1 else int(allow & mask == mask) for allow in paths.allows]
        blocks = paths.merger.merge(labels)
        members = dict(zip(reversed(blocks), reversed(range(len(blocks))), strict=True))
        one_of = [members[number] for number in range(len(members))]
        blocks.append(DEAD)  # so that blocks[DEAD] is DEAD
        self.rows = [[blocks[target] for target in paths.rows[state]] for state in one_of]
        """The automaton for this mask alone, as small as it can be."""
        self.labels = [labels[state] for state in one_of]
        """1 where the mask is allowed, 0 where it is not, -1 where no path ends."""
        self.below = Merger(self.rows).below(self.labels)
        self.images = Images(self.rows)
        """Of this automaton."""
        self._budget = budget
        self._ranges = list(map(alphabet.of, _RANGES))
        self._known: dict[frozenset[int], dict[frozenset[int], int]] = {}
        classes = range(len(paths.bytes))
        order = sorted((c for c in classes if alphabet.any >> c & 1), key=lambda c: -len(paths.bytes[c]))
        self.untold = Untold(self.rows, self.labels, self.below, order)
        alike: dict[tuple[int, ...], int] = {}
        columns = list(zip(*self.rows, strict=True))
        for one in order:
            if not alphabet.slash >> one & 1:
                alike[columns[one]] = alike.get(columns[one], 0) | 1 << one
        self._columns = list(alike.items())
        """The classes but for slashes, those together that every state treats alike."""

    @property
    def budget(self) -> int:
        """States that may still be looked at."""
        return self._budget - self.images.spent

    def inside(self, pattern: Pattern, want: int) -> bool:
        """Whether every path that matches is one of `want`."""
        whole = pattern[-1] == (self.alphabet.any, True)
        return self._none(self.images.of(pattern[:-1] if whole else pattern), whole, 1 - want)

    def _none(self, states: Iterable[int], whole: bool, label: int) -> bool:
        """Whether no state has `label`; `whole`: nor any state below."""
        if whole:
            below, bit = self.below, 1 << label
            return not any(below[state] & bit for state in states)
        labels = self.labels
        return all(labels[state] != label for state in states)

    # A path becomes a pattern -----------------------------------------------------

    def generalise(self, path: Sequence[int], want: int, head: Pattern = ()) -> Pattern:
        """The most general readable pattern found that stands for `path` and for `want` only.

        Below `head`, a pattern of as many components that stays as it is.
        """
        alphabet = self.alphabet
        slash = (alphabet.slash, False)
        first = sum(step == slash for step in head)

        def true(components: Sequence[Pattern]) -> bool:
            return self.inside((*head, *alphabet.join(components)), want)

        components = self._tail(alphabet.components(path)[first:], true)
        components = self._middle(components, true)
        for size in range(len(components) - 1, 0, -1):
            if true([alphabet.deep, *components[size:]]):
                components = [alphabet.deep, *components[size:]]
                break
        components = self._between(components, true)
        for at, component in enumerate(components):
            if component and not component[-1][1] and alphabet.loose[0] not in component:
                components = self._component(components, at, true)
        steps = [*head, *alphabet.join(components)]
        before = self.images.of(head)
        for at in range(len(head), len(steps)):
            self._widen(steps, at, want, before)
            before = self.images.onward(before, (steps[at],))
        return self._lengths(tuple(steps), want, len(head))

    def _tail(self, components: list[Pattern], true: Callable[[Sequence[Pattern]], bool]) -> list[Pattern]:
        """Cut behind the first directory below which everything is the same."""
        alphabet, size = self.alphabet, len(components)
        for kept in range(size):
            head = components[:kept]
            if kept == size - 1 and not components[kept]:
                return [*head, alphabet.loose] if true([*head, alphabet.loose]) else components
            if true([*head, alphabet.deep]):
                components = [*head, alphabet.loose if true([*head, alphabet.loose]) else alphabet.deep]
                break
        deep = components[-1] in (alphabet.deep, alphabet.loose)
        at = len(components) - 1 - deep
        if at >= 0:
            for size in range(1, len(components[at]) + 1):
                shorter = [*components[:at], (*components[at][:size], (alphabet.any, True))]
                if true(shorter):
                    return shorter
        return components

    def _middle(self, components: list[Pattern], true: Callable[[Sequence[Pattern]], bool]) -> list[Pattern]:
        """Any directories between the first ones and an end: `/lib/**.so*`, `/sys/**/`."""
        alphabet, last = self.alphabet, components[-1]
        below = last[-1:] == alphabet.loose
        ends: list[list[Pattern]] = [] if last else [[alphabet.deep, ()]]
        cuts = [*self._signs(last), len(last)]
        for cut in reversed([] if below else cuts[-_CUTS:-1]):
            some = [(*last[cut:end], (alphabet.part, True)) for end in cuts if end > cut + 1]
            ends += [[(*alphabet.loose, *end)] for end in (*some, last[cut:])]
        size = len(components) - (below or bool(last))
        ends += [[alphabet.deep, *components[cut:]] for cut in range(size, 1, -1)]
        for kept in range(min(len(components) - 1, _KEPT_HEADS)):
            for end in ends[:_ENDS]:
                found = [*components[:kept], *end]
                if len(found) <= len(components) and true(found):
                    return found
        return components

    def _between(self, components: list[Pattern], true: Callable[[Sequence[Pattern]], bool]) -> list[Pattern]:
        """Any directories between named ones, at more than one place: `/a/**/b/**/c`."""
        alphabet = self.alphabet

        def deep(cut: int, kept: int) -> bool:
            return true([*components[:kept], alphabet.deep, *components[cut:]])

        size = len(components)
        for _ in range(_DEEPS):
            for cut in range(size - 1, max(size - _DEEP_ENDS, 2) - 1, -1):
                if kept := _least(1, cut - 1, partial(deep, cut)):
                    components = [*components[:kept], alphabet.deep, *components[cut:]]
                    size = kept
                    break
            else:
                break
        return components

    def _signs(self, own: Pattern) -> list[int]:
        """Where a sign stands, not a letter nor a digit."""
        return [at for at, (mask, _) in enumerate(own) if not mask & self.alphabet.words]

    def _component(
        self, components: list[Pattern], at: int, true: Callable[[Sequence[Pattern]], bool]
    ) -> list[Pattern]:
        """The same with one component made as general as it can be."""
        alphabet, own = self.alphabet, components[at]
        anything = (alphabet.part, True)

        def put(component: Pattern) -> list[Pattern]:
            return [*components[:at], component, *components[at + 1 :]]

        def within(behind: Pattern, kept: int) -> bool:
            return true(put((*front, *head[:kept], *behind)))

        whole = [alphabet.star]
        if all(not mask & ~alphabet.digits for mask, _ in own):
            whole.append(alphabet.number)
        for component in whole:
            if true(put(component)):
                return put(component)
        size, head = len(own), own
        front: Pattern = ()
        end: Pattern = ()
        if kept := _least(1, size, lambda n: true(put((*own[:n], anything)))):
            head, end = own[:kept], (anything,)
        elif kept := _least(1, size, lambda n: true(put((anything, *own[size - n :])))):
            front, head = (anything,), own[size - kept :]
        for _ in range(_STARS):  # within: `console-*-1`, `lib*so*`, `*a*b*c`
            size = len(head)
            for tail in range(1, min(_TAIL, size)):
                behind = (anything, *head[size - tail :], *end)
                if not front and true(put(behind)):
                    return put(behind)
                if kept := _least(1, size - tail, partial(within, behind)):
                    head, end = head[:kept], behind
                    break
            else:
                break
        return put((*front, *head, *end))

    def _lengths(self, steps: Pattern, want: int, first: int) -> Pattern:
        """Let a run of one range be shorter and longer, as far as that stays true: `[1-9]{,[0-9]}`."""
        whole = steps[-1] == (self.alphabet.any, True)
        at = len(steps) - whole
        out: Pattern = ()
        while at > first:
            step, size = steps[at - 1], 1
            while size < at - first and steps[at - size - 1] == step:
                size += 1
            at -= size
            least = most = size
            if step[0] in self._ranges and not step[1]:
                found = self._none_with(steps[:at], step, out, whole, 1 - want, size + _LONGER)
                while least and found[least - 1]:
                    least -= 1
                beside = (*steps[max(at - 1, first) : at], *out[:1])
                star = any(loop == 1 and not step[0] & ~mask for mask, loop in beside)  # for more of them
                while not star and most + 1 < len(found) and found[most + 1]:
                    most += 1
                most = least if star else most
            out = (*[step] * least, *[(step[0], MAYBE)] * (most - least), *out)
        return (*steps[:first], *out, *steps[len(steps) - whole :])

    def _none_with(
        self, before: Pattern, step: Step, rest: Pattern, whole: bool, label: int, most: int
    ) -> list[bool]:
        """For each number of `step` whether there are such paths, and none has `label`."""
        at, found = self.images.of(before), []
        for _ in range(most + 1):
            ends = self.images.onward(at, rest)
            found.append(bool(ends) and self._none(ends, whole, label))
            at = self.images.onward(at, (step,))
        return found

    def _widen(self, steps: list[Step], at: int, want: int, before: frozenset[int]) -> None:
        """Let one step stand for more than one class, where that is worth a bracket.

        `before`: the states behind what stands in front of it.
        """
        mask, loop = steps[at]
        alphabet = self.alphabet
        if loop or mask & (mask - 1) or mask == alphabet.slash:
            return
        groups = self._groups(before)
        whole = steps[-1] == (alphabet.any, True)
        rest = tuple(steps[at + 1 : len(steps) - whole])
        wide = mask
        for targets, members in groups.items():
            if members & mask or (targets and self._none(self.images.onward(targets, rest), whole, 1 - want)):
                wide |= members
        if wide >> self.paths.neutral & 1:
            # Words stay words: only at the start of a component that has no more of one.
            wordy = sum(not looped and not m & (m - 1) for m, looped in steps[at + 1 : at + 4])
            word = len(self.paths.bytes[mask.bit_length() - 1]) == 1 or mask & alphabet.words
            steps[at] = (mask if wordy > 1 and word and not mask >> self.paths.neutral & 1 else wide, False)
            return
        several = [found for found in self._ranges if mask & found and not found & ~wide]
        signs = not wide & alphabet.words
        enough = 2 if signs else _SEVERAL
        if several or (wide.bit_count() >= enough and len(alphabet.spelled(((wide, False),))) <= _SHORT):
            steps[at] = (several[0] if several else wide, False)

    def _groups(self, before: frozenset[int]) -> dict[frozenset[int], int]:
        """Which classes lead from some states to which; slashes left out."""
        groups = self._known.get(before)
        if groups is None:
            if len(self._known) > _KEPT:
                self._known.clear()
            groups = self._known[before] = {}
            for column, classes in self._columns:
                targets = frozenset([column[state] for state in before]) - _NOWHERE
                groups[targets] = groups.get(targets, 0) | classes
        return groups
