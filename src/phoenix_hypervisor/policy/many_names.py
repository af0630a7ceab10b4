"""Which of many names a profile allows.

Owns walking an automaton by all of them at once: a directory that they have in common is walked once.  Must
not know where the names come from.
"""

from __future__ import annotations

from collections.abc import Iterable

from phoenix_hypervisor.policy import constants
from phoenix_hypervisor.policy.dfa import NO_MATCH, Dfa
from phoenix_hypervisor.policy.profile import Mode, Profile

_PART = bytes(byte for byte in range(1, 256) if byte != 0x2F)
_States = frozenset[int]
_Step = tuple[bytes, bool]
"""One of these bytes; True: any number of them."""
_Component = bytes | tuple[_Step, ...]
"""A component with the slash before it: plain, or steps."""


class Names:
    """Absolute paths, in which `*` and sets of bytes in brackets may stand."""

    def __init__(self, names: Iterable[str]) -> None:
        self.all = tuple(names)
        self._walks: list[tuple[str, int, tuple[_Component, ...]]] = []
        before: tuple[_Component, ...] = ()
        for name in sorted(self.all):
            parts = tuple(_component(part) for part in name.encode().split(b"/")[1:])
            shared = 0
            while shared < min(len(before), len(parts)) and before[shared] == parts[shared]:
                shared += 1
            self._walks.append((name, shared, parts))
            before = parts

    def allowed(self, profile: Profile, access: str = "w") -> frozenset[str]:
        """Those by which some file can be used so; in complain mode, those that no rule denies."""
        database = profile.file
        if profile.mode is Mode.UNCONFINED:
            return frozenset(self.all)
        if database is None:
            return frozenset()
        mask = constants.file_access(access)
        granted: dict[int, bool] = {}
        found = []
        ends: list[_States] = [frozenset((profile.file_start,))]
        for name, shared, parts in self._walks:
            del ends[shared + 1 :]
            for part in parts[shared:]:
                ends.append(_onward(database.dfa, ends[-1], part))
            for state in ends[-1]:
                if state not in granted:
                    perms = database.file_perms(state, owner=True)
                    allow = perms.allow & ~perms.deny
                    if profile.mode is Mode.COMPLAIN:
                        # As Evaluator.by_file_rules: what is denied quietly is refused all the same.
                        allow |= ~(perms.kill if profile.audit else perms.kill | perms.quiet)
                    granted[state] = allow & mask == mask
                if granted[state]:
                    found.append(name)
                    break
        return frozenset(found)


def _component(part: bytes) -> _Component:
    if b"*" not in part and b"[" not in part:
        return b"/" + part
    steps: list[_Step] = [(b"/", False)]
    if part == b"*":
        steps.append((_PART, False))
    at = 0
    while at < len(part):
        if part[at : at + 1] == b"*":
            steps.append((_PART, True))
        elif part[at : at + 1] == b"[":
            end = part.index(b"]", at)
            steps.append((bytes(range(part[at + 1], part[end - 1] + 1)), False))
            at = end
        else:
            steps.append((part[at : at + 1], False))
        at += 1
    return tuple(steps)


def _onward(dfa: Dfa, at: _States, part: _Component) -> _States:
    # Where nothing matches is kept: in complain mode that is let through.
    if isinstance(part, bytes):
        return frozenset([dfa.walk(state, part) for state in at])
    for some, loop in part:
        at = _closure(dfa, at, some) if loop else _step(dfa, at, some)
    return at


def _step(dfa: Dfa, at: _States, some: bytes) -> _States:
    found: set[int] = set()
    for state in at:
        if state == NO_MATCH:
            found.add(NO_MATCH)
        else:
            row = dfa.row(state)
            found.update([row[byte] for byte in some])
    return frozenset(found)


def _closure(dfa: Dfa, at: _States, some: bytes) -> _States:
    found, new = set(at), at
    while new:
        new = _step(dfa, new, some) - found
        found |= new
    return frozenset(found)
