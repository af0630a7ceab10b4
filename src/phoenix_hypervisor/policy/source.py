"""The text of a profile, cut into statements.

Owns finding rules, includes and blocks with their file and line, so that single rules can
be left out and the rest compiled again.  Must not understand rules beyond that: what a
text means is asked of the real compiler.  Source: apparmor.d(5).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping

from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.values import dataclass

Resolver = Callable[[str], "tuple[str, bytes] | list[tuple[str, bytes]] | None"]
"""From the path in an include to a file's name and text, to those of all files of a directory, or
to None to leave the include alone."""

_INCLUDE = re.compile(rb"#?include\s+(?:if\s+exists\s+)?(?:<([^>\n]+)>|\"([^\"\n]+)\"|([^\s<\"]+))")
_HEADER = re.compile(rb"(?:^|\s)(?:profile|hat)\s|^\^|^/|^\"/")
_LINE_STATEMENT = re.compile(rb"(?:@\{\w+\}\s*\+?=|\$\{?\w+\}?\s*=)")
_WAIVER = re.compile(rb"#\s*lint:\s*allow(-file)?\s+([a-z][a-z-]*)\s*[:,]?\s*(.*)")
_VARIABLE = re.compile(r"[@$]\{\w+\}")
_PREFIX = re.compile(r"(?:(?:priority\s*=\s*[+-]?\d+|audit|quiet|deny|allow|owner|other)\s+)*")
_FILE = re.compile(r'file\b|"?/|"?@\{')
_PRIORITY = re.compile(r"priority\s*=\s*([+-]?\d+)\s")
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
    chain: tuple[str, ...] = ()
    """The includes that brought it in, outermost first, each as `file:line`."""
    within: tuple[str, ...] = ()
    """What opens the blocks that it stands in inside its profile: `deny {`, `if $x {`, `if $x { } else {`."""

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def prefixes(self) -> frozenset[str]:
        """`deny`, `audit`, `owner` and the like, its own and those of the blocks around it."""
        found: set[str] = set()
        for text in (self.text, *self.within):
            match = _PREFIX.match(text if text is self.text else text.removesuffix("{"))
            found |= set(match[0].split()) if match else set()
        return frozenset(found)

    @property
    def priority(self) -> int:
        """Which rules it outranks; 0 where it does not say."""
        match = _PRIORITY.match(self.text)
        return int(match[1]) if match else 0

    @property
    def is_about_files(self) -> bool:
        """Whether it is surely a file rule: it begins with `file`, a path or a variable."""
        prefix = _PREFIX.match(self.text)
        return self.kind == "rule" and bool(prefix and _FILE.match(self.text, prefix.end()))

    @property
    def denies(self) -> bool:
        return "deny" in self.prefixes


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A profile source with includes put in where they were asked for."""

    text: bytes
    statements: tuple[Statement, ...]
    waivers: tuple[Waiver, ...]
    ends: Mapping[int, int]
    """Where each block ends, behind its brace, by the start of its header."""

    def rules(self) -> list[Statement]:
        """Rules inside profiles, in order."""
        return [s for s in self.statements if s.kind == "rule" and s.profile]

    def blocks(self) -> list[Statement]:
        """The headers of profiles, hats and children."""
        return [s for s in self.statements if s.kind == "block" and s.profile]

    def definitions(self, statement: Statement) -> dict[str, list[str]]:
        """Where the variables in a rule get their values, by name; in the order of the source."""
        found: dict[str, list[str]] = {name: [] for name in _VARIABLE.findall(statement.text)}
        for other in self.statements if found else ():
            name = _VARIABLE.match(other.text)
            if name and name[0] in found and _LINE_STATEMENT.match(other.text.encode()):
                found[name[0]].append(other.place)
        return {name: places for name, places in found.items() if places}

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
    return Source(bytes(scanner.out), tuple(scanner.statements), tuple(scanner.waivers), scanner.ends)


@dataclass(frozen=True, slots=True)
class _Block:
    """A block that is open."""

    profile: str
    """Its name where it is a profile, else empty."""
    opening: str
    start: int
    seen: set[str]
    """The files put in already: as the parser does, once in a profile."""


class _Scanner:
    """Copies text to `out` while it notes what stands where."""

    def __init__(self, resolve: Resolver) -> None:
        self.resolve = resolve
        self.out = bytearray()
        self.statements: list[Statement] = []
        self.waivers: list[Waiver] = []
        self.blocks: list[_Block] = []
        self.ends: dict[int, int] = {}
        self.seen: set[str] = set()
        self.chain: list[str] = []
        self.condition = ""
        """What opened the `if` that ended last: an `else` belongs to it."""

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
                self._close()
            else:
                pos = self._statement(name, text, pos)

    def _include(
        self, name: str, text: bytes, match: re.Match[bytes], depth: int, above: frozenset[str]
    ) -> int:
        path = next(group for group in match.groups() if group is not None)
        found = self.resolve(path.decode("utf-8", "surrogateescape"))
        if found is not None:
            line = text.count(b"\n", 0, match.start()) + 1
            self.chain.append(f"{name}:{line}")
            for file, content in found if isinstance(found, list) else [found]:
                if file not in self.seen or file in (name, *above):
                    self.seen.add(file)
                    self.file(file, content, depth + 1, above | {name})
            self.chain.pop()
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
            self._open(body, start)
            self._add("block", body, name, text, at, start)
        else:
            self._add("rule", body, name, text, at, start)
        return end

    def _open(self, body: bytes, start: int) -> None:
        if _is_profile(body, bool(self.blocks)):
            self.blocks.append(_Block(_block_name(body[:-1]), "", start, self.seen))
            self.seen = set()
            return
        opening = _bare(body)
        if opening.startswith("else"):
            opening = f"{self.condition} }} {opening}"
        self.blocks.append(_Block("", opening, start, self.seen))

    def _close(self) -> None:
        if self.blocks:
            block = self.blocks.pop()
            self.ends[block.start] = len(self.out)
            self.seen = block.seen
            self.condition = block.opening

    def _within(self) -> tuple[str, ...]:
        innermost = max((n for n, block in enumerate(self.blocks) if block.profile), default=-1)
        return tuple(block.opening for block in self.blocks[innermost + 1 :])

    def _add(self, kind: str, body: bytes, name: str, text: bytes, at: int, start: int) -> None:
        whole = " ".join(body.decode("utf-8", "backslashreplace").split())
        self.statements.append(
            Statement(
                kind=kind,
                text=whole if kind == "include" else _bare(body),
                file=name,
                line=text.count(b"\n", 0, at) + 1,
                profile="//".join(block.profile for block in self.blocks if block.profile),
                start=start,
                end=len(self.out),
                chain=tuple(self.chain),
                within=self._within(),
            )
        )


def _bare(body: bytes) -> str:
    """Without comments, white space made single."""
    words = b" ".join(re.sub(rb"(^|\s)#[^\n]*", b" ", body).split())
    return words.decode("utf-8", "backslashreplace")


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
