"""What the `policy` commands need from the rest, and what they do with it.

Owns the `Workbench` (names and files in, compiled policies out) and turning results into
lines and documents.  Must not parse arguments, print or exit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from phoenix_hypervisor.errors import EXIT_FAILED, EXIT_NO, EXIT_OK, UsageError

if TYPE_CHECKING:
    from phoenix_hypervisor.policy.answers import Answer
    from phoenix_hypervisor.policy.lint import Finding
    from phoenix_hypervisor.policy.model import Policy, Profile
    from phoenix_hypervisor.policy.queries import Query, RawQuery

NOT_JUDGED = "not judged: file ownership and modes, seccomp, the device cgroup, the peer's own side"


class Workbench(Protocol):
    """The door from names and files to compiled policy; every method raises PhoenixError."""

    def read(self, path: str) -> bytes:
        """A file that the operator named (`-` is standard input)."""

    def is_file(self, path: str) -> bool:
        """Whether the operator's word is a file rather than a name."""

    def compile(self, text: bytes, where: str) -> bytes:
        """Compile a source text, our includes first, for the features in force."""

    def blob(self, name: str) -> bytes:
        """The compiled policy of a shipped, installed or loaded profile."""

    def source(self, name: str) -> tuple[str, bytes]:
        """File and text of a shipped profile."""

    def include(self, path: str) -> tuple[str, bytes] | None:
        """File and text of an include, ours first; None for folders and for what is not there."""

    def is_own(self, file: str) -> bool:
        """Whether a file is ours rather than the distribution's."""

    def shipped(self) -> Sequence[str]:
        """The names of the shipped profiles."""

    def tests(self) -> Sequence[tuple[str, bytes]]:
        """The policy tests beside the configuration: file and content."""

    def compiler(self) -> Mapping[str, object]:
        """What compiles: `parser` and `features`, for people and for JSON."""


@dataclass(slots=True)
class Result:
    """What a command has to say."""

    code: int
    document: dict[str, object]
    lines: list[str] = field(default_factory=list)


def load(bench: Workbench, word: str) -> Policy:
    """The policy of a file (source or blob) or of a profile's name."""
    from phoenix_hypervisor.policy.reader import looks_compiled, read_policy

    if bench.is_file(word):
        data = bench.read(word)
        if looks_compiled(data):
            return read_policy(data)
        if b"\0" not in data:
            return read_policy(bench.compile(data, word))
        # A program then: profiles are often called after the one that they confine.
    return read_policy(bench.blob(word))


def load_source(bench: Workbench, word: str) -> tuple[str, bytes]:
    """File and text of a source: a file, or a shipped name."""
    from phoenix_hypervisor.policy.reader import looks_compiled

    path, text = (word, bench.read(word)) if bench.is_file(word) else bench.source(word)
    if looks_compiled(text):
        raise UsageError("is compiled policy, in which no rules are left", where=path, hint="name the source")
    return path, text


def find(bench: Workbench, policy: str | None, *, files: bool = True) -> Callable[[str | None], Profile]:
    """From a profile's name to the profile, in the file `policy` or by itself.

    `files`: without `policy` the name may be that of a file with one profile.
    """
    from phoenix_hypervisor.policy.reader import read_policy

    if policy is not None:
        return load(bench, policy).get

    def by_name(name: str | None) -> Profile:
        if name is None:
            raise UsageError("name a profile, or a file with --policy")
        if files and bench.is_file(name):
            found = load(bench, name)
            return found.get(name if name in found.names() else None)
        return read_policy(bench.blob(name.partition("//")[0])).get(name)

    return by_name


def read_question(words: Sequence[str], options: Mapping[str, object]) -> tuple[str | None, Query | RawQuery]:
    """Profile and query from the words behind `query`: `[PROFILE] KIND [VALUE...]`."""
    from phoenix_hypervisor.policy.queries import parse_query

    words = list(words)
    profile = words.pop(0) if words and words[0].replace("-", "_") not in KINDS else None
    if not words:
        raise UsageError("name a kind of question", hint=f"one of {', '.join(sorted(KINDS))}")
    kind = words.pop(0).replace("-", "_")
    if kind not in KINDS:
        raise UsageError(f"unknown kind {kind!r}", hint=f"one of {', '.join(sorted(KINDS))}")
    fields: dict[str, object] = {"kind": kind}
    for name in KINDS[kind]:
        if words:
            fields[name] = words.pop(0)
    if words:
        raise UsageError(f"{words[0]!r} is one word too many for {kind}")
    fields |= {name: value for name, value in options.items() if value not in (None, False)}
    try:
        return profile, parse_query(fields)
    except UsageError:
        raise
    except Exception as error:
        from phoenix_hypervisor.policy.errors import PolicyError

        if isinstance(error, PolicyError):
            raise UsageError(error.message, hint=error.hint) from None
        raise


