"""Many questions at once: JSON lines in, JSON lines out, one for one and in order.

Owns the line format that others measure agreement with.  Must not open files, and must
not stop: a line that makes no sense is answered with its error.
"""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Mapping

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.policy.answers import Answer
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.profile import Profile
from phoenix_hypervisor.policy.queries import RawQuery, parse_query
from phoenix_hypervisor.policy.sockets import Asks
from phoenix_hypervisor.values import dataclass, field


@dataclass(slots=True)
class Batch:
    """Answers lines about profiles; `failed` counts the bad ones so far.

    `find` gives the profile of a name, or the only one for None; `Policy.get` is one.
    """

    find: Callable[[str | None], Profile]
    failed: int = 0
    asks: Asks = Asks.TYPE
    _evaluators: dict[str | None, Evaluator] = field(default_factory=dict)
    _texts: dict[Answer, str] = field(default_factory=dict)

    def run(self, lines: Iterable[bytes | str]) -> Iterator[str]:
        """One JSON text (without a newline) for every line."""
        for line in lines:
            try:
                yield self.answer(_object(line))
            except PhoenixError as error:
                self.failed += 1
                yield json.dumps({"error": error.message})

    def answer(self, query: Mapping[str, object]) -> str:
        """The JSON text that answers one query object.  Raises PolicyError."""
        fields = dict(query)
        name = fields.pop("profile", None)
        if name is not None:
            name = _name(name)
        evaluator = self._evaluators.get(name)
        if evaluator is None:
            evaluator = self._evaluators[name] = Evaluator(self.find(name), self.asks)
        question = parse_query(fields)
        if isinstance(question, RawQuery):
            return json.dumps(evaluator.raw(question)._asdict())
        answer = evaluator.ask(question)
        text = self._texts.get(answer)
        if text is None:
            text = self._texts[answer] = json.dumps(answer.as_json())
        return text


def _name(value: object) -> str:
    """A profile's name that can be looked up anywhere, on disk too."""
    if not isinstance(value, str):
        raise PolicyError("'profile' must be a string")
    try:
        data = value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise PolicyError("'profile' is not valid text") from None
    if b"\0" in data:
        raise PolicyError("'profile' holds a NUL, which no name does")
    return value


def _object(line: bytes | str) -> dict[str, object]:
    try:
        # Left to itself json would take bytes for UTF-16 where they look like it.
        text = line if isinstance(line, str) else line.removeprefix(BOM_UTF8).decode()
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise PolicyError("not a line of JSON") from None
    if not isinstance(found, dict):
        raise PolicyError("not a JSON object")
    return found
