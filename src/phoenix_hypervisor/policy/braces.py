"""Patterns that differ in one place, written as one.

Owns `{a,b}` as it is written for people.  Must not change what is matched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache

WIDTH = 120
"""Characters of a pattern that is put together; a run of one bracket counts as few."""
_BRACE = 90
"""The same of what stands in one brace, so that it is the same in more than one directory."""
_LEAST = 40
"""The same where the rest of the pattern is long."""
_ROUNDS = 8
_DEPTH = 3
"""How deep braces stand in braces."""
_TOKENS = re.compile(
    r"(?P<run>\[[^\]]*\])(?P=run)*(?:\{,(?P=run)\})*|(?P<more>\{,\[[^\]]*\]\})(?P=more)*"
    r"|\{[^{}]*\}|\*+|[0-9A-Za-z_]+|[^\w]|.",
    re.ASCII | re.DOTALL,
)
_RUNS = re.compile(r"(\[[^\]]*\])(?:\1|\{,\1\})+|(\{,\[[^\]]*\]\})\2+")
_EMPTY = re.compile(r"^\{,,+")
"""Nothing, said more than once."""
_RUN = "[...]"
"""As what a run of one bracket counts: it is long whatever stands beside it."""
_WHOLE = ("?*", "?**")
"""A star that is a whole component, as it is written where braces would let it match an empty one."""
_BACK = re.compile(r"(?<=/)\?(\*\*?)(?=/|$)")

_Tokens = tuple[str, ...]


def braced(patterns: Iterable[str]) -> list[str]:
    """The same paths in fewer patterns, sorted."""
    return list(joined(patterns))


def joined(patterns: Iterable[str]) -> dict[str, list[str]]:
    """The same paths in fewer patterns, sorted, each with those that it is made of."""
    lines: dict[_Tokens, list[str]] = {}
    alone: dict[str, list[str]] = {}
    for pattern in sorted(set(patterns)):
        tokens = _split(pattern)
        if "\\" in pattern or any("," in token.replace("{,", "") for token in tokens):
            alone[pattern] = [pattern]
        else:
            lines[tokens] = [pattern]
    keys = _Keys()
    for _ in range(_ROUNDS):
        merged = _merged(lines, keys)
        if len(merged) == len(lines):
            break
        lines = merged
    found = {_BACK.sub(r"\1", "".join(tokens)): members for tokens, members in lines.items()}
    return dict(sorted({**alone, **found}.items()))


def _split(pattern: str) -> _Tokens:
    tokens = [found.group() for found in _TOKENS.finditer(pattern)]
    for at, token in enumerate(tokens):
        if (
            token in ("*", "**")
            and tokens[at - 1] == "/"
            and (at + 1 == len(tokens) or tokens[at + 1] == "/")
        ):
            tokens[at] = "?" + token
    return tuple(tokens)


class _Keys:
    """What stands in front of a place and behind it, as two numbers."""

    def __init__(self) -> None:
        self._heads: dict[tuple[int, str], int] = {}
        self._tails: dict[tuple[int, str], int] = {}
        self._known: dict[_Tokens, list[tuple[tuple[int, int], tuple[_Tokens, int, int]]]] = {}

    def of(self, tokens: _Tokens) -> list[tuple[tuple[int, int], tuple[_Tokens, int, int]]]:
        """For each place its key, and the place."""
        found = self._known.get(tokens)
        if found is None:
            before, behind = [0], [0]
            for token in tokens:
                before.append(self._heads.setdefault((before[-1], token), len(self._heads) + 1))
            for token in reversed(tokens):
                behind.append(self._tails.setdefault((behind[-1], token), len(self._tails) + 1))
            size = len(tokens)
            found = self._known[tokens] = [
                ((before[start], behind[size - end]), (tokens, start, end)) for start, end in _places(tokens)
            ]
        return found


def _merged(lines: dict[_Tokens, list[str]], keys: _Keys) -> dict[_Tokens, list[str]]:
    """Lines that are alike but for one place are put together, those first that differ in least."""
    groups: dict[tuple[int, int], list[tuple[_Tokens, int, int]]] = {}
    for tokens in lines:
        for key, place in keys.of(tokens):
            groups.setdefault(key, []).append(place)
    order = [group for group in groups.values() if len(group) > 1]
    order.sort(key=_apart)
    out = dict(lines)
    for group in order:
        left = [one for one in group if one[0] in out]
        if len(left) < 2:
            continue
        tokens, start, end = left[0]
        head, tail = tokens[:start], tokens[end:]
        room = max(min(_BRACE, WIDTH - _width((*head, *tail))), _LEAST)
        for some in _runs([(one[0], one[0][one[1] : one[2]]) for one in left], room):
            if len(some) > 1:
                brace = "{" + ",".join([_inner(middle) for _, middle in some]) + "}"
                brace = _EMPTY.sub("{,", brace)
                out[(*head, brace, *tail)] = [name for one, _ in some for name in out.pop(one)]
    return out


def _apart(group: list[tuple[_Tokens, int, int]]) -> tuple[float, int, int]:
    """By how much the members differ, then by how many there are, and how far behind it is."""
    return sum(end - start for _, start, end in group) / len(group), -len(group), -group[0][1]


def _places(tokens: _Tokens) -> Iterator[tuple[int, int]]:
    """What may become a brace: a part of one component, or some directories in front of a name."""
    deep = [at for at, token in enumerate(tokens) if _depth(token) >= _DEPTH]
    slashes = [at for at, token in enumerate(tokens) if token == "/"]
    for first, last in zip(slashes, [*slashes[1:], len(tokens)], strict=True):
        for start in range(first + 1, last + 1):
            for end in range(start, min([last, *(at for at in deep if at >= start)]) + 1):
                if end - start != 1 or tokens[start] not in _WHOLE:
                    yield start, end
    named = max([at for at, token in enumerate(tokens) if token[0].isalnum()], default=-1)
    for number, slash in enumerate(slashes):
        most = min([named, *(at for at in deep if at > slash)])
        for end in slashes[number + 2 :]:
            if end <= most:
                yield slash + 1, end


def _inner(middle: _Tokens) -> str:
    """What stands in a brace; of a brace that is all of it, what stands in that one."""
    alone = len(middle) == 1 and middle[0][0] == "{"
    return middle[0][1:-1] if alone else "".join(middle)


@cache
def _depth(token: str) -> int:
    depth = most = 0
    for char in token:
        depth += (char == "{") - (char == "}")
        most = max(most, depth)
    return most if token[:2] != "{," or most > 1 else 0


def _width(tokens: _Tokens) -> int:
    """Characters, with a run of one bracket as few."""
    return sum(map(_size, tokens))


@cache
def _size(token: str) -> int:
    return len(_RUNS.sub(_RUN, token))


def _runs(members: list[tuple[_Tokens, _Tokens]], width: int) -> Iterator[list[tuple[_Tokens, _Tokens]]]:
    """Members in runs that fit."""
    own: list[tuple[_Tokens, _Tokens]] = []
    size = 0
    for member in sorted(members, key=lambda one: _inner(one[1])):
        size += _width(member[1]) + 1
        if own and size > width + 1:
            yield own
            own, size = [], _width(member[1]) + 1
        own.append(member)
    yield own
