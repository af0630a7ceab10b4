"""The text of a profile, cut into statements.

Owns finding rules, includes and blocks with their file and line, so that single rules can
be left out and the rest compiled again.  Must not understand rules beyond that: what a
text means is asked of the real compiler.  Source: apparmor.d(5).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator

from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.values import dataclass

Resolver = Callable[[str], "tuple[str, bytes] | None"]
"""From the path in an include to a file's name and text, or None to leave the include alone."""

_INCLUDE = re.compile(rb"#?include\s+(?:if\s+exists\s+)?(?:<([^>\n]+)>|\"([^\"\n]+)\"|([^\s<\"]+))")
_HEADER = re.compile(rb"(?:^|\s)(?:profile|hat)\s|^\^|^/|^\"/")
_LINE_STATEMENT = re.compile(rb"(?:@\{\w+\}\s*\+?=|\$\{?\w+\}?\s*=)")
_WAIVER = re.compile(rb"#\s*lint:\s*allow(-file)?\s+([a-z][a-z-]*)\s*[:,]?\s*(.*)")
_DEPTH = 20


@dataclass(frozen=True, slots=True)
class Waiver:
    """`# lint: allow CODE reason` in a comment; `allow-file` speaks for the whole file."""

    code: str
    reason: str
    file: str
    line: int
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One rule, include or block header."""

    kind: str
    """`rule`, `include` or `block`."""
    text: str
    """Without comments, white space made single."""
    file: str
    line: int
    profile: str
    """The profile it stands in, `parent//child`; empty in the preamble."""
    start: int
    end: int
    """Its extent in `Source.text`."""

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A profile source with includes put in where they were asked for."""

    text: bytes
    statements: tuple[Statement, ...]
    waivers: tuple[Waiver, ...]

    def rules(self) -> list[Statement]:
        """Rules inside profiles, in order."""
        return [s for s in self.statements if s.kind == "rule" and s.profile]

    def without(self, dropped: Collection[Statement]) -> bytes:
        """The text without these statements; nothing else moves to another line."""
        out = bytearray(self.text)
        for statement in dropped:
            for at in range(statement.start, statement.end):
                if out[at] != 0x0A:
                    out[at] = 0x20
        return bytes(out)


def read_source(name: str, text: bytes, resolve: Resolver | None = None) -> Source:
    """Cut `text` (the file `name`) into statements, with includes replaced by what `resolve` finds.

    Raises PolicyError where includes nest too deeply; text that the compiler would refuse
    is cut up as well as it goes.
    """
    scanner = _Scanner(resolve or (lambda path: None))
    scanner.file(name, text, 0, frozenset())
    return Source(bytes(scanner.out), tuple(scanner.statements), tuple(scanner.waivers))


class _Scanner:
    """Copies text to `out` while it notes what stands where."""

    def __init__(self, resolve: Resolver) -> None:
        self.resolve = resolve
        self.out = bytearray()
        self.statements: list[Statement] = []
        self.waivers: list[Waiver] = []
        self.blocks: list[str] = []

    def file(self, name: str, text: bytes, depth: int, above: frozenset[str]) -> None:
        if depth > _DEPTH or name in above:
            raise PolicyError("includes nest too deeply", where=name)
        pos = 0
        while pos < len(text):
            char = text[pos : pos + 1]
            if char.isspace():
                self.out += char
                pos += 1
                continue
            include = _INCLUDE.match(text, pos)
            if include:
                pos = self._include(name, text, include, depth, above)
            elif char == b"#":
                pos = self._comment(name, text, pos)
            elif char == b"}":
                self.out += char
                pos += 1
                if self.blocks:
                    self.blocks.pop()
            else:
                pos = self._statement(name, text, pos)

    def _include(
        self, name: str, text: bytes, match: re.Match[bytes], depth: int, above: frozenset[str]
    ) -> int:
        path = next(group for group in match.groups() if group is not None)
        found = self.resolve(path.decode("utf-8", "surrogateescape"))
        if found is not None:
            self.file(found[0], found[1], depth + 1, above | {name})
            return match.end()
        start = len(self.out)
        self.out += match.group()
        self._add("include", match.group(), name, text, match.start(), start)
        return match.end()

    def _comment(self, name: str, text: bytes, pos: int) -> int:
        end = text.find(b"\n", pos)
        end = len(text) if end < 0 else end
        comment = text[pos:end]
        waiver = _WAIVER.search(comment)
        if waiver:
            code, reason = (waiver[n].decode("utf-8", "replace").strip() for n in (2, 3))
            line = text.count(b"\n", 0, pos) + 1
            self.waivers.append(Waiver(code, reason, name, line, waiver[1] is not None))
        self.out += comment
        return end

    def _statement(self, name: str, text: bytes, pos: int) -> int:
        start, at = len(self.out), pos
        end, stop = _extent(text, pos)
        body = text[pos:end]
        self.out += body
        if stop == b"{":
            self.blocks.append(_block_name(body[:-1]) if _is_profile(body, bool(self.blocks)) else "")
            self._add("block", body, name, text, at, start)
        else:
            self._add("rule", body, name, text, at, start)
        return end

    def _add(self, kind: str, body: bytes, name: str, text: bytes, at: int, start: int) -> None:
        bare = body if kind == "include" else re.sub(rb"(^|\s)#[^\n]*", b" ", body)
        words = b" ".join(bare.split())
        self.statements.append(
            Statement(
                kind=kind,
                text=words.decode("utf-8", "backslashreplace"),
                file=name,
                line=text.count(b"\n", 0, at) + 1,
                profile="//".join(block for block in self.blocks if block),
                start=start,
                end=len(self.out),
            )
        )


