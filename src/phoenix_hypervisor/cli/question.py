"""From words on the command line to a question.

Owns the order of the words behind `query` and `explain`.  Must not know how a question is
answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from phoenix_hypervisor.errors import UsageError

if TYPE_CHECKING:
    from phoenix_hypervisor.policy.fault import PolicyError
    from phoenix_hypervisor.policy.queries import EachAccess, Query, RawQuery
    from phoenix_hypervisor.policy.query import Form


def profile_of(words: Sequence[str]) -> str | None:
    """The profile that the words behind `query` name: `[PROFILE] KIND [VALUE...]`."""
    from phoenix_hypervisor.policy.queries import FORMS

    return words[0] if words and words[0].replace("-", "_") not in FORMS else None


def read_question(words: Sequence[str], options: Mapping[str, object]) -> tuple[str | None, Query | RawQuery]:
    """Profile and question from the words behind `query`.  Raises UsageError for words that make none."""
    from phoenix_hypervisor.policy.fault import PolicyError
    from phoenix_hypervisor.policy.queries import parse_query

    form, fields = _fields(words, options)
    try:
        return profile_of(words), parse_query(fields)
    except PolicyError as error:
        raise _told(error, form, fields) from None


def read_each(
    words: Sequence[str], options: Mapping[str, object]
) -> tuple[str | None, Query | RawQuery | EachAccess]:
    """The same; a file without an access stands for every usual access to it."""
    from phoenix_hypervisor.policy.queries import EachAccess, FileQuery

    kind = words[profile_of(words) is not None :][:1]
    if list(kind) != ["file"] or options.get("access") is not None:
        return read_question(words, options)
    profile, question = read_question(words, {**options, "access": "r"})
    assert isinstance(question, FileQuery)
    return profile, EachAccess(question.path, question.other)


def completed(question: Query | RawQuery | EachAccess, options: Mapping[str, object]) -> str | None:
    """What to tell of a path that a kind takes for a directory, and that was typed without its slash."""
    for field, value in options.items():
        path = f"{value}/".encode("utf-8", "surrogateescape")
        if isinstance(value, str) and getattr(question, field, None) == path:
            return f"asked for as {value}/: it has to be a directory, which the kernel writes so"
    return None


def _fields(words: Sequence[str], options: Mapping[str, object]) -> tuple[Form, dict[str, object]]:
    from phoenix_hypervisor.policy.queries import FORMS

    words = list(words[profile_of(words) is not None :])
    if not words:
        raise UsageError("name a kind of question", hint=f"one of {', '.join(kinds())}")
    kind = words.pop(0).replace("-", "_")
    if kind not in FORMS:
        raise UsageError(f"unknown kind {kind!r}", hint=_near(kind))
    fields: dict[str, object] = {"kind": kind}
    for name in FORMS[kind].words:
        if words:
            fields[name] = words.pop(0)
    if words:
        raise UsageError(f"{words[0]!r} is one word too many for {kind}")
    fields |= {name: value for name, value in options.items() if value not in (None, False)}
    return FORMS[kind], fields


def _near(kind: str) -> str:
    import difflib

    close = difflib.get_close_matches(kind.replace("_", "-"), kinds(), 1)
    return f"did you mean {close[0]}?" if close else f"one of {', '.join(kinds())}"


def _told(error: PolicyError, form: Form, fields: Mapping[str, object]) -> UsageError:
    """What `error` says, in words of the command line where an option is missing."""
    for option in form.options:
        if option.field not in fields and error.message == f"{option.field!r} is missing":
            what = f"--{option.field.replace('_', '-')}"
            return UsageError(f"{form.name}: {what} is missing", hint=f"{what} takes {option.help}")
    return UsageError(error.message, hint=error.hint)


def kinds() -> list[str]:
    """The kinds of question, as the command line has them."""
    from phoenix_hypervisor.policy.queries import FORMS

    return sorted(name.replace("_", "-") for name in FORMS)


def question_options() -> dict[str, dict[str, Any]]:
    """Each field that some kind takes as an option: what the command line must know, by the field's name."""
    from phoenix_hypervisor.policy.queries import FORMS

    found: dict[str, dict[str, Any]] = {}
    helps: dict[str, dict[str, list[str]]] = {}
    for form in FORMS.values():
        for option in form.options:
            arguments = {"is_flag": True} if option.type is bool else {"type": option.type}
            found[option.field] = {**arguments, "metavar": option.metavar}
            helps.setdefault(option.field, {}).setdefault(option.help, []).append(form.name.replace("_", "-"))
    for field, texts in helps.items():
        lines = [f"{', '.join(kinds)}: {text.rstrip('.')}" for text, kinds in texts.items()]
        found[field]["help"] = "; ".join(lines) + "."
    return found
