"""Listings: examples are allowed, patterns stand for allowed strings only."""

from __future__ import annotations

import itertools
import random

import pytest

from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.globs import matches, under
from phoenix_hypervisor.policy.listing import list_capabilities, list_files, list_mounts, list_targets
from phoenix_hypervisor.policy.patterns import one_of
from unit.policy.samples import ENCODINGS, evaluator, policy


@pytest.mark.parametrize("which", ENCODINGS)
def test_files_of_a_small_profile(which: str) -> None:
    child = policy(f"sample-{which}").get("lxc-a//child")
    found = list_files(child, b"/", "w")
    assert found.patterns == ("/t/*", "/y")
    assert found.examples == ("/y", "/t/a")
    assert found.count == 2
    assert list_files(child, b"/t", "w").examples == ("/t/a",)
    assert list_files(child, b"/nowhere", "w").count == 0


def test_owner_and_other_differ() -> None:
    a = policy("sample-308").get("lxc-a")
    glob = b"/home/u/.ssh/*"
    assert list_files(a, glob, "w").count == 0
    assert list_files(a, glob, "w", other=True).count > 0


@pytest.mark.parametrize("which", ENCODINGS)
def test_every_pattern_and_example_is_allowed(which: str) -> None:
    judge = evaluator(f"sample-{which}", "lxc-a")
    found = list_files(judge.profile, b"/proc", "w", limit=40)
    assert found.patterns
    assert not [pattern for pattern in found.patterns if "//" in pattern]
    assert all(judge.file(example.encode(), "w").allowed for example in found.examples)
    alphabet = [b"a", b"s", b"k", b"/", b"sys", b"kernel", b"core_pattern", b"sysrq-trigger", b"x"]
    paths = {b"/proc/" + b"".join(tail) for n in range(5) for tail in itertools.product(alphabet, repeat=n)}
    covered = 0
    for path in paths:
        if any(matches(pattern.encode(), path) for pattern in found.patterns):
            covered += 1
            assert judge.file(path, "w").allowed, path
    assert covered > 1000
    assert not judge.file(b"/proc/sys/kernel/core_pattern", "w").allowed


def test_mounts_targets_and_capabilities() -> None:
    sample = policy("sample-41")
    found = {one.kind: one for one in list_mounts(sample.get("lxc-a"))}
    assert found["mount (bind)"].examples == ("mount --source /a/ --target /b/ --flags bind",)
    assert "mount --target /proc/ --fstype proc" in found["mount (new)"].examples
    assert found["umount"].examples == ("umount --target /b/",)
    assert found["pivot_root"].examples == ("pivot-root --new-root /new/ --put-old /old/",)
    assert "mount (move)" not in found
    assert list_targets(sample.get("lxc-a")).patterns == ("lxc-c",)
    assert list_capabilities(sample.get("lxc-a")) == ["chown", "sys_admin"]
    assert len(list_capabilities(sample.get("lxc-open"))) == 41
    assert list_mounts(sample.get("lxc-a//child")) == []


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        (b"/a/*", [b"/a/b"], [b"/a/", b"/a/b/", b"/a/b/c"]),
        (b"/a/*b", [b"/a/b", b"/a/xb"], [b"/a/"]),
        (b"/a/**", [b"/a/b", b"/a/b/c", b"/a/b/"], [b"/a/", b"/a"]),
        (b"/a{,/**}", [b"/a", b"/a/", b"/a/b"], [b"/ab"]),
        (b"/a[^b]c", [b"/axc", b"/a/c"], [b"/abc"]),
        (b"/[a-c]?", [b"/ax", b"/cz"], [b"/dx", b"/a/"]),
        (rb"/\*", [b"/*"], [b"/a"]),
        (b"/{a,b{c,d}}", [b"/a", b"/bc", b"/bd"], [b"/b", b"/bcd"]),
        (b"/a[!b]", [b"/a!", b"/ab"], [b"/ac", b"/a^"]),
    ],
)
def test_globs(glob: bytes, yes: list[bytes], no: list[bytes]) -> None:
    assert [path for path in yes if not matches(glob, path)] == []
    assert [path for path in no if matches(glob, path)] == []


@pytest.mark.parametrize("glob", [b"/a[", b"/{a", b"/a\\", b"/" + b"{a,b}" * 3000])
def test_bad_globs_are_refused(glob: bytes) -> None:
    with pytest.raises(PolicyError, match="glob"):
        matches(glob, b"/a")


def test_a_path_stands_for_everything_below_it() -> None:
    assert under(b"/proc") == b"/proc{,/,/**}"
    assert under(b"/proc/") == b"/proc{,/,/**}"
    assert under(b"/") == b"/{,**}"
    assert under(b"/proc/*") == b"/proc/*"


@pytest.mark.parametrize("seed", range(30))
def test_a_bracket_is_read_as_the_bytes_that_it_was_written_for(seed: int) -> None:
    chance = random.Random(seed)
    signs = b" !\"#$%&'()*+,-.:;<=>?@[\\^_`{|}~09AZaz"
    found = frozenset(chance.sample(signs, chance.randint(2, 9)))
    glob = one_of(found)
    assert {byte for byte in signs if matches(glob, bytes((byte,)), is_path=False)} == found, glob
