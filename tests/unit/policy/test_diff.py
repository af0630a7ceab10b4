"""Differences between golden blobs, and none between encodings of one source."""

from __future__ import annotations

import pytest

from phoenix_hypervisor.policy.diff import Difference, diff_policies, diff_profiles
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.profile import Profile
from phoenix_hypervisor.policy.queries import RawQuery
from unit.policy.samples import ENCODINGS, policy

COMPILED_FOR = {"userns", "io_uring", "mqueue", "dbus"}
"""Classes that the blobs' feature sets differ in."""


def lines(found: list[Difference]) -> list[str]:
    return [str(one) for one in found if one.kind not in COMPILED_FOR]


@pytest.mark.parametrize("which", ENCODINGS[2:])
def test_the_encoding_is_no_difference(which: str) -> None:
    assert lines(diff_policies(policy("sample-41"), policy(f"sample-{which}"), logging=True)) == []


@pytest.mark.parametrize("which", ENCODINGS)
def test_a_policy_equals_itself(which: str) -> None:
    same = policy(f"sample-{which}")
    assert diff_policies(same, same, logging=True) == []


def confirmed(one: Difference, a: Profile, b: Profile) -> bool:
    """Whether the two evaluators really answer the witness differently."""
    judge_a, judge_b = Evaluator(a), Evaluator(b)
    if isinstance(one.query, RawQuery):
        return judge_a.raw(one.query) != judge_b.raw(one.query)
    assert one.query is not None
    answers = judge_a.ask(one.query), judge_b.ask(one.query)
    return answers[0].allowed is bool(one.only_a) and answers[1].allowed is bool(one.only_b)


def test_the_parsers_disagree_about_mounts() -> None:
    old, new = policy("mounts-308"), policy("mounts-41")
    found = [one for one in diff_policies(old, new) if one.kind not in COMPILED_FOR]
    assert lines(found) == [
        "lxc-mounts: mount (bind): only A: mount  mount --source / --target / --flags bind",
        "lxc-mounts: mount (new): only A: mount  mount --target / --fstype bpf --flags ro",
    ]
    assert all(confirmed(one, old.profiles[0], new.profiles[0]) for one in found)


def test_what_only_one_profile_allows_comes_with_a_question_that_shows_it() -> None:
    for which in ENCODINGS:
        a, child = policy(f"sample-{which}").get("lxc-a"), policy(f"sample-{which}").get("lxc-a//child")
        found = list(diff_profiles(a, child))
        kinds = {one.kind for one in found}
        assert {"file", "mount (bind)", "mount (new)", "umount", "pivot_root", "capability"} <= kinds
        assert {"network", "signal", "ptrace", "change_profile", "link", "rlimit nofile"} <= kinds
        asked = [one for one in found if one.query is not None and not one.kind.startswith("file")]
        assert len(asked) > 12
        for one in asked:
            if one.kind != "link" or not (one.only_a == "subset" or one.only_b == "subset"):
                assert confirmed(one, a, child), one


def test_owner_and_other_are_told_apart() -> None:
    same = policy("sample-308")
    text = str(list(diff_profiles(same.get("lxc-a"), same.get("lxc-b"))))
    assert "other=True" in text


def test_modes_limits_and_missing_profiles_are_differences() -> None:
    sample = policy("sample-308")
    found = {one.kind: one for one in diff_profiles(sample.get("lxc-a"), sample.get("lxc-b"))}
    assert (found["mode"].only_a, found["mode"].only_b) == ("enforce", "complain")
    assert (found["rlimit nofile"].only_a, found["rlimit nofile"].only_b) == ("1024", "unset")
    assert (found["path flags"].only_a, found["path flags"].only_b) == (
        "attach_disconnected",
        "mediate_deleted",
    )
    missing = diff_policies(sample, policy("plain-308"))
    assert {one.kind for one in missing} == {"profile"}
    assert len(missing) == 6


def test_an_unconfined_profile_allows_everything_that_another_does_not() -> None:
    sample = policy("sample-308")
    found = {one.kind: one for one in diff_profiles(sample.get("lxc-open"), sample.get("lxc-a"))}
    assert "umount" in found
    settings = ("mode", "audit", "path flags", "rlimit nofile")
    assert not [one for kind, one in found.items() if one.only_b and kind not in settings]


def test_the_old_and_the_new_table_of_sockets_answer_the_same_questions() -> None:
    found = list(diff_profiles(policy("network-308").profiles[0], policy("sample-308").get("lxc-a")))
    assert [one for one in found if one.kind == "network"] == []
    bare = list(diff_profiles(policy("network-308").profiles[0], policy("plain-308").profiles[0]))
    assert [str(one.query) for one in bare if one.kind == "network"] == ["network inet stream"]
