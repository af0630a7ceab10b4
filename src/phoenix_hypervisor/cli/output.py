"""Words and JSON.

Owns everything that is printed: errors, plans, tables, recaps.  Must not decide anything.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Sequence

from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.errors import PhoenixError, Problem, ProblemsError
from phoenix_hypervisor.plan.actions import (
    Action,
    AssignLines,
    InstallFile,
    RemoveFile,
    path_of,
    processes_of,
)
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.declared import is_ctid
from phoenix_hypervisor.plan.model import Finding, Note, Plan
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from phoenix_hypervisor.engine.results import Recovered

MAX_DIFF_LINES = 40
_UNPRINTABLE = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]"
"""What moves the cursor, and what turns the direction of writing round."""


def colored(settings: Settings) -> bool:
    """Colour on a terminal, unless NO_COLOR or --no-color says otherwise."""
    return sys.stdout.isatty() and not settings.no_color and not os.environ.get("NO_COLOR")


def printable(text: str) -> str:
    """`text` without what a terminal would obey or an encoding refuse: much of it is others' words."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return re.sub(_UNPRINTABLE, lambda match: _escaped(ord(match[0])), text)


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def echo(text: str, *, err: bool = False) -> None:
    """A line on standard output, or on standard error; seen at once."""
    stream = sys.stderr if err else sys.stdout
    if stream is not None:
        stream.write(text + "\n")
        stream.flush()


_STYLES = {"bold": 1, "red": 31, "green": 32, "yellow": 33, "magenta": 35, "cyan": 36}


def styled(settings: Settings, text: str, style: str | None) -> str:
    """`text` in a colour or bold, where there are colours."""
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if style and colored(settings) else text


def say(settings: Settings, text: str = "", style: str | None = None) -> None:
    """A line for people, perhaps in a colour or bold; nothing with --json or --quiet."""
    if not settings.json and not settings.quiet:
        echo(styled(settings, printable(text), style))


def emit(document: dict[str, Any]) -> None:
    """The one JSON object of a `--json` run."""
    text = json.dumps({"version": 1, **document}, ensure_ascii=False)
    # Bytes that are no UTF-8 came in as lone surrogates, which no stream takes.
    echo(text if text.isascii() or _encodes(text) else json.dumps({"version": 1, **document}))


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def tell(settings: Settings, note: Note) -> None:
    """What a run waits for, on standard error: it is no part of what the run prints."""
    if not settings.quiet:
        echo(printable(f"{note.target}: {_words(note)[0]}"), err=True)


def warn(settings: Settings, text: str) -> None:
    """Something that must be seen, also with --json and --quiet."""
    echo(printable(f"{(*settings.command, 'phoenix')[0]}: {text}"), err=True)


def report_error(name: str, error: PhoenixError, settings: Settings) -> None:
    echo(printable(f"{name}: {_error_text(error)}"), err=True)
    if settings.json:
        emit_error(error)


def _error_text(error: PhoenixError) -> str:
    from phoenix_hypervisor.engine.results import Refused
    from phoenix_hypervisor.plan.transaction import TransactionFailed

    if isinstance(error, TransactionFailed):
        return str(PhoenixError(_failure(error.notes), where=error.where, hint=error.hint))
    if not isinstance(error, Refused):
        return str(error)
    return refused_text(error.message, error.notes, skippable=error.skippable)


SKIP_HINT = "--skip-refused leaves these containers out and goes on with the others"


def refused_text(message: str, found: Iterable[Note], *, skippable: bool) -> str:
    """What is refused, each in a line, and whether the rest can be done without it."""
    problems = [(note.target, *_words(note)) for note in found]
    lines = [f"  {Problem(text, target, hint=hint)}" for target, text, hint in problems]
    return "\n".join([message, *lines, *([f"  next: {SKIP_HINT}"] if skippable else [])])


def _words(note: Note) -> tuple[str, str | None]:
    from phoenix_hypervisor.cli.notes import words

    return words(note)


def told(found: Iterable[Note]) -> list[str]:
    """Each note as a part of a sentence: what it is about, and what it says."""
    texts = [(note.target, _words(note)[0]) for note in found]
    return [text if target in _UNNAMED else f"{target}: {text}" for target, text in texts]


_UNNAMED = ("transaction", "journal")
"""Targets that the words themselves name."""


def _failure(found: Sequence[Note]) -> str:
    """A failed transaction in one sentence; its place is said in front of it."""
    what, cause, *others = found
    why = _words(cause)[0] if cause.code in _CAUSES else told([cause])[0]
    return "; ".join([f"{_words(what)[0]}: {why}", *told(others)])


_CAUSES = (Code.FAILED, Code.CHANGED_MEANWHILE, Code.INTERRUPTED)


def recovered_words(recovered: Recovered) -> str:
    """A transaction of a killed run that was undone, and what of it stays."""
    which = f"transaction {recovered.entry.id} of {recovered.entry.header.time}"
    return "; ".join([f"{which} was interrupted and has been rolled back", *told(recovered.left)])


def recovered_document(recovered: Recovered) -> dict[str, Any]:
    return {"id": recovered.entry.id, "left": notes(recovered.left)}


def _problems(error: PhoenixError) -> list[dict[str, Any]]:
    from phoenix_hypervisor.engine.results import Refused
    from phoenix_hypervisor.plan.transaction import TransactionFailed

    if isinstance(error, Refused | TransactionFailed):
        return [
            {"message": one["text"], "pointer": one["target"], "line": None, **one}
            for one in notes(error.notes)
        ]
    found = error.problems if isinstance(error, ProblemsError) else ()
    return [
        {"message": p.message, "pointer": p.pointer, "line": p.line, "hint": p.hint, "code": p.code or None}
        for p in found
    ]


