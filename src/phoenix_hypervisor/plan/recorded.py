"""One action as a journal's header holds it.

Owns the form of an action in JSON (version 2: its own fields, bytes as base64) and what a journal
may make Phoenix write.  Pure.  Reading trusts nothing: what has another form, or would write
where Phoenix does not by itself, is refused with ValueError or TypeError.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, assert_never, get_args, get_type_hints

from phoenix_hypervisor.plan.actions import (
    MANAGED_KEYS,
    Action,
    AssignLines,
    InstallFile,
    Kernel,
    LineChange,
    LoadWhy,
    RemoveFile,
    Stays,
    SweepWhy,
    is_device_key,
)
from phoenix_hypervisor.plan.declared import is_ctid
from phoenix_hypervisor.values import fields

TYPES: Mapping[str, type[Action]] = {one.kind: one for one in get_args(Action)}
"""The types by the word that stands for them in journals and in `plan --json`."""
INSTALL_PLACES = ("/etc/apparmor.d/", "/var/lib/phoenix/seccomp/", "/var/lib/phoenix/trials/")
"""Where a journal may put a file back or remove one: where Phoenix installs."""

_STAT = re.compile(r"[0-7]{3,4} [0-9]{1,10} [0-9]{1,10}")


def document(action: Action) -> dict[str, Any]:
    """An action as JSON: `kind`, and its fields."""
    return {"kind": action.kind, **changes(None, action)}


def changes(planned: Action | None, action: Action) -> dict[str, Any]:
    """The fields in which an action as performed is not the planned one, as JSON."""
    return {
        name: to_json(getattr(action, name))
        for name, (to_json, _) in _forms(type(action)).items()
        if planned is None or getattr(planned, name) != getattr(action, name)
    }


def read_action(document: Mapping[str, Any]) -> Action:
    """The reverse of `document`.  Raises KeyError, TypeError or ValueError."""
    kind = TYPES[_text(document["kind"])]
    action = kind(**{**_unrecorded(kind), **read_fields(kind, document)})
    check(action)
    return action


def read_fields(kind: type[Action], document: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `kind` that stand in `document`."""
    return {
        name: from_json(document[name]) for name, (_, from_json) in _forms(kind).items() if name in document
    }


def check(action: Action) -> None:
    """Raise ValueError where an action would write what Phoenix does not write by itself."""
    match action:
        case InstallFile():
            _check_file(action.path)
            _check_stat(action.before_stat)
            _check_stat(action.after_stat)
        case RemoveFile():
            _check_file(action.path)
            _check_stat(action.before_stat)
        case Kernel():
            if "/" in action.target or action.target in ("", ".", "..") or "\0" in action.target:
                raise ValueError(f"{action.target!r:.80} is not a profile of ours")
        case AssignLines():
            if not is_ctid(action.target):
                raise ValueError(f"{action.target!r:.80} is not a container")
            for line in action.lines:
                if line.key not in MANAGED_KEYS and not is_device_key(line.key):
                    raise ValueError(f"{line.key!r:.80} is not a line that Phoenix manages")
                if is_device_key(line.key) and not all(map(_is_device, (line.value, line.old))):
                    raise ValueError(f"{line.key} is not set to a device")
        case Stays():
            pass  # Never taken back, so nothing of it is written again.
        case _:
            assert_never(action)


def _is_device(value: str | None) -> bool:
    return value is None or re.fullmatch(r"\S*/dev/\S+", value) is not None


def _check_file(path: str) -> None:
    if not path.startswith(INSTALL_PLACES) or {"", ".", ".."} & set(path[1:].split("/")):
        raise ValueError(f"{path!r:.80} is not a place where Phoenix installs")


def _check_stat(text: str | None) -> None:
    if text is not None and _STAT.fullmatch(text) is None:
        raise ValueError(f"{text!r:.40} is not a mode and an owner")


# The form of each field -------------------------------------------------------------


def packed(data: bytes | None) -> str | None:
    """Bytes as JSON has them."""
    return None if data is None else base64.b64encode(data).decode()


def unpacked(text: object) -> bytes | None:
    """The reverse of `packed`.  Raises TypeError or ValueError."""
    if text is None:
        return None
    if not isinstance(text, str):
        raise TypeError("not base64")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from error


def _bytes(text: object) -> bytes:
    data = unpacked(text)
    if data is None:
        raise TypeError("no bytes")
    return data


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is not a text")
    return value


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r:.40} is neither true nor false")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r:.40} is not a list")
    return value


def texts(value: object) -> tuple[str, ...]:
    """A list of texts.  Raises TypeError."""
    return tuple(_text(one) for one in _list(value))


def text_lists(value: object) -> tuple[tuple[str, ...], ...]:
    """A list of lists of texts.  Raises TypeError."""
    return tuple(texts(one) for one in _list(value))


def _pairs(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r:.40} is not an object")
    return {_text(key): _text(one) for key, one in value.items()}


def _lines(value: object) -> tuple[LineChange, ...]:
    return tuple(
        LineChange(key=_text(one["key"]), value=_text_or_none(one["value"]), old=_text_or_none(one["old"]))
        for one in _list(value)
    )


def _same(value: Any) -> Any:
    return value


Form = tuple[Callable[[Any], Any], Callable[[Any], Any]]
"""To JSON and back."""

_FORMS: Mapping[Any, Form] = {
    str: (_same, _text),
    str | None: (_same, _text_or_none),
    bool: (_same, _flag),
    bytes: (packed, _bytes),
    bytes | None: (packed, unpacked),
    tuple[str, ...]: (list, texts),
    tuple[tuple[str, ...], ...]: (lambda argvs: [list(argv) for argv in argvs], text_lists),
    Mapping[str, str]: (dict, _pairs),
    tuple[LineChange, ...]: (
        lambda lines: [{"key": one.key, "value": one.value, "old": one.old} for one in lines],
        _lines,
    ),
    LoadWhy | None: (lambda why: why and why.value, lambda text: None if text is None else LoadWhy(text)),
    SweepWhy | None: (lambda why: why and why.value, lambda text: None if text is None else SweepWhy(text)),
}
"""By a field's type.  A type that is missing here raises KeyError in the tests, for every action."""


def _forms(kind: type[Action]) -> Mapping[str, Form]:
    return _forms_of(kind.kind)


@cache
def _forms_of(word: str) -> Mapping[str, Form]:
    kind = TYPES[word]
    hints = get_type_hints(kind)
    return {one.name: _FORMS[hints[one.name]] for one in fields(kind) if one.metadata.get("recorded", True)}


def _unrecorded(kind: type[Action]) -> dict[str, None]:
    return {one.name: None for one in fields(kind) if not one.metadata.get("recorded", True)}
