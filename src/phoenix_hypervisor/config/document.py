"""Reading a JSON document strictly.

Owns duplicate keys, encoding, what is said of a document that is not JSON, and finding
the line of a JSON pointer.  Pure.
"""

from __future__ import annotations

import json
import re

from phoenix_hypervisor.errors import Problem, ProblemsError
from phoenix_hypervisor.plan.fault_codes import Fault
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

CONTROL = r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]"
"""Characters that no value may have."""

MAX_CONFIG = 64 * 1024 * 1024
"""Bytes."""


def parse(data: bytes, where: str) -> tuple[dict[str, Any], list[Problem]]:
    """The object in `data`, and a problem for every key that an object names twice.

    Raises ProblemsError where there is no object to speak of: not UTF-8, not JSON.
    """
    if len(data) > MAX_CONFIG:
        raise ProblemsError(
            "cannot be used", [Problem(f"is over {MAX_CONFIG} bytes", code=Fault.TOO_LARGE)], where=where
        )
    repeated = False

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        found = dict(items)
        if len(found) != len(items):
            repeated = True
        return found

    text = _decoded(data, where)
    try:
        document = json.loads(text, object_pairs_hook=pairs, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise ProblemsError("is not JSON", [_syntax(text, error)], where=where) from error
    except (RecursionError, ValueError) as error:
        text, hint = str(error), None
        if isinstance(error, RecursionError):
            text, hint = "is nested too deep", "a configuration has braces in braces four deep"
        elif "digits" in text:
            # Python's own limit (sys.get_int_max_str_digits), in its words.
            text, hint = "contains a number of thousands of digits", "no key takes more than nine"
        fault = Problem(text, hint=hint, code=Fault.NOT_JSON)
        raise ProblemsError("is not JSON", [fault], where=where) from error
    if not isinstance(document, dict):
        what = "a list" if isinstance(document, list) else f"{json.dumps(document):.60}"
        text = f"is {what}; a configuration is an object, written in braces"
        fault = Problem(text, hint=SMALLEST, code=Fault.NOT_AN_OBJECT)
        raise ProblemsError("is not a JSON object", [fault], where=where)
    return document, Positions(text).repeated if repeated else []


def _decoded(data: bytes, where: str) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        fault = Problem("is UTF-16", hint="save it as UTF-8", code=Fault.NOT_UTF8)
        raise ProblemsError("is not UTF-8", [fault], where=where)
    # Editors of other systems begin a file with its byte order mark.
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        text = f"byte 0x{data[error.start]:02x} is not UTF-8"
        fault = Problem(text, "", line, "save the file as UTF-8", code=Fault.NOT_UTF8)
        raise ProblemsError("is not UTF-8", [fault], where=where) from error


SMALLEST = 'the smallest one is {"lxc_configs": {}}'
NO_COMMENTS = 'take it out; a container and the top of the file have a key "note" for it'
_WORD = r"[A-Za-z_]+"


def _syntax(text: str, error: json.JSONDecodeError) -> Problem:
    """Where `text` stops being JSON, in words about what people type and not about a parser."""
    position = error.pos
    before = text[:position].rstrip()
    if not text.strip():
        return Problem("the file is empty", hint=SMALLEST, code=Fault.NOT_JSON)
    if text[position : position + 2] in ("//", "/*") or text[position : position + 1] == "#":
        return _at(text, position, "this is a comment, and JSON has no comments", NO_COMMENTS)
    # Python 3.13 names the comma, earlier ones the bracket after it.
    comma = position if text[position : position + 1] == "," else len(before) - 1
    after = text[comma + 1 :].lstrip()[:1]
    if text[comma : comma + 1] == "," and after in ("}", "]") and after:
        return _at(text, comma, f"a comma before {after} is not allowed in JSON", "remove this comma")
    if error.msg.startswith("Expecting ',' delimiter"):
        if position >= len(text.rstrip()):
            return _at(text, position, "the file ends too early", "close every { and [ and quote")
        return _at(text, len(before) - 1, "a comma is missing after this value", None)
    if position >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
        return _at(text, position, f"the file ends too early ({error.msg})", "close every { and [ and quote")
    if text[position] == "'":
        return _at(text, position, "JSON takes double quotes, not single ones", None)
    word = re.compile(_WORD).match(text, position)
    if word is not None and word[0].lower() in ("true", "false", "none", "null"):
        known = {"none": "null"}.get(word[0].lower(), word[0].lower())
        return _at(text, position, f"JSON does not know {word[0]}", f"write {known}")
    if word is not None:
        return _at(text, position, f"{word[0]:.40} is not in quotes", f'write "{word[0]:.40}"')
    return _at(text, position, error.msg, None)


def _at(text: str, position: int, message: str, hint: str | None) -> Problem:
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return Problem(f"{message} (column {column})", "", line, hint, code=Fault.NOT_JSON)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


_TOKEN = r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+'


class Positions:
    """Line numbers of every value in a document that is known to be JSON."""

    def __init__(self, text: str) -> None:
        self.lines: dict[str, int] = {}
        self.repeated: list[Problem] = []
        self._walk(text)

    def line(self, pointer: str) -> int | None:
        """The line of the value at `pointer`, or of its nearest parent."""
        while True:
            if pointer in self.lines:
                return self.lines[pointer]
            if not pointer:
                return None
            pointer = pointer.rpartition("/")[0]

    def _walk(self, text: str) -> None:
        # A stack of [pointer, next index or None for objects, keys seen].
        stack: list[tuple[str, list[int] | None, set[str]]] = []
        line, position = 1, 0
        pending: str | None = None
        expect_key = False
        for match in re.finditer(_TOKEN, text):
            line += text.count("\n", position, match.start())
            position = match.start()
            token = match[0]
            if token == ",":
                if stack and stack[-1][1] is not None:
                    stack[-1][1][0] += 1
                else:
                    expect_key = True
                continue
            if token == ":":
                continue
            if token in "}]":
                stack.pop()
                pending, expect_key = None, False
                continue
            if expect_key:
                key = json.loads(token)
                pointer, _, seen = stack[-1]
                pending = f"{pointer}/{escape(key)}"
                if key in seen:
                    text = "this key appears a second time"
                    self.repeated.append(Problem(text, pending, line, code=Fault.REPEATED_KEY))
                seen.add(key)
                self.lines.setdefault(pending, line)
                expect_key = False
                continue
            pointer = self._pointer(stack, pending)
            self.lines.setdefault(pointer, line)
            pending = None
            if token in "{[":
                stack.append((pointer, [0] if token == "[" else None, set()))
                expect_key = token == "{"

    @staticmethod
    def _pointer(stack: list[tuple[str, list[int] | None, set[str]]], pending: str | None) -> str:
        if pending is not None:
            return pending
        if stack and stack[-1][1] is not None:
            return f"{stack[-1][0]}/{stack[-1][1][0]}"
        return ""


def escape(key: object) -> str:
    """One reference token of a JSON pointer (RFC 6901)."""
    return str(key).replace("~", "~0").replace("/", "~1")
