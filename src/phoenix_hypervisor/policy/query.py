"""What a question is: the base of every kind, and what reads its fields.

Owns the shape that `policy/kinds/` fill in, typed access to the fields of one question, and how bytes
are shown.  Must not know any kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.values import dataclass

if TYPE_CHECKING:
    from phoenix_hypervisor.policy.answers import Answer
    from phoenix_hypervisor.policy.evaluate import Evaluator


class Query:
    """A question with an answer: frozen, and as text what the command line takes."""

    __slots__ = ()

    def ask(self, judge: Evaluator) -> Answer:
        """What the kernel that `judge` stands for answers.  Raises PolicyError where none can be asked."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class RawQuery:
    """What securityfs `.access` is asked: a class byte and what follows it.  Answered by masks (raw.py)."""

    number: int
    string: bytes
    uid: int = 0

    def __str__(self) -> str:
        return f"raw --class {self.number} --string {self.string.hex() or repr('')} --uid {self.uid}"


@dataclass(frozen=True, slots=True)
class Option:
    """A field of a kind as an option of the command line."""

    field: str
    help: str
    type: type = str
    """str, int, or bool for a switch."""
    metavar: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How one kind of question is written."""

    name: str
    parse: Callable[[Fields], Query | RawQuery]
    """Takes every field of the kind; raises PolicyError that names the one at fault."""
    words: tuple[str, ...] = ()
    """The fields that are given by position."""
    options: tuple[Option, ...] = ()


class Fields:
    """Typed access to the fields of one question; what is left over is a mistake."""

    def __init__(self, fields: Mapping[str, object]) -> None:
        self._fields = dict(fields)

    def take(self, name: str) -> object:
        if self._fields.get(name) is None:
            raise PolicyError(f"{name!r} is missing")
        return self._fields.pop(name)

    def text(self, name: str) -> str:
        value = self.take(name)
        if not isinstance(value, str):
            raise PolicyError(f"{name!r} must be a string")
        return value

    def path(self, name: str) -> bytes:
        try:
            value = self.text(name).encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise PolicyError(f"{name!r} is not valid text") from None
        if b"\0" in value:
            raise PolicyError(f"{name!r} holds a NUL, which no kernel string can")
        return value

    def maybe_path(self, name: str) -> bytes | None:
        if self._fields.get(name) is None:
            self._fields.pop(name, None)
            return None
        return self.path(name)

    def flag(self, name: str) -> bool:
        value = self._fields.pop(name, False)
        if not isinstance(value, bool):
            raise PolicyError(f"{name!r} must be true or false")
        return value

    def number(self, name: str, limit: int, default: int | None = None) -> int:
        if default is not None and name not in self._fields:
            return default
        value = self.take(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
            raise PolicyError(f"{name!r} must be a number from 0 to {limit}")
        return value

    def words(self, name: str) -> Iterable[str]:
        value = self._fields.pop(name, None)
        if value is None:
            return ()
        if isinstance(value, str):
            return [word for word in value.split(",") if word]
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise PolicyError(f"{name!r} must be a list of words")
        return value

    def is_number(self, name: str) -> bool:
        value = self._fields.get(name)
        return isinstance(value, int) and not isinstance(value, bool)

    def done(self) -> None:
        if self._fields:
            raise PolicyError(f"unknown field {sorted(self._fields)[0]!r}")


AnyQuery: TypeAlias = Query | RawQuery


def absolute(path: bytes, name: str) -> bytes:
    """`path`, if it is one that a kernel can ask for.  Raises PolicyError that offers it with its slash."""
    if path.startswith(b"/"):
        return path
    hint = f"write {show(b'/' + path)}" if path else "a path begins with a slash"
    raise PolicyError(f"{name!r} must be absolute: the kernel asks no other", hint=hint)


def slashed(path: bytes) -> bytes | None:
    """`path` as the kernel writes it for a directory; None where it is that already."""
    return None if path.endswith(b"/") else path + b"/"


def show(data: bytes) -> str:
    """Bytes for people, quoted where a shell needs it; `$'...'` where they are no printable text."""
    import shlex

    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if text.isprintable():
        return shlex.quote(text)
    plain = (chr(b) if 0x20 <= b < 0x7F and b not in b"'\\" else f"\\x{b:02x}" for b in data)
    return f"$'{''.join(plain)}'"


def words_of(mask: int, table: Mapping[str, int]) -> str:
    """The words of `table` whose bits are in `mask`, with commas between."""
    return ",".join(word for word, bit in table.items() if mask & bit)
