"""What a transaction's journal says, as bytes.

Owns the form of /var/lib/phoenix/journal/NNNNNNNN.jsonl: a header line with everything that
is needed to take the transaction back, then one line for each step that is announced
(`begin`), done, and the `end`.  Pure; `engine.journal` owns the files, `plan.recorded` the form of
an action.

Reading trusts nothing: a torn line is passed over, and then every step counts as begun.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.plan.actions import Action
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.model import Note
from phoenix_hypervisor.plan.registries import named
from phoenix_hypervisor.values import TYPE_CHECKING, dataclass, replace

if TYPE_CHECKING:
    from typing import Any

JOURNAL_DIR = "/var/lib/phoenix/journal"
VERSION = 2
COMMITTED, UNDONE, UNFINISHED = "committed", "undone", "unfinished"
_KEYS = frozenset(
    ("version", "id", "time", "user", "command", "runtime", "undoes", "manifest", "actions", "sha256")
)
_SEAL = b',"sha256":"%s"}'
_SEAL_LENGTH = len(_SEAL % (b"0" * 64))
_SEAL_BEGIN, _SEAL_END = _SEAL.split(b"%s")
DAMAGED = "its first line is not what was written: the file is damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What is known before the first step."""

    id: int
    time: str
    user: str
    command: tuple[str, ...]
    runtime: str
    actions: tuple[Action, ...]
    manifest: bytes | None
    """The manifest when it began."""
    undoes: int | None = None
    """The transaction that this one rolls back."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One transaction as its journal tells it; `actions` are those that were begun, as performed."""

    header: Header
    state: str
    actions: tuple[Action, ...]
    left: tuple[Note, ...] = ()
    """What stayed when it was undone; one of the code `sentence` where it was recorded as one."""

    @property
    def id(self) -> int:
        return self.header.id


def header_line(header: Header) -> bytes:
    """The first line, which ends with a hash of all before it.

    Raises PhoenixError where `read` would not take it again: then nothing could be undone.
    """
    from phoenix_hypervisor.plan import recorded

    try:
        for action in header.actions:
            recorded.check(action)
    except ValueError as error:
        hint = "nothing was changed; report it"
        raise PhoenixError(f"could not be undone: {error}", where="the plan", hint=hint) from error
    line = _line(
        {
            "version": VERSION,
            "id": header.id,
            "time": header.time,
            "user": header.user,
            "command": list(header.command),
            "runtime": header.runtime,
            "undoes": header.undoes,
            "manifest": recorded.packed(header.manifest),
            "actions": [recorded.document(action) for action in header.actions],
        }
    )
    content = line[: -len(b"}\n")]
    return content + _SEAL % hashlib.sha256(content).hexdigest().encode() + b"\n"


def is_intact(data: bytes) -> bool:
    """Whether the header of a journal holds what was written; True where it has no hash.

    The versions before 2026-11-23 wrote none.
    """
    newline = data.find(b"\n")
    end = len(data) if newline < 0 else newline
    place = max(0, end - _SEAL_LENGTH)
    seal = data[place:end]
    is_seal = len(seal) == _SEAL_LENGTH and seal.startswith(_SEAL_BEGIN) and seal.endswith(_SEAL_END)
    if not is_seal or b'"' in seal[len(_SEAL_BEGIN) : -len(_SEAL_END)]:
        return True
    # A view: a header may have megabytes, and is looked at in every run.
    return seal == _SEAL % hashlib.sha256(memoryview(data)[:place]).hexdigest().encode()


def begin_line(number: int) -> bytes:
    return _line({"begin": number})


def done_line(number: int, planned: Action, performed: Action) -> bytes:
    """With what is not as the header has it: bytes only where they are others."""
    from phoenix_hypervisor.plan import recorded

    return _line({"done": number, **recorded.changes(planned, performed)})


