"""Patterns that differ in one component, written as one.

Owns `{a,b}` as it is written for people.  Must not change what is matched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

WIDTH = 100
"""Characters of a pattern that is put together."""
_WHOLE = ("*", "**", "{,**}", "{,*}", "")


def braced(patterns: Iterable[str]) -> list[str]:
    """The same paths in fewer patterns, sorted."""
    left = sorted(set(patterns))
    joined = [_split(pattern) for pattern in left]
    depth = max(map(len, joined), default=0)
    for at in reversed(range(depth)):
        joined = _merged(joined, at)
    return sorted("/".join(parts) for parts in joined)


def _split(pattern: str) -> list[str]:
    """At slashes that stand in no brace and no bracket."""
    parts, level, own = [], 0, ""
    for char in pattern:
        level += (char in "{[") - (char in "}]")
        if char == "/" and not level:
            parts.append(own)
            own = ""
        else:
            own += char
    return [*parts, own]


def _merged(found: Sequence[list[str]], at: int) -> list[list[str]]:
    groups: dict[tuple[str | int | None, ...], list[str]] = {}
    out: list[list[str]] = []
    for parts in found:
        # A star that is a whole component means something else within braces.
        if at >= len(parts) or at == 0 or parts[at] in _WHOLE or "," in parts[at] or "\\" in parts[at]:
            out.append(parts)
        else:
            key = (len(parts), *parts[:at], None, *parts[at + 1 :])
            groups.setdefault(key, []).append(parts[at])
    for key, members in groups.items():
        before, after = list(key[1 : at + 1]), list(key[at + 2 :])
        rest = sum(len(str(part)) + 1 for part in (*before, *after))
        for some in _lines(sorted(members), WIDTH - rest):
            middle = some[0] if len(some) == 1 else "{" + ",".join(some) + "}"
            out.append([*map(str, before), middle, *map(str, after)])
    return out


def _lines(members: list[str], width: int) -> Iterable[list[str]]:
    """Members in runs that fit."""
    own: list[str] = []
    for member in members:
        if own and sum(len(one) + 1 for one in own) + len(member) > width:
            yield own
            own = []
        own.append(member)
    yield own