def emit_error(error: PhoenixError) -> None:
    """The one object that `--json` prints of a failed run."""
    from phoenix_hypervisor.engine.results import Refused
    from phoenix_hypervisor.plan.transaction import TransactionFailed

    emit(
        {
            "error": {
                "code": error.code,
                "message": _failure(error.notes) if isinstance(error, TransactionFailed) else error.message,
                "where": error.where,
                "hint": SKIP_HINT if isinstance(error, Refused) and error.skippable else error.hint,
                "problems": _problems(error),
            }
        }
    )


def recap(
    settings: Settings, *, ok: int, changed: int, failed: int = 0, skipped: int = 0, refused: int = 0
) -> None:
    """The Ansible-like last line."""
    color = "red" if failed or refused else "yellow" if changed else "green"
    more = f" refused={refused}" if refused else ""
    say(settings, f"ok={ok} changed={changed} failed={failed} skipped={skipped}{more}", style=color)


def describe(action: Action) -> str:
    """One action in one line."""
    from phoenix_hypervisor.cli.words import sign, summary

    target = f"container {action.target}" if is_ctid(action.target) else action.target
    return f"{sign(action)} {target}: {summary(action)}"


def show_action(settings: Settings, action: Action) -> None:
    from phoenix_hypervisor.cli.words import sign

    say(settings, describe(action), style={"+": "green", "-": "red"}.get(sign(action), "yellow"))
    for line in diff_lines(action):
        color = {"+": "green", "-": "red"}.get(line[:1])
        say(settings, f"    {line}", color)
    for argv in processes_of(action):
        say(settings, f"    $ {' '.join(argv)}")


def diff_lines(action: Action) -> list[str]:
    """What changes in a file, as a unified diff without context of its own header."""
    if not isinstance(action, InstallFile | AssignLines) or action.after is None:
        return []
    if action.before is None and not action.target.startswith("accepted/"):
        count = len(action.after.splitlines())
        return [f"new file {action.path}, {count} lines"]
    return difference(action.before, action.after, action.path, action.path)


def difference(old: bytes | None, new: bytes | None, before: str, after: str) -> list[str]:
    """A unified diff of two states of a file, None for no file; empty where they are equal."""
    import difflib

    first, second = (
        [] if data is None else data.decode("utf-8", "backslashreplace").splitlines() for data in (old, new)
    )
    before += " (no such file)" if old is None else ""
    after += " (no such file)" if new is None else ""
    lines = list(difflib.unified_diff(first, second, before, after, lineterm="", n=1))
    if len(lines) > MAX_DIFF_LINES:
        lines = [*lines[:MAX_DIFF_LINES], f"... and {len(lines) - MAX_DIFF_LINES} more lines"]
    return lines


def show_notes(settings: Settings, title: str, notes: Iterable[Note], color: str) -> None:
    for note in notes:
        text, hint = _words(note)
        code = f"{note.code}: " if isinstance(note, Finding) else ""
        say(settings, f"{title} {note.target}: {code}{text}" + (f"  ({hint})" if hint else ""), style=color)


def show_findings(settings: Settings, findings: Iterable[Finding]) -> None:
    """What is wrong with the host, each in a line."""
    for finding in findings:
        text, hint = _words(finding)
        say(settings, f"{finding.code}: {text} ({hint})", style="red")


def _action_document(action: Action) -> dict[str, Any]:
    from phoenix_hypervisor.cli.words import summary

    return {
        "kind": action.kind,
        "target": action.target,
        "summary": summary(action),
        "path": path_of(action),
        "diff": diff_lines(action),
        **_states(action),
        "processes": [list(argv) for argv in processes_of(action)],
    }


def _states(action: Action) -> dict[str, Any]:
    """What a file holds before and after, byte for byte; None: no file, or of no file is it known."""
    match action:
        case InstallFile():
            return {"before": exact(action.before), "after": exact(action.after)}
        case RemoveFile():
            return {"before": exact(action.before), "after": None}
        case AssignLines():
            lines = [{"key": one.key, "value": one.value, "old": one.old} for one in action.lines]
            return {"before": exact(action.before), "after": exact(action.after), "lines": lines}
        case _:
            return {}


def exact(data: bytes | None) -> str | None:
    """Bytes as text that gives them back with `surrogateescape`."""
    return None if data is None else data.decode("utf-8", "surrogateescape")


def plan_document(plan: Plan) -> dict[str, Any]:
    """A plan as `plan --json` and `apply --json` print it."""
    return {
        "changes": len(plan.actions),
        "ok": plan.ok,
        "actions": [_action_document(action) for action in plan.actions],
        "proofs": [list(argv) for argv in plan.proofs],
        "skipped": notes(plan.skipped),
        "warnings": notes(plan.warnings),
        "refusals": notes(plan.refused),
    }


def notes(found: Iterable[Note]) -> list[dict[str, Any]]:
    """Notes as --json prints them: the code and its data for programs, the words for people."""
    listed = []
    for note in found:
        text, hint = _words(note)
        listed.append(
            {
                "code": str(note.code),
                "target": note.target,
                "data": dict(note.data),
                "text": text,
                "hint": hint,
            }
        )
    return listed
