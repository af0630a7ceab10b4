"""The automaton of a compiled profile: unpack it, check it, walk it.

Owns the comb-compressed tables (base, default, next, check), equivalence classes and
differential encoding.  Must not know what the accepted permissions mean.
Source: security/apparmor/match.c (aa_dfa_unpack, verify_dfa, match_char).  Big endian.
State 0 matches nothing, state 1 is the start.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from struct import Struct
from typing import NoReturn

from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.values import dataclass, field

NO_MATCH = 0
START = 1

_MAGIC = 0x1B5E783D
_HEADER = Struct(">IIIH")
_TABLE = Struct(">HHII")
_FLAG_DIFF = 1
_FLAG_OOB = 2
_STATE_DIFF = 0x80000000
_STATE_OOB = 0x20000000
_BASE = 0xFFFFFF
_LONG = 8192
"""Bytes from which on a string is walked without building rows: twice what a path may have."""
_SWAP = sys.byteorder == "little"
_TYPECODES = {1: "B", 2: "H", 4: "I"}

_ACCEPT, _BASE_ID, _CHECK, _DEFAULT, _EC, _ACCEPT2, _NEXT = 1, 2, 3, 4, 5, 7, 8
_WIDTHS = {
    _ACCEPT: (4,),
    _BASE_ID: (4,),
    _CHECK: (2, 4),
    _DEFAULT: (2, 4),
    _EC: (1,),
    _ACCEPT2: (4,),
    _NEXT: (2, 4),
}


@dataclass(slots=True, eq=False, kw_only=True)
class Dfa:
    """One automaton over bytes.  `row(s)[byte]` is the next state; rows are built when first walked."""

    base: Sequence[int]
    default: Sequence[int]
    next: Sequence[int]
    check: Sequence[int]
    ec: Sequence[int] | None
    """The class of each of the 256 bytes, where the compiler used equivalence classes."""
    accept: Sequence[int]
    """Permissions, or indexes into a permission table."""
    accept2: Sequence[int] | None
    """More permissions, or beside a permission table flags (model.Database)."""
    searched: object = field(default=None, init=False, repr=False)
    """What `policy.alphabet` made of it, so that it is made once."""
    _rows: list[list[int]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._rows = [[]] * len(self.base)

    def __len__(self) -> int:
        """The number of states, state 0 included."""
        return len(self.base)

    def row(self, state: int) -> list[int]:
        """The 256 successors of `state`."""
        row = self._rows[state]
        return row or self._build(state)

    def _build(self, state: int) -> list[int]:
        """Expand `state`, and what it is encoded as a difference from."""
        chain = [state]
        while self.base[chain[-1]] & _STATE_DIFF and not self._rows[chain[-1]]:
            chain.append(self.default[chain[-1]])
        row: list[int] = []
        for one in reversed(chain):
            if self._rows[one]:
                row = self._rows[one]
                continue
            at = self.base[one] & _BASE
            owners, targets = self.check[at : at + 256], self.next[at : at + 256]
            if self.base[one] & _STATE_DIFF:
                fallback = row
            else:
                fallback = [self.default[one]] * 256
            if self.ec is None:
                found = [
                    target if owner == one else other
                    for owner, target, other in zip(owners, targets, fallback, strict=True)
                ]
            else:
                found = [
                    targets[c] if owners[c] == one else other
                    for c, other in zip(self.ec, fallback, strict=True)
                ]
            # A long chain of differences is mostly one row.
            row = self._rows[one] = row if found == row else found
        return row

    def step(self, state: int, byte: int) -> int:
        """The state behind one byte (aa_dfa_next)."""
        return self.row(state)[byte]

    def walk(self, state: int, data: bytes) -> int:
        """The state behind `data` from `state` (aa_dfa_match_len); state 0 stays 0."""
        if state == NO_MATCH:
            return NO_MATCH
        rows = self._rows
        at = state
        try:
            for byte in data:
                at = rows[at][byte]
        except IndexError:
            return self._walk_first(state, data)
        return at

    def _walk_first(self, state: int, data: bytes) -> int:
        if len(data) > _LONG:
            return self._walk_once(state, data)
        for byte in data:
            state = self.row(state)[byte]
        return state

    def _walk_once(self, state: int, data: bytes) -> int:
        """As the kernel does, without rows: those of a hundred thousand states would fill the memory."""
        for byte in data:
            at = self.base[state]
            if at & _STATE_DIFF or self._rows[state]:
                state = self.row(state)[byte]
                continue
            at = (at & _BASE) + (self.ec[byte] if self.ec is not None else byte)
            state = self.next[at] if self.check[at] == state else self.default[state]
        return state


def _fail(message: str, where: str) -> NoReturn:
    raise PolicyError(f"malformed compiled policy: {message}", where=where)


def unpack_dfa(data: bytes, start: int, end: int, *, accept2: bool, where: str) -> Dfa:
    """Unpack the automaton in `data[start:end]` and check it as a paranoid kernel does.

    `accept2`: it must have the second accept table; otherwise it must not have one.
    Raises PolicyError, with `where`, for anything a kernel would not load.
    """
    if end - start < _HEADER.size:
        _fail("automaton too short", where)
    magic, header_size, _, flags = _HEADER.unpack_from(data, start)
    if magic != _MAGIC:
        _fail("automaton without its magic number", where)
    if flags & ~(_FLAG_DIFF | _FLAG_OOB):
        _fail(f"automaton with unknown flags {flags:#x}", where)
    if not _HEADER.size <= header_size <= end - start:
        _fail("automaton header cut off", where)
    tables = _tables(data, start + header_size, end, where)
    missing = [i for i in (_BASE_ID, _CHECK, _DEFAULT, _NEXT, _ACCEPT) if i not in tables]
    if accept2 and _ACCEPT2 not in tables:
        missing.append(_ACCEPT2)
    if missing:
        _fail(f"automaton lacks table {missing[0]}", where)
    if not accept2 and _ACCEPT2 in tables:
        _fail("automaton has both encodings of permissions", where)
    ec = tables.get(_EC)
    dfa = Dfa(
        base=tables[_BASE_ID],
        default=tables[_DEFAULT],
        next=tables[_NEXT],
        check=tables[_CHECK],
        ec=ec,
        accept=tables[_ACCEPT],
        accept2=tables.get(_ACCEPT2),
    )
    if ec is not None and len(ec) != 256:
        _fail("equivalence classes are not 256", where)
    _verify(dfa, flags, where)
    return dfa


def _tables(data: bytes, pos: int, end: int, where: str) -> dict[int, array[int]]:
    tables: dict[int, array[int]] = {}
    while pos < end:
        if end - pos < _TABLE.size:
            _fail("automaton table cut off", where)
        number, width, _, length = _TABLE.unpack_from(data, pos)
        if width not in _WIDTHS.get(number, ()):
            _fail(f"automaton table {number} of width {width}", where)
        if number in tables:
            _fail(f"automaton table {number} twice", where)
        used = _TABLE.size + length * width
        whole = (used + 7) & ~7
        if length == 0 or whole > end - pos:
            _fail(f"automaton table {number} cut off", where)
        table: array[int] = array(_TYPECODES[width])
        table.frombytes(data[pos + _TABLE.size : pos + used])
        if _SWAP and width > 1:
            table.byteswap()
        tables[number] = table
        pos += whole
    return tables


def _verify(dfa: Dfa, flags: int, where: str) -> None:
    """What the kernel's verify_table_headers and verify_dfa demand."""
    states, transitions = len(dfa.base), len(dfa.next)
    if len(dfa.accept) != states or len(dfa.default) != states or transitions != len(dfa.check):
        _fail("automaton tables of different lengths", where)
    if dfa.accept2 is not None and len(dfa.accept2) != states:
        _fail("automaton tables of different lengths", where)
    if states < 2:
        _fail("automaton without states", where)
    if max(dfa.default) >= states or max(dfa.next) >= states or max(dfa.check) >= states:
        _fail("automaton leads to a state that does not exist", where)
    if max(dfa.base) <= _BASE:
        if max(dfa.base) + 255 >= transitions:
            _fail("automaton state beyond its transitions", where)
        return
    allowed = (_STATE_DIFF if flags & _FLAG_DIFF else 0) | (_STATE_OOB if flags & _FLAG_OOB else 0)
    for base in dfa.base:
        if base & ~_BASE & ~allowed:
            _fail("automaton state with invalid flags", where)
        if base & _STATE_OOB and base & _BASE < 1:
            _fail("out-of-band transition out of range", where)
        if (base & _BASE) + 255 >= transitions:
            _fail("automaton state beyond its transitions", where)
    _verify_chains(dfa, where)


def _verify_chains(dfa: Dfa, where: str) -> None:
    """A state may be a difference from another, but not in a circle."""
    sound = bytearray(len(dfa.base))
    for state in range(len(dfa.base)):
        chain = []
        at = state
        while dfa.base[at] & _STATE_DIFF and not sound[at]:
            sound[at] = 2
            chain.append(at)
            at = dfa.default[at]
            if sound[at] == 2:
                _fail("differential encoding runs in a circle", where)
        for at in chain:
            sound[at] = 1
