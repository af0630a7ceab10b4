"""Which rule of a source decides a question.

Owns the search: leave rules out, compile again, ask again.  A compiled policy has forgotten its rules, so
nothing cheaper is honest.  Rules that do nothing to the question by themselves (`alone`) are left out of
the search; what it finds is asked again of the whole source, where the named rules must make the
difference.  Must not compile by itself: the compiler comes in as a function from text to blob.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.policy.alone import Alone, Compile, rules_alone
from phoenix_hypervisor.policy.answers import Answer, Reason
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.profile import Profile
from phoenix_hypervisor.policy.queries import FileQuery, LinkQuery, Query
from phoenix_hypervisor.policy.reader import read_policy
from phoenix_hypervisor.policy.sockets import Asks
from phoenix_hypervisor.policy.source import Source, Statement
from phoenix_hypervisor.values import dataclass, field, replace

ALTERNATIVES = 30
"""How many further sets of rules are looked for."""

_FLAGS = re.compile(rb"\bflags\s*=\s*\([^)]*\)|\(\s*default_allow\s*\)")
_EVERY_ACCESS = 0x3FFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a question is answered as it is."""

    answer: Answer
    rules: tuple[Statement, ...]
    """The smallest set of rules that suffices; empty where no rule decides.

    A header of a profile, hat or child where that decides: by its flags, or by being there.
    """
    others: tuple[tuple[Statement, ...], ...]
    """Further sets that would decide the same without it."""
    note: str
    compiles: int
    variables: dict[str, list[str]] = field(default_factory=dict)
    """Where the variables in `rules` get their values: file:line, by name."""

    def as_json(self) -> dict[str, object]:
        def shown(rules: Sequence[Statement]) -> list[dict[str, object]]:
            return [
                {
                    "file": r.file,
                    "line": r.line,
                    "rule": r.text,
                    "profile": r.profile,
                    "within": list(r.within),
                    "chain": list(r.chain),
                }
                for r in rules
            ]

        return {
            **self.answer.as_json(),
            "rules": shown(self.rules),
            "others": [shown(rules) for rules in self.others],
            "note": self.note,
            "variables": self.variables,
        }


def explain(
    source: Source,
    compile: Compile,
    profile: str | None,
    query: Query,
    asks: Asks = Asks.TYPE,
    *,
    whole: bytes | None = None,
) -> Explanation:
    """Find the rules that decide `query` for `profile` (or for the only profile).

    `whole`: what the source as it is compiles to, where its includes were put in for the search.
    Raises PhoenixError where the source as it is does not compile, where putting the includes in
    changed the answer, or where the profile is not in it.
    """
    return Explainer(source, compile, whole=whole).explain(profile, query, asks)


class Explainer:
    """Explains several answers of one source, and compiles what they share once."""

    def __init__(self, source: Source, compile: Compile, *, whole: bytes | None = None) -> None:
        """Raises PhoenixError where the source does not compile."""
        self.source = source
        self.policy = read_policy(compile(source.text))
        self._as_it_is = self.policy if whole is None else read_policy(whole)
        self._compile = compile
        self._alone: dict[str, Alone] = {}

    def explain(self, profile: str | None, query: Query, asks: Asks = Asks.TYPE) -> Explanation:
        """Which rules decide `query`.  Raises PhoenixError for an unknown profile."""
        found = self._as_it_is.get(profile)
        answer = Evaluator(found, asks).ask(query)
        put_in = self.policy.get(found.label)
        if Evaluator(put_in, asks).ask(query) != answer:
            hint = "includes are looked for beside the source and below /etc/apparmor.d"
            raise PolicyError("answers otherwise with its includes put in", where=found.label, hint=hint)
        search = _Search(self.source, self._compile, found, query, asks, answer)
        if answer.reason is Reason.UNCONFINED:
            return search.unasked()
        if answer.reason is Reason.UNMEDIATED:
            return search.unmediated()
        explanation = search.run(self._touching(search, found.label))
        rules = explanation.rules
        names = {name: places for r in rules for name, places in self.source.definitions(r).items()}
        return replace(explanation, variables=names)

    def _touching(self, search: _Search, label: str) -> list[Statement] | None:
        """The rules that do something to the question by themselves; None where that cannot be told."""
        if label not in self._alone:
            try:
                self._alone[label] = rules_alone(self.source, self._compile, search.rules)
            except PhoenixError:
                return None
            search.compiles += self._alone[label].compiles
        alone = self._alone[label]
        nothing = search.footprint(alone.nothing)
        return [
            rule
            for rule in search.rules
            if rule.start not in alone.profiles or search.footprint(alone.profiles[rule.start]) != nothing
        ]


