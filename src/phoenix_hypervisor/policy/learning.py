"""Patterns that stand for allowed paths only, or for refused ones only.

Owns making a pattern of one path, as general as it stays true, and looking for paths that no pattern
stands for yet.  Must not choose what is told.  Every answer is exact; `budget` bounds the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from phoenix_hypervisor.policy.grammar import DEAD
from phoenix_hypervisor.policy.paths import Paths
from phoenix_hypervisor.policy.shapes import Alphabet, Pattern, Shapes

_NOWHERE = frozenset((DEAD,))
_COMBINATIONS = 40_000
"""Combinations of states and patterns after which a search gives up."""
STEPS = 3_000_000
"""Steps of all searches for what is left, together: some seconds."""
_WAYS = 20_000
_RANGES = (b"0123456789", b"123456789", b"abcdefghijklmnopqrstuvwxyz")


class Learner:
    """The paths that allow all of a mask (`want` 1), and those that do not (`want` 0)."""

    def __init__(self, paths: Paths, alphabet: Alphabet, mask: int, budget: int) -> None:
        self.paths, self.alphabet, self.mask = paths, alphabet, mask
        self.labels = [-1 if allow == -1 else int(allow & mask == mask) for allow in paths.allows]
        """1 where the mask is allowed, 0 where it is not, -1 where no path ends."""
        self.below = self._below()
        """Bit 1: a refused path ends here or below; bit 2: an allowed one."""
        self.budget = budget
        """States that may still be looked at."""
        self.steps = STEPS
        self._images: dict[Pattern, frozenset[int]] = {}
        self._members: dict[int, list[int]] = {}
        classes = range(len(paths.bytes))
        self._order = sorted(
            (c for c in classes if alphabet.any >> c & 1), key=lambda c: -len(paths.bytes[c])
        )

    def _below(self) -> list[int]:
        found = [0 if label == -1 else 1 << label for label in self.labels]
        back = self.paths.predecessors()
        todo = [state for state, bits in enumerate(found) if bits]
        while todo:
            state = todo.pop()
            for one in back[state]:
                if found[state] & ~found[one]:
                    found[one] |= found[state]
                    todo.append(one)
        return found

    # What a pattern reaches -------------------------------------------------------

    def image(self, pattern: Pattern) -> frozenset[int]:
        """The states behind all paths that match."""
        known, size = self._images, len(pattern)
        while size and pattern[:size] not in known:
            size -= 1
        at = known[pattern[:size]] if size else frozenset((0,))
        for number in range(size, len(pattern)):
            at = self._onward(at, pattern[number : number + 1])
            if pattern[number][1]:
                known[pattern[: number + 1]] = at
        return at

    def _onward(self, at: frozenset[int], steps: Pattern) -> frozenset[int]:
        rows = self.paths.rows
        for mask, loop in steps:
            members = self._members.get(mask)
            if members is None:
                members = [one for one in range(len(self.paths.bytes)) if mask >> one & 1]
                self._members[mask] = members
            if loop:
                seen, todo = set(at), list(at)
                while todo:
                    row = rows[todo.pop()]
                    for one in members:
                        target = row[one]
                        if target not in seen and target != DEAD:
                            seen.add(target)
                            todo.append(target)
                at = frozenset(seen)
            else:
                at = frozenset([rows[state][one] for state in at for one in members]) - _NOWHERE
            self.budget -= len(at) * len(members)
        return at

    def inside(self, pattern: Pattern, want: int) -> bool:
        """Whether every path that matches is one of `want`."""
        return not self._has(self.image(pattern), 1 - want)

    def _has(self, states: Iterable[int], label: int) -> bool:
        labels = self.labels
        return any(labels[state] == label for state in states)

    def allows(self, pattern: Pattern) -> int:
        """The permission bits that every path that matches has; 0 where none does."""
        found = [self.paths.allows[state] for state in self.image(pattern)]
        bits = -1
        for allow in found:
            if allow != -1:
                bits &= allow
        return max(bits, 0)

    # A path becomes a pattern -----------------------------------------------------

    def generalise(self, path: Sequence[int], want: int) -> Pattern:
        """The most general readable pattern found that stands for `path` and for `want` only."""
        alphabet = self.alphabet

        def true(components: Sequence[Pattern]) -> bool:
            return self.inside(alphabet.join(components), want)

        components = self._tail(alphabet.components(path), true)
        for size in range(len(components) - 1, 0, -1):
            if true([alphabet.deep, *components[size:]]):
                components = [alphabet.deep, *components[size:]]
                break
        for at, component in enumerate(components):
            if component and not component[-1][1]:
                components = self._component(components, at, true)
        steps = list(alphabet.join(components))
        for at in range(len(steps)):
            self._widen(steps, at, want)
        return tuple(steps)

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
            for size in range(1, len(components[at])):
                shorter = [*components[:at], (*components[at][:size], (alphabet.any, True))]
                if true(shorter):
                    return shorter
        return components

    def _component(
        self, components: list[Pattern], at: int, true: Callable[[Sequence[Pattern]], bool]
    ) -> list[Pattern]:
        """The same with one component made as general as it can be."""
        alphabet, own = self.alphabet, components[at]
        anything = (alphabet.part, True)

        def put(component: Pattern) -> list[Pattern]:
            return [*components[:at], component, *components[at + 1 :]]

        whole = [alphabet.star]
        if all(not mask & ~alphabet.digits for mask, _ in own):
            whole.append(alphabet.number)
        heads = [(*own[:size], anything) for size in range(1, len(own) + 1)]
        tails = [(anything, *own[size:]) for size in range(len(own) - 1, -1, -1)]
        found = next((one for one in (*whole, *heads, *tails) if true(put(one))), own)
        if found not in whole:
            end = found[-1:] if found[-1][1] else ()
            head = found[: len(found) - len(end)]
            inner = ((*one, *end) for one in self._inner(head))
            found = next((one for one in inner if true(put(one))), found)
        return put(found)

    def _inner(self, own: Pattern) -> Iterable[Pattern]:
        """What stands between two signs becomes a star: `console-*-1`."""
        cuts = [at for at, (mask, _) in enumerate(own) if not mask & self.alphabet.words]
        for first in cuts:
            for last in (len(own), *reversed(cuts)):
                if last > first + 1:
                    yield (*own[: first + 1], (self.alphabet.part, True), *own[last:])

    def _widen(self, steps: list[tuple[int, bool]], at: int, want: int) -> None:
        """Let one step stand for more than one class, where that is worth a bracket."""
        mask, loop = steps[at]
        alphabet = self.alphabet
        if loop or mask & (mask - 1) or mask == alphabet.slash:
            return
        before = self.image(tuple(steps[:at]))
        groups: dict[frozenset[int], int] = {}
        for one in self._order:
            if not alphabet.slash >> one & 1:
                targets = frozenset([self.paths.rows[state][one] for state in before]) - _NOWHERE
                groups[targets] = groups.get(targets, 0) | 1 << one
        rest = tuple(steps[at + 1 :])
        wide = mask
        for targets, members in groups.items():
            if members & mask or (targets and not self._has(self._onward(targets, rest), 1 - want)):
                wide |= members
        if wide >> self.paths.neutral & 1:
            # Words stay words: only at the start of a component that has no more of one.
            wordy = sum(not looped and not m & (m - 1) for m, looped in steps[at + 1 : at + 4])
            steps[at] = (mask if wordy > 1 and not mask >> self.paths.neutral & 1 else wide, False)
            return
        for found in map(alphabet.of, _RANGES):
            if mask & found and not found & ~wide:
                steps[at] = (found, False)
                return

    # What is left -----------------------------------------------------------------

    def missing(self, union: Shapes, want: int, region: Shapes | None = None) -> list[list[int]] | None:
        """Paths of `want` (within a region) that `union` has no pattern for; None where that is too much."""
        rows, labels, below = self.paths.rows, self.labels, self.below
        good = 1 << want
        start = (0, union.start, region.start if region is not None else 1)
        came: dict[tuple[int, int, int], tuple[tuple[int, int, int], int] | None] = {start: None}
        queue = [start]
        open_ones: list[tuple[tuple[int, int, int], int]] = []
        for key in queue:
            state, bits, at = key
            row = rows[state]
            for one in self._order:
                target = row[one]
                if target == DEAD or not below[target] & good:
                    continue
                inner = region.step(at, one) if region is not None else 1
                if not inner:
                    continue
                following = union.step(bits, one)
                if following & union.absorbed:
                    continue
                within = region is None or inner & region.ends
                ends = labels[target] == want and within and not following & union.ends
                if ends and len(open_ones) < _WAYS:
                    open_ones.append((key, one))  # each way in: many names end alike
                    if below[target] == good:
                        continue  # a pattern for this one is one for all below, nearly always
                found = (target, following, inner)
                if found not in came:
                    came[found] = (key, one)
                    queue.append(found)
            self.steps -= len(row)
            if len(queue) > _COMBINATIONS or self.steps < 0:
                return None
        self.budget -= len(queue) * 10
        return [[*_string(came, key), one] for key, one in open_ones]


def _string(
    came: dict[tuple[int, int, int], tuple[tuple[int, int, int], int] | None], key: tuple[int, int, int]
) -> list[int]:
    out = []
    step = came[key]
    while step is not None:
        key, one = step
        out.append(one)
        step = came[key]
    out.reverse()
    return out
