"""The codec with Proxmox's `devN` lines: the same rules as for our raw lines, and `:` alone sets one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_hypervisor.containers.conf import (
    MAX_CONF,
    ConfError,
    Dialect,
    counting,
    lines_put_back,
    parse,
    values_of,
    with_lines,
)
from phoenix_hypervisor.containers.gpu import device_values
from phoenix_hypervisor.plan.actions import PROFILE_KEY, is_device_key

OLD, NEW = "/dev/nvidia0,mode=0666", "/dev/nvidia1,mode=0666"
ZERO, ONE = f"dev0: {OLD}\n".encode(), f"dev0: {NEW}\n".encode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (ZERO, ONE),
        (b"arch: amd64\n" + ZERO + b"memory: 512\n", b"arch: amd64\n" + ONE + b"memory: 512\n"),
        (b"dev0:/dev/nvidia0,mode=0666  \n", ONE),
        (ZERO.replace(b"\n", b"\r\n"), ONE.replace(b"\n", b"\r\n")),
        (ZERO[:-1], ONE[:-1]),
        (b"memory: 512", b"memory: 512\n" + ONE),
        (b"memory: 512\r\n", b"memory: 512\r\n" + ONE.replace(b"\n", b"\r\n")),
        (ZERO + b"dev0: /dev/x\n", ONE),
        (b"dev00: /dev/a\ndev01: /dev/b\n" + ZERO, b"dev00: /dev/a\ndev01: /dev/b\n" + ONE),
        (b"dev10: /dev/a\n" + ZERO, b"dev10: /dev/a\n" + ONE),
        (b"#dev0: /dev/a\n" + ZERO, b"#dev0: /dev/a\n" + ONE),
        (b"dev0 = /dev/a\nmemory: 1\n", b"dev0 = /dev/a\nmemory: 1\n" + ONE),
        (b"m: 1\n\n[snap]\n" + ZERO, b"m: 1\n" + ONE + b"\n[snap]\n" + ZERO),
        (b"m: 1\n\n[pve:pending]\n" + ZERO, b"m: 1\n" + ONE + b"\n[pve:pending]\n" + ZERO),
        (ZERO + b"\n[snap]\n" + ZERO, ONE + b"\n[snap]\n" + ZERO),
        (b"lxc.apparmor.profile: a\nlxc.x: y\n", b"lxc.apparmor.profile: a\n" + ONE + b"lxc.x: y\n"),
    ],
)  # fmt: skip
def test_one_line_changes_and_comes_back(before: bytes, after: bytes) -> None:
    assert with_lines(before, {"dev0": NEW}) == after
    assert with_lines(after, {"dev0": NEW}) is after
    back = lines_put_back(after, before, ["dev0"])
    assert counting(parse(back), ["dev0"]) == counting(parse(before), ["dev0"])


def test_a_line_goes_and_others_stay() -> None:
    data = b"arch: amd64\n" + ZERO + b"dev1: /dev/ttyUSB0\n[s1]\n" + ZERO
    assert with_lines(data, {"dev0": None}) == b"arch: amd64\ndev1: /dev/ttyUSB0\n[s1]\n" + ZERO


def test_the_profile_and_devices_in_one_edit() -> None:
    after = with_lines(ZERO, {"dev0": NEW, "dev1": "/dev/nvidiactl", PROFILE_KEY: "lxc-a"})
    assert after == ONE + b"lxc.apparmor.profile: lxc-a\ndev1: /dev/nvidiactl\n"


def test_the_last_of_two_counts_and_sections_do_not() -> None:
    conf = parse(b"dev0: /dev/a\ndev0: /dev/b\n[s1]\ndev0: /dev/c\n")
    assert values_of(conf, b"dev0") == ("/dev/a", "/dev/b")
    assert device_values(conf) == {"dev0": "/dev/b"} and counting(conf, ["dev0"]) == {"dev0": "/dev/b"}
    assert device_values(parse(b"dev0: /dev/a\n", Dialect.LXC)) == {}


@pytest.mark.parametrize(
    "data", [b"m: 1\n[1x]\n" + ZERO, b"m: \0\n", b"#" + b"x" * MAX_CONF], ids=["header", "NUL", "large"]
)
def test_what_cannot_be_edited_safely_is_refused(data: bytes) -> None:
    with pytest.raises(ConfError):
        with_lines(data, {"dev0": NEW})


@pytest.mark.parametrize(
    ("key", "is_one"),
    [("dev0", True), ("dev255", True), ("dev", False), ("device0", False), ("dev1000", False), ("mp0", False), ("dev²", False)],
)  # fmt: skip
def test_which_keys_are_devices(key: str, is_one: bool) -> None:
    assert is_device_key(key) is is_one


LINES = st.sampled_from(
    [
        b"memory: 512", b"", b"#dev0: /dev/x", b"dev0: /dev/nvidia0", b"dev0:/dev/nvidia0,mode=0666 ", b"dev1: /dev/kfd",
        b" dev0: /dev/y", b"dev0 = /dev/z", b"lxc.apparmor.profile: lxc-a", b"[pve:pending]", b"[snap]", b"[1x]", b"\xff",
    ]
)  # fmt: skip


@settings(max_examples=300)
@given(
    st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r\n"])), max_size=12),
    st.sampled_from([None, NEW]),
)
def test_nothing_but_that_line_of_the_head_ever_differs(
    parts: list[tuple[bytes, bytes]], value: str | None
) -> None:
    data = b"".join(line + end for line, end in parts)
    try:
        after = with_lines(data, {"dev0": value})
    except ConfError:
        return
    conf = parse(data)
    tail = data[conf.head :]
    assert after.endswith(tail)

    def others(text: bytes) -> list[bytes]:
        return [one for one in text.split(b"\n") if not re.match(rb"dev0:", one)]

    assert others(after[: len(after) - len(tail)]) == others(data[: conf.head])
    assert counting(parse(after), ["dev0"]) == {"dev0": value}