KINDS: Mapping[str, tuple[str, ...]] = {
    "file": ("path",),
    "link": ("path", "target"),
    "mount": (),
    "umount": (),
    "pivot_root": (),
    "capability": ("name",),
    "network": ("family", "type"),
    "unix": ("type",),
    "signal": ("signal",),
    "ptrace": (),
    "change_profile": ("target",),
    "userns": (),
    "raw": (),
}
"""Each kind and its values by position."""


def query(bench: Workbench, policy: str | None, profile: str | None, question: Query | RawQuery) -> Result:
    """Answer one question; exit 3 for no."""
    from phoenix_hypervisor.policy.evaluate import Evaluator
    from phoenix_hypervisor.policy.queries import RawQuery

    found = find(bench, policy)(profile)
    judge = Evaluator(found)
    head: dict[str, object] = {"profile": found.label, "query": str(question)}
    if isinstance(question, RawQuery):
        masks = judge.raw(question)._asdict()
        return Result(EXIT_OK, {**head, **masks}, [f"{word} {mask:#010x}" for word, mask in masks.items()])
    answer = judge.ask(question)
    document = {**head, **answer.as_json(), "transition": answer.transition}
    lines = [f"{_verdict(answer)}  {found.label}: {question}"]
    if answer.transition:
        alone = answer.transition.partition(" ")[0] in ("px", "Px", "cx", "Cx")
        needed = "; where no such profile is loaded, not at all" if alone else ""
        lines.append(f"  runs as: {answer.transition}{needed}")
    for name in answer.needs:
        from phoenix_hypervisor.policy.constants import capability

        has = "has it" if judge.capability(capability(name)).allowed else "lacks it"
        lines.append(f"  also needs the capability {name}: this profile {has}")
    lines.append(f"  {NOT_JUDGED}")
    return Result(EXIT_OK if answer.allowed else EXIT_NO, document, lines)


def _verdict(answer: Answer) -> str:
    words = "allowed" if answer.allowed else "denied"
    extra = [answer.reason.value]
    if answer.audited:
        extra.append("logged")
    if answer.complain:
        extra.append("the profile only complains")
    return f"{words} ({', '.join(extra)})"


def listing(
    bench: Workbench,
    policy: str | None,
    profile: str | None,
    *,
    access: str,
    under: str | None,
    other: bool,
    limit: int,
) -> Result:
    """What is within reach: files under a place, or everything."""
    from phoenix_hypervisor.policy import listing as lists
    from phoenix_hypervisor.policy.constants import file_access
    from phoenix_hypervisor.policy.errors import PolicyError

    place = (under or "/").encode("utf-8", "surrogateescape")
    if place[:1] not in (b"/", b"{", b"[", b"*"):
        raise UsageError("--under is an absolute path or a glob of such", where=under)
    try:
        file_access(access)
    except PolicyError as error:
        raise UsageError(error.message, hint=error.hint) from None
    found = find(bench, policy)(profile)
    groups = [lists.list_files(found, place, access, other=other, limit=limit)]
    document: dict[str, object] = {"profile": found.label, "under": under or "/"}
    lines: list[str] = []
    if under is None:
        groups += [*lists.list_mounts(found, limit=limit), lists.list_targets(found, limit=limit)]
        capabilities = lists.list_capabilities(found)
        document["capabilities"] = capabilities
    for group in groups:
        lines.append(f"{group.kind} ({group.access}): {group.count} situations")
        lines += [f"  pattern  {pattern}" for pattern in group.patterns]
        lines += [f"  example  {example}" for example in group.examples]
    if under is None:
        lines.append(f"capabilities: {' '.join(capabilities) or 'none'}")
    document["found"] = [group.as_json() for group in groups]
    return Result(EXIT_OK, document, lines)


def diff(bench: Workbench, a: str, b: str, *, logging: bool) -> Result:
    """What only one of two policies allows; exit 3 where they differ."""
    from phoenix_hypervisor.policy.diff import diff_policies

    found = diff_policies(load(bench, a), load(bench, b), logging=logging)
    lines = [f"A: {a}", f"B: {b}", *map(str, found)] if found else ["equal"]
    document: dict[str, object] = {"a": a, "b": b, "differences": [one.as_json() for one in found]}
    return Result(EXIT_NO if found else EXIT_OK, document, lines)


