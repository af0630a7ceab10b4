"""The configuration as text: a new one, or entries put into one that is there.

Owns how it is indented, and that of a document that is there no byte changes but where something
is put in.  Pure: text goes in and out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from phoenix_hypervisor.config.schema import SCHEMA_NAME
from phoenix_hypervisor.values import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from typing import Any

    Entries = Mapping[str, Mapping[str, Any]]
    """By CTID, in order."""

EXPLICIT = '"unconfined_means": "explicit-line"'
_WITH_ENTRIES = ("networks", "mount_points")
"""Keys whose own entries get a line each."""


@dataclass(frozen=True, slots=True)
class _Style:
    """How a document is written; without a line break it is written in one line."""

    line_break: str
    unit: str

    def lines(self, depth: str, members: Sequence[str]) -> str:
        if not self.line_break:
            return ", ".join(members)
        return f",{self.line_break}".join(f"{depth}{member}" for member in members)

    def block(self, depth: str, members: Sequence[str]) -> str:
        if not members:
            return "{}"
        inner = self.lines(depth + self.unit, members)
        return f"{{{self.line_break}{inner}{self.line_break}{depth if self.line_break else ''}}}"

    def entries(self, depth: str, entries: Entries) -> list[str]:
        return [f'"{ctid}": {self._entry(depth, entry)}' for ctid, entry in entries.items()]

    def _entry(self, depth: str, entry: Mapping[str, Any]) -> str:
        dumps, members = _dumps, []
        for key, value in entry.items():
            if key in _WITH_ENTRIES:
                inner = [f'"{name}": {dumps(one)}' for name, one in value.items()]
                members.append(f'"{key}": {self.block(depth + self.unit, inner)}')
            else:
                members.append(f'"{key}": {dumps(value)}')
        return self.block(depth, members)


_dumps = json.JSONEncoder(ensure_ascii=False).encode


_ONE_LINE = _Style("", "")


def new(entries: Entries, *, schema: bool, explicit: bool) -> str:
    """A whole document; `explicit`: what is unconfined is so by its line."""
    style = _Style("\n", "    ")
    members = [f'"$schema": "{SCHEMA_NAME}"'] if schema else []
    if explicit:
        members.append(EXPLICIT)
    members.append(f'"lxc_configs": {style.block("    ", style.entries("        ", entries))}')
    return style.block("", members) + "\n"


def merged(text: str, entries: Entries, *, explicit: bool) -> str:
    """`text` with `entries` behind those that it has; `explicit`: with that key too.

    `text` is a document that `load` takes, so that it has an object `lxc_configs`.
    """
    if not entries:
        return text
    place = _find(text)
    style, depth = _style_of(text, place)
    listed = style.lines(depth, style.entries(depth, entries))
    if place.last is None:
        outer = _indentation(text, place.key) or ""
        inside = f"{style.line_break}{listed}{style.line_break}{outer}"
        text = f"{text[: place.begin + 1]}{inside}{text[place.end :]}"
    else:
        between = style.line_break or " "
        text = f"{text[: place.last]},{between}{listed}{text[place.last :]}"
    if explicit:
        indentation = _indentation(text, place.key)
        between = " " if indentation is None else f"{style.line_break or ' '}{indentation}"
        text = f"{text[: place.key]}{EXPLICIT},{between}{text[place.key :]}"
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where `lxc_configs` stands in a document."""

    key: int
    """The first quote of the key."""
    begin: int
    """The opening brace."""
    end: int
    """The closing one."""
    first: int | None
    """The first key in it; None: it is empty."""
    last: int | None
    """Behind the last value in it."""
    inner: int | None
    """The first key of the first value."""


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')


def _find(text: str) -> _Place:
    depth, last, before = 0, 0, ""
    key: int | None = None
    begin: int | None = None
    first: int | None = None
    inner: int | None = None
    for match in _TOKEN.finditer(text):
        token, at = match[0], match.start()
        if token in ("}", "]"):
            depth -= 1
            if depth == 1 and key is not None and begin is not None:
                behind = None if first is None else last
                return _Place(key=key, begin=begin, end=at, first=first, last=behind, inner=inner)
        elif token[0] == '"' and before in ("{", ","):
            if depth == 1:
                key = at if json.loads(token) == "lxc_configs" else None
            elif begin is not None and depth == 2 and first is None:
                first = at
            elif begin is not None and depth == 3 and inner is None:
                inner = at
        if token in ("{", "["):
            if depth == 1 and key is not None:
                begin = at
            depth += 1
        last, before = match.end(), token
    raise ValueError("no lxc_configs")


def _style_of(text: str, place: _Place) -> tuple[_Style, str]:
    """How the document is written, and the indentation of a container in it."""
    outer = _indentation(text, place.key)
    depth = None if place.first is None else _indentation(text, place.first)
    if outer is None and depth is None:
        return _ONE_LINE, ""
    line_break = "\r\n" if "\r\n" in text else "\n"
    inner = None if place.inner is None else _indentation(text, place.inner)
    if depth is not None and inner is not None and len(inner) > len(depth) and inner.startswith(depth):
        unit = inner[len(depth) :]
    elif depth is not None and outer and depth.startswith(outer):
        unit = depth[len(outer) :] or outer
    else:
        unit = outer or "    "
    return _Style(line_break, unit), (outer or "") + unit if depth is None else depth


def _indentation(text: str, at: int) -> str | None:
    """The blanks before `at`, where nothing else stands before it in a line of its own."""
    begin = text.rfind("\n", 0, at) + 1
    before = text[begin:at]
    return before if begin and not before.strip() else None
