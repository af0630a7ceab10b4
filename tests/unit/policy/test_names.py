"""Names, extents and hashes of compiled blobs, on real ones and on tiny broken ones."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.reader import extents, looks_compiled, profile_hash, profile_names

DATA = Path(__file__).parents[2] / "data" / "policy"
NAMES = ["lxc-a", "lxc-a//child", "lxc-a//hat", "lxc-b", "lxc-open"]
HEADER = b"\x04\x08\x00version\x00\x02\x07\x20\x20\x00"


def blob(name: str) -> bytes:
    return (DATA / f"sample-{name}.bin").read_bytes()


def profile(name: bytes, rest: bytes = b"") -> bytes:
    return (
        b"\x04\x08\x00profile\x00\x07\x05"
        + (len(name) + 1).to_bytes(2, "little")
        + name
        + b"\0"
        + rest
        + b"\x08"
    )


@pytest.mark.parametrize("which", ["308", "308-nofeatures", "41", "41-equiv", "41-diff", "41-permstable"])
def test_names_of_real_blobs(which: str) -> None:
    assert profile_names(blob(which)) == NAMES
    assert looks_compiled(blob(which))


def test_a_name_given_twice_is_listed_twice() -> None:
    one = HEADER + profile(b"lxc-x")
    assert profile_names(one + one) == ["lxc-x", "lxc-x"]


def test_the_header_is_optional_behind_the_first_profile() -> None:
    assert profile_names(HEADER + profile(b"a") + profile(b"b")) == ["a", "b"]


@pytest.mark.parametrize(
    ("header", "name", "expected"),
    [
        (HEADER + b"\x04\x0a\x00namespace\x00\x05\x03\x00ns\x00", b"p", ":ns:p"),
        (HEADER, b":ns:p", ":ns:p"),
        (HEADER, b":ns://p", ":ns:p"),
        (HEADER, b"\xff", "\udcff"),
    ],
)
def test_namespaces_and_odd_bytes(header: bytes, name: bytes, expected: str) -> None:
    assert profile_names(header + profile(name)) == [expected]


def test_hash_covers_version_and_the_bytes_of_one_profile_only() -> None:
    body = profile(b"lxc-x", b"\x02\1\2\3\4")
    expected = hashlib.sha256(b"\x07\x20\x20\x00" + body).hexdigest()
    assert profile_hash(HEADER + profile(b"a") + HEADER + body + HEADER + profile(b"z"), "lxc-x") == expected


def test_a_permission_table_is_skipped_whole() -> None:
    blobs = blob("41-permstable")
    found = extents(blobs)
    assert found[-1].end == len(blobs)
    assert all(b"profile\x00\x07" in blobs[e.start : e.start + 16] for e in found)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"profile x { }", "version"),
        (HEADER, "a profile expected"),
        (HEADER[:-1], "version"),
        (HEADER.replace(b"\x07", b"\x09") + profile(b"a"), "ABI v9"),
        (HEADER.replace(b"\x07", b"\x04") + profile(b"a"), "ABI v4"),
        (HEADER + profile(b""), "name"),
        (HEADER + profile(b"a")[:-1], "cut off"),
        (HEADER + profile(b"a", b"\x63"), "unknown element code 99"),
        (HEADER + profile(b"a", b"\x06\xff\xff\xff\xff"), "cut off"),
    ],
)
def test_broken_blobs_are_one_clear_error(data: bytes, words: str) -> None:
    with pytest.raises(PolicyError, match=words):
        profile_names(data)


def test_every_truncation_is_refused() -> None:
    whole = blob("308")
    edges = {e.end for e in extents(whole)}
    for size in range(0, len(whole), 7):
        if size not in edges:
            with pytest.raises(PolicyError):
                profile_names(whole[:size])


def test_unknown_name_and_algorithm() -> None:
    with pytest.raises(PolicyError, match="no profile lxc-none"):
        profile_hash(blob("308"), "lxc-none")
    with pytest.raises(PolicyError, match="md5"):
        profile_hash(blob("308"), "lxc-a", "md5")
