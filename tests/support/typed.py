"""A question as a shell hands it to `policy query`: words and options."""

from __future__ import annotations

from collections.abc import Iterable

_FLAGS = ("other", "onexec")
_NUMBERS = ("class", "uid", "protocol")


def words_and_options(typed: Iterable[str]) -> tuple[list[str], dict[str, object]]:
    """The words, and the options by the names that `read_question` takes."""
    words: list[str] = []
    options: dict[str, object] = {}
    left = list(typed)
    while left:
        word = left.pop(0)
        name = word.removeprefix("--").replace("-", "_")
        if not word.startswith("--"):
            words.append(word)
        elif name in _FLAGS:
            options[name] = True
        else:
            value = left.pop(0)
            options[name] = int(value) if name in _NUMBERS else value
    return words, options
