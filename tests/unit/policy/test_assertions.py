"""Policy tests: the format, and that a broken profile is found out with a witness."""

from __future__ import annotations

import pytest

from phoenix_hypervisor.policy.assertions import Outcome, load_tests, run_tests
from phoenix_hypervisor.policy.fault import PolicyError
from unit.policy.samples import DATA, ENCODINGS, policy

SAMPLE = (DATA / "sample-tests.toml").read_bytes()


def run(text: str, which: str = "sample-308") -> Outcome:
    profiles = {profile.label: profile for profile in policy(which).profiles}
    return run_tests(load_tests(text.encode(), "x.toml"), profiles)


@pytest.mark.parametrize("which", ENCODINGS)
def test_the_sample_passes(which: str) -> None:
    outcome = run(SAMPLE.decode(), f"sample-{which}")
    assert [str(failure) for failure in outcome.failures] == []
    assert outcome.asked == 4 + 1 + 1 + 4 + 4
    assert outcome.unused == ()


def test_a_failure_shows_query_answer_witness_and_why() -> None:
    outcome = run(
        '[[test]]\nname="t"\nprofiles=["lxc-a"]\nkind="file"\npath="/x"\naccess="w"\nexpect="denied"\nwhy="so"'
    )
    assert not outcome.ok
    assert str(outcome.failures[0]) == (
        "x.toml: t: lxc-a: file /x --access w\n"
        "    expected denied, the answer is allowed (rule)\n"
        "    witness: lxc-a file /x --access w\n"
        "    why: so"
    )


@pytest.mark.parametrize(
    ("glob", "access", "expect", "witness"),
    [
        ("/proc/**", "w", "denied", "lxc-a file /proc/a --access w"),
        ("/proc/**", "rw", "allowed", "lxc-a file /proc/sysrq-trigger --access rw"),
        ("/proc/s*-trigger", "w", "denied", "lxc-a file /proc/s-trigger --access w"),
        ("/proc/{sysrq-trigger,x}", "rw", "denied", "lxc-a file /proc/x --access w"),
    ],
)
def test_a_glob_fails_with_its_shortest_exception(glob: str, access: str, expect: str, witness: str) -> None:
    outcome = run(
        f'[[test]]\nprofiles="lxc-a"\nkind="file"\nglob="{glob}"\naccess="{access}"\nexpect="{expect}"'
    )
    assert [failure.witness for failure in outcome.failures] == [witness]


def test_denied_paths_that_the_automaton_does_not_know_are_met() -> None:
    text = '[[test]]\nprofiles="lxc-a//child"\nkind="file"\nglob="/{y,zz}"\naccess="w"\nexpect="allowed"'
    assert [failure.witness for failure in run(text).failures] == ["lxc-a//child file /zz --access w"]


def test_a_complaining_profile_denies_nothing() -> None:
    text = '[[test]]\nprofiles="lxc-b"\nkind="file"\nglob="/never/**"\naccess="w"\nexpect="denied"'
    (failure,) = run(text).failures
    assert "only complains" in failure.answer


def test_the_reason_counts() -> None:
    text = (
        '[[test]]\nprofiles="lxc-a"\nkind="file"\npath="/etc/gshadow"\naccess="r"\nexpect="denied"\nreason='
    )
    assert run(text + '"no rule"').ok
    assert not run(text + '"deny rule"').ok


def test_tests_without_a_profile_are_reported() -> None:
    outcome = run('[[test]]\nprofiles="none-*"\nkind="userns"\nexpect="denied"')
    assert outcome.ok
    assert len(outcome.unused) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[test", "not a TOML file"),
        ("version = 2", "version 1"),
        ("tests = []", "unknown key 'tests'"),
        ("test = 1", r"\[\[test\]\]"),
        ("test = [1]", "test 1: must be a table"),
        ('[[test]]\nkind="userns"', "'expect'"),
        ('[[test]]\nname="n"\nkind="userns"\nexpect="no"', "n: 'expect'"),
        ('[[test]]\nkind="userns"\nexpect="denied"\nreason="x"', "unknown reason"),
        ('[[test]]\nkind="userns"\nexpect="denied"\nprofile="x"', "unknown field 'profile'"),
        ('[[test]]\nkind="userns"\nexpect="denied"\nprofiles=[1]', "'profiles'"),
        ('[[test]]\nexpect="denied"\nqueries=[]', "asks nothing"),
        ('[[test]]\nexpect="denied"\nqueries=[1]', "list of tables"),
        ('[[test]]\nexpect="denied"\nkind="userns"\nqueries=[]', "no other query field"),
        ('[[test]]\nexpect="denied"\nkind="raw"\nclass=7\nstring=""', "raw"),
        ('[[test]]\nexpect="denied"\nkind="umount"\nglob="/x"', "replaces 'path'"),
        ('[[test]]\nexpect="denied"\nkind="file"\naccess="w"\nglob="/x["', "bad glob"),
        ('[[test]]\nexpect="denied"\nkind="file"\naccess="w"\npath=[]', "asks nothing"),
    ],
)
def test_mistakes_are_named(text: str, words: str) -> None:
    with pytest.raises(PolicyError, match=words):
        load_tests(text.encode(), "x.toml")


def test_undecodable_files_are_refused() -> None:
    with pytest.raises(PolicyError, match="TOML"):
        load_tests(b"\xff", "x.toml")
