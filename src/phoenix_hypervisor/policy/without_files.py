"""A source compiled without its file rules, where they make no difference.

Owns that shortcut, for one more rule in the source and for what decides a question.  The automaton of the
file rules is most of what the parser works at, and a rule of another kind leaves it as it is.  That is not
believed: the first rule of each kind is compiled both ways, and where the two are not written the same, every
rule of that kind is compiled whole.  Must not compile by itself: the compiler comes in as a function.
"""

from __future__ import annotations

from collections.abc import Callable

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.policy.profile import Database, Policy, Profile
from phoenix_hypervisor.policy.queries import (
    CapabilityQuery,
    MountQuery,
    NetworkQuery,
    PivotRootQuery,
    PtraceQuery,
    SignalQuery,
    UmountQuery,
    UsernsQuery,
)
from phoenix_hypervisor.policy.source import Source
from phoenix_hypervisor.values import replace

KINDS = frozenset(
    (
        "capability",
        "dbus",
        "io_uring",
        "mount",
        "mqueue",
        "network",
        "ptrace",
        "signal",
        "umount",
        "unix",
        "userns",
    )
)
"""The rules that may be tried so, by their first word.  Parsers write `change_profile` among the files."""
QUESTIONS = (
    CapabilityQuery,
    MountQuery,
    NetworkQuery,
    PivotRootQuery,
    PtraceQuery,
    SignalQuery,
    UmountQuery,
    UsernsQuery,
)
"""What no file rule decides."""
Compile = Callable[[bytes, str], Policy]
"""From a source text and one more rule to the policy of both; raises PhoenixError where that fails."""


class WithoutFiles:
    """A source that gets one more rule, again and again."""

    def __init__(self, text: bytes, put_in: Source, before: Policy, compile: Compile) -> None:
        """`put_in`: the same source as `text` with its includes put in; `before`: what it compiles to."""
        self._text, self._before, self._compile = text, before, compile
        rest = without_files(put_in)
        self._rest = rest.text if rest is not put_in else None
        self._kinds: dict[str, bool] = {}

    def compiled(self, rule: str) -> Policy:
        """The source with that rule.  Raises PhoenixError where it does not compile."""
        kind = rule.split()[0].rstrip(",")
        quick = self._quickly(rule) if kind in KINDS and self._kinds.get(kind, True) else None
        if quick is not None and kind in self._kinds:
            return quick
        # Also where it does not compile: the parser's words are then about the source as it is.
        whole = self._compile(self._text, rule)
        if quick is not None:
            self._kinds[kind] = written_alike(quick, whole)
        return whole

    def _quickly(self, rule: str) -> Policy | None:
        if self._rest is None:
            return None
        try:
            rest = self._compile(self._rest, rule)
        except PhoenixError:
            return None
        if rest.names() != self._before.names():
            return None
        pairs = zip(rest.profiles, self._before.profiles, strict=True)
        return replace(rest, profiles=tuple(replace(one, own_file=old.own_file) for one, old in pairs))


def without_files(source: Source) -> Source:
    """The rest of a source; nothing moves to another line."""
    files = [rule for rule in source.rules() if rule.is_about_files]
    if not files:
        return source
    rest = tuple(one for one in source.statements if not (one.profile and one.is_about_files))
    return replace(source, text=source.without(files), statements=rest)


def written_alike(a: Policy, b: Policy) -> bool:
    """Whether two policies hold the same profiles, written the same."""
    return a.names() == b.names() and all(
        _same(getattr(one, name), getattr(two, name))
        for one, two in zip(a.profiles, b.profiles, strict=True)
        for name in Profile.__slots__
        if name != "extent"  # where it stands in its blob
    )


def _same(a: object, b: object) -> bool:
    return a.same(b) if isinstance(a, Database) and isinstance(b, Database) else a == b
