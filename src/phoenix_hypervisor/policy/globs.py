"""AppArmor globs as automata: the paths that a question is about.

Owns the glob syntax of profiles: `?`, `*` (within a component), `**`, `[a-z]`, `[^a-z]`
(which a slash matches too), `{a,b}`, backslash.  A star that is a whole component matches
no empty one.  Must not know profiles.
Source: apparmor.d(5), parser/parser_regex.c (convert_aaregex_to_pcre).
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import TypeAlias

from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.grammar import Grammar, build, path_ends, path_step

Bytes: TypeAlias = frozenset[int]
_ANY = frozenset(range(1, 256))
_PART = _ANY - {0x2F}
LIMIT = 4096
"""Positions of a glob; braces multiply them."""


class _Machine:
    """A nondeterministic automaton: edges by byte set, and free moves."""

    def __init__(self) -> None:
        self.edges: list[list[tuple[Bytes, int]]] = [[]]
        self.free: list[list[int]] = [[]]

    def new(self) -> int:
        if len(self.edges) >= LIMIT:
            raise PolicyError("the glob is too large")
        self.edges.append([])
        self.free.append([])
        return len(self.edges) - 1

    def closure(self, states: frozenset[int]) -> frozenset[int]:
        todo, seen = list(states), set(states)
        while todo:
            for target in self.free[todo.pop()]:
                if target not in seen:
                    seen.add(target)
                    todo.append(target)
        return frozenset(seen)

    def step(self, states: frozenset[int], byte: int) -> frozenset[int]:
        targets = {target for state in states for found, target in self.edges[state] if byte in found}
        return self.closure(frozenset(targets)) if targets else frozenset()


class _Parser:
    def __init__(self, text: bytes) -> None:
        self.text = text
        self.pos = 0
        self.machine = _Machine()

    def fail(self, what: str) -> PolicyError:
        return PolicyError(f"bad glob {self.text.decode('utf-8', 'backslashreplace')!r}: {what}")

    def sequence(self, state: int, *, inside: bool) -> int:
        """Parse from `state`; in braces up to `,` or `}`.  Returns the end state."""
        text = self.text
        while self.pos < len(text):
            char = text[self.pos : self.pos + 1]
            if inside and char in (b",", b"}"):
                return state
            self.pos += 1
            if char == b"*":
                deep = text[self.pos : self.pos + 1] == b"*"
                self.pos += deep
                begins = text[: self.pos - 1 - deep].endswith(b"/")
                ends = text[self.pos :].lstrip(b"*")[:1] in (b"", b"/")
                state = self._star(state, _ANY if deep else _PART, filled=begins and ends)
            elif char == b"?":
                state = self._edge(state, _PART)
            elif char == b"[":
                state = self._edge(state, self._set())
            elif char == b"{":
                state = self._braces(state)
            else:
                if char == b"\\":
                    if self.pos >= len(text):
                        raise self.fail("ends in a backslash")
                    char = text[self.pos : self.pos + 1]
                    self.pos += 1
                state = self._edge(state, frozenset(char))
        if inside:
            raise self.fail("brace is not closed")
        return state

    def _edge(self, state: int, found: Bytes) -> int:
        target = self.machine.new()
        self.machine.edges[state].append((found, target))
        return target

    def _star(self, state: int, found: Bytes, *, filled: bool) -> int:
        """Any number of `found`; for a whole component at least one that is no slash."""
        target = self.machine.new()
        if filled:
            self.machine.edges[state].append((_PART, target))
        else:
            self.machine.free[state].append(target)
        self.machine.edges[target].append((found, target))
        return target

    def _set(self) -> Bytes:
        end = self.text.find(b"]", self.pos + 1)
        if end < 0:
            raise self.fail("bracket is not closed")
        body = self.text[self.pos : end]
        self.pos = end + 1
        negated = body[:1] == b"^"  # `!` is a member, for parsers 3.0.8 and 4.1
        body = body[negated:]
        found: set[int] = set()
        at = 0
        while at < len(body):
            if body[at + 1 : at + 2] == b"-" and at + 2 < len(body):
                found.update(range(body[at], body[at + 2] + 1))
                at += 3
            else:
                found.add(body[at])
                at += 1
        return _ANY - found if negated else frozenset(found)

    def _braces(self, state: int) -> int:
        end = self.machine.new()
        while True:
            start = self.machine.new()
            self.machine.free[state].append(start)
            last = self.sequence(start, inside=True)
            if self.pos >= len(self.text):
                raise self.fail("brace is not closed")
            self.machine.free[last].append(end)
            self.pos += 1
            if self.text[self.pos - 1 : self.pos] == b"}":
                return end


@cache
def glob_grammar(glob: bytes, mask: int, *, is_path: bool = True) -> Grammar:
    """The askable paths (or names, without `is_path`) that match `glob`.

    Raises PolicyError for a malformed or enormous glob.
    """
    parser = _Parser(glob)
    final = parser.sequence(0, inside=False)
    machine = parser.machine

    def step(state: Hashable, byte: int) -> Hashable | None:
        assert isinstance(state, tuple)
        shape, places = state
        following = path_step(shape, byte) if is_path else "name" if byte else None
        if following is None:
            return None
        moved = machine.step(places, byte)
        return (following, moved) if moved else None

    def reads(state: Hashable) -> int:
        assert isinstance(state, tuple)
        shape, places = state
        return mask if final in places and (not is_path or path_ends(shape)) else 0

    start = ("begin" if is_path else "empty", machine.closure(frozenset({0})))
    return build(start, step, reads, classes=_byte_classes(machine))


def _byte_classes(machine: _Machine) -> list[int]:
    """For each byte the smallest one that the glob, and a path's own grammar, treat alike."""
    sets = {found for edges in machine.edges for found, _ in edges}
    first: dict[tuple[object, ...], int] = {}
    classes = []
    for byte in range(256):
        alike = (byte if byte in b"\0/." else None, *(byte in found for found in sets))
        classes.append(first.setdefault(alike, byte))
    return classes


def matches(glob: bytes, data: bytes, *, is_path: bool = True) -> bool:
    """Whether `data` matches `glob` and is askable."""
    return bool(glob_grammar(glob, 1, is_path=is_path).accepts(data))


def under(path: bytes) -> bytes:
    """The glob of `path` itself and everything below it; a glob stays what it is."""
    if any(char in path for char in b"*?[{"):
        return path
    bare = path.rstrip(b"/")
    return bare + b"{,/,/**}" if bare else b"/{,**}"
