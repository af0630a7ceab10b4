"""What may be done about a logged denial.

Owns the way from a line to its verdict.  The question is asked again of the profile's source as it is now.
Where only the missing rule refuses it, the smallest rule is compiled into that source and proven: the event
must be let through, the profile's policy tests must hold, and no class of dangers may open.  Profiles are
compiled once for all lines of a run.  What a line means, and what a danger is, the audit room knows; must
not read logs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from phoenix_hypervisor.audit.rules import NOT_PRINTED
from phoenix_hypervisor.audit.verdict import Judged, Verdict
from phoenix_hypervisor.errors import PhoenixError, UsageError
from phoenix_hypervisor.policy.answers import Answer, Reason
from phoenix_hypervisor.policy.queries import MountQuery

if TYPE_CHECKING:
    from phoenix_hypervisor.audit.line import Line
    from phoenix_hypervisor.engine.policy_sources import PolicySources
    from phoenix_hypervisor.engine.proving import Prover
    from phoenix_hypervisor.policy.assertions import PolicyTest
    from phoenix_hypervisor.policy.evaluate import Evaluator
    from phoenix_hypervisor.policy.explain import Explainer
    from phoenix_hypervisor.policy.query import Query


class Judge:
    """Judges lines of one host's logs.  Compiles each profile once."""

    def __init__(self, sources: PolicySources) -> None:
        self._sources = sources
        self._shipped = frozenset(sources.shipped())
        self._provers: dict[str, Prover] = {}
        self._loaded: Sequence[PolicyTest] | None = None
        self._explainers: dict[tuple[str, bool], Explainer] = {}
        self._places: dict[tuple[str, str], str | None] = {}

    def judge(self, line: Line, profile: str | None = None) -> Judged:
        """What becomes of a denial.  Raises PhoenixError where a shipped profile cannot be compiled.

        `profile`: judge it for this one, whatever the line names; a trial copy's lines are meant for another.
        """
        from phoenix_hypervisor.audit.asked import ask_again

        name = profile or line.text("profile") or line.text("label")
        strange = self._strange(line, name)
        if strange is not None:
            return strange
        judge = self._judge_of(name)
        try:
            asked = ask_again(line, judge.profile)
        except UsageError as error:
            code = "no-question" if "nothing to ask" in error.message else "not-asked"
            return Judged(verdict=Verdict.UNKNOWN, reason=_sentence(error), code=code)
        if asked.refused is not None:
            return Judged(verdict=Verdict.UNKNOWN, reason=asked.refused, code="no-rule")
        try:
            answer = judge.ask(asked.question)
        except PhoenixError as error:
            return Judged(verdict=Verdict.UNKNOWN, reason=_sentence(error), code="not-asked")
        return self._of(name, line.operation, asked.question, answer)

    def refused(self, name: str, rules: Sequence[str]) -> Judged | None:
        """What speaks against several rules together in a shipped profile; None where nothing does.

        Raises PhoenixError where they do not compile.
        """
        return self._prover(name).together(rules)

    def _of(self, name: str, operation: str, question: Query, answer: Answer) -> Judged:
        if answer.allowed and not answer.complain:
            reason = (
                f"the source of {name} allows it: if it is refused still, `phoenix apply` loads that source"
            )
            if isinstance(question, MountQuery):
                reason += f"; {NOT_PRINTED}"
            return Judged(verdict=Verdict.ALLOWED_NOW, reason=reason, code="allowed")
        if answer.reason is Reason.DENY_RULE:
            place = self.place(name, question)
            reason = f"a deny rule of {name} holds it"
            return Judged(verdict=Verdict.REFUSED, reason=reason, code="deny-rule", where=place)
        return self._prover(name).prove(question, operation)

    def _strange(self, line: Line, name: str) -> Judged | None:
        """The verdict of a line that no shipped profile decided alone."""
        if line.text("namespace"):
            reason = f"policy inside a container decided (namespace {line.text('namespace')})"
            return Judged(verdict=Verdict.FOREIGN, reason=reason, code="foreign-namespace")
        if not name:
            return Judged(verdict=Verdict.UNKNOWN, reason="the line names no profile", code="not-asked")
        if "//&" in name:
            reason = f"several profiles decided ({name}), and the line does not say which one refused"
            return Judged(verdict=Verdict.UNKNOWN, reason=reason, code="stack")
        if name == "unconfined":
            return Judged(verdict=Verdict.NOT_OURS, reason="no profile decided", code="unconfined")
        top = name.partition("//")[0]
        if top not in self._shipped:
            reason = f"{name} is not one of Phoenix's profiles"
            return Judged(verdict=Verdict.NOT_OURS, reason=reason, code="not-shipped")
        if top != name:
            reason = f"{name} is a child profile or a hat: accepted rules go into {top} itself"
            return Judged(verdict=Verdict.UNKNOWN, reason=reason, code="child-profile")
        return None

    def _judge_of(self, name: str) -> Evaluator:
        return self._prover(name).before

    def _prover(self, name: str) -> Prover:
        from phoenix_hypervisor.engine.proving import Prover

        if name not in self._provers:
            self._provers[name] = Prover(self._sources, name, self._tests())
        return self._provers[name]

    def _tests(self) -> Sequence[PolicyTest]:
        from phoenix_hypervisor.policy.assertions import load_tests

        if self._loaded is None:
            self._loaded = [test for path, data in self._sources.tests() for test in load_tests(data, path)]
        return self._loaded

    def place(self, name: str, question: Query) -> str | None:
        """`FILE:LINE` of the rule that decides; None where no single one does."""
        from phoenix_hypervisor.policy.without_files import QUESTIONS

        key = name, str(question)
        if key not in self._places:
            self._places[key] = None
            for files in (False, True) if isinstance(question, QUESTIONS) else (True,):
                try:
                    found = self._explainer(name, files=files).explain(name, question, self._sources.asks())
                except PhoenixError:
                    continue
                self._places[key] = found.rules[0].place if found.rules else None
                break
        return self._places[key]

    def _explainer(self, name: str, *, files: bool) -> Explainer:
        from phoenix_hypervisor.policy.explain import Explainer
        from phoenix_hypervisor.policy.source import read_source
        from phoenix_hypervisor.policy.without_files import without_files

        if (name, files) not in self._explainers:
            sources = self._sources
            path, text = sources.source(name)
            source = read_source(path, text, lambda include: sources.include(include, path))
            compile = partial(sources.compile, where=path)
            searched = source if files else without_files(source)
            self._explainers[name, files] = Explainer(searched, compile, whole=compile(text))
        return self._explainers[name, files]


def _sentence(error: PhoenixError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message