class _Search:
    """One question: which rules have to be there for its answer."""

    def __init__(
        self, source: Source, compile: Compile, found: Profile, query: Query, asks: Asks, answer: Answer
    ) -> None:
        self.source = source
        self.compile = compile
        self.label = found.label
        self.query = query
        self.asks = asks
        self.answer = answer
        inner = [s for s in source.statements if s.profile and s.kind != "block"]
        self.all = inner
        self.rules = [s for s in inner if s.profile == found.label] or inner
        self.compiles = 1
        self._known: dict[frozenset[int], Answer | None] = {}
        self._parts = _parts(query)

    def footprint(self, profile: Profile) -> list[tuple[bool, Reason, str | None]]:
        judge = Evaluator(profile, self.asks)
        answers = [judge.ask(part) for part in self._parts]
        return [(one.allowed, one.reason, one.transition) for one in answers]

    def ask(self, dropped: Sequence[Statement]) -> Answer | None:
        """The answer without these statements, or None where the rest does not compile."""
        key = frozenset(statement.start for statement in dropped)
        if key not in self._known:
            self.compiles += 1
            try:
                policy = read_policy(self.compile(self.source.without(dropped)))
                self._known[key] = Evaluator(policy.get(self.label), self.asks).ask(self.query)
            except PhoenixError:
                self._known[key] = None
        return self._known[key]

    def run(self, touching: list[Statement] | None) -> Explanation:
        """Search among `touching`, and where that gives no answer that holds, among more."""
        for candidates in ([touching] if touching is not None else []) + [self.rules, self.all]:
            kept = {rule.start for rule in candidates}
            base = [rule for rule in self.all if rule.start not in kept]
            got = self.ask(base)
            if got is not None and _same(got, self.answer):
                found = self._among(candidates, base)
                if found is not None:
                    return found
        note = "it is decided by rules that only work together, or by what the compiler adds"
        return self._said((), note)

    def _among(self, candidates: list[Statement], base: list[Statement]) -> Explanation | None:
        """What decides among `candidates` with `base` left out; None where it does not hold."""
        reason = self.answer.reason
        # An unresolved include may bring in either.
        denies = [rule for rule in candidates if rule.denies or rule.kind == "include"]
        if reason is Reason.RULE:
            allows = [rule for rule in candidates if not rule.denies]
            if self._like(self.ask([*base, *allows])):
                # Getattr on kernels that compute permissions themselves (compute_fperms in policy_compat.c).
                note = "a rule that denies something else is enough for this"
                return self._without_rules() or self._decided(candidates, base, self._like, note)
            return self._decided(allows, base, self._like, "")
        if reason is Reason.DENY_RULE:
            return self._decided(denies, base, _by_deny, "")
        if not _by_rule(self.ask([*base, *denies])):
            if not _by_rule(self.ask([rule for rule in self.all if rule.denies])):
                return self._said((), "no rule allows it")
            return None
        note = "an audited deny rule, which the compiled policy does not tell from no rule"
        return self._decided(denies, base, _by_none, note)

    def _like(self, got: Answer | None) -> bool:
        return got is not None and _same(got, self.answer)

    def _decided(
        self,
        candidates: list[Statement],
        base: list[Statement],
        decides: Callable[[Answer | None], bool],
        note: str,
    ) -> Explanation | None:
        def holds(kept: Sequence[Statement]) -> bool:
            keep = {rule.start for rule in kept}
            return decides(self.ask([*base, *(rule for rule in candidates if rule.start not in keep)]))

        sets: list[tuple[Statement, ...]] = []
        left = list(candidates)
        while left and holds(left):
            if len(sets) > ALTERNATIVES:
                note = "; ".join(filter(None, [note, "further rules decide the same"]))
                break
            smallest = tuple(sorted(_smallest(holds, [], left, False), key=lambda rule: rule.start))
            if not smallest:
                return None
            sets.append(smallest)
            left = [rule for rule in left if rule not in smallest]
        else:
            without = self.ask([rule for one in sets for rule in one])
            if not sets or without is None or decides(without):
                return None
        # The first by itself must do in the whole source what is said of it.
        rest = [rule for one in sets[1:] for rule in one]
        if len(sets) > 1 and not decides(self.ask(rest)):
            return None
        if len(sets[0]) > 1:
            twice = [rule.place for rule in sets[0] if decides(self.ask([*rest, rule]))]
            notes = [note, f"other rules do the same as {', '.join(twice)}" if twice else ""]
            note = "; ".join(filter(None, notes))
        return self._said(sets[0], note, tuple(sets[1:]))

    def _said(
        self, rules: tuple[Statement, ...], note: str, others: tuple[tuple[Statement, ...], ...] = ()
    ) -> Explanation:
        return Explanation(answer=self.answer, rules=rules, others=others, note=note, compiles=self.compiles)

    # What no rule says -------------------------------------------------------------

    def _header(self) -> Statement | None:
        return next((s for s in self.source.blocks() if s.profile == self.label), None)

    def unmediated(self) -> Explanation:
        return self._said((), f"no rule is asked: {Reason.UNMEDIATED.value}")

    def unasked(self) -> Explanation:
        header = self._header()
        reason = Reason.UNCONFINED.value
        if header is None or not re.search(r"\b(unconfined|default_allow)\b", header.text):
            return self._said((), f"no rule is asked: {reason}")
        return self._said((), f"no rule is asked: {reason}, by the flags at {header.place}")

    def _without_rules(self) -> Explanation | None:
        """An allowed answer that needs none of the profile's rules."""
        header = self._header()
        if header is not None and self._without_flags(header) is False:
            return self._said((header,), "the flag default_allow allows what no rule denies")
        nested = [s for s in self.source.blocks() if s.profile.rpartition("//")[0] == self.label]
        for block in nested:
            end = self.source.ends.get(block.start)
            inside = [s for s in self.source.statements if block.start <= s.start < (end or 0)]
            if not self._like(self._ask_text(_cut(self.source.text, block.start, end))) and inside:
                return self._said((block,), "the compiler allows it to a profile that has a hat or child")
        if not self._like(self.ask(self.all)):
            return None
        return self._said((), "the compiler allows it by itself: no rule stands for it")

    def _without_flags(self, header: Statement) -> bool | None:
        """Whether the answer stays without the flags of the profile; None where it has none."""
        text = self.source.text
        match = _FLAGS.search(text, header.start, header.end)
        if match is None or b"default_allow" not in match[0]:
            return None
        return self._like(self._ask_text(_cut(text, match.start(), match.end())))

    def _ask_text(self, text: bytes) -> Answer | None:
        self.compiles += 1
        try:
            return Evaluator(read_policy(self.compile(text)).get(self.label), self.asks).ask(self.query)
        except PhoenixError:
            return None


