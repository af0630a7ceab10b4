"""Which rule of a source decides a question.

Owns the search: leave rules out, compile again, ask again.  A compiled policy has
forgotten its rules, so nothing cheaper is honest.  Must not compile by itself: the
compiler comes in as a function from text to blob.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.policy.answers import Answer, Reason
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.queries import Query
from phoenix_hypervisor.policy.reader import read_policy
from phoenix_hypervisor.policy.sockets import Asks
from phoenix_hypervisor.policy.source import Source, Statement
from phoenix_hypervisor.values import dataclass, field

Compile = Callable[[bytes], bytes]
"""From the text of a source to its blob; raises PhoenixError where it does not compile."""

ALTERNATIVES = 3


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a question is answered as it is."""

    answer: Answer
    rules: tuple[Statement, ...]
    """The smallest set of rules that suffices; empty where no rule decides."""
    others: tuple[tuple[Statement, ...], ...]
    """Further sets that would decide the same without it."""
    note: str
    compiles: int

    def as_json(self) -> dict[str, object]:
        def shown(rules: Sequence[Statement]) -> list[dict[str, object]]:
            return [{"file": r.file, "line": r.line, "rule": r.text, "profile": r.profile} for r in rules]

        return {
            **self.answer.as_json(),
            "rules": shown(self.rules),
            "others": [shown(rules) for rules in self.others],
            "note": self.note,
        }


def is_deny(statement: Statement) -> bool:
    """Whether the rule begins with `deny`, `audit deny`, `owner deny` or the like."""
    return "deny" in statement.text.split()[:3]


@dataclass(slots=True, kw_only=True)
class _Asker:
    """Compiles the source with some of the candidate rules and asks the question."""

    source: Source
    compile: Compile
    profile: str | None
    query: Query
    asks: Asks
    candidates: list[Statement]
    base: list[Statement] = field(default_factory=list)
    """Rules that are left out always."""
    compiles: int = 0
    _known: dict[frozenset[int], Answer | None] = field(default_factory=dict)

    def ask(self, kept: Sequence[Statement]) -> Answer | None:
        """The answer with only `kept` of the candidates, or None where it does not compile."""
        keep = {statement.start for statement in kept}
        key = frozenset(keep)
        if key not in self._known:
            dropped = [*self.base, *(s for s in self.candidates if s.start not in keep)]
            self.compiles += 1
            try:
                policy = read_policy(self.compile(self.source.without(dropped)))
                self._known[key] = Evaluator(policy.get(self.profile), self.asks).ask(self.query)
            except PhoenixError:
                self._known[key] = None
        return self._known[key]


def explain(
    source: Source, compile: Compile, profile: str | None, query: Query, asks: Asks = Asks.TYPE
) -> Explanation:
    """Find the rules that decide `query` for `profile` (or for the only profile).

    Raises PhoenixError where the source as it is does not compile or the profile is not in it.
    """
    policy = read_policy(compile(source.text))
    found = policy.get(profile)
    answer = Evaluator(found, asks).ask(query)
    rules = [rule for rule in source.rules() if rule.profile == found.label] or source.rules()
    denies = [rule for rule in rules if is_deny(rule)]
    allows = [rule for rule in rules if not is_deny(rule)]
    if answer.reason in (Reason.UNMEDIATED, Reason.UNCONFINED):
        return Explanation(answer, (), (), f"no rule is asked: {answer.reason.value}", 1)
    if answer.reason is Reason.RULE:
        asker = _Asker(
            source=source,
            compile=compile,
            profile=profile,
            query=query,
            asks=asks,
            candidates=allows,
            base=denies,
        )
        return _decided(asker, answer, lambda got: got.allowed and got.reason is Reason.RULE, "")
    asker = _Asker(source=source, compile=compile, profile=profile, query=query, asks=asks, candidates=denies)
    if answer.reason is Reason.DENY_RULE:
        return _decided(asker, answer, lambda got: got.reason is Reason.DENY_RULE, "")
    without = asker.ask([])
    if without is not None and without.reason is Reason.RULE:
        note = "an audited deny rule, which the compiled policy does not tell from no rule"
        return _decided(asker, answer, lambda got: got.reason is not Reason.RULE, note)
    return Explanation(answer, (), (), "no rule allows it", asker.compiles + 1)


def _decided(asker: _Asker, answer: Answer, decides: Callable[[Answer], bool], note: str) -> Explanation:
    def holds(kept: Sequence[Statement]) -> bool:
        got = asker.ask(kept)
        return got is not None and decides(got)

    sets: list[tuple[Statement, ...]] = []
    left = list(asker.candidates)
    while len(sets) <= ALTERNATIVES and left and holds(left):
        smallest = tuple(sorted(_smallest(holds, [], left, False), key=lambda rule: rule.start))
        if not smallest:
            break
        sets.append(smallest)
        left = [rule for rule in left if rule not in smallest]
    if not sets:
        note = "it is decided by what an include brings in, or by rules that only work together"
    return Explanation(answer, sets[0] if sets else (), tuple(sets[1:]), note, asker.compiles + 1)


def _smallest(
    holds: Callable[[Sequence[Statement]], bool],
    given: list[Statement],
    candidates: list[Statement],
    changed: bool,
) -> list[Statement]:
    """A minimal subset of `candidates` that makes `holds` true with `given` (QuickXplain)."""
    if changed and holds(given):
        return []
    if len(candidates) <= 1:
        return [] if holds(given) else candidates
    half = len(candidates) // 2
    first, second = candidates[:half], candidates[half:]
    right = _smallest(holds, given + first, second, True)
    left = _smallest(holds, given + right, first, bool(right))
    return left + right
