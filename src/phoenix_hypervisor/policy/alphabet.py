"""The bytes that an automaton treats alike, and its rows with one column for each.

Owns making a search small: most automata tell few bytes apart, and of a large one a search
visits few states.  Must not search, nor know what a state means.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from phoenix_hypervisor.policy.dfa import Dfa
from phoenix_hypervisor.policy.fault import PolicyError

MAX_STATES = 150_000
"""States of one automaton up to which it is searched."""
MAX_TRANSITIONS = 4_000_000
"""The same for the entries of its transition tables."""

_STATE_DIFF = 0x80000000
_BASE = 0xFFFFFF


class Alphabet:
    """One automaton over classes of bytes; rows are built when a state is first visited."""

    def __init__(self, dfa: Dfa) -> None:
        """Raises PolicyError for an automaton that is too large to be searched."""
        if len(dfa) > MAX_STATES or len(dfa.next) > MAX_TRANSITIONS:
            raise PolicyError(
                f"an automaton of {len(dfa):,} states and {len(dfa.next):,} transitions is too large to be"
                f" searched: at most {MAX_STATES:,} and {MAX_TRANSITIONS:,} are",
                hint="single questions can still be asked: phoenix policy query",
            )
        self._dfa = dfa
        self.size = len(dfa)
        self._rows: list[list[int] | None] = [None] * len(dfa)
        symbols: Sequence[int] = dfa.ec if dfa.ec is not None else range(256)
        alike = _alike(dfa)
        numbers: dict[tuple[int, bool], int] = {}
        shown: list[int] = []
        self.classes: list[int] = []
        """The class of each byte; NUL, which the kernel writes between strings, has one of its own."""
        for byte, symbol in enumerate(symbols):
            key = (alike[symbol], byte == 0)
            if key not in numbers:
                numbers[key] = len(shown)
                shown.append(symbol)
            self.classes.append(numbers[key])
        self._shown = shown
        """A symbol of each class."""

    @classmethod
    def of(cls, dfa: Dfa) -> Alphabet:
        """The same for the same automaton.  Raises PolicyError as the constructor does."""
        if not isinstance(dfa.searched, cls):
            dfa.searched = cls(dfa)
        assert isinstance(dfa.searched, cls)
        return dfa.searched

    def row(self, state: int) -> list[int]:
        """The successors of `state`, one for each class."""
        row = self._rows[state]
        return row if row is not None else self._build(state)

    def _build(self, state: int) -> list[int]:
        """Expand `state`, and what it is encoded as a difference from."""
        base, default, check, following = self._dfa.base, self._dfa.default, self._dfa.check, self._dfa.next
        chain = [state]
        while base[chain[-1]] & _STATE_DIFF and self._rows[chain[-1]] is None:
            chain.append(default[chain[-1]])
        row: list[int] = []
        for one in reversed(chain):
            known = self._rows[one]
            if known is not None:
                row = known
                continue
            at = base[one] & _BASE
            fallback = row if base[one] & _STATE_DIFF else [default[one]] * len(self._shown)
            found = [
                following[at + symbol] if check[at + symbol] == one else other
                for symbol, other in zip(self._shown, fallback, strict=True)
            ]
            row = self._rows[one] = row if found == row else found
        return row


class Literal:
    """An automaton that accepts one string: state 1 begins, the last state ends it, 0 is nowhere."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self.size = len(text) + 2
        found = {byte: number for number, byte in enumerate(dict.fromkeys(text), 1)}
        self.classes = [found.get(byte, 0) for byte in range(256)]
        self._width = len(found) + 1

    @property
    def end(self) -> int:
        return self.size - 1

    def row(self, state: int) -> list[int]:
        row = [0] * self._width
        if 0 < state < self.end:
            row[self.classes[self._text[state - 1]]] = state + 1
        return row


def _alike(dfa: Dfa) -> list[int]:
    """For each symbol a number; two have the same one where every state treats them alike."""
    width = max(dfa.ec) + 1 if dfa.ec is not None else 256
    moves = [array("Q") for _ in range(width)]
    base, default = dfa.base, dfa.default
    for at, (owner, target) in enumerate(zip(dfa.check, dfa.next, strict=True)):
        word = base[owner]
        if target == default[owner] and not word & _STATE_DIFF:
            continue
        symbol = at - (word & _BASE)
        if 0 <= symbol < width:
            moves[symbol].append(owner << 32 | target)
    numbers: dict[bytes, int] = {}
    return [numbers.setdefault(one.tobytes(), len(numbers)) for one in moves]
