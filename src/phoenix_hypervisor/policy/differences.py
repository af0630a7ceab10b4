"""What a comparison of two policies finds, as values.

Owns the shape and the words of a difference and of what was not compared, and the two judges that
every example is put to before it is shown.  Must not search.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from phoenix_hypervisor.policy import perms
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.grants import Grant
from phoenix_hypervisor.policy.profile import Mode, Profile
from phoenix_hypervisor.policy.queries import LinkQuery, Query, RawQuery
from phoenix_hypervisor.policy.sockets import Asks
from phoenix_hypervisor.values import dataclass


class Aspect(StrEnum):
    """In what two answers differ."""

    ALLOW = "allow"
    COMPLAIN = "complain"
    """Both profiles only complain, and one refuses all the same: a deny rule."""
    TRANSITION = "transition"
    AUDIT = "audit"
    QUIET = "quiet"

    @property
    def logging(self) -> bool:
        """Whether it decides only what is logged."""
        return self in (Aspect.AUDIT, Aspect.QUIET)

    def words(self, what: str) -> str:
        """`what` (the permissions) on the side that it is true of."""
        return what and _WORDS.get(self.value, "{}").format(what)


_WORDS = {"complain": "{} with a complaint", "audit": "logs {}", "quiet": "keeps quiet about {}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that two profiles decide differently."""

    profile: str
    kind: str
    only_a: str
    """What only A allows, in the words of the kind; a setting's value; empty for nothing."""
    only_b: str
    witness: str
    """A shortest question on which they differ, as `policy query` takes it; empty for a setting."""
    query: Query | RawQuery | None = None
    count: int = 1
    """How many different situations differ like this; the witness is of the first."""
    logging: bool = False
    """Only what is logged or kept quiet differs."""

    def __str__(self) -> str:
        parts = [f"only A: {self.only_a}"] if self.only_a else []
        parts += [f"only B: {self.only_b}"] if self.only_b else []
        more = f"  (and {self.count - 1} more)" if self.count > 1 else ""
        return f"{self.profile}: {self.kind}: {'; '.join(parts)}  {self.witness}{more}".rstrip()

    def as_json(self) -> dict[str, object]:
        return {
            "profile": self.profile,
            "kind": self.kind,
            "only_a": self.only_a,
            "only_b": self.only_b,
            "witness": self.witness,
            "count": self.count,
            "logging": self.logging,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class NotCompared:
    """Something that two profiles say differently, and that was not compared."""

    profile: str
    what: str
    example: str = ""
    """Where they differ, where that can be said."""
    asked: bool = True
    """Whether some kernel may decide by it; False: none is known to ask."""
    logging: bool = False
    """It is only what is logged."""

    def __str__(self) -> str:
        return f"not compared: {self.profile}: {self.what}" + (f"  {self.example}" if self.example else "")

    def as_json(self) -> dict[str, object]:
        return {"profile": self.profile, "what": self.what, "example": self.example, "asked": self.asked}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Everything that a comparison found."""

    differences: tuple[Difference, ...]
    not_compared: tuple[NotCompared, ...]


class Key(NamedTuple):
    """One way in which two states differ."""

    aspect: Aspect
    only_a: int
    only_b: int
    """Permission bits of which the aspect is true on one side only."""
    words_a: str = ""
    words_b: str = ""
    """How an execution goes on, where that differs."""

    @property
    def bits(self) -> int:
        """What to ask for: bits of one side only, as of both together neither side would allow all."""
        return self.only_a or self.only_b


class Pair:
    """The two profiles of a comparison, and what of their rules can be seen from outside."""

    def __init__(self, a: Profile, b: Profile, asks: Asks) -> None:
        self.a, self.b = a, b
        self.name = a.label if a.label == b.label else f"{a.label} / {b.label}"
        self.asks = asks
        self._judges = Evaluator(a, asks), Evaluator(b, asks)
        self.logs = not a.audit and not b.audit
        """Where a profile logs everything, its rules decide nothing of that."""
        self.hushes = not a.audit and not b.audit
        self.complains = a.mode is b.mode is Mode.COMPLAIN

    @property
    def judges(self) -> tuple[Evaluator, Evaluator]:
        return self._judges

    def essence(self, grant: Grant, mask: int) -> tuple[object, ...]:
        """All of `grant` that can matter to an answer about the bits of `mask`."""
        allow = grant.allow & mask
        refused = mask & ~allow
        quiet = grant.quiet & refused if self.hushes else 0
        moves = allow & (perms.EXEC | perms.ONEXEC)
        return (
            allow,
            *((grant.transition if allow & perms.EXEC else "", grant.unsafe) if moves else ("", False)),
            grant.audit & allow if self.logs else 0,
            quiet,
            grant.kill & refused,
            grant.complain & refused,
        )

    def keys(self, one: Grant, two: Grant, mask: int, logged: int = -1) -> list[Key]:
        """The ways in which two states differ on the bits of `mask`; `logged`: those that can be logged."""
        found = []
        only_a, only_b = one.allow & ~two.allow & mask, two.allow & ~one.allow & mask
        if only_a or only_b:
            found.append(Key(Aspect.ALLOW, only_a, only_b))
        shared, refused = one.allow & two.allow & mask, ~(one.allow | two.allow) & mask
        if shared & perms.EXEC and one.transition and two.transition and one.transition != two.transition:
            found.append(Key(Aspect.TRANSITION, perms.EXEC, 0, one.transition, two.transition))
        elif shared & perms.ONEXEC and one.unsafe is not two.unsafe:
            words = ("unsafe", "safe") if one.unsafe else ("safe", "unsafe")
            found.append(Key(Aspect.TRANSITION, perms.ONEXEC, 0, *words))
        tolerated_a, tolerated_b = self._tolerated(one) & refused, self._tolerated(two) & refused
        if tolerated_a != tolerated_b:
            found.append(Key(Aspect.COMPLAIN, tolerated_a & ~tolerated_b, tolerated_b & ~tolerated_a))
        elif self.hushes and (one.quiet ^ two.quiet) & refused & logged:
            found.append(_of(Aspect.QUIET, one.quiet & refused & logged, two.quiet & refused & logged))
        if self.logs and (one.audit ^ two.audit) & shared & logged:
            found.append(_of(Aspect.AUDIT, one.audit & shared & logged, two.audit & shared & logged))
        return found

    def _tolerated(self, grant: Grant) -> int:
        complain = -1 if self.complains else grant.complain
        return complain & ~grant.kill & (~grant.quiet if self.hushes else -1)

    def apart(self, query: Query | RawQuery, key: Key) -> bool:
        """Whether the two really answer `query` as differently as `key` says."""
        aspect = key.aspect
        one, two = self._judges
        if isinstance(query, RawQuery):
            return one.raw(query) != two.raw(query)
        try:
            first, second = one.ask(query), two.ask(query)
        except PolicyError:  # no kernel can be asked this
            return False
        if aspect is Aspect.ALLOW:
            ours, theirs = (one.allowed and not one.complain for one in (first, second))
            # What only one side has of `subset` makes that side allow less, on some targets.
            subset = isinstance(query, LinkQuery) and not key.bits & perms.LINK
            return ours is not theirs and (subset or ours is bool(key.only_a))
        if aspect is Aspect.COMPLAIN:
            return first.allowed is not second.allowed
        if aspect is Aspect.TRANSITION:
            return first.allowed and second.allowed and first.transition != second.transition
        if aspect is Aspect.AUDIT:
            return first.allowed and second.allowed and first.audited is not second.audited
        return first.reason is not second.reason and not first.allowed and not second.allowed


def _of(aspect: Aspect, one: int, two: int) -> Key:
    return Key(aspect, one & ~two, two & ~one)