def end_line(state: str, left: Sequence[Note], time: str) -> bytes:
    told = [{"code": str(note.code), "target": note.target, "data": dict(note.data)} for note in left]
    return _line({"end": state, "left": told, "time": time})


def _note(told: object) -> Note:
    """What stayed, from a journal: a code with its data, or a sentence as until 2026-11-26."""
    if isinstance(told, dict):
        with suppress(KeyError, TypeError, ValueError):
            return Note(named(told["code"]), str(told["target"]), _plain(told["data"]))
    return Note(Code.SENTENCE, "transaction", {"words": told if isinstance(told, str) else json.dumps(told)})


def _plain(data: dict[str, Any]) -> dict[str, Any]:
    """As it was written: JSON makes a list of a tuple."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}


def read(data: bytes, where: str) -> Entry | None:
    """One journal; None where its header is torn, so that it never began.

    Raises PhoenixError, naming `where`, for a whole header that is not understood, or damaged.
    """
    first, newline, rest = data.partition(b"\n")
    if not newline:
        return None
    try:
        document = json.loads(first)
    except (ValueError, RecursionError) as error:
        if not rest.strip(b"\0"):
            return None
        raise unreadable(where, str(error)) from error
    try:
        if document["version"] not in (1, VERSION):
            raise unreadable(where, f"version {document['version']!r}")
        if not document.keys() <= _KEYS:
            # A damaged name must not make it one without a hash.
            raise ValueError(f"unknown {', '.join(sorted(document.keys() - _KEYS))}")
        header = _header(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise unreadable(where, f"{type(error).__name__}: {error}") from error
    if not is_intact(first):
        if not rest.strip(b"\0"):
            return None
        raise unreadable(where, DAMAGED)
    return _follow(header, rest)


def unreadable(where: str, why: str) -> PhoenixError:
    """The error for a journal that is not understood."""
    return PhoenixError(
        f"cannot be read ({why[:200]})",
        where=where,
        hint="docs/guide/failures.md tells how to recover by hand; then move the file away",
    )


def _header(document: dict[str, Any]) -> Header:
    # Only where a journal is read: a run that changes nothing reads none.
    from phoenix_hypervisor.plan import recorded, recorded_v1

    undoes = document["undoes"]
    read_action = recorded.read_action if document["version"] == VERSION else recorded_v1.read_action
    command = document["command"]
    if not isinstance(command, list) or not isinstance(document["actions"], list):
        raise TypeError("not a list")
    return Header(
        id=_number(document["id"]),
        time=str(document["time"]),
        user=str(document["user"]),
        command=tuple(str(word) for word in command),
        runtime=str(document["runtime"]),
        actions=tuple(read_action(one) for one in document["actions"]),
        manifest=recorded.unpacked(document["manifest"]),
        undoes=None if undoes is None else _number(undoes),
    )


def _follow(header: Header, rest: bytes) -> Entry:
    from phoenix_hypervisor.plan import recorded

    begun, state, torn = 0, UNFINISHED, False
    left: tuple[Note, ...] = ()
    actions = list(header.actions)
    for line in rest.split(b"\n"):
        if not line:
            continue
        try:
            one = json.loads(line)
            if "begin" in one:
                begun = max(begun, _number(one["begin"]) + 1)
            elif "done" in one:
                number = _number(one["done"])
                begun = max(begun, number + 1)
                action = replace(actions[number], **recorded.read_fields(type(actions[number]), one))
                recorded.check(action)
                actions[number] = action
            elif one["end"] in (COMMITTED, UNDONE):
                state, left = one["end"], tuple(_note(told) for told in one.get("left", ()))
        except (ValueError, RecursionError, KeyError, TypeError, IndexError, AttributeError):
            torn = True
    if torn or state == COMMITTED:
        begun = len(actions)
    return Entry(header, state, tuple(actions[:begun]), left)


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 10**8:
        raise ValueError(f"{value!r:.40} is not a number of a journal")
    return value


def _line(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"
