"""Proving a rule for one profile before it is offered.

Owns the order of the proof: dangers of the event itself, then each rule compiled into the profile, the event
asked again, the policy tests, and what else the rule opens.  Must not decide what a danger is
(`audit.dangers`), nor how a rule is written (`audit.rules`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from phoenix_hypervisor.audit import dangers
from phoenix_hypervisor.audit.rules import NoRule, Rule, rules
from phoenix_hypervisor.audit.verdict import Judged, Proposal, Verdict
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.policy.assertions import Failure, PolicyTest, run_tests
from phoenix_hypervisor.policy.diff import Comparison, compare_policies
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.profile import Policy
from phoenix_hypervisor.policy.query import Query, RawQuery
from phoenix_hypervisor.policy.reader import read_policy
from phoenix_hypervisor.policy.source import read_source
from phoenix_hypervisor.policy.without_files import WithoutFiles

if TYPE_CHECKING:
    from phoenix_hypervisor.engine.policy_sources import PolicySources


class Prover:
    """Proves rules for one shipped profile.  Raises PhoenixError where that does not compile."""

    def __init__(self, sources: PolicySources, name: str, tests: Sequence[PolicyTest]) -> None:
        self.name = name
        self._sources = sources
        self._held = dangers.Held(tests, name)
        self._path, self._text = sources.source(name)
        self._policy = read_policy(sources.blob(f"shipped:{name}"))
        self.before = self.judge_of(self._policy)
        """What the profile answers as its source is."""
        self._failing: frozenset[str] | None = None
        self._known: dict[str, Judged] = {}
        self._widened: dict[tuple[str, ...], Widened] = {}

    def prove(self, question: Query, operation: str) -> Judged:
        """The verdict on a question that no rule of the profile allows, and no deny rule holds."""
        key = f"{operation} {question}"
        if key not in self._known:
            self._known[key] = self._prove(question, operation)
        return self._known[key]

    def _prove(self, question: Query, operation: str) -> Judged:
        test = self._held.names(question)
        if test is not None:
            return _by_test(test)
        danger = self._danger([question], question)
        if danger is not None:
            return danger
        try:
            found = rules(question, operation)
        except NoRule as error:
            return _unknown(str(error), "not-enough")
        last = _unknown("no rule lets it through", "not-compiled")
        for rule in found:
            last = self._tried(rule, question)
            if last.code != "not-compiled":
                return last
        return last

    def _with(self, *lines: str) -> Widened:
        """The profile with more rules, compiled once: many events need the same.  Raises PhoenixError."""
        if lines not in self._widened:
            alone = len(lines) == 1
            policy = self._quick.compiled(*lines) if alone else self._compiled(self._text, *lines)
            self._widened[lines] = Widened(self, policy)
        return self._widened[lines]

    def _compiled(self, text: bytes, *lines: str) -> Policy:
        more = _inserted(self._path, text, self.name, lines)
        return read_policy(self._sources.compile(more, self._path))

    @cached_property
    def _quick(self) -> WithoutFiles:
        put_in = read_source(
            self._path, self._text, lambda include: self._sources.include(include, self._path)
        )
        return WithoutFiles(self._text, put_in, self._policy, self._compiled)

    def _tried(self, rule: Rule, question: Query) -> Judged:
        try:
            after = self._with(rule.text)
        except PhoenixError as error:
            return _unknown(f"the rule {rule.text} does not compile: {error.message}", "not-compiled")
        try:
            answer = after.judge.ask(question)
        except PhoenixError as error:
            return _unknown(error.message, "not-asked")
        if not answer.allowed or answer.complain:
            return _unknown(f"the rule {rule.text} does not let it through on this parser", "not-compiled")
        refused = self._refused(after, question)
        if refused is not None:
            return refused
        proposal = Proposal(
            rule=rule.text, profile=self.name, opens=tuple(_beyond(after.found, rule)), note=rule.note
        )
        reason = "a rule lets it through, and opens no danger"
        return Judged(verdict=Verdict.OFFERED, reason=reason, code="proposed", proposal=proposal)

    def together(self, lines: Sequence[str]) -> Judged | None:
        """What speaks against several rules at once.  Raises PhoenixError where they do not compile."""
        return self._refused(self._with(*lines))

    def compared(self, after: Policy) -> Comparison:
        """What a policy with more rules decides otherwise than the profile as it is."""
        return compare_policies(self._policy, after, asks=self._sources.asks())

    def judge_of(self, policy: Policy) -> Evaluator:
        """Asks the profile as it is in that policy."""
        return Evaluator(policy.get(self.name), self._sources.asks())

    def fresh(self, after: Policy) -> Sequence[Failure]:
        """Policy tests that fail with it and do not fail without."""
        if self._failing is None:
            self._failing = frozenset(map(str, self._failures(self._policy)))
        return [failure for failure in self._failures(after) if str(failure) not in self._failing]

    def _refused(self, after: Widened, question: Query | None = None) -> Judged | None:
        """What speaks against more rules; None where nothing does.  `question`: what they are for."""
        if after.fresh:
            return _by_test(after.fresh[0].test, after.fresh[0].witness)
        opened = [one.query for one in after.found.differences if one.only_b and one.query is not None]
        for probe in dangers.probes(question) if question is not None else ():
            if after.judge.ask(probe).allowed and not self.before.ask(probe).allowed:
                opened.append(probe)
        return self._danger(opened, question)

    def _failures(self, policy: Policy) -> Sequence[Failure]:
        profiles = {profile.label: profile for profile in policy.profiles}
        return run_tests(self._held.tests, profiles, self._sources.asks()).failures

    def _danger(self, opened: Sequence[Query | RawQuery], event: Query | None) -> Judged | None:
        """The first class of dangers that counts and that one of the questions belongs to."""
        for question in opened:
            for name in sorted(dangers.classes(question, self.name)):
                counts = self._held.counts(name)
                if counts is None:
                    continue
                reason = f"{name}: {dangers.why(name)}"
                if question != event:
                    reason += f" (it would also open: {question})"
                if counts.test is None:
                    reason += f"; no policy test of {self.name} says that it may"
                else:
                    reason += f"; so says the policy test {counts.test.name!r}"
                where = counts.test.where if counts.test is not None else None
                return Judged(verdict=Verdict.REFUSED, reason=reason, code="danger", where=where)
        return None


class Widened:
    """A profile with more rules: what it decides otherwise and which tests it fails, found when asked."""

    def __init__(self, prover: Prover, policy: Policy) -> None:
        self._prover, self._policy = prover, policy
        self.judge = prover.judge_of(policy)

    @cached_property
    def found(self) -> Comparison:
        return self._prover.compared(self._policy)

    @cached_property
    def fresh(self) -> Sequence[Failure]:
        return self._prover.fresh(self._policy)


def _inserted(path: str, text: bytes, name: str, lines: Sequence[str]) -> bytes:
    """The source with more rules at the end of the profile."""
    source = read_source(path, text)
    start = next(block.start for block in source.blocks() if block.profile == name)
    end = source.ends[start] - 1
    more = "".join(f"\n  {line}" for line in lines).encode("utf-8", "surrogateescape")
    return source.text[:end] + more + b"\n" + source.text[end:]


def _beyond(found: Comparison, rule: Rule) -> Iterator[str]:
    """What a rule opens beyond its own object: each with a question that shows it."""
    for one in found.differences:
        if one.only_b and not (one.query is not None and rule.covers(one.query)):
            yield f"{one.kind}: {one.only_b}: {one.witness}"
    for other in found.not_compared:
        words = other.example.split()
        raw = RawQuery(int(words[2]), bytes.fromhex(words[4])) if words[:1] == ["raw"] else None
        if other.asked and not other.logging and not (raw is not None and rule.covers(raw)):
            yield str(other)


def _by_test(test: PolicyTest, witness: str = "") -> Judged:
    why = f": {test.why}" if test.why else ""
    shown = f" ({witness})" if witness else ""
    reason = f"the policy test {test.name!r} expects it to be denied{why}{shown}"
    return Judged(verdict=Verdict.REFUSED, reason=reason, code="policy-test", where=test.where)


def _unknown(reason: str, code: str) -> Judged:
    return Judged(verdict=Verdict.UNKNOWN, reason=reason, code=code)
