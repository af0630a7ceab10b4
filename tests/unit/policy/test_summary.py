"""What `policy list` tells people of files: true, complete enough, and by real names."""

from __future__ import annotations

import itertools
import random
import re
from functools import cache

import pytest

from phoenix_hypervisor.policy import paths, regions, summary, untold
from phoenix_hypervisor.policy.braces import braced
from phoenix_hypervisor.policy.dfa import Dfa
from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.globs import glob_grammar, matches
from phoenix_hypervisor.policy.learning import Learner
from phoenix_hypervisor.policy.listing import list_lines
from phoenix_hypervisor.policy.paths import LIMIT, Paths
from phoenix_hypervisor.policy.shapes import Alphabet
from phoenix_hypervisor.policy.summary import Line
from support.told import covers, random_paths, untrue
from unit.policy.samples import ENCODINGS, evaluator, policy

NAMES = (
    "/proc/sys/kernel/core_pattern",
    "/proc/[0-9]*/comm",
    "/proc/sysrq-trigger",
    "/sys/kernel/x/*",
    "/etc/hosts",
)


@cache
def told(which: str, name: str) -> tuple[Line, ...]:
    return list_lines(policy(which).get(name), b"/", NAMES)


@pytest.mark.parametrize("which", ENCODINGS)
@pytest.mark.parametrize("name", ["lxc-a", "lxc-a//child"])
def test_nine_of_ten_random_allowed_paths_are_told(which: str, name: str) -> None:
    judge = evaluator(f"sample-{which}", name)
    lines = told(f"sample-{which}", name)
    assert len(lines) <= 200
    for letter in "wrx":
        paths = random_paths(judge.profile, letter, 300, 1)
        assert all(judge.file(path, letter).allowed for path in paths)
        fit = [line for line in lines if letter in line.access]
        hits = sum(any(covers(line, path) for line in fit) for path in paths)
        assert hits >= 0.9 * len(paths), (letter, hits, len(paths))


@pytest.mark.parametrize("which", ENCODINGS)
def test_every_line_is_true_for_every_path(which: str) -> None:
    """Not sampled: a line and the automaton are searched together."""
    assert_true(which, told(f"sample-{which}", "lxc-a"))


@pytest.mark.parametrize("which", ENCODINGS)
def test_a_search_that_gives_up_says_less_and_nothing_wrong(
    which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = told(f"sample-{which}", "lxc-a")
    monkeypatch.setattr(untold, "STEPS", 0)
    lines = list_lines(policy(f"sample-{which}").get("lxc-a"), b"/", NAMES)
    assert_true(which, lines)
    # The line for everything needs the whole of what it leaves out.
    assert any(line.but for line in whole)
    assert lines and not any(line.but for line in lines)


def assert_true(which: str, lines: tuple[Line, ...]) -> None:
    profile = policy(f"sample-{which}").get("lxc-a")
    assert [line for line in lines if line.access and untrue(profile, line)] == []


def test_real_names_come_first_and_nothing_is_told_that_no_kernel_asks() -> None:
    for which in ENCODINGS:
        lines = told(f"sample-{which}", "lxc-a")
        named = [line.named for line in lines]
        assert named == sorted(named, reverse=True)
        assert not [line.pattern for line in lines if re.search(r"//|/\.\.?(/|$)", line.pattern)]


def test_a_part_alone() -> None:
    profile = policy("sample-41").get("lxc-a//child")
    assert {line.pattern for line in list_lines(profile, b"/t", NAMES, "w")} == {"/t/*"}
    assert {line.pattern for line in list_lines(profile, b"/", NAMES, "w")} == {"/t/*", "/y"}
    assert list_lines(profile, b"/nowhere", NAMES) == ()


def test_an_automaton_that_is_too_large_is_refused_with_the_limit() -> None:
    size = 2 * LIMIT + 10
    states = range(size)
    chain = Dfa(
        base=[0] * size,
        default=[min(state + 1, size - 1) for state in states],
        next=[0] * 256,
        check=[0] * 256,
        ec=None,
        accept=[0] * size,
        accept2=[0] * size,
    )
    with pytest.raises(PolicyError, match=str(LIMIT)):
        Paths(chain, 1, glob_grammar(b"/**", 1), [0] * size)


def test_states_that_tell_too_many_bytes_apart_are_refused_with_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    profile = policy("sample-41").get("lxc-a")
    assert list_lines(profile, b"/", NAMES)
    monkeypatch.setattr(paths, "MOVES", 100)
    with pytest.raises(PolicyError, match="more than 100 ways on") as refused:
        list_lines(profile, b"/", NAMES)
    assert refused.value.hint


def test_all_accesses_together_have_one_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    left = 50_000
    learners: list[Learner] = []

    class Watched(Learner):
        def __init__(self, paths: Paths, alphabet: Alphabet, mask: int, budget: int) -> None:
            assert budget <= (left - sum(one.images.spent for one in learners)) // 2
            super().__init__(paths, alphabet, mask, budget)
            learners.append(self)

    monkeypatch.setattr(summary, "Learner", Watched)
    monkeypatch.setattr(regions, "Learner", Watched)
    monkeypatch.setattr(summary, "BUDGET", left)
    assert list_lines(policy("sample-41").get("lxc-a"), b"/", NAMES)
    assert len(learners) > 3
    assert any(one.images.spent for one in learners)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["/a/b", "/a/c"], ["/a/{b,c}"]),
        (["/a/b/x", "/a/c/x", "/a/c/y"], ["/a/b/x", "/a/c/{x,y}"]),
        (["/a/*", "/a/b"], ["/a/*", "/a/b"]),
        (["/proc/[0-9]*/x", "/proc/self/x"], ["/proc/{[0-9]*,self}/x"]),
        (["/a,b/c", "/d/c"], ["/a,b/c", "/d/c"]),
        (["/a/x-1.log", "/a/x-1.old", "/a/x-2.log", "/a/x-2.old"], ["/a/x-{1,2}.{log,old}"]),
        (["/home/*/.a/x", "/home/*/.a/y", "/root/.a/x", "/root/.a/y"], ["/{home/?*,root}/.a/{x,y}"]),
        (["/a/n[0-9]{,[0-9]}", "/a/n[0-9]{,[0-9]}.old"], ["/a/n[0-9]{,[0-9]}{,.old}"]),
        (["/usr/a/b", "/var/c/d"], ["/usr/a/b", "/var/c/d"]),
    ],
)
def test_names_of_one_directory_are_written_together(patterns: list[str], expected: list[str]) -> None:
    assert braced(patterns) == expected


@pytest.mark.parametrize("seed", range(40))
def test_what_is_written_together_stands_for_the_same_paths(seed: int) -> None:
    chance = random.Random(seed)
    parts = ["a", "b", "*", "**", "a-b", "[ab]", "[ab]{,[ab]}", "a*", "*b", "{,**}", "", "a,b"]
    patterns = {"/" + "/".join(chance.choices(parts, k=chance.randint(1, 3))) for _ in range(12)}
    patterns = {one for one in patterns if "//" not in one}
    told = braced(patterns)
    paths = ["/" + "".join(some) for n in range(1, 5) for some in itertools.product("ab/-", repeat=n)]
    for path in [*paths, "/a,b", "/a/a,b", "/a-b/a-b", "/ab/a-b/b", "/a-b/a,b/a"]:
        before = any(matches(one.encode(), path.encode()) for one in patterns)
        assert any(matches(one.encode(), path.encode()) for one in told) is before, (path, patterns, told)
