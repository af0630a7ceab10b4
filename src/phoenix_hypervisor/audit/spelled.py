"""Names as AppArmor's source language writes them.

Owns exact spelling: what a name is spelt with here, both parsers read as that name and as no other.  And
the few named patterns that a name may be widened by.  Pure.  Must not know rules.
Source: parser/parser_misc.c (processquoted), parser/parser_regex.c (convert_aaregex_to_pcre).
"""

from __future__ import annotations

import re

from phoenix_hypervisor.values import dataclass

_PLAIN = re.compile(r"[A-Za-z0-9_./+:-]+")
_SPECIAL = frozenset("*?[]{}^@,")
"""What the language gives a meaning to, somewhere: with a backslash before it each is itself."""
_BY_NUMBER = frozenset('"\\#<')
"""The parser takes the longest quoted word: a backslash before the last quote would make it go on.  And who
reads a source by less than the parser must see no comment and no include."""

_PROC_ID = re.compile(rb"(?<=^/proc/)[1-9][0-9]{0,6}(?=/|$)|(?<=/task/)[1-9][0-9]{0,6}(?=/|$)")
_HEX = re.compile(rb"(?<![0-9A-Za-z])(?:[0-9a-f]{64}|[0-9a-f]{32})(?![0-9A-Za-z])")
_ID = rb"[1-9][0-9]{0,6}"

PID = "@{pid}"
VARIABLES = {64: "@{phoenix_hex64}", 32: "@{phoenix_hex32}"}
"""Of etc/apparmor/tunables/phoenix: a hash, or the id of a container, by its length."""


@dataclass(frozen=True, slots=True)
class Name:
    """A name in a rule, and the names that it stands for."""

    text: str
    """As the rule writes it."""
    pattern: re.Pattern[bytes]
    general: tuple[str, ...] = ()
    """The variables in it."""

    def covers(self, data: bytes | None) -> bool:
        """Whether the rule means `data`, too."""
        return data is not None and self.pattern.fullmatch(data) is not None


def exact(data: bytes) -> Name:
    """The name itself."""
    return Name(quoted(_spelt(data)), re.compile(re.escape(data), re.DOTALL))


def general(path: bytes) -> Name:
    """The path, widened where a part of it names one process, or holds a hash or a container's id."""
    text, pattern, variables, last = "", b"", list[str](), 0
    for match in _variable_parts(path):
        start, end = match.span()
        found = PID if match.re is _PROC_ID else VARIABLES[end - start]
        variables.append(found)
        text += _spelt(path[last:start]) + found
        pattern += re.escape(path[last:start])
        pattern += _ID if found == PID else b"[0-9a-f]{%d}" % (end - start)
        last = end
    if not variables:
        return exact(path)
    text += _spelt(path[last:])
    pattern += re.escape(path[last:])
    return Name(quoted(text), re.compile(pattern, re.DOTALL), tuple(dict.fromkeys(variables)))


def _variable_parts(path: bytes) -> list[re.Match[bytes]]:
    found = list(_HEX.finditer(path))
    if path.startswith(b"/proc/"):
        found += [m for m in _PROC_ID.finditer(path) if m.start() == 6 or path[6:7].isdigit()]
    return sorted(found, key=lambda match: match.start())


def quoted(text: str) -> str:
    """`text` as one word of a rule; spelt already."""
    bare = re.sub(r"@\{[a-z0-9_]+\}", "", text)
    return text if text and (not bare or _PLAIN.fullmatch(bare)) else f'"{text}"'


def _spelt(data: bytes) -> str:
    """Every byte of `data` so that it means itself within quotes.

    A second slash in a row is written as a number: the parser makes one of two.
    """
    out: list[str] = []
    for char in data.decode("utf-8", "surrogateescape"):
        if char == "/" and out and out[-1] == "/":
            out.append("\\057")
        elif char in _SPECIAL:
            out.append("\\" + char)
        elif char.isprintable() and char not in _BY_NUMBER:
            out.append(char)
        else:
            raw = char.encode("utf-8", "surrogateescape")
            out.append("".join(f"\\{byte:03o}" for byte in raw))
    return "".join(out)
