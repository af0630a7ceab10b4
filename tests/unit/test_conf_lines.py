"""The codec's smaller functions: all fields of a configuration, several lines at once, lines of snapshots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from phoenix_hypervisor.containers.conf import (
    MAX_CONF,
    NESTING,
    SECCOMP,
    Conf,
    ConfError,
    Dialect,
    Edit,
    assign,
    beside,
    check_editable,
    counting,
    edit,
    lines_below,
    lines_put_back,
    parse,
    put_back,
    put_back_beside,
    sections_with,
    unquoted,
    values_of,
    with_lines,
)
from phoenix_hypervisor.plan.actions import MANAGED_KEYS, NESTING_KEY, PROFILE_KEY, SECCOMP_KEY

A, B = b"lxc.apparmor.profile: a\n", b"lxc.apparmor.profile: b\n"
NEST, CALLS = b"lxc.apparmor.allow_nesting: 1\n", b"lxc.seccomp.profile: /x\n"
LXC_A = b"lxc.apparmor.profile = a\n"
LXC_NEST, LXC_CALLS = b"lxc.apparmor.allow_nesting = 1\n", b"lxc.seccomp.profile = /x\n"
BOTH_FORMS = pytest.mark.parametrize(
    ("dialect", "profile", "nesting", "calls"),
    [(Dialect.PVE, A, NEST, CALLS), (Dialect.LXC, LXC_A, LXC_NEST, LXC_CALLS)],
    ids=["Proxmox", "LXC"],
)


# Reading ----------------------------------------------------------------------------

NOTHING = Conf(
    data=b"",
    dialect=Dialect.PVE,
    head=0,
    values=(),
    beside={},
    lock=None,
    is_template=False,
    features="",
    malformed=None,
    pending=None,
    includes=False,
    old_key=False,
    unprivileged=False,
)


def test_an_empty_configuration_says_nothing() -> None:
    assert parse(b"") == NOTHING
    assert parse(b"", Dialect.LXC) == replace(NOTHING, dialect=Dialect.LXC)
    assert (NOTHING.assigned, NOTHING.next_assigned) == (None, None)


def test_every_field_of_a_proxmox_configuration() -> None:
    head = (
        b"arch: amd64\nlock: backup\ntemplate: 1\nfeatures: nesting=1\xff\nunprivileged: 1\n" + A + B + NEST
    )
    head += b"lxc.apparmor.allow_nesting: 2\n" + CALLS + b"lxc.include: /y\nlxc.aa_profile: z\n"
    data = head + b"[pve:pending]\nlxc.apparmor.profile: c\n[snap]\nlock: none\n" + A
    assert parse(data) == Conf(
        data=data,
        dialect=Dialect.PVE,
        head=len(head),
        values=("a", "b"),
        beside={NESTING_KEY: "2", SECCOMP_KEY: "/x"},
        lock="backup",
        is_template=True,
        features="nesting=1\N{REPLACEMENT CHARACTER}",
        malformed=None,
        pending=("c",),
        includes=True,
        old_key=True,
        unprivileged=True,
    )
    assert parse(b"lock: \xff\n").lock == "\N{REPLACEMENT CHARACTER}"


def test_every_field_of_an_lxc_configuration() -> None:
    data = LXC_A + LXC_NEST + b"lxc.apparmor.allow_nesting = 2\n" + LXC_CALLS
    data += b"[x]\nlxc.aa_profile = z\nlxc.idmap = u 0 100000 65536\nlock: backup\nlxc.include = /y\n"
    assert parse(data, Dialect.LXC) == replace(
        NOTHING,
        data=data,
        dialect=Dialect.LXC,
        head=len(data),
        values=("a",),
        beside={NESTING_KEY: "2", SECCOMP_KEY: "/x"},
        old_key=True,
        unprivileged=True,
    )
    assert not parse(b"#lxc.aa_profile = z\n", Dialect.LXC).old_key


def test_bytes_that_are_no_text_come_back_as_they_were() -> None:
    data = b"lxc.apparmor.profile: \xff\n"
    (value,) = parse(data).values
    assert value == "\udcff"
    assert assign(b"", value) == data
    assert beside(A, SECCOMP, "/\udcff") == A + b"lxc.seccomp.profile: /\xff\n"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("'a'", "a"), ('"a"', "a"), ("a", "a"), ("''", ""), ("'", "'"), ("", ""), ("'a\"", "'a\""),
     ("xax", "xax"), ("XaX", "XaX"), ("x'", "x'"), ("a'b", "a'b"), ("'abc'", "abc"), ("aa", "aa")],
)  # fmt: skip
def test_one_pair_of_quotes_is_taken_off(value: str, expected: str) -> None:
    assert unquoted(value) == expected
    data = b"lxc.apparmor.profile = " + value.encode() + b"\n"
    assert parse(data, Dialect.LXC).values == (expected,)
    assert parse(data).values == (value,), "Proxmox passes them on"


def test_the_lines_below_the_head_with_their_sections() -> None:
    data = A + b"[Snap_1]\nm: 1\n" + A + b"lxc.apparmor.profile: 'q'\n[1x]\n" + B + b"[pve:pending]\n" + B
    found = [("Snap_1", "a"), ("Snap_1", "q"), ("Snap_1", "b"), ("pve:pending", "b")]
    assert lines_below(data) == found
    assert lines_below(data, Dialect.LXC) == lines_below(A) == lines_below(b"[snap]\nm: 1\n") == []
    assert sections_with(data, "b") == ("Snap_1", "pve:pending")
    assert sections_with(data + A + b"[snap]\n" + A, "a") == ("Snap_1", "pve:pending", "snap")
    assert sections_with(data + B, "b") == ("Snap_1", "pve:pending"), "each once"
    assert sections_with(data, "z") == ()


def test_a_key_that_stands_elsewhere_in_a_line_is_no_line() -> None:
    data = b"#x lxc.apparmor.profile: c\nlxc.apparmor.profile_x: d\nx: lxc.apparmor.profile: e\n" + A
    assert parse(data).values == ("a",)
    assert values_of(parse(data), b"lxc.apparmor.profile") == ("a",)
    assert values_of(parse(A + b"[s1]\n" + B), b"lxc.apparmor.profile") == ("a",)


def test_pending_lines_end_where_the_next_section_begins() -> None:
    data = b"[s1]\n" + A + b"[pve:pending]\n" + B + b"[t1]\n" + A
    assert parse(data).pending == ("b",)
    assert parse(b"[t1]\n[1x]\n[PVE:Pending]\n" + B).pending == ("b",)
    assert parse(b"[t1]\n[1x]\n").malformed == 2
    assert parse(b"\n[1x]\n").malformed == 2


def test_what_counts_of_each_of_our_lines() -> None:
    conf = parse(A + B + NEST)
    assert counting(conf, MANAGED_KEYS) == {PROFILE_KEY: "b", NESTING_KEY: "1", SECCOMP_KEY: None}
    assert counting(conf, [NESTING_KEY]) == {NESTING_KEY: "1"}


# Refusing ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        (b"[1x]\n", "section-header", "line 1 looks like a section header"),
        (b"#" * (MAX_CONF + 1), "too-large", f"is over {MAX_CONF} bytes"),
        (b"m: \0\n", "nul-byte", "contains a NUL byte"),
    ],
)
def test_each_refusal_has_its_reason(data: bytes, reason: str, words: str) -> None:
    with pytest.raises(ConfError, match=words) as caught:
        check_editable(parse(data))
    assert caught.value.reason == reason and caught.value.hint
    changes: list[Callable[[], bytes]] = [
        lambda: assign(data, "a"),
        lambda: beside(data, NESTING, "1"),
        lambda: put_back(data, A),
        lambda: put_back_beside(data, NEST, NESTING),
    ]
    for change in changes:
        with pytest.raises(ConfError):
            change()


def test_a_value_and_an_edit_that_cannot_be_have_their_reasons() -> None:
    with pytest.raises(ConfError, match="'a b' cannot be a profile name") as caught:
        edit(parse(b""), "a b")
    assert caught.value.reason == "profile-name"
    for value in ("\x7f", "a\x20b", "a\u00a0"):
        with pytest.raises(ConfError):
            edit(parse(b""), value)
    with pytest.raises(ConfError) as caught:
        Edit(0, b"x", b"y").apply(b"y")
    assert caught.value.reason == "other-file"


def test_a_file_of_just_the_largest_size_is_written() -> None:
    room = MAX_CONF - len(A)
    data = b"#" * (room - 1) + b"\n"
    assert len(assign(data, "a")) == MAX_CONF
    with pytest.raises(ConfError, match="would grow over") as caught:
        assign(b"#" + data, "a")
    assert caught.value.reason == "too-large" and caught.value.hint
    check_editable(parse(b"#" * MAX_CONF))


# Several lines at once --------------------------------------------------------------


@BOTH_FORMS
def test_several_lines_are_set_the_profile_first(
    dialect: Dialect, profile: bytes, nesting: bytes, calls: bytes
) -> None:
    lines = {SECCOMP_KEY: "/x", NESTING_KEY: "1", PROFILE_KEY: "a"}
    after = with_lines(b"m = 1\n", lines, dialect)
    assert after in (b"m = 1\n" + profile + nesting + calls, b"m = 1\n" + profile + calls + nesting)
    assert with_lines(after, lines, dialect) is after
    gone: dict[str, str | None] = {PROFILE_KEY: None, NESTING_KEY: None, SECCOMP_KEY: None}
    assert with_lines(after, gone, dialect) == b"m = 1\n"
    assert with_lines(after, {NESTING_KEY: None}, dialect) == b"m = 1\n" + profile + calls


@BOTH_FORMS
def test_several_lines_are_put_back(dialect: Dialect, profile: bytes, nesting: bytes, calls: bytes) -> None:
    original = profile + nesting + calls
    now = b"m = 2\n" + profile.replace(b"a\n", b"b\n")
    after = lines_put_back(now, original, [PROFILE_KEY, NESTING_KEY], dialect)
    assert after == b"m = 2\n" + profile + nesting
    after = lines_put_back(now, original, [SECCOMP_KEY], dialect)
    assert after == now + calls
    assert lines_put_back(original, b"m = 1\n", MANAGED_KEYS, dialect) == b""
    assert lines_put_back(original, b"#\n" + original, MANAGED_KEYS, dialect) is original
    # The profile goes back first, whatever the order: the others go behind it.
    for keys in (MANAGED_KEYS, MANAGED_KEYS[::-1]):
        back = lines_put_back(b"m = 2\n", original, keys, dialect)
        assert back.startswith(b"m = 2\n" + profile) and sorted(back.splitlines()) == sorted(
            (b"m = 2\n" + original).splitlines()
        )


def test_of_several_lines_beside_the_last_counts() -> None:
    two = A + NEST + b"lxc.apparmor.allow_nesting: 0\n"
    assert beside(two, NESTING, "0") is two
    assert beside(two, NESTING, "1") == A + NEST
    assert put_back_beside(two, b"lxc.apparmor.allow_nesting: 0\n", NESTING) is two
    assert put_back_beside(two, NEST, NESTING) == A + NEST
    original = NEST + b"lxc.apparmor.allow_nesting:  2\r\n"
    assert put_back_beside(A, original, NESTING) == A + b"lxc.apparmor.allow_nesting:  2\n"
    assert put_back_beside(A + NEST, b"m: 1\n", NESTING) == A
    assert put_back_beside(A, b"m: 1\n", NESTING) is A


def test_an_original_of_lxc_is_read_as_lxc_reads_it() -> None:
    indented = b"  lxc.apparmor.profile = old\n"
    assert put_back(LXC_A, indented, Dialect.LXC) == indented
    nesting = b"  lxc.apparmor.allow_nesting = 0\n"
    assert put_back_beside(LXC_NEST, nesting, NESTING, Dialect.LXC) == nesting
    quoted = b"lxc.apparmor.profile = 'a'\n"
    assert put_back(quoted, LXC_A, Dialect.LXC) is quoted, "the same profile"
    assert put_back(LXC_A + LXC_A, LXC_A, Dialect.LXC) == LXC_A


def test_of_several_profile_lines_the_last_is_put_back_as_the_only_one() -> None:
    assert put_back(A + B, A + B) == B


@pytest.mark.parametrize("value", [b"x  ", b"endsX", b"x # site", b"x\t"])
def test_a_line_is_put_back_with_its_blanks(value: bytes) -> None:
    for key in (b"lxc.apparmor.profile", NESTING):
        original = key + b": " + value + b"\r\n"
        now = key + b": other\n"
        back = put_back(now, original) if key != NESTING else put_back_beside(now, original, NESTING)
        assert back == key + b": " + value + b"\n"


def test_lines_of_lxc_are_read_as_lxc_reads_them() -> None:
    quoted = b"lxc.apparmor.allow_nesting = '1'\n"
    assert values_of(parse(quoted, Dialect.LXC), NESTING) == ("1",)
    assert parse(quoted, Dialect.LXC).beside == {NESTING_KEY: "1"}
    assert beside(quoted, NESTING, "1", Dialect.LXC) is quoted
    indented = b"  lxc.apparmor.allow_nesting = 0\n"
    assert lines_put_back(LXC_NEST, indented, [NESTING_KEY], Dialect.LXC) == indented
    assert lines_put_back(LXC_A, b" " + LXC_A, [PROFILE_KEY], Dialect.LXC) == LXC_A, "the same profile"
    between = LXC_A + b"x = 1\n" + LXC_A + b"y = 1\n" + LXC_A + b"z = 1\n"
    assert assign(between, "b", Dialect.LXC) == b"x = 1\ny = 1\nlxc.apparmor.profile = b\nz = 1\n"


def test_a_line_beside_goes_to_the_end_of_the_head_where_there_is_no_profile_line() -> None:
    assert beside(b"m: 1\n\n[snap]\nm: 2\n", NESTING, "1") == b"m: 1\n" + NEST + b"\n[snap]\nm: 2\n"
    assert beside(b"m: 1\n" + A + b"[snap]\n", NESTING, "1") == b"m: 1\n" + A + NEST + b"[snap]\n"
    assert beside(A[:-1], NESTING, "1") == A + NEST
    assert beside(A + b"m: 1\n" + B + b"m: 2\n", NESTING, "1") == A + b"m: 1\n" + B + NEST + b"m: 2\n"


# Where a line is inserted -----------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # The first line's ending is the file's; a bare newline at the very start has none before it.
        (b"m: 1\r\nc: 2\n", b"m: 1\r\nc: 2\n" + A[:-1] + b"\r\n"),
        (b"m: 1\nc: 2\r\n", b"m: 1\nc: 2\r\n" + A),
        (b"\nm: 1\n", b"\nm: 1\n" + A),
        (b"\r\nm: 1\r\n", b"\r\nm: 1\r\n" + A[:-1] + b"\r\n"),
        # Without sections blank lines at the end are text like any other.
        (b"m: 1\n\n\n", b"m: 1\n\n\n" + A),
        # With sections, the blank lines before the first one stay before it.
        (b"a: 1\nb: 1\n\n \n[snap]\n", b"a: 1\nb: 1\n" + A + b"\n \n[snap]\n"),
        (b"\n\n[snap]\n", A + b"\n\n[snap]\n"),
        # The last line lacks its newline: what it is decides whether it may gain a CR.
        (b"a: 1\r\nb:", b"a: 1\r\nb:\n" + A[:-1] + b"\r\n"),
        (b"a: 1\r\nb: ", b"a: 1\r\nb: \n" + A[:-1] + b"\r\n"),
        (b"#a\r\nb: 1", b"#a\r\nb: 1\r\n" + A[:-1] + b"\r\n"),
        (b"a:\r\nb: 1\r\nc: 1", b"a:\r\nb: 1\r\nc: 1\r\n" + A[:-1] + b"\r\n"),
    ],
)
def test_a_new_line_goes_where_it_belongs(before: bytes, after: bytes) -> None:
    assert assign(before, "a") == after


def test_a_line_that_goes_takes_its_newline_and_no_other() -> None:
    assert assign(b"\n" + A + b"\nm: 1", None) == b"\n\nm: 1"
    assert assign(A + A[:-1], None) == b""
    assert assign(A[:-1], None) == b""
    assert assign(b"lxc.apparmor.profile:\n\n", None) == b"\n"
