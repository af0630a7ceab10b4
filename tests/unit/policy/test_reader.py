"""The reader on whole blobs, and on broken ones: one error, never another."""

from __future__ import annotations

import os
import random

import pytest

from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.profile import Mode, Policy
from phoenix_hypervisor.policy.queries import (
    ChangeProfileQuery,
    LinkQuery,
    NetworkQuery,
    RawQuery,
    SignalQuery,
    UmountQuery,
)
from phoenix_hypervisor.policy.reader import extents, profile_names, read_policy
from unit.policy.samples import ENCODINGS, blob, policy

MUTATIONS = int(os.environ.get("PHOENIX_MUTATIONS", "3000"))
"""How many damaged blobs to try; 100,000 take about three minutes."""


@pytest.mark.parametrize("which", ENCODINGS)
def test_what_surrounds_the_rules(which: str) -> None:
    found = policy(f"sample-{which}")
    a, b = found.get("lxc-a"), found.get("lxc-b")
    assert found.names() == ["lxc-a", "lxc-a//child", "lxc-a//hat", "lxc-b", "lxc-open"]
    assert [p.mode for p in found.profiles] == [Mode.ENFORCE] * 3 + [Mode.COMPLAIN, Mode.UNCONFINED]
    assert [p.hat for p in found.profiles] == [False, False, True, False, False]
    assert a.path_flags == 0x4
    assert a.capabilities.allow == 1 << 21 | 1
    assert a.capabilities.audit == 1
    assert a.capabilities.quiet == 1 << 16
    assert b.capabilities.allow & (1 << 41) - 1 == (1 << 41) - 1 & ~(1 << 27)
    assert a.rlimits == {7: 1024}
    assert a.families is None
    assert [p.extent for p in found.profiles] == extents(blob(f"sample-{which}"))


def test_what_the_compiler_left_out_is_named() -> None:
    assert policy("sample-308").get("lxc-a").unmediated() == ()
    assert policy("sample-308-nofeatures").get("lxc-a").unmediated() == (
        "mount",
        "ptrace",
        "signal",
        "network",
    )
    assert policy("sample-308-nofeatures").get("lxc-open").unmediated() == ()
    assert "network" not in policy("network-308").profiles[0].unmediated()


def test_a_table_of_network_families() -> None:
    families = policy("network-308").profiles[0].families
    assert families is not None
    assert families[2] == (1 << 1, 0, 0)
    assert families[10] == (0, 0, 1 << 2)
    judge = Evaluator(policy("network-308").profiles[0])
    assert judge.ask(NetworkQuery(family=2, type=1)).allowed
    assert not judge.ask(NetworkQuery(family=2, type=2)).allowed
    assert judge.ask(NetworkQuery(family=10, type=2)).reason.value == "deny rule"
    assert not judge.ask(NetworkQuery(family=99, type=1)).allowed


def test_profiles_are_named_or_alone() -> None:
    with pytest.raises(PolicyError, match="5 profiles"):
        policy("sample-308").get(None)
    with pytest.raises(PolicyError, match="no profile lxc-none"):
        policy("sample-308").get("lxc-none")


def test_force_complain() -> None:
    forced = bytearray(blob("sample-308"))
    forced[13] |= 0x08  # bit 11 of the version word
    assert read_policy(bytes(forced)).profiles[0].mode is Mode.COMPLAIN


@pytest.mark.parametrize("which", ENCODINGS)
def test_every_truncation_is_refused(which: str) -> None:
    whole = blob(f"sample-{which}")
    edges = {e.end for e in extents(whole)}
    for size in range(0, len(whole), 61):
        if size not in edges:
            with pytest.raises(PolicyError):
                read_policy(whole[:size])


def exercise(data: bytes) -> Policy | None:
    """Read a damaged blob and ask it something; only PolicyError may come out."""
    try:
        profile_names(data)
        found = read_policy(data)
    except PolicyError as error:
        assert str(error)
        return None
    for profile in found.profiles:
        judge = Evaluator(profile)
        judge.file(b"/etc/shadow", "rwx", other=True)
        judge.ask(LinkQuery(b"/l/a", b"/t/b"))
        judge.ask(UmountQuery(b"/b/"))
        judge.ask(ChangeProfileQuery(b"a//&b"))
        judge.ask(SignalQuery(9, 2, b"x//&y"))
        judge.ask(NetworkQuery(family=10, type=2))
        for number in (2, 7, 16, 32, 200):
            judge.raw(RawQuery(number, b"\x09/abc", 1))
    return found


def mutate(data: bytes, chance: random.Random) -> bytes:
    """A damaged copy: bytes changed, cut out, doubled or overwritten by extreme numbers."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        if not out:
            break
        at = chance.randrange(len(out))
        kind = chance.randrange(6)
        if kind == 0:
            out[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            out[at] = chance.randrange(256)
        elif kind == 2:
            size = chance.choice((1, 2, 4))
            out[at : at + size] = chance.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * size
        elif kind == 3:
            del out[at : at + chance.randrange(1, 20)]
        elif kind == 4:
            out[at:at] = out[at : at + chance.randrange(1, 20)]
        else:
            del out[at + 1 :]
    return bytes(out)


def test_damaged_blobs_never_crash() -> None:
    chance = random.Random(20261122)
    sources = [blob(f"sample-{which}") for which in ENCODINGS] + [blob("plain-308"), blob("network-308")]
    read = 0
    for _ in range(MUTATIONS):
        read += exercise(mutate(chance.choice(sources), chance)) is not None
    assert 0 < read < MUTATIONS
