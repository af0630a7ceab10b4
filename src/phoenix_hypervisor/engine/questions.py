"""Single questions put to a profile: one, each access to a file at once, one that a log holds.

Owns the way from such a request to its answer, and what an answer is told with.  Where profiles come
from is `engine.policy_sources`'; must not decide what is allowed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phoenix_hypervisor.engine.ask import Answered, AnsweredEach, RawAnswered, find
from phoenix_hypervisor.policy.answers import Answer, Reason
from phoenix_hypervisor.policy.constants import capability
from phoenix_hypervisor.policy.directories import DIRECTORIES
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.kinds.network import asked_apart
from phoenix_hypervisor.policy.queries import (
    CapabilityQuery,
    EachAccess,
    FileQuery,
    MountQuery,
    Query,
    RawQuery,
    UmountQuery,
)
from phoenix_hypervisor.policy.query import show

if TYPE_CHECKING:
    from phoenix_hypervisor.engine.policy_requests import DenialRequest, QueryRequest
    from phoenix_hypervisor.engine.policy_sources import PolicySources


def query(sources: PolicySources, request: QueryRequest) -> Answered | AnsweredEach | RawAnswered:
    """Answer one question.  Raises PhoenixError."""
    profile = find(sources, request.policy)(request.profile)
    judge = Evaluator(profile, sources.asks())
    question = request.question
    if isinstance(question, RawQuery):
        return RawAnswered(profile=profile.label, question=question, masks=judge.raw(question))
    if isinstance(question, EachAccess):
        return _each(judge, question, sources.kernel())
    question, note = _as_asked(judge, question)
    return _answered(judge, question, judge.ask(question), kernel=sources.kernel(), note=note)


def denial(sources: PolicySources, request: DenialRequest) -> Answered:
    """Whether what a log line is about would be allowed now.  Raises PhoenixError."""
    from phoenix_hypervisor.audit.asked import ask_again, whose
    from phoenix_hypervisor.audit.line import parse_line

    line = parse_line(request.line)
    if request.profile is None:
        # A profile may be called after its program: that is no file to look into.
        profile = find(sources, request.policy, files=False)(whose(line))
    else:
        profile = find(sources, request.policy)(request.profile)
    judge = Evaluator(profile, sources.asks())
    asked = ask_again(line, profile)
    if asked.refused is None or judge.unconfined:
        answer, note = judge.ask(asked.question), asked.note if asked.refused is None else None
    else:
        answer, note = Answer(allowed=False, reason=Reason.NO_PATH), asked.refused
    logged = f"{line.verdict} {line.operation}"
    return _answered(judge, asked.question, answer, kernel=sources.kernel(), note=note, logged=logged)


def _answered(
    judge: Evaluator,
    question: Query,
    answer: Answer,
    *,
    kernel: str,
    note: str | None,
    logged: str | None = None,
) -> Answered:
    return Answered(
        profile=judge.profile.label,
        question=question,
        answer=answer,
        holds={name: judge.ask(CapabilityQuery(capability(name))).allowed for name in answer.needs},
        asked=judge.asks if asked_apart(question) else None,
        kernel=kernel,
        note=note,
        logged=logged,
    )


def _each(judge: Evaluator, question: EachAccess, kernel: str) -> AnsweredEach:
    path, note = question.path, None
    if path in DIRECTORIES:
        path += b"/"
        note = _is_directory(path)
    answers = {letter: judge.ask(one) for letter, one in EachAccess(path, question.other).questions().items()}
    if not path.endswith(b"/"):
        below = EachAccess(path + b"/", question.other).questions()
        others = {letter: judge.ask(one) for letter, one in below.items()}
        if any(others[letter].allowed is not answer.allowed for letter, answer in answers.items()):
            free = "".join(letter for letter, answer in others.items() if answer.allowed)
            note = _if_directory(path + b"/", f"allowed: {free or 'none of them'}")
    return AnsweredEach(
        profile=judge.profile.label,
        question=EachAccess(path, question.other),
        answers=answers,
        kernel=kernel,
        note=note,
    )


def _as_asked(judge: Evaluator, question: Query) -> tuple[Query, str | None]:
    """The question as the kernel puts it for a directory, where it certainly is one; and what to tell."""
    directory = (
        question.as_directory() if isinstance(question, FileQuery | MountQuery | UmountQuery) else None
    )
    if directory is None:
        return question, None
    path = directory.path if isinstance(directory, FileQuery) else directory.target
    if path[:-1] in DIRECTORIES:
        return directory, _is_directory(path)
    here, there = judge.ask(question), judge.ask(directory)
    if here.allowed is there.allowed:
        return question, None
    return question, _if_directory(path, f"{'allowed' if there.allowed else 'denied'} ({there.reason.value})")


def _is_directory(path: bytes) -> str:
    return f"asked for as {show(path)}, as the kernel writes this directory"


def _if_directory(path: bytes, answer: str) -> str:
    return f"holds for a file; a directory there is asked for as {show(path)}: {answer}"
