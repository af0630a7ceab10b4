"""Accepted rules are source: included, proven, told by plan, installed by apply, and gone with their file."""

from __future__ import annotations

from pathlib import Path

import pytest

from phoenix_hypervisor.plan.fault_codes import Fault
from support.hosts import DirectoryHost, LiveHost, profile, snapshot

INCLUDE = "include if exists <accepted/lxc-a>"
RULE = "/srv/app/** r,\n"
QUESTION = ("policy", "query", "lxc-a", "file", "/srv/app/x", "--access", "r")
TESTS = """\
[[test]]
name = "no other's"
why = "it is another's"
profiles = ["lxc-a"]
kind = "file"
path = "/srv/other/x"
access = "r"
expect = "denied"
"""


@pytest.fixture
def applied(two: LiveHost) -> LiveHost:
    two.source("lxc-a", "/etc/hosts r,", INCLUDE)
    assert two.apply().code == 0
    return two


def accept(host: DirectoryHost, text: str, name: str = "lxc-a") -> Path:
    return host.source(f"accepted/{name}", data=text.encode())


def settled(host: LiveHost) -> bool:
    return host.phoenix("plan", "--detailed-exitcode").code == 0 and host.phoenix("verify").code in (0, 3)


def test_an_accepted_rule_goes_the_way_of_a_source(applied: LiveHost) -> None:
    assert applied.phoenix(*QUESTION).code == 3
    accept(applied, RULE)
    assert applied.phoenix(*QUESTION).code == 0
    plan = applied.phoenix("plan")
    assert "+/srv/app/** r," in plan.out and "lxc-a opens  file: " in plan.out
    before = applied.policy()["lxc-a"]
    assert applied.apply().code == 0
    assert (applied.installed / "accepted/lxc-a").read_text() == RULE
    assert applied.policy()["lxc-a"] != before
    assert applied.phoenix("policy", "query", "installed:lxc-a", *QUESTION[3:]).code == 0
    assert settled(applied)
    whole = snapshot(applied.root)
    assert applied.apply().code == 0 and snapshot(applied.root) == whole


@pytest.mark.parametrize("how", ["removed", "emptied"])
def test_with_its_file_the_rule_goes(applied: LiveHost, how: str) -> None:
    """The parser would find the installed file, which is still there while the new source is proven."""
    file = accept(applied, RULE)
    first = applied.policy()["lxc-a"]
    assert applied.apply().code == 0
    if how == "removed":
        file.unlink()
    else:
        file.write_text("# none\n")
    assert applied.phoenix(*QUESTION).code == 3
    plan = applied.phoenix("plan")
    assert ("-/srv/app/** r," if how == "emptied" else "accepted/lxc-a: remove") in plan.out
    assert "lxc-a closes file: " in plan.out
    assert applied.apply().code == 0
    assert applied.policy()["lxc-a"] == first
    assert (applied.installed / "accepted/lxc-a").exists() is (how == "emptied")
    assert settled(applied)
    assert applied.phoenix("policy", "query", "installed:lxc-a", *QUESTION[3:]).code == 3
    assert applied.phoenix("rollback").code == 0
    assert (applied.installed / "accepted/lxc-a").read_text() == RULE
    assert applied.phoenix("policy", "query", "loaded:lxc-a", *QUESTION[3:]).code == 0


def test_with_root_alone_too(host: DirectoryHost) -> None:
    host.source("lxc-a", INCLUDE)
    host.declare({})
    file = accept(host, RULE)
    assert host.phoenix("setup").code == 0
    file.unlink()
    assert host.phoenix("setup").code == 0
    assert not (host.installed / "accepted/lxc-a").exists()
    assert host.phoenix("plan", "--detailed-exitcode").code == 0


