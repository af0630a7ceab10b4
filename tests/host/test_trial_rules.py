"""What a trial of each shipped profile lets through, on this machine's parser: and that it is no danger."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from phoenix_hypervisor.engine.trial_copy import Copies, build
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.policy import trial_rules as rules
from phoenix_hypervisor.policy.assertions import GlobQuery, PolicyTest, load_tests, run_tests
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.profile import Profile
from phoenix_hypervisor.policy.queries import parse_query
from phoenix_hypervisor.policy.reader import read_policy
from phoenix_hypervisor.profiles.parser import Parser
from phoenix_hypervisor.profiles.prove import read_tests
from support.hosts import TOP
from support.shipped import ETC, NAMES, takes_optional, text_of

NAME = "lxc-trial-950"
PARSER = Parser(Host(), str(ETC))


@cache
def policy_tests() -> tuple[PolicyTest, ...]:
    return tuple(read_tests(str(TOP / "etc/policy_tests"), optional=takes_optional()))


def compiled(text: bytes) -> bytes:
    return PARSER.compile_text(text, NAME, optional=takes_optional())


def the(blob: bytes) -> Profile:
    return read_policy(blob).profiles[0]


def plain(name: str) -> bytes:
    return rules.copy(text_of(name).encode(), name, name, NAME, lambda path: None)


@cache
def made(name: str) -> Copies:
    return build(plain(name), name, NAME, compiled, policy_tests(), PARSER.asks)


def allows(blob: bytes, **question: object) -> bool:
    return Evaluator(the(blob)).ask(parse_query(question)).allowed  # type: ignore[arg-type]


def mount(fstype: str, target: str = "/mnt/x/") -> dict[str, object]:
    return {"kind": "mount", "source": "x", "target": target, "fstype": fstype}


@pytest.mark.parametrize("name", NAMES)
def test_no_danger_comes_through(name: str) -> None:
    """All that the profile's own tests expect to be denied is denied to both copies."""
    tests = [
        PolicyTest(
            name=one.name, where=one.where, profiles=("*",), excluded=(), allowed=False, reason=None, why="",
            queries=one.queries,
        )
        for one in policy_tests()
        if one.applies_to(name) and not one.allowed
    ]  # fmt: skip
    for blob in (made(name).closed, made(name).open):
        assert the(blob).label == NAME
        outcome = run_tests(tests, {NAME: the(blob)}, PARSER.asks)
        assert outcome.asked > 10 and outcome.failures == ()
    held = rules.dangers(the(made(name).closed), policy_tests(), PARSER.asks)
    assert len(held) > 100 and rules.opens(the(made(name).open), held, PARSER.asks) == ()


@pytest.mark.parametrize("name", NAMES)
def test_what_the_profile_allows_stays_allowed_and_is_not_logged(name: str) -> None:
    tests = [one for one in policy_tests() if one.applies_to(name) and one.allowed]
    judge = Evaluator(the(made(name).open), PARSER.asks)
    for one in tests:
        for query in one.queries:
            if not isinstance(query, GlobQuery):
                assert judge.ask(query).allowed, query
    for question in (
        {"kind": "file", "path": "/etc/hosts", "access": "r"},
        {"kind": "capability", "name": "chown"},
    ):
        answer = judge.ask(parse_query(question))  # type: ignore[arg-type]
        assert answer.allowed and not answer.audited


def test_a_privileged_base_lets_file_systems_of_the_network_through() -> None:
    found = made("lxc-base")
    for fstype in ("nfs", "nfs4", "cifs"):
        assert not allows(found.closed, **mount(fstype)) and allows(found.open, **mount(fstype))
    assert Evaluator(the(found.open)).ask(parse_query(mount("nfs4"))).audited  # type: ignore[arg-type]
    for fstype in ("proc", "sysfs", "debugfs", "ext4"):
        assert not allows(found.open, **mount(fstype))


OVERLAY = b"""
[[test]]
expect = "denied"
kind = "mount"
source = "o"
target = "/mnt/x/"
fstype = "overlay"
"""


def test_rules_that_would_open_a_danger_are_left_out() -> None:
    """Each of these is left out for what it opens, and stays out for nothing else."""
    text = b"profile lxc-a {\n  file,\n  capability,\n  mount fstype=tmpfs,\n}\n"
    copied = rules.copy(text, "lxc-a", "lxc-a", NAME, lambda path: None)
    (held,) = load_tests(OVERLAY, "x.toml")
    free = build(copied, NAME, NAME, compiled, (), PARSER.asks)
    bound = build(copied, NAME, NAME, compiled, (held,), PARSER.asks)
    overlay = next(rule for rule in free.lets if "fstype=overlay" in rule)
    assert overlay not in bound.lets and any(overlay in texts for texts, _ in bound.refused)
    assert allows(free.open, **mount("overlay")) and not allows(bound.open, **mount("overlay"))
    assert set(bound.lets) < set(free.lets)


def test_what_is_refused_by_name_is_not_added() -> None:
    text = b"profile lxc-a {\n  file,\n  deny mount fstype=nfs4,\n  deny capability sys_nice,\n}\n"
    copied = rules.copy(text, "lxc-a", "lxc-a", NAME, lambda path: None)
    found = build(copied, NAME, NAME, compiled, (), PARSER.asks)
    assert not any("nfs4" in rule or "sys_nice" in rule for rule in found.lets)
    assert not allows(found.open, **mount("nfs4")) and allows(found.open, kind="capability", name="sys_admin")
    assert not allows(found.open, kind="capability", name="sys_module")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("profile lxc-a /usr/bin/x { file, }", "no plain header"),
        ("profile lxc-a { file, }\nprofile lxc-b { file, }", "no plain header"),
        ("profile lxc-b { file, }", "no plain header"),
        ("profile lxc-a flags=(attach_disconnected,complain) { file, }", "does not enforce"),
        ("profile lxc-a flags=(unconfined) { file, }", "does not enforce"),
        ("profile lxc-a { signal peer=lxc-a, }", "names the profile itself"),
        ("profile lxc-a { include <x>\n }", "names the profile itself"),
        ("profile lxc-a {\n  ptrace peer=lxc-a//kid,\n}", "names the profile itself"),
    ],
    ids=range(8),
)
def test_what_cannot_be_copied(text: str, why: str) -> None:
    found = {"x": ("/etc/apparmor.d/x", b"  ptrace peer=lxc-a,\n")}
    with pytest.raises(PolicyError, match=why):
        rules.copy(text.encode(), "/etc/apparmor.d/lxc-a", "lxc-a", NAME, found.get)


def test_a_copy_is_the_profile_under_another_name() -> None:
    text = b"abi <abi/3.0>,\n# lxc-a\nprofile lxc-a flags=(attach_disconnected) {\n  file,\n  profile kid { file, }\n}\n"
    found = rules.copy(text, "lxc-a", "lxc-a", NAME, lambda path: None)
    assert found == text.replace(b"profile lxc-a flags", b"profile lxc-trial-950 flags")
    names = {one.label for one in read_policy(compiled(found)).profiles}
    assert names == {NAME, f"{NAME}//kid"}


def test_a_profile_that_does_not_compile(tmp_path: Path) -> None:
    with pytest.raises(PhoenixError, match="syntax error"):
        build(b"profile lxc-trial-950 {\n  nonsense\n}\n", NAME, NAME, compiled, (), PARSER.asks)
