"""What compiled policy is asked: diff, test, lint, compile; the results of most requests.

Owns the way from a request to its result; single questions are `engine.questions`', lists `engine.listed`'.
Where policies come from is `engine.policy_sources`'; what they answer is the policy room's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from phoenix_hypervisor.engine.policy_requests import (
    CompileRequest,
    DiffRequest,
    Given,
    LintRequest,
    Operand,
    PolicyTestRequest,
)
from phoenix_hypervisor.engine.results import Stage
from phoenix_hypervisor.errors import PhoenixError, UsageError
from phoenix_hypervisor.values import dataclass

if TYPE_CHECKING:
    from phoenix_hypervisor.engine.policy_sources import PolicySources
    from phoenix_hypervisor.policy.answers import Answer
    from phoenix_hypervisor.policy.assertions import Failure
    from phoenix_hypervisor.policy.differences import Difference, NotCompared
    from phoenix_hypervisor.policy.explain import Explanation
    from phoenix_hypervisor.policy.lint import Habit
    from phoenix_hypervisor.policy.perms import Masks
    from phoenix_hypervisor.policy.profile import Policy, Profile
    from phoenix_hypervisor.policy.queries import EachAccess, Query, RawQuery
    from phoenix_hypervisor.policy.sockets import Asks

    _Included = tuple[str, bytes] | list[tuple[str, bytes]] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A profile's answer to one question."""

    profile: str
    question: Query
    answer: Answer
    holds: Mapping[str, bool]
    """For each capability that the operation needs on top: whether the profile has it."""
    asked: Asks | None
    """The kernels that the answer holds for, where kernels ask in different ways."""
    kernel: str = ""
    """The kernel that it was asked for: a packed list's name, a feature file, or the running one."""
    note: str | None = None
    """What to know of this answer."""
    logged: str | None = None
    """Where a log line was asked about: what it says was decided, and the operation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredEach:
    """A profile's answers to every usual way to use one path."""

    profile: str
    question: EachAccess
    answers: Mapping[str, Answer]
    """By the letter of the access: r, w, m, k, l, x."""
    kernel: str = ""
    """As of `Answered`."""
    note: str | None = None
    """What to know of these answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawAnswered:
    """The permission masks of a raw question."""

    profile: str
    question: RawQuery
    masks: Masks


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What only one of two policies allows."""

    a: str
    b: str
    differences: tuple[Difference, ...]
    not_compared: tuple[NotCompared, ...] = ()
    """What the two say differently, and what may make a difference all the same."""
    kernel: str = ""
    """As in `Answered`."""

    @property
    def equal(self) -> bool:
        """Whether nothing that was compared differs."""
        return not self.differences


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """What running policy tests came to."""

    asked: int
    profiles: int
    failures: tuple[Failure, ...]
    unused: tuple[tuple[str, str, tuple[str, ...]], ...]
    """File, name and profiles of each test that no profile was there for."""

    @property
    def ok(self) -> bool:
        return not self.failures


