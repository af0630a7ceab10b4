"""Single questions put to a profile: one, each access to a file at once, one of a log; and what decides one.

Owns the way from such a request to its answer, and what an answer is told with.  Where profiles come
from is `engine.policy_sources`'; must not decide what is allowed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phoenix_hypervisor.engine.ask import (
    Answered,
    AnsweredEach,
    Explained,
    RawAnswered,
    as_file,
    find,
    load_source,
)
from phoenix_hypervisor.engine.policy_requests import DenialRequest
from phoenix_hypervisor.engine.policy_sources import bare_name
from phoenix_hypervisor.errors import PhoenixError, TooSlowError, UsageError
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
    from phoenix_hypervisor.engine.policy_requests import ExplainRequest, QueryRequest
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


def explain(sources: PolicySources, request: ExplainRequest | DenialRequest) -> Explained:
    """Which rule of a source decides.  Raises PhoenixError."""
    from phoenix_hypervisor.audit.asked import ask_again, whose
    from phoenix_hypervisor.audit.line import parse_line
    from phoenix_hypervisor.policy.explain import Explanation
    from phoenix_hypervisor.policy.explain import explain as find_rule
    from phoenix_hypervisor.policy.reader import profile_names, read_policy
    from phoenix_hypervisor.policy.source import read_source

    line = parse_line(request.line) if isinstance(request, DenialRequest) else None
    name = whose(line) if line is not None and request.profile is None else request.profile
    if request.policy is not None:
        origin = sources.origin(*load_source(sources, request.policy))
    elif name is not None and line is None and (file := as_file(sources, name)) is not None:
        origin = sources.origin(*load_source(sources, file))
    elif name is not None:
        name = sources.profile_named(name)
        origin, name = sources.origin_of(name), bare_name(name)
    else:
        raise UsageError("name a profile, or a source with --policy")
    try:
        whole = origin.compile(origin.text, timeout=request.wait)
    except TooSlowError:
        text = f"compiling it takes more than {request.wait:g} s, and explain compiles it several times"
        raise PhoenixError(text, where=origin.path, hint="--wait SECONDS lets it take longer") from None
    if name is not None and name == origin.path and name not in profile_names(whole):
        name = None  # a file was named: its one profile is meant
    if isinstance(request, DenialRequest):
        assert line is not None
        profile = read_policy(whole).get(name)
        asked = ask_again(line, profile)
        question: Query | RawQuery = asked.question
        logged = f"{line.verdict} {line.operation}"
        if asked.refused is not None and not Evaluator(profile).unconfined:
            answer = Answer(allowed=False, reason=Reason.NO_PATH)
            found = Explanation(answer=answer, rules=(), others=(), note=asked.refused, compiles=1)
            return Explained(question=asked.question, explanation=found, logged=logged)
    else:
        question, logged = request.question, None
    if isinstance(question, RawQuery):
        raise UsageError("a raw question has no rule that decides it")
    source = read_source(origin.path, origin.text, origin.include)
    found = find_rule(source, origin.compile, name, question, sources.asks(), whole=whole)
    return Explained(question=question, explanation=found, logged=logged)


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
