"""From words on the command line to a question.

Owns the order of the words behind `query` and `explain`.  Must not know how a question is
answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from phoenix_hypervisor.errors import UsageError

if TYPE_CHECKING:
    from phoenix_hypervisor.policy.queries import Query, RawQuery

KINDS: Mapping[str, tuple[str, ...]] = {
    "file": ("path",),
    "link": ("path", "target"),
    "mount": (),
    "umount": (),
    "pivot_root": (),
    "capability": ("name",),
    "network": ("family", "type"),
    "unix": ("type",),
    "signal": ("signal",),
    "ptrace": (),
    "change_profile": ("target",),
    "userns": (),
    "raw": (),
}
"""Each kind and its values by position."""


def read_question(words: Sequence[str], options: Mapping[str, object]) -> tuple[str | None, Query | RawQuery]:
    """Profile and query from the words behind `query`: `[PROFILE] KIND [VALUE...]`.

    Raises UsageError for words that make no question.
    """
    from phoenix_hypervisor.policy.errors import PolicyError
    from phoenix_hypervisor.policy.queries import parse_query

    words = list(words)
    profile = words.pop(0) if words and words[0].replace("-", "_") not in KINDS else None
    if not words:
        raise UsageError("name a kind of question", hint=f"one of {', '.join(sorted(KINDS))}")
    kind = words.pop(0).replace("-", "_")
    if kind not in KINDS:
        raise UsageError(f"unknown kind {kind!r}", hint=f"one of {', '.join(sorted(KINDS))}")
    fields: dict[str, object] = {"kind": kind}
    for name in KINDS[kind]:
        if words:
            fields[name] = words.pop(0)
    if words:
        raise UsageError(f"{words[0]!r} is one word too many for {kind}")
    fields |= {name: value for name, value in options.items() if value not in (None, False)}
    try:
        return profile, parse_query(fields)
    except PolicyError as error:
        raise UsageError(error.message, hint=error.hint) from None