@dataclass(frozen=True, slots=True, kw_only=True)
class Linted:
    """Bad habits in profile sources."""

    sources: tuple[str, ...]
    """The files that were looked at."""
    findings: tuple[Habit, ...]

    @property
    def open(self) -> int:
        """How many are not waived."""
        return sum(1 for finding in self.findings if finding.waived is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """The source rule that decides a question."""

    question: Query
    explanation: Explanation
    logged: str | None = None
    """As of `Answered`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """What the parser made of one source."""

    source: str
    blob: bytes
    profiles: tuple[tuple[str, str], ...]
    """Name and SHA-256, as the kernel shows it, of each profile."""
    unmediated: tuple[str, ...]
    """What this policy was compiled without: all of it is allowed."""
    parser: str
    features: str


def load_policy(sources: PolicySources, operand: Operand) -> Policy:
    """The policy of a file (source or compiled) or of a profile's name.  Raises PhoenixError."""
    from phoenix_hypervisor.engine.policy_files import shown
    from phoenix_hypervisor.policy.reader import looks_compiled, read_policy

    file = operand if isinstance(operand, Given) else as_file(sources, operand)
    if file is None:
        assert isinstance(operand, str)
        return read_policy(sources.blob(sources.profile_named(operand)))
    data = sources.read(file)
    if looks_compiled(data):
        return _read_compiled(data, shown(file.name))
    return read_policy(sources.compile(data, file.name))


def as_file(sources: PolicySources, word: str) -> Given | None:
    """The file with policy that a word names; None where it is a profile's name.

    Read once: it may be a pipe.
    """
    from phoenix_hypervisor.policy.reader import looks_compiled

    if not sources.is_file(word):
        return None
    data = sources.read(word)
    return None if sources.is_program(word, data) and not looks_compiled(data) else Given(word, data)


def _read_compiled(data: bytes, where: str) -> Policy:
    from phoenix_hypervisor.policy.fault import PolicyError
    from phoenix_hypervisor.policy.reader import read_policy

    try:
        return read_policy(data)
    except PolicyError as error:
        place = f"{where}, {error.where}" if error.where else where
        raise PolicyError(error.message, where=place, hint=error.hint) from None


def load_source(sources: PolicySources, operand: Operand) -> tuple[str, bytes]:
    """File and text of a source: a file, bytes, or a shipped name."""
    from phoenix_hypervisor.policy.reader import looks_compiled

    if isinstance(operand, Given) or sources.is_file(operand):
        path, text = _name(operand), sources.read(operand)
    else:
        path, text = sources.source(operand)
    if looks_compiled(text):
        raise UsageError(
            "is compiled policy; rules can only be found in its source", where=path, hint="name the source"
        )
    return path, text


def _name(operand: Operand) -> str:
    return operand.name if isinstance(operand, Given) else operand


def find(
    sources: PolicySources, policy: Operand | None, *, files: bool = True
) -> Callable[[str | None], Profile]:
    """From a profile's name to the profile, in `policy` or by itself.

    Without `policy` it may also be that of a container, and with `files` that of a file with one profile.
    """
    from phoenix_hypervisor.engine.policy_sources import bare_name
    from phoenix_hypervisor.policy.reader import read_policy

    if policy is not None:
        return load_policy(sources, policy).get

    def by_name(name: str | None) -> Profile:
        if name is None:
            raise UsageError("name a profile, a container, or a file with --policy")
        if files and sources.is_file(name):
            found = load_policy(sources, name)
            return found.get(name if name in found.names() else None)
        name = sources.profile_named(name)
        return read_policy(sources.blob(name.partition("//")[0])).get(bare_name(name))

    return by_name


def diff(sources: PolicySources, request: DiffRequest) -> Compared:
    """What only one of two policies allows."""
    from phoenix_hypervisor.policy.diff import compare_policies

    if request.policy is not None:
        names = _name(request.a), _name(request.b)
        one = two = load_policy(sources, request.policy)
        only: tuple[str | None, str | None] = names
    else:
        _bounded(request.a, request.b)
        (one, first), (two, second) = (_whole(sources, operand) for operand in (request.a, request.b))
        only = (first, second)
    found = compare_policies(one, two, logging=request.logging, asks=sources.asks(), only=only)
    return Compared(
        a=_name(request.a),
        b=_name(request.b),
        differences=found.differences,
        not_compared=found.not_compared,
        kernel=sources.kernel(),
    )


def _bounded(*operands: Operand) -> None:
    """Refuse files that together are more than one may be: both lie in memory."""
    from phoenix_hypervisor.engine.policy_files import MAX_POLICY, size_of

    if sum(len(one.data) if isinstance(one, Given) else size_of(one) for one in operands) > MAX_POLICY:
        raise PhoenixError(
            f"{' and '.join(_name(one) for one in operands)} are over {MAX_POLICY} bytes together",
            hint="put the two profiles that you mean into files of their own",
        )


def _whole(sources: PolicySources, operand: Operand) -> tuple[Policy, str | None]:
    """The policy that a word stands for, and the profile in it where the word is a profile's name."""
    policy = load_policy(sources, operand)
    if isinstance(operand, Given) or sources.is_file(operand):
        return policy, None
    name = sources.profile_named(operand).rpartition(":")[2]
    return policy, name if name in policy.names() else None


def test(sources: PolicySources, request: PolicyTestRequest, progress: Callable[[Stage], None]) -> Tested:
    """Run policy tests."""
    from phoenix_hypervisor.policy.assertions import load_tests, run_tests

    contents = [(_name(file), sources.read(file)) for file in request.files] or list(sources.tests())
    tests = [one for path, data in contents for one in load_tests(data, path)]
    profiles: dict[str, Profile] = {}
    operands = [request.policy] if request.policy is not None else list(sources.shipped())
    if not operands:
        raise UsageError("there are no profiles to test", hint="name one with --policy, or --config FILE")
    for number, operand in enumerate(operands):
        progress(Stage(number, len(operands), _name(operand)))
        profiles |= {profile.label: profile for profile in load_policy(sources, operand).profiles}
    chosen = set(request.profiles)
    if chosen:
        missing = sorted(chosen - set(profiles))
        if missing:
            raise UsageError(f"no profile {missing[0]}", hint=f"there are {', '.join(profiles)}")
        profiles = {name: profile for name, profile in profiles.items() if name in chosen}
    outcome = run_tests(tests, profiles, sources.asks())
    unused = () if chosen else tuple((t.where, t.name, t.profiles) for t in outcome.unused)
    return Tested(asked=outcome.asked, profiles=len(profiles), failures=outcome.failures, unused=unused)


def lint(sources: PolicySources, request: LintRequest, progress: Callable[[Stage], None]) -> Linted:
    """Bad habits in sources."""
    from phoenix_hypervisor.policy.lint import CODES
    from phoenix_hypervisor.policy.lint import lint as find_habits
    from phoenix_hypervisor.policy.source import read_source

    for code in request.ignore:
        if code not in CODES:
            raise UsageError(f"{code} is not a code of lint", hint=f"there are {', '.join(CODES)}")
    per_source: list[tuple[set[str], list[Habit]]] = []
    needed: set[str] = set()
    operands = request.sources or tuple(sources.shipped())
    if not operands:
        raise UsageError("there are no profile sources to look at", hint="name a source, or --config FILE")
    looked_at = []
    for number, operand in enumerate(operands):
        path, text = load_source(sources, operand)
        progress(Stage(number, len(operands), path))
        source = read_source(path, text, partial(_own_include, sources, path))
        habits = find_habits(
            source,
            _compiler(sources, path),
            name=path,
            own=_owner(sources, path),
            thorough=not request.quick,
            lxc=sources.is_own(path),
            needed=needed,
        )
        looked_at.append(path)
        places = {statement.place for statement in source.statements}
        per_source.append((places, habits))
        # A rule that one source cannot do without is not superfluous in what others share with it.
        needed |= places - {habit.place for habit in habits if habit.code == "redundant-rule"}
    findings = [one for one in _everywhere(per_source) if one.code not in request.ignore]
    return Linted(sources=tuple(looked_at), findings=tuple(findings))


def _compiler(sources: PolicySources, path: str) -> Callable[[bytes], bytes]:
    return lambda text: sources.compile(text, path)


def _owner(sources: PolicySources, path: str) -> Callable[[str], bool]:
    return lambda file: file == path or sources.is_own(file)


def _own_include(sources: PolicySources, where: str, path: str) -> _Included:
    """An include that is ours; one of the distribution's is left as it is."""
    found = sources.include(path, where)
    if isinstance(found, list):
        return found if found and all(sources.is_own(file) for file, _ in found) else None
    return found if found is not None and sources.is_own(found[0]) else None


_SHARED = ("redundant-rule", "covered-by-file")


def _everywhere(per_source: Sequence[tuple[set[str], list[Habit]]]) -> list[Habit]:
    """Each finding once; a rule of a shared include is superfluous only where it is so for all."""
    found = {(one.code, one.place): one for _, habits in reversed(per_source) for one in reversed(habits)}
    known = [(places, {(one.code, one.place) for one in habits}) for places, habits in per_source]
    return [
        one
        for key, one in reversed(found.items())
        if one.code not in _SHARED or all(key in habits for places, habits in known if one.place in places)
    ]


def compile(sources: PolicySources, request: CompileRequest) -> Compiled:
    """The compiled policy of a source; written to the request's output where it has one."""
    from phoenix_hypervisor.policy.reader import profile_hash, read_policy

    path, text = load_source(sources, request.source)
    blob = sources.compile(text, path)
    profiles = read_policy(blob).profiles
    parser, features = sources.compiler()
    if request.output is not None:
        sources.write(request.output, blob)
    return Compiled(
        source=path,
        blob=blob,
        profiles=tuple((profile.label, profile_hash(blob, profile.label)) for profile in profiles),
        unmediated=tuple(sorted({word for profile in profiles for word in profile.unmediated()})),
        parser=parser,
        features=features,
    )
