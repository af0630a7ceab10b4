"""What a profile source pulls in.

Owns finding `include` and `abi` lines and following them, so that a changed include or ABI file
counts as a change of every profile that names it.  Pure: files come through a callback.  It must
not judge syntax: apparmor_parser does, and a line found here that the parser would not
take only makes a hash more careful.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping

# The lexer takes an include wherever a token may begin, not only at the start of a line, and needs no
# blank before a bracket or quote.  One place is known where it is missed: behind a `#` in a list of options.
_WHERE = rb'(?:[ \t]*(?:<(?P<base>[^>\n]*)>|"(?P<quoted>[^"\n]*)")|[ \t]+(?P<plain>[^\s"<>,]+))'
# What may not stand before a word is looked at behind it, so that the word itself can be searched for.
_INCLUDE = re.compile(rb"include(?<![\w./-]include)(?:[ \t]+if[ \t]+exists(?=[\s<\"]))?" + _WHERE)
_ABI = re.compile(rb"abi(?<![\w./-]abi)" + _WHERE)
# Behind the end of a rule or at the start of a line, and up to the next quote: within a quoted name,
# which may span lines, `#` begins no comment.
_COMMENT = re.compile(rb"(?:^|(?<=[,{}]))[ \t]*#(?!include)[^\n\"]*", re.M)
# As the parser's directory includes skip them (libapparmor private.c `_aa_is_blacklisted`).
_SKIPPED = (".dpkg-new", ".dpkg-old", ".dpkg-dist", ".dpkg-bak", ".dpkg-remove", ".pacsave", ".pacnew")
_SKIPPED_TAIL = (*_SKIPPED, ".rpmnew", ".rpmsave", ".orig", ".rej", "~")

APPARMOR_D = "/etc/apparmor.d"

Lookup = Callable[[str], "bytes | list[str] | None"]
"""Relative include path -> file bytes, names in a directory, or None where missing."""


def included(source: bytes) -> list[str]:
    """The include paths that `source` names, in order, as written."""
    return [path for _, path in _named(_INCLUDE, _code(source))]


def abi(source: bytes) -> list[str]:
    """The feature files that `source` names as its ABI, in order, as written."""
    return [path for _, path in _named(_ABI, _code(source))]


def _pulled_in(source: bytes) -> list[str]:
    """What `included` and `abi` find."""
    code = _code(source)
    return [path for pattern in (_INCLUDE, _ABI) for _, path in _named(pattern, code)]


def reaching_outside(source: bytes) -> list[str]:
    """What `source` includes or names as its ABI that is not certain to lie below /etc/apparmor.d.

    A quoted path without a leading slash is looked for in the parser's working directory.
    """
    code = _code(source)
    found = []
    for kind, path in (*_named(_INCLUDE, code), *_named(_ABI, code)):
        inside = path.startswith(f"{APPARMOR_D}/") if kind != "base" else not path.startswith("/")
        if not inside or ".." in path.split("/") or "\\" in path:
            found.append(path)
    return found


def _code(source: bytes) -> bytes:
    """`source` without its comments, as far as they certainly are some."""
    return _COMMENT.sub(b"", source) if b"#" in source else source


def _named(pattern: re.Pattern[bytes], code: bytes) -> list[tuple[str, str]]:
    found = []
    for match in pattern.finditer(code):
        kind = str(match.lastgroup)
        found.append((kind, match[kind].decode("utf-8", "surrogateescape").strip()))
    return found


def include_loop(files: Mapping[str, bytes]) -> list[str]:
    """Files that include each other, in order; empty where none do.  The parser passes over them silently."""
    clear: set[str] = set()
    for start in files:
        path: list[str] = []
        pending = [iter([start])]
        while pending:
            name = next(pending[-1], None)
            if name is None:
                pending.pop()
                if path:
                    clear.add(path.pop())
            elif name in path:
                return path[path.index(name) :]
            elif name in files and name not in clear:
                path.append(name)
                pending.append(iter([other.rstrip("/") for other in included(files[name])]))
    return []


def is_skipped(name: str) -> bool:
    """True for names that the parser passes over in directories."""
    return name.startswith(".") or name.endswith(_SKIPPED_TAIL)


class Closures:
    """Follows includes, reading each file once."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._direct: dict[str, list[str]] = {}
        self._digests: dict[str, bytes] = {}

    def of(self, source: bytes) -> tuple[str, tuple[str, ...]]:
        """The hash of `source` with all it includes, and the sorted paths included."""
        seen: set[str] = set()
        pending = _pulled_in(source)
        while pending:
            path = pending.pop()
            if path in seen:
                continue
            seen.add(path)
            pending.extend(self._names(path))
        digest = hashlib.sha256(hashlib.sha256(source).digest())
        for path in sorted(seen):
            digest.update(path.encode("utf-8", "surrogateescape") + b"\0" + self._digests[path])
        return digest.hexdigest(), tuple(sorted(seen))

    def _names(self, path: str) -> Iterable[str]:
        if path in self._direct:
            return self._direct[path]
        content = self._lookup(path)
        if content is None:
            names, digest = [], b"missing"
        elif isinstance(content, bytes):
            names, digest = _pulled_in(content), hashlib.sha256(content).digest()
        else:
            kept = [name for name in sorted(content) if not is_skipped(name)]
            names, digest = [f"{path.rstrip('/')}/{name}" for name in kept], repr(kept).encode()
        self._direct[path] = names
        self._digests[path] = digest
        return names
