"""Policy tests: what profiles must and must not allow, written down.

Owns the format of etc/policy_tests/*.toml and running such tests on compiled profiles.
Must not open files or compile.  The format is explained in docs/internals/policy-engine.md.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from phoenix_hypervisor.policy import constants
from phoenix_hypervisor.policy.answers import Answer, Reason
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.fault import NotJudged, PolicyError
from phoenix_hypervisor.policy.globs import glob_grammar
from phoenix_hypervisor.policy.grants import Space
from phoenix_hypervisor.policy.product import Search, Side
from phoenix_hypervisor.policy.profile import Profile
from phoenix_hypervisor.policy.queries import FileQuery, Query, RawQuery, parse_query, show
from phoenix_hypervisor.policy.sockets import Asks
from phoenix_hypervisor.policy.spaces import kind
from phoenix_hypervisor.values import dataclass

_OWN = {"name", "profiles", "except", "expect", "reason", "why", "glob"}
_LISTS = {"flags"}
"""Query fields that are lists by nature; a list of lists gives several queries."""


@dataclass(frozen=True, slots=True)
class GlobQuery:
    """Every path that matches `glob`; a single exception answers for all."""

    glob: bytes
    access: int
    other: bool

    def __str__(self) -> str:
        who = " --other" if self.other else ""
        return f"file --glob {show(self.glob)} --access {constants.file_letters(self.access)}{who}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyTest:
    """One `[[test]]`: questions with one expected answer."""

    name: str
    where: str
    profiles: tuple[str, ...]
    excluded: tuple[str, ...]
    allowed: bool
    reason: Reason | None
    why: str
    queries: tuple[Query | GlobQuery, ...]

    def applies_to(self, profile: str) -> bool:
        return any(fnmatchcase(profile, glob) for glob in self.profiles) and not any(
            fnmatchcase(profile, glob) for glob in self.excluded
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A question that was not answered as expected."""

    test: PolicyTest
    profile: str
    query: str
    expected: str
    answer: str
    witness: str
    """The very question that shows it, as `policy query` takes it."""

    def __str__(self) -> str:
        why = f"\n    why: {self.test.why}" if self.test.why else ""
        shown = f"\n    witness: {self.witness}" if self.witness and self.witness != self.query else ""
        return (
            f"{self.test.where}: {self.test.name}: {self.profile}: {self.query}"
            f"\n    expected {self.expected}, the answer is {self.answer}{shown}{why}"
        )

    def as_json(self) -> dict[str, object]:
        return {
            "test": self.test.name,
            "where": self.test.where,
            "profile": self.profile,
            "query": self.query,
            "expected": self.expected,
            "answer": self.answer,
            "witness": self.witness,
            "why": self.test.why,
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """What running tests came to."""

    asked: int
    failures: tuple[Failure, ...]
    unused: tuple[PolicyTest, ...]
    """Tests that no profile was there for."""

    @property
    def ok(self) -> bool:
        return not self.failures


def load_tests(data: bytes, where: str) -> list[PolicyTest]:
    """The tests in one TOML file; `where` names it in messages.

    Raises PolicyError, naming the test, for anything that is not understood.
    """
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PolicyError(f"not a TOML file: {error}", where=where) from None
    except RecursionError:
        raise PolicyError("not a TOML file of policy tests: it is nested too deep", where=where) from None
    entries = document.pop("test", [])
    if document.pop("version", 1) != 1:
        raise PolicyError("only version 1 is known", where=where)
    if document or not isinstance(entries, list):
        extra = f"unknown key {sorted(document)[0]!r}" if document else "'test' must be [[test]]"
        raise PolicyError(extra, where=where)
    tests = []
    for number, entry in enumerate(entries, 1):
        try:
            tests.append(_test(entry, f"test {number}", where))
        except PolicyError as error:
            label = entry.get("name", f"test {number}") if isinstance(entry, dict) else f"test {number}"
            raise PolicyError(f"{label}: {error.message}", where=where, hint=error.hint) from None
    return tests


def _test(entry: object, label: str, where: str) -> PolicyTest:
    if not isinstance(entry, dict):
        raise PolicyError("must be a table")
    expect = entry.get("expect")
    if expect not in ("allowed", "denied"):
        raise PolicyError('\'expect\' must be "allowed" or "denied"')
    reason = entry.get("reason")
    if reason is not None and reason not in list(Reason):
        raise PolicyError(f"unknown reason {reason!r}", hint=f"known are {', '.join(Reason)}")
    fields = {key: value for key, value in entry.items() if key not in _OWN}
    queries: list[Query | GlobQuery] = []
    if "queries" in fields:
        listed = fields.pop("queries")
        if fields or not isinstance(listed, list):
            raise PolicyError("'queries' must be a list of tables, and then no other query field is used")
        for one in listed:
            if not isinstance(one, dict):
                raise PolicyError("'queries' must be a list of tables")
            queries += _expand(one, ())
    else:
        queries = _expand(fields, _texts(entry, "glob", ()))
    if not queries:
        raise PolicyError("it asks nothing")
    return PolicyTest(
        name=str(entry.get("name", label)),
        where=where,
        profiles=_texts(entry, "profiles", ("*",)),
        excluded=_texts(entry, "except", ()),
        allowed=expect == "allowed",
        reason=Reason(reason) if reason is not None else None,
        why=str(entry.get("why", "")),
        queries=tuple(queries),
    )


def _texts(entry: Mapping[str, object], key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    value = entry.get(key, list(default))
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise PolicyError(f"{key!r} must be a string or a list of strings")
    return tuple(value)


def _expand(fields: Mapping[str, object], globs: Sequence[str]) -> list[Query | GlobQuery]:
    """The queries of one table: a list where one value belongs stands for several queries."""
    choices: list[list[object]] = []
    for key, value in fields.items():
        many = isinstance(value, list) and (key not in _LISTS or any(isinstance(v, list) for v in value))
        choices.append(list(value) if many and isinstance(value, list) else [value])
    found: list[Query | GlobQuery] = []
    for values in itertools.product(*choices):
        one = dict(zip(fields, values, strict=True))
        if globs:
            found += _globs(one, globs)
            continue
        query = parse_query(one)
        if isinstance(query, RawQuery):
            raise PolicyError("raw queries have no answer to expect")
        found.append(query)
    return found


def _globs(fields: dict[str, object], globs: Sequence[str]) -> list[GlobQuery]:
    if fields.get("kind") != "file" or "path" in fields:
        raise PolicyError("'glob' replaces 'path' in a query of kind \"file\"")
    found = []
    for glob in globs:
        # Any path will do to have the other fields checked.
        query = parse_query({**fields, "path": "/"})
        assert isinstance(query, FileQuery)
        glob_grammar(glob.encode(), query.access)
        found.append(GlobQuery(glob.encode(), query.access, query.other))
    return found


class _Judge(Evaluator):
    """An evaluator that keeps the spaces it has searched: many globs are asked of one profile."""

    def __init__(self, profile: Profile, asks: Asks) -> None:
        super().__init__(profile, asks)
        self._spaces: dict[bool, Space] = {}

    def files(self, other: bool) -> Space:
        if other not in self._spaces:
            self._spaces[other] = kind("file").space(self.profile, other)
        return self._spaces[other]


def run_tests(
    tests: Iterable[PolicyTest], profiles: Mapping[str, Profile], asks: Asks = Asks.TYPE
) -> Outcome:
    """Ask every profile what the tests that apply to it want to know, as a kernel that `asks` so does."""
    judges = {name: _Judge(profile, asks) for name, profile in profiles.items()}
    failures: list[Failure] = []
    unused: list[PolicyTest] = []
    asked = 0
    for test in tests:
        names = [name for name in judges if test.applies_to(name)]
        if not names:
            unused.append(test)
        for name, query in itertools.product(names, test.queries):
            asked += 1
            failure = _ask(test, name, judges[name], query)
            if failure is not None:
                failures.append(failure)
    return Outcome(asked, tuple(failures), tuple(unused))


def allowed_query(judge: Evaluator, query: Query | GlobQuery) -> bool:
    """Whether the judge's profile allows what is asked; of a glob, whether it allows any of it on any path.

    Raises NotJudged where that cannot be told.
    """
    if not isinstance(query, GlobQuery):
        return judge.ask(query).allowed
    bits = [1 << n for n in range(32) if query.access >> n & 1]
    grammar = glob_grammar(query.glob, query.access)
    space = kind("file").space(judge.profile, query.other)
    for node in Search(grammar, space.side, Side.constant(alive=False)):
        if grammar.reads[node[0]]:
            granted = space.grants(node[1]).allow
            if any(granted & mask for mask in bits):
                return True
    return False


def _ask(test: PolicyTest, name: str, judge: _Judge, query: Query | GlobQuery) -> Failure | None:
    witness: Query | None = query if not isinstance(query, GlobQuery) else _exception(test, judge, query)
    if witness is None:
        return None
    expected = ("allowed" if test.allowed else "denied") + (f" ({test.reason.value})" if test.reason else "")
    try:
        answer = judge.ask(witness)
    except NotJudged as unknown:
        got = unknown.message
    else:
        if _as_expected(test, answer):
            return None
        got = ("allowed" if answer.allowed else "denied") + f" ({answer.reason.value})"
        got += " because the profile only complains" if answer.complain else ""
    return Failure(
        test=test,
        profile=name,
        query=str(query),
        expected=expected,
        answer=got,
        witness=f"{show(name.encode())} {witness}",
    )


def _as_expected(test: PolicyTest, answer: Answer) -> bool:
    return answer.allowed is test.allowed and (test.reason is None or answer.reason is test.reason)


def _exception(test: PolicyTest, judge: _Judge, query: GlobQuery) -> FileQuery | None:
    """A shortest path under the glob that is not answered as expected.

    "denied" means that none of the access is allowed on any path, "allowed" that all is.
    """
    bits = [1 << n for n in range(32) if query.access >> n & 1]
    masks = [query.access] if test.allowed else bits
    grammar = glob_grammar(query.glob, query.access)
    space = judge.files(query.other)
    # Beside the profile runs an automaton that never dies, so that denied paths are met too.
    search = Search(grammar, space.side, Side.constant(alive=True))
    for node in search:
        if not grammar.reads[node[0]]:
            continue
        path = None
        for mask in masks:
            granted = space.grants(node[1]).allow & mask == mask
            if granted is not test.allowed or test.reason is not None or judge.complains:
                path = path if path is not None else search.string(node)
                found = FileQuery(path, mask, query.other)
                if not _as_expected(test, judge.ask(found)):
                    return found
    return None
