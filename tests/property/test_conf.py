"""The codec, for any bytes: nothing but our lines above the first section ever differs."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_hypervisor.containers.conf import (
    NESTING,
    ConfError,
    Dialect,
    Edit,
    assign,
    beside,
    edit,
    parse,
    put_back_beside,
    values_of,
)

LINES = st.sampled_from(
    [
        b"memory: 512", b"", b" ", b"#lxc.apparmor.profile: c", b"lxc.apparmor.profile: x",
        b"lxc.apparmor.profile = lxc-a", b"lxc.apparmor.profile:", b"lxc.apparmor.profile:lxc-b ",
        b" lxc.apparmor.profile: y", b"lxc.mount.entry: a b none bind 0 0", b"[pve:pending]", b"[snap_1]",
        b"[1x]", b"[s] # no", b"lock: backup", b"\xff\xfe", b"description: \xc3\xa4",
    ]
)  # fmt: skip
ENDINGS = st.sampled_from([b"\n", b"\r\n"])


@st.composite
def confs(draw: st.DrawFn) -> bytes:
    parts = draw(st.lists(st.tuples(LINES, ENDINGS), max_size=14))
    data = b"".join(line + end for line, end in parts)
    return data if draw(st.booleans()) else data.rstrip(b"\r\n")


VALUES = st.sampled_from([None, "lxc-a", "lxc-nvidia-gpu-base", "unconfined"])
ANY = st.one_of(confs(), st.binary(max_size=200))
OURS = re.compile(rb"^lxc\.apparmor\.profile(?::|[ \t\r\f\v]*=)")
HEADER = re.compile(rb"^\[(pve:pending|[a-z][a-z0-9_\-]+)\][ \t\r\f\v]*$", re.I)


def perl_head(data: bytes) -> tuple[list[bytes], list[bytes]]:
    """Split as parse_pct_config does, line by line: (lines of the head, the rest)."""
    lines = data.split(b"\n")
    for index, line in enumerate(lines):
        if HEADER.match(line):
            return lines[:index], lines[index:]
    return lines, []


@settings(max_examples=400)
@given(ANY, VALUES)
def test_only_our_lines_of_the_head_differ(data: bytes, value: str | None) -> None:
    try:
        after = assign(data, value)
    except ConfError:
        return
    head, rest = perl_head(data)
    new_head, new_rest = perl_head(after)
    assert new_rest == rest
    others = [line for line in head if not OURS.match(line)]
    new_others = [line for line in new_head if not OURS.match(line)]
    # A line that lacked its newline may have gained one (and then its CR), nothing else.
    assert [line.rstrip(b"\r") for line in new_others if line.strip()] == [
        line.rstrip(b"\r") for line in others if line.strip()
    ]
    assert len([line for line in new_head if OURS.match(line)]) == (0 if value is None else 1)
    assert parse(after).assigned == value


@settings(max_examples=400)
@given(ANY, VALUES, st.sampled_from(list(Dialect)))
def test_assigning_twice_changes_nothing_more(data: bytes, value: str | None, dialect: Dialect) -> None:
    try:
        after = assign(data, value, dialect)
    except ConfError:
        return
    assert assign(after, value, dialect) is after


@settings(max_examples=400)
@given(ANY, VALUES, st.sampled_from(list(Dialect)))
def test_edit_then_revert_gives_the_same_bytes(data: bytes, value: str | None, dialect: Dialect) -> None:
    try:
        change = edit(parse(data, dialect), value)
    except ConfError:
        return
    if change is not None:
        after = change.apply(data)
        assert after != data
        assert Edit(change.start, change.new, change.old).apply(after) == data


BESIDE_VALUES = st.sampled_from([None, "1", "/var/lib/phoenix/seccomp/privileged"])
NESTING_LINES = st.sampled_from(
    [b"lxc.apparmor.allow_nesting: 1", b"lxc.apparmor.allow_nesting=0", b"lxc.apparmor.allow_nesting: 1 "]
)


@settings(max_examples=400)
@given(confs(), st.lists(NESTING_LINES, max_size=2), VALUES, BESIDE_VALUES)
def test_a_line_beside_changes_no_other_and_goes_again(
    data: bytes, there: list[bytes], profile: str | None, value: str | None
) -> None:
    data = b"".join(line + b"\n" for line in there) + data
    try:
        assigned = assign(data, profile)
        after = beside(assigned, NESTING, value)
    except ConfError:
        return
    conf = parse(after)
    assert values_of(conf, NESTING)[-1:] == (() if value is None else (value,))
    assert conf.values == parse(assigned).values
    assert beside(after, NESTING, value) is after
    head, rest = perl_head(assigned)
    new_head, new_rest = perl_head(after)
    assert new_rest == rest
    own = re.compile(rb"^lxc\.apparmor\.allow_nesting(?::|[ \t\r\f\v]*=)")
    kept = [line.rstrip(b"\r") for line in head if line.strip() and not own.match(line)]
    assert [line.rstrip(b"\r") for line in new_head if line.strip() and not own.match(line)] == kept
    if not there:
        back = beside(after, NESTING, None)
        assert back.rstrip(b"\r\n") == assigned.rstrip(b"\r\n")


@given(confs(), st.lists(NESTING_LINES, max_size=1))
def test_what_stood_beside_comes_back_byte_for_byte(data: bytes, there: list[bytes]) -> None:
    data = b"".join(line + b"\n" for line in there) + data
    try:
        changed = beside(data, NESTING, "2")
    except ConfError:
        return
    back = put_back_beside(changed, data, NESTING)
    assert back.rstrip(b"\r\n") == data.rstrip(b"\r\n")