def test_a_rule_of_hand_that_opens_a_danger_fails_the_proof(applied: LiveHost) -> None:
    tests = applied.etc / "policy_tests"
    tests.mkdir()
    (tests / "a.toml").write_text(TESTS)
    accept(applied, "/srv/** r,\n")
    before = applied.policy(), snapshot(applied.installed)
    for command in (("check",), ("setup",), ("apply", "--all")):
        failed = applied.phoenix(*command)
        assert failed.code == 1 and "no other's" in failed.err and "it is another's" in failed.err
    assert (applied.policy(), snapshot(applied.installed)) == before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("priority=10 /srv/** w,\n", "priority="),
        ("/a r, audit priority=2 /b w,\n", "priority="),
        ("  include <abstractions/base>\n", "include"),
        ("#include <abstractions/base>\n", "include"),
        ("}\nprofile lxc-c {\n", "}"),
        ("@{x}=/srv\n", "@{x}="),
    ],
    ids=["priority", "audit", "include", "old-include", "brace", "variable"],
)
def test_an_accepted_rule_is_a_plain_rule(applied: LiveHost, text: str, says: str) -> None:
    accept(applied, text)
    failed = applied.phoenix("setup", "--json")
    assert failed.code == 1
    assert failed.problems == [(Fault.ACCEPTED_UNUSABLE, str(applied.sources / "accepted/lxc-a"))]
    assert says in failed.out


def test_a_path_may_be_called_priority(applied: LiveHost) -> None:
    accept(applied, '# priority=1 is not for these\n"/srv/a, priority/x" r,\n')
    assert applied.phoenix("setup").code == 0


def test_rules_that_nothing_takes_are_a_fault(applied: LiveHost) -> None:
    accept(applied, RULE, "lxc-b")
    accept(applied, RULE, "lxc-x")
    failed = applied.phoenix("setup", "--json")
    assert failed.code == 1
    assert [code for code, _ in failed.problems] == [Fault.ACCEPTED_UNUSABLE] * 2
    assert "include if exists <accepted/lxc-b>" in failed.out and "there is no profile lxc-x" in failed.out


def test_accepted_rules_alone_are_laid_over_what_came_with_phoenix(host: DirectoryHost) -> None:
    """An `apparmor` beside the configuration stands for all sources, but where it holds accepted rules only."""
    home = host.root / "usr/local/phoenix_hypervisor/etc"
    (home / "apparmor").mkdir(parents=True)
    (home / "apparmor/lxc-a").write_bytes(profile("lxc-a", "/etc/hosts r,", INCLUDE))
    (home / "policy_tests").mkdir()
    (home / "policy_tests/a.toml").write_text(TESTS)
    host.declare({})
    accept(host, RULE)
    done = host.phoenix("setup")
    assert done.code == 0, done.err
    assert (host.installed / "accepted/lxc-a").read_text() == RULE
    assert (host.installed / "lxc-a").exists()
    assert host.phoenix(*QUESTION).code == 0
    asked = host.phoenix("policy", "explain", "lxc-a", *QUESTION[3:])
    assert str(host.sources / "accepted/lxc-a") in asked.out
    accept(host, "/srv/** r,\n")
    assert "no other's" in host.phoenix("check").err
    (host.sources / "accepted/lxc-a").unlink()
    (host.sources / "accepted").rmdir()
    host.sources.rmdir()
    assert host.phoenix("setup").code == 0
    assert not (host.installed / "accepted/lxc-a").exists()


def test_what_others_put_in_place_of_accepted_rules_stays(applied: LiveHost) -> None:
    file = accept(applied, RULE)
    assert applied.apply().code == 0
    installed = applied.installed / "accepted/lxc-a"
    installed.write_text("/srv/mine r,\n")
    file.unlink()
    assert applied.apply().code == 0
    assert installed.read_text() == "/srv/mine r,\n"


def test_lint_tells_accepted_rules_that_are_not_needed_any_more(applied: LiveHost) -> None:
    applied.source("lxc-a", "/srv/app/** r,", INCLUDE)
    file = accept(applied, "/srv/app/x r,\n/srv/app/** r,\n/srv/other r,\n")
    found = applied.phoenix("policy", "lint", "lxc-a", "--json").document["findings"]
    told = [(one["place"], one["code"]) for one in found if "/accepted/" in one["place"]]
    assert told == [(f"{file}:1", "accepted-not-needed"), (f"{file}:2", "accepted-not-needed")]
    assert [one["code"] for one in found].count("redundant-rule") == 0