def _extent(text: bytes, pos: int) -> tuple[int, bytes]:
    """The end of the statement at `pos`, and whether `,`, `{` or a line end closes it."""
    by_line = _LINE_STATEMENT.match(text, pos) is not None
    parens = braces = 0
    quoted = False
    at = pos
    while at < len(text):
        char, before, after = text[at : at + 1], text[at - 1 : at] if at else b"", text[at + 1 : at + 2]
        at += 1
        if char == b"\\":
            at += 1
        elif char == b'"':
            quoted = not quoted
        elif quoted:
            continue
        elif char == b"(":
            parens += 1
        elif char == b")":
            parens -= parens > 0
        elif char == b"{":
            if braces == 0 and not by_line and (before.isspace() or before == b")") and _opens(text, at):
                return at, b"{"
            braces += 1
        elif char == b"}":
            if braces == 0 and not by_line:
                return at - 1, b"}"  # the rule lacks its comma; the compiler will say so
            braces -= braces > 0
        elif char == b"#" and before.isspace():
            line = text.find(b"\n", at)
            at = len(text) if line < 0 else line
        elif by_line and char == b"\n":
            return at - 1, b"\n"
        elif char == b"," and not parens and not braces and (not after or after.isspace() or after in b"#}"):
            return at, b","
    return len(text), b""


def _opens(text: bytes, at: int) -> bool:
    """Whether the brace before `at` opens a block: white space or a comment follows."""
    return text[at : at + 1] in (b"", b"\n", b" ", b"\t", b"\r", b"#", b"}")


def _is_profile(body: bytes, inside: bool) -> bool:
    head = body.strip()
    return bool(_HEADER.search(head)) or (not inside and not head.startswith((b"if", b"else")))


def _block_name(head: bytes) -> str:
    """The name in a block header: `profile a /bin/a flags=(x) {` is `a`."""
    words = re.findall(rb'"[^"]*"|\S+', re.sub(rb"\([^)]*\)", b"", head))
    if words and words[0] in (b"profile", b"hat"):
        words = words[1:]
    return words[0].strip(b'"').removeprefix(b"^").decode("utf-8", "backslashreplace") if words else ""


def waived(source: Source, code: str, statement: Statement | None) -> Waiver | None:
    """The waiver of `code`: on the rule's line or one of the comment lines right above it.

    Without a statement, one anywhere in the source.  A waiver without a reason is none.
    """
    for waiver in source.waivers:
        if waiver.code != code or not waiver.reason:
            continue
        here = statement is None or waiver.file == statement.file
        if here and (statement is None or waiver.whole or _near(source, waiver, statement)):
            return waiver
    return None


def _near(source: Source, waiver: Waiver, statement: Statement) -> bool:
    if waiver.line == statement.line:
        return True
    between = [s for s in _in_file(source, statement.file) if waiver.line <= s.line < statement.line]
    return waiver.line < statement.line and not between


def _in_file(source: Source, name: str) -> Iterator[Statement]:
    return (statement for statement in source.statements if statement.file == name)
