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
    from phoenix_hypervisor.policy.queries import Query, RawQuery
    from phoenix_hypervisor.policy.query import Form


def read_question(words: Sequence[str], options: Mapping[str, object]) -> tuple[str | None, Query | RawQuery]:
    """Profile and query from the words behind `query`: `[PROFILE] KIND [VALUE...]`.

    Raises UsageError for words that make no question.
    """
    from phoenix_hypervisor.policy.fault import PolicyError
    from phoenix_hypervisor.policy.queries import FORMS, parse_query

    words = list(words)
    profile = words.pop(0) if words and words[0].replace("-", "_") not in FORMS else None
    if not words:
        raise UsageError("name a kind of question", hint=f"one of {', '.join(sorted(FORMS))}")
    kind = words.pop(0).replace("-", "_")
    if kind not in FORMS:
        raise UsageError(f"unknown kind {kind!r}", hint=f"one of {', '.join(sorted(FORMS))}")
    fields: dict[str, object] = {"kind": kind}
    for name in FORMS[kind].words:
        if words:
            fields[name] = words.pop(0)
    if words:
        raise UsageError(f"{words[0]!r} is one word too many for {kind}")
    fields |= {name: value for name, value in options.items() if value not in (None, False)}
    try:
        return profile, parse_query(fields)
    except PolicyError as error:
        raise _told(error, FORMS[kind], fields) from None


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
