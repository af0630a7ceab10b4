"""Random pairs of profiles: every example tells the two apart, and equal ones answer everything alike.

PHOENIX_PAIRS=20000 compares so many pairs.
"""

from __future__ import annotations

import os
import random
import shlex
from itertools import product
from pathlib import Path

import pytest

from host.test_policy_compiled import FEATURES, PARSER, compile_text
from phoenix_hypervisor.cli.question import read_question
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.policy.answers import Answer
from phoenix_hypervisor.policy.diff import Comparison, compare_policies
from phoenix_hypervisor.policy.differences import Difference
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.perms import Masks
from phoenix_hypervisor.policy.profile import Policy, Profile
from phoenix_hypervisor.policy.queries import Query, RawQuery
from phoenix_hypervisor.policy.reader import read_policy
from phoenix_hypervisor.values import replace
from support.typed import words_and_options

pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(not PARSER or not Path(FEATURES).exists(), reason="apparmor_parser is not installed"),
]

PAIRS = int(os.environ.get("PHOENIX_PAIRS", "300"))
PROFILES = 60
"""How many profiles one source has; pairs are drawn from them, half of them near relations."""

_PLACES = ("/a", "/b", "/a/b", "/a/*", "/a/**", "/**", "/{a,b}/c", "/[ab]", "/a?", "/proc/sys/**")
_PROGRAMS = ("/e1", "/e2", "/e3")
_PEERS = ("unconfined", "p", "q", "p*", "/x/**")
_WAYS = ("ix", "px", "Px", "ux", "Ux", "cx", "Cx", "pix", "Pix", "px -> p", "Px -> q", "PUx -> p")
_SIGNALS = ("kill", "term", "hup")
_CAPABILITIES = ("chown", "sys_admin", "sys_ptrace", "mac_admin")
_FAMILIES = ("inet", "inet6", "unix", "netlink")
_FLAGS = ("", "", "", "", " flags=(complain)", " flags=(audit)", " flags=(attach_disconnected)")


def rule(draw: random.Random) -> str:
    pick = draw.choice
    head = pick(("", "", "", "audit ", "deny ", "audit deny "))
    peer, place = pick(_PEERS), pick(_PLACES)
    who = f" peer={peer}" * draw.randrange(2)
    change = pick(("", "safe ", "unsafe ")) if not head else ""
    path = f"{pick((*_PROGRAMS, '/e*'))} " if change else pick(("", "/e1 ", "/e* "))
    return pick(
        (
            head + pick(("", "owner ")) + f"{place} {pick(('r', 'w', 'rw', 'a', 'm', 'k', 'rwl', 'rm'))},",
            head + f"link {pick(('', 'subset '))}{place} -> {pick(_PLACES)},",
            head + f"change_profile {change}{path}-> {peer},",
            head + f"capability {pick(_CAPABILITIES)},",
            head + pick(("network,", f"network {pick(_FAMILIES)},", f"network {pick(_FAMILIES)} stream,")),
            head + f"signal {pick(('', 'send ', '(receive) '))}set=({pick(_SIGNALS)}){who},",
            head + f"ptrace ({pick(('read', 'trace', 'readby', 'tracedby', 'readby,tracedby'))}){who},",
            head + f"mount {pick(('', 'fstype=proc ', 'options=(ro) ', 'options=(bind) '))}-> {place},",
            head + f"remount {pick(('', 'options=(ro) '))}{place},",
            head + f"umount {place},",
            head + f"pivot_root oldroot=/{pick(('a', 'b'))}/ /{pick(('a', 'b', '*'))}/,",
        )
    )


def text(draw: random.Random) -> list[str]:
    """The header and rules of one profile; of a program only one way to execute it."""
    rules = [rule(draw) for _ in range(draw.randrange(1, 7))]
    rules += [f"{one} {draw.choice(_WAYS)}," for one in _PROGRAMS if draw.randrange(2)]
    return [draw.choice(_FLAGS), *rules]


def near(draw: random.Random, other: list[str]) -> list[str]:
    """The same with one rule more, less or otherwise."""
    flags, *rules = other
    at = draw.randrange(len(rules))
    changed = draw.choice((rules[:at] + rules[at + 1 :], [*rules, rule(draw)], [*rules, *rules[at:]]))
    return [flags, *(changed or rules)]


def profiles(draw: random.Random) -> list[Profile]:
    """As many as one source has; a source whose rules contradict each other is drawn again."""
    while True:
        try:
            return _compiled(draw)
        except PhoenixError as error:
            assert "conflicting x modifiers" in error.message, error


