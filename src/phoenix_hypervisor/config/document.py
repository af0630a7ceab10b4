"""Reading a JSON document strictly.

Owns duplicate keys, encoding and finding the line of a JSON pointer.  Pure.
"""

from __future__ import annotations

import json
import re
from typing import Any

from phoenix_hypervisor.errors import Problem, ProblemsError

MAX_CONFIG = 64 * 1024 * 1024
"""Bytes."""


def parse(data: bytes, where: str) -> tuple[dict[str, Any], list[Problem]]:
    """The object in `data`, and a problem for every key that an object names twice.

    Raises ProblemsError where there is no object to speak of: not UTF-8, not JSON.
    """
    if len(data) > MAX_CONFIG:
        raise ProblemsError("cannot be used", [Problem(f"is over {MAX_CONFIG} bytes")], where=where)
    repeated = False

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        found = dict(items)
        if len(found) != len(items):
            repeated = True
        return found

    try:
        text = data.decode("utf-8-sig")
        document = json.loads(text, object_pairs_hook=pairs, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ProblemsError("is not UTF-8", [Problem("invalid byte", "", line)], where=where) from error
    except json.JSONDecodeError as error:
        fault = Problem(f"{error.msg} at column {error.colno}", "", error.lineno)
        raise ProblemsError("is not JSON", [fault], where=where) from error
    except (RecursionError, ValueError) as error:
        raise ProblemsError("is not JSON", [Problem(str(error) or "nested too deep")], where=where) from error
    if not isinstance(document, dict):
        raise ProblemsError("is not a JSON object", [Problem(f"is {type(document).__name__}")], where=where)
    return document, Positions(text).repeated if repeated else []


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


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
        for match in _TOKEN.finditer(text):
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
                    self.repeated.append(Problem("this key stands here a second time", pending, line))
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