def _cut(text: bytes, start: int, end: int | None) -> bytes:
    blank = re.sub(rb"[^\n]", b" ", text[start:end])
    return text[:start] + blank + (text[end:] if end is not None else b"")


def _same(one: Answer, two: Answer) -> bool:
    """Whether two answers are the same decision for the same kind of reason."""
    return (one.allowed, one.reason, one.transition) == (two.allowed, two.reason, two.transition)


def _by_rule(got: Answer | None) -> bool:
    return got is not None and got.reason is Reason.RULE


def _by_deny(got: Answer | None) -> bool:
    return got is not None and got.reason is Reason.DENY_RULE


def _by_none(got: Answer | None) -> bool:
    return got is not None and got.reason is not Reason.RULE


def _parts(query: Query) -> list[Query]:
    """The question, and it again for each single access: a rule may answer only part of it."""
    parts = [query]
    access = getattr(query, "access", 0)
    for bit in (1 << n for n in range(32)):
        if isinstance(access, int) and access & bit and access != bit:
            parts.append(replace(query, access=bit))  # type: ignore[type-var]
    if isinstance(query, LinkQuery):
        for path in (query.path, query.target):
            bits = (1 << n for n in range(32) if _EVERY_ACCESS >> n & 1)
            parts += [FileQuery(path, bit, query.other) for bit in bits]
    return parts


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