def test(bench: Workbench, names: Iterable[str], policy: str | None, files: Iterable[str]) -> Result:
    """Run policy tests; exit 3 where one fails."""
    from phoenix_hypervisor.policy.assertions import load_tests, run_tests

    contents = [(path, bench.read(path)) for path in files] or list(bench.tests())
    tests = [one for path, data in contents for one in load_tests(data, path)]
    profiles: dict[str, Profile] = {}
    chosen = set(names)
    policies = [load(bench, policy)] if policy is not None else [load(bench, n) for n in bench.shipped()]
    for one in policies:
        profiles |= {profile.label: profile for profile in one.profiles}
    if chosen:
        missing = sorted(chosen - set(profiles))
        if missing:
            raise UsageError(f"no profile {missing[0]}", hint=f"there are {', '.join(profiles)}")
        profiles = {name: profile for name, profile in profiles.items() if name in chosen}
    outcome = run_tests(tests, profiles)
    lines = [str(failure) for failure in outcome.failures]
    if not chosen:
        lines += [f"{t.where}: {t.name}: no profile {', '.join(t.profiles)}" for t in outcome.unused]
    lines.append(f"asked={outcome.asked} failed={len(outcome.failures)} profiles={len(profiles)}")
    document: dict[str, object] = {
        "asked": outcome.asked,
        "failures": [failure.as_json() for failure in outcome.failures],
        "unused": [] if chosen else [test.name for test in outcome.unused],
    }
    return Result(EXIT_OK if outcome.ok else EXIT_NO, document, lines)


def lint(bench: Workbench, words: Sequence[str], *, quick: bool) -> Result:
    """Bad habits in sources (names or files); exit 1 where one is not waived."""
    from phoenix_hypervisor.policy.lint import lint as find_habits
    from phoenix_hypervisor.policy.source import read_source

    per_source: list[tuple[set[str], list[Finding]]] = []
    for word in words or bench.shipped():
        path, text = load_source(bench, word)

        def compile(data: bytes, path: str = path) -> bytes:
            return bench.compile(data, path)

        source = read_source(path, text, _own_includes(bench))
        habits = find_habits(
            source,
            compile,
            name=path,
            own=lambda file, path=path: file == path or bench.is_own(file),  # type: ignore[misc]
            thorough=not quick,
        )
        per_source.append(({statement.place for statement in source.statements}, habits))
    findings = _everywhere(per_source)
    open_ = [one for one in findings if one.waived is None]
    lines = [str(one) for one in findings]
    lines.append(f"findings={len(open_)} waived={len(findings) - len(open_)}")
    return Result(EXIT_FAILED if open_ else EXIT_OK, {"findings": [f.as_json() for f in findings]}, lines)


_SHARED = ("redundant-rule", "covered-by-file")


def _everywhere(per_source: Sequence[tuple[set[str], list[Finding]]]) -> list[Finding]:
    """Each finding once; a rule of a shared include is superfluous only where it is so for all."""
    found = dict.fromkeys(one for _, habits in per_source for one in habits)
    return [
        one
        for one in found
        if one.code not in _SHARED
        or all(one in habits for places, habits in per_source if one.place in places)
    ]


def _own_includes(bench: Workbench) -> Callable[[str], tuple[str, bytes] | None]:
    def resolve(path: str) -> tuple[str, bytes] | None:
        found = bench.include(path)
        return found if found is not None and bench.is_own(found[0]) else None

    return resolve


def explain(bench: Workbench, word: str | None, profile: str | None, question: Query | RawQuery) -> Result:
    """Which rule decides; `word` is a source file, else the shipped source of `profile`."""
    from phoenix_hypervisor.policy.explain import explain as find_rule
    from phoenix_hypervisor.policy.queries import RawQuery
    from phoenix_hypervisor.policy.source import read_source

    if isinstance(question, RawQuery):
        raise UsageError("a raw question has no rule that decides it")
    if word is None and profile is None:
        raise UsageError("name a profile, or a source with --policy")
    path, text = load_source(bench, word) if word is not None else bench.source(profile or "")
    source = read_source(path, text, bench.include)
    found = find_rule(source, lambda data: bench.compile(data, path), profile, question)
    lines = [f"{_verdict(found.answer)}  {question}"]
    lines += [f"  {rule.place}: {rule.text}" for rule in found.rules]
    for rules in found.others:
        lines += [f"  and without that also {rule.place}: {rule.text}" for rule in rules]
    if found.note:
        lines.append(f"  {found.note}")
    return Result(EXIT_OK, {"query": str(question), **found.as_json()}, lines)


def compile(bench: Workbench, word: str) -> tuple[bytes, Result]:
    """The blob of a source, and what to say about it."""
    from phoenix_hypervisor.policy.reader import profile_hash, read_policy

    path, text = load_source(bench, word)
    blob = bench.compile(text, path)
    profiles = read_policy(blob).profiles
    names = [profile.label for profile in profiles]
    missing = sorted({word for profile in profiles for word in profile.unmediated()})
    about = dict(bench.compiler())
    document: dict[str, object] = {
        "source": path,
        "bytes": len(blob),
        "profiles": [{"name": name, "sha256": profile_hash(blob, name)} for name in names],
        "unmediated": missing,
        **about,
    }
    lines = [f"{path}: {len(blob)} bytes: {', '.join(names)}"]
    if missing:
        lines.append(f"  compiled WITHOUT {', '.join(missing)}: everything of it is allowed")
    lines += [f"  {word}: {value}" for word, value in about.items()]
    return blob, Result(EXIT_OK, document, lines)
