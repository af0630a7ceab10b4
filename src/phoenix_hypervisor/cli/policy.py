"""`phoenix policy ...`: ask compiled policy what it allows.

Owns the arguments of the `policy` commands; the engine answers, `cli.policy_words` prints.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import click

from phoenix_hypervisor.cli import policy_words as words_of
from phoenix_hypervisor.cli.complete import complete_profiles, complete_question
from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.options import global_options
from phoenix_hypervisor.cli.progress import Busy
from phoenix_hypervisor.cli.question import (
    completed,
    kinds,
    profile_of,
    question_options,
    read_each,
    read_question,
)
from phoenix_hypervisor.cli.suggest import SuggestingGroup
from phoenix_hypervisor.engine.policy_requests import (
    EXPLAIN_WAIT,
    CompileRequest,
    DenialRequest,
    DiffRequest,
    ExplainRequest,
    Given,
    LintRequest,
    ListRequest,
    Operand,
    PolicyTestRequest,
    QueryRequest,
)
from phoenix_hypervisor.errors import EXIT_FAILED, EXIT_NO, EXIT_OK, UsageError
from phoenix_hypervisor.values import replace

F = TypeVar("F", bound=Callable[..., Any])

_QUESTION = question_options()
_CHUNK = 64 * 1024
_MAX_INPUT = 64 * 1024 * 1024
_POLICY = click.option(
    "--policy",
    metavar="FILE",
    type=click.Path(),
    help="Ask this source or compiled policy.",
)
_DENIAL = click.option(
    "--denial",
    metavar="LINE",
    help="Ask again what AppArmor logged in LINE (- is standard input).",
)
_KIND_HELP = "KIND is one of " + ", ".join(kinds()) + "."


def _question(function: F) -> F:
    for field, arguments in reversed(_QUESTION.items()):
        # `class` is no name for a variable of Python's.
        function = click.option(f"--{field.replace('_', '-')}", f"{field}_", **arguments)(function)
    return click.argument(
        "words", nargs=-1, metavar="[PROFILE] KIND [VALUE]...", shell_complete=complete_question
    )(function)


def _fields(options: dict[str, Any]) -> dict[str, object]:
    return {field: options[f"{field}_"] for field in _QUESTION}


def _operand(word: str) -> Operand:
    """What a word names; `-` is standard input."""
    if word != "-":
        return word
    data = sys.stdin.buffer.read(_MAX_INPUT + 1)
    if len(data) > _MAX_INPUT:
        raise UsageError(f"is over {_MAX_INPUT} bytes", where="standard input")
    return Given("-", data)


def _optional(word: str | None) -> Operand | None:
    return None if word is None else _operand(word)


def _lines(path: str) -> Iterator[bytes]:
    """The lines of a batch; standard input is answered while it comes in."""
    if path == "-":
        yield from _piped()
        return
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_INPUT + 1)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=path) from error
    if len(data) > _MAX_INPUT:
        raise UsageError(f"is over {_MAX_INPUT} bytes", where=path)
    yield from data.removesuffix(b"\n").split(b"\n") if data else ()


def _piped() -> Iterator[bytes]:
    pieces: list[bytes] = []
    stdin = cast(io.BufferedReader, sys.stdin.buffer)
    while chunk := stdin.read1(_CHUNK):
        first, *others = chunk.split(b"\n")
        pieces.append(first)
        if others:
            yield b"".join(pieces)
            yield from others[:-1]
            pieces = [others[-1]]
            sys.stdout.flush()  # whoever asks line by line waits for the answer
    if last := b"".join(pieces):
        yield last


@click.group(name="policy", cls=SuggestingGroup)
@global_options
def policy() -> None:
    """Ask compiled policy what it allows.

    A policy is a shipped, installed or loaded profile's name, a container (then its profile is asked), a
    source file, or a compiled one.
    """


def _command(name: str, **attributes: Any) -> Callable[[Callable[..., int]], click.Command]:
    def make(function: Callable[..., int]) -> click.Command:
        return policy.command(name, **attributes)(global_options(click.pass_obj(function)))

    return make


@_command("compile")
@click.argument("source", shell_complete=complete_profiles)
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="BLOB",
    type=click.Path(),
    help="Where the compiled policy goes.",
)
def compile_source(settings: Settings, source: str, output: str) -> int:
    """Compile a source (a file or a shipped name) for the features in force."""
    request = CompileRequest(source=_operand(source), output=output)
    words_of.show_compiled(settings, settings.phoenix().compile(request))
    return EXIT_OK


@_command("query", epilog=_KIND_HELP)
@_question
@_POLICY
@click.option("--batch", metavar="FILE", help="Answer JSON lines from FILE (- is standard input).")
@_DENIAL
def query(
    settings: Settings,
    words: tuple[str, ...],
    policy: str | None,
    batch: str | None,
    denial: str | None,
    **options: Any,
) -> int:
    """Ask whether a profile allows something; exit 3 if not.

    `file PATH` without --access answers every usual access; then exit 3 if none is allowed.
    """
    from phoenix_hypervisor.engine.ask import AnsweredEach, RawAnswered

    fields, given = _fields(options), _optional(policy)
    if batch is not None:
        if words or _asked(fields) or denial is not None:
            raise UsageError("--batch takes its questions, and their profiles, from the file alone")
        return _run_batch(settings, given, batch)
    if denial is not None:
        decided = settings.phoenix().denial(_denial(denial, words, fields, given))
        words_of.show_answer(settings, decided)
        return EXIT_OK if decided.answer.allowed else EXIT_NO
    try:
        profile, question = read_each(words, fields)
    except UsageError:
        _check_profile(settings, profile_of(words), given)
        raise
    found = settings.phoenix().query(QueryRequest(question=question, profile=profile, policy=given))
    if isinstance(found, RawAnswered):
        words_of.show_raw(settings, found)
        return EXIT_OK
    if isinstance(found, AnsweredEach):
        words_of.show_each(settings, found)
        return EXIT_OK if any(answer.allowed for answer in found.answers.values()) else EXIT_NO
    words_of.show_answer(settings, found, completed(question, fields))
    return EXIT_OK if found.answer.allowed else EXIT_NO


def _asked(fields: dict[str, Any]) -> bool:
    """Whether an option of a question was given."""
    return any(value not in (None, False) for value in fields.values())


def _denial(
    line: str, words: tuple[str, ...], fields: dict[str, Any], policy: Operand | None
) -> DenialRequest:
    if len(words) > 1 or _asked(fields):
        raise UsageError("--denial takes its question from the line; name a profile at most")
    return DenialRequest(line=_text(line), profile=words[0] if words else None, policy=policy)


def _check_profile(settings: Settings, name: str | None, policy: Operand | None) -> None:
    """A name that is mistyped is told before what is wrong behind it."""
    if name is not None:
        settings.phoenix().find_profile(name, policy)


def _text(word: str) -> str:
    """A log line; `-` is standard input."""
    operand = _operand(word)
    return operand.data.decode("utf-8", "surrogateescape") if isinstance(operand, Given) else operand


def _run_batch(settings: Settings, policy: Operand | None, path: str) -> int:
    """Answer a batch to standard output; exit 1 where a line makes no sense."""
    write = sys.stdout.write
    good = True
    for answer, understood in settings.phoenix().batch(_lines(path), policy):
        write(answer + "\n")
        good = good and understood
    sys.stdout.flush()
    return EXIT_OK if good else EXIT_FAILED


@_command("list")
@click.argument("profile", required=False, shell_complete=complete_profiles)
@_POLICY
@click.option("--access", help="Letters or words; all of them must be allowed.  [default: each by itself]")
@click.option(
    "--under", metavar="PATH", help="A path or a glob. Without it, mounts and everything else are listed too."
)
@click.option("--other", is_flag=True, help="Ask as a user who does not own the files.")
@click.option("--limit", type=click.IntRange(0), help="How many lines of files, and examples of each kind.")
def listing(
    settings: Settings,
    profile: str | None,
    policy: str | None,
    access: str | None,
    limit: int | None,
    **options: Any,
) -> int:
    """List what a profile allows: real names first, then patterns."""
    request = ListRequest(
        profile=profile,
        policy=_optional(policy),
        access="w" if access is None else access,
        only=access is not None,
        limit=20 if limit is None else limit,
        lines=limit,
        examples=settings.json,
        **options,
    )
    with Busy(settings, "searching"):
        found = settings.phoenix().list(request)
    words_of.show_list(settings, found)
    return EXIT_OK


@_command("diff")
@click.argument("a", shell_complete=complete_profiles)
@click.argument("b", shell_complete=complete_profiles)
@click.option(
    "--policy", metavar="FILE", type=click.Path(), help="A and B are names of profiles in this one file."
)
@click.option("--logging", is_flag=True, help="Also report what is only logged differently.")
@click.option("--strict", is_flag=True, help="Exit 3 where something was not compared, too.")
def diff(settings: Settings, a: str, b: str, policy: str | None, logging: bool, strict: bool) -> int:
    """Compare two policies (names, sources or compiled files); exit 3 if they differ."""
    one, two = (a, b) if policy is not None else (_operand(a), _operand(b))
    request = DiffRequest(a=one, b=two, logging=logging, policy=_optional(policy))
    with Busy(settings, "comparing"):
        found = settings.phoenix().diff(request)
    words_of.show_diff(settings, found)
    return EXIT_OK if found.equal and not (strict and found.not_compared) else EXIT_NO


@_command("test")
@click.argument("profiles", nargs=-1, shell_complete=complete_profiles)
@_POLICY
@click.option(
    "--tests", "files", multiple=True, metavar="FILE", type=click.Path(), help="Only these test files."
)
def test(settings: Settings, profiles: tuple[str, ...], policy: str | None, files: tuple[str, ...]) -> int:
    """Run the tests in policy_tests/; exit 3 if one fails."""
    tests = tuple(map(_operand, files))
    request = PolicyTestRequest(profiles=profiles, policy=_optional(policy), files=tests)
    with Busy(settings, "compiling") as busy:
        found = settings.phoenix().test(request, busy.step)
    words_of.show_test(settings, found)
    return EXIT_OK if found.ok else EXIT_NO


@_command("lint")
@click.argument("sources", nargs=-1, shell_complete=complete_profiles)
@click.option("--quick", is_flag=True, help="Compile each source once only.")
@click.option("--ignore", multiple=True, metavar="CODE", help="Do not look for CODE; may be repeated.")
@click.option("--sarif", is_flag=True, help="Print the findings as SARIF 2.1.0.")
def lint(
    settings: Settings, sources: tuple[str, ...], quick: bool, ignore: tuple[str, ...], sarif: bool
) -> int:
    """Find bad habits in profile sources; exit 1 if one is not waived."""
    if sarif and settings.json:
        raise UsageError("--sarif and --json are two formats of one output", hint="take one of them")
    request = LintRequest(sources=tuple(map(_operand, sources)), quick=quick, ignore=ignore)
    with Busy(settings, "looking at") as busy:
        found = settings.phoenix().lint(request, busy.step)
    if sarif:
        from phoenix_hypervisor.cli.output import emit
        from phoenix_hypervisor.cli.policy_sarif import run_of
        from phoenix_hypervisor.report.sarif import document

        emit(document([run_of(found.sources, found.findings)]))
    else:
        words_of.show_lint(settings, found)
    return EXIT_FAILED if found.open else EXIT_OK


@_command("explain", epilog=_KIND_HELP)
@_question
@_POLICY
@_DENIAL
@click.option(
    "--wait",
    type=click.FloatRange(min=0, min_open=True),
    default=EXPLAIN_WAIT,
    show_default=True,
    metavar="SECONDS",
    help="How long one compile of the source may take.",
)
def explain(
    settings: Settings,
    words: tuple[str, ...],
    policy: str | None,
    denial: str | None,
    wait: float,
    **options: Any,
) -> int:
    """Show which rule decides: file and line."""
    fields, given = _fields(options), _optional(policy)
    request: ExplainRequest | DenialRequest
    if denial is not None:
        request = replace(_denial(denial, words, fields, given), wait=wait)
    else:
        try:
            profile, question = read_question(words, fields)
        except UsageError:
            _check_profile(settings, profile_of(words), given)
            raise
        request = ExplainRequest(question=question, profile=profile, policy=given, wait=wait)
    with Busy(settings, "leaving out rules"):
        found = settings.phoenix().explain(request)
    words_of.show_explanation(settings, found)
    return EXIT_OK