def _compiled(draw: random.Random) -> list[Profile]:
    texts = [text(draw) for _ in range(PROFILES // 2)]
    texts += [near(draw, one) for one in texts]
    source = "\n".join(
        f"profile t{n}{flags} {{\n  " + "\n  ".join(rules) + "\n}" for n, (flags, *rules) in enumerate(texts)
    )
    policy = read_policy(compile_text(source.encode()))
    return [policy.get(f"t{n}") for n in range(len(texts))]


def asked(witness: str) -> Query | RawQuery:
    """The question that a shell would hand to `policy query`."""
    words, options = words_and_options(shlex.split(witness))
    return read_question(words, options)[1]


def answer(profile: Profile, question: Query | RawQuery) -> Answer | Masks:
    judge = Evaluator(profile)
    return judge.raw(question) if isinstance(question, RawQuery) else judge.ask(question)


def alike(a: Profile, b: Profile, question: Query | RawQuery) -> bool:
    """Whether both kernels would do the same: where all is logged, a deny rule keeps nothing quiet."""
    first, second = answer(a, question), answer(b, question)
    if a.audit and b.audit and isinstance(first, Answer) and isinstance(second, Answer):
        second = replace(second, reason=first.reason)
    return first == second


def apart(one: Difference, a: Profile, b: Profile) -> bool:
    """Whether the two differ on the example in what the difference says."""
    question = asked(one.witness)
    first, second = answer(a, question), answer(b, question)
    if isinstance(first, Masks) or isinstance(second, Masks) or one.logging:
        return first != second
    if (first.allowed, first.transition, first.complain) == (
        second.allowed,
        second.transition,
        second.complain,
    ):
        return False
    if "subset" in (one.only_a, one.only_b):  # what only one has makes it allow less
        return True
    if "complaint" in one.only_a + one.only_b or (first.transition and second.transition):
        return True
    return (first.allowed and not first.complain) is bool(one.only_a)


QUESTIONS = [
    *(f"file {p} --access {x}{o}" for p, x, o in product(
        ("/a", "/b", "/a/b", "/a/b/c", "/b/c", "/e1", "/e2", "/ab", "/proc/sys/x", "/"), "rwamkxl", ("", " --other")
    )),
    *(f"link {p} --target {q}" for p, q in product(("/a", "/a/b", "/b"), ("/a", "/b", "/a/b/c", "/proc/sys/x"))),
    *(f"change-profile {p}{e}" for p, e in product(
        ("p", "q", "pp", "unconfined", "/x/y"), ("", " --onexec", " --onexec --program /e1", " --onexec --program /e2")
    )),
    *(f"capability {c}" for c in (*_CAPABILITIES, "bpf")),
    *(f"network {f} {t}" for f, t in product(_FAMILIES, ("stream", "dgram"))),
    *(f"signal {s} --access {x} --peer {p}" for s, x, p in product((*_SIGNALS, "int"), ("send", "receive"), ("p", "unconfined"))),
    *(f"ptrace --access {x} --peer {p}" for x, p in product(("read", "trace", "readby", "tracedby"), ("p", "unconfined"))),
    *(f"mount --target /a/{f}" for f in (" --fstype proc", " --fstype proc --flags ro", " --source /b --flags bind", " --flags remount,ro")),
    *("umount --target /a", "umount --target /b", "pivot-root --new-root /a/ --put-old /a/", "userns"),
]  # fmt: skip


def test_every_example_tells_apart_and_equal_profiles_answer_alike() -> None:
    draw = random.Random(PAIRS)
    questions = [asked(one) for one in QUESTIONS]
    # A path's `l` alone is no question of a kernel's: a link is asked with its target.
    kernels = [asked(one) for one in QUESTIONS if "--access l" not in one]
    seen = {"differences": 0, "equal": 0}
    wrong: list[object] = []
    for _ in range(0, PAIRS, PROFILES):
        some = profiles(draw)
        for n in range(PROFILES):
            a = some[n]
            b = some[(n + PROFILES // 2) % PROFILES] if n % 2 else draw.choice(some)
            found: Comparison = compare_policies(Policy((a,)), Policy((b,)), logging=True)
            for one in found.differences:
                if one.witness:
                    seen["differences"] += 1
                    wrong += [] if apart(one, a, b) else [(a.label, b.label, one)]
            if not found.differences:
                seen["equal"] += 1
                every = kernels if found.not_compared else questions  # bare "equal" has no exception
                wrong += [(a.label, b.label, q) for q in every if not alike(a, b, q)]
    assert wrong == []
    assert seen["differences"] > PAIRS and seen["equal"] > PAIRS // 50, seen
