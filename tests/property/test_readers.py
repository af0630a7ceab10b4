"""Readers of what others wrote: any bytes give an answer or an error that says why, never anything else.

`make fuzz` runs the same with many more examples; what it found is in tests/data/fuzz.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_hypervisor.config.load import load_config
from phoenix_hypervisor.config.schema import Schema, packaged_schema
from phoenix_hypervisor.containers import conf as codec
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.plan import entries
from phoenix_hypervisor.plan.actions import MANAGED_KEYS, Action, LineChange
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.entries import Header
from phoenix_hypervisor.plan.model import Note
from phoenix_hypervisor.plan.recorded import TYPES
from phoenix_hypervisor.profiles import records

FINDS = Path(__file__).parents[1] / "data/fuzz"
SCHEMA = Schema(packaged_schema(), "the packaged schema")

WORDS = [b"lxc.apparmor.profile", b": ", b" = ", b"\n", b"\r\n", b"[snap]", b"[pve:pending]", b"lock: x", b"#", b"a",
         b"\0", b"\xff", b"lxc-a", b"[", b"]", b"template: 1"]  # fmt: skip
CONFS = st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(WORDS), max_size=40).map(b"".join))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(
    [
        "lxc_configs",
        "101",
        "apparmor_profile",
        "memory_mb",
        "network_config",
        "networks",
        "net1",
        "mount_points",
        "mp0",
        "volume",
        "path",
        "ip",
        "deprecated_profiles",
        "reload",
    ]
)
OBJECTS = st.recursive(VALUES, lambda inner: st.dictionaries(KEYS, inner, max_size=4), max_leaves=12)


def read_conf(data: bytes) -> None:
    for dialect in codec.Dialect:
        conf = codec.parse(data, dialect)
        codec.sections_with(data, "lxc-a")
        try:
            after = codec.assign(data, "lxc-a", dialect)
        except PhoenixError:
            continue
        assert codec.parse(after, dialect).values == ("lxc-a",)
        assert codec.assign(after, "lxc-a", dialect) is after
        assert after[len(after) - (len(data) - conf.head) :] == data[conf.head :], (
            "below the head nothing changes"
        )


def read_json(data: bytes) -> None:
    try:
        load_config(data, SCHEMA, where="x", shipped={"lxc-a": b""}, installed=list)
    except PhoenixError as error:
        assert str(error)


def read_manifest(data: bytes) -> None:
    try:
        found = records.parse(data, "x")
    except PhoenixError as error:
        assert str(error)
        return
    found.to_bytes()


def read_journal(data: bytes) -> None:
    try:
        entry = entries.read(data, "x")
    except PhoenixError as error:
        assert str(error)
        return
    if entry is not None:
        assert entry.state in (entries.COMMITTED, entries.UNDONE, entries.UNFINISHED)
        again = entries.read(entries.header_line(entry.header), "x")
        assert again is not None and again.header == entry.header


READERS = {"conf": read_conf, "json": read_json, "manifest": read_manifest, "journal": read_journal}


@given(CONFS)
def test_configurations(data: bytes) -> None:
    read_conf(data)


@given(st.binary(max_size=200) | OBJECTS.map(lambda v: json.dumps(v).encode()))
def test_the_operators_json(data: bytes) -> None:
    read_json(data)


@given(st.binary(max_size=100) | OBJECTS.map(lambda v: json.dumps(v).encode()), VALUES)
def test_manifests(data: bytes, value: Any) -> None:
    read_manifest(data)
    for key in ("files", "loaded", "assigned", "optional"):
        document = {"version": 1, "files": {}, "loaded": {}, key: value}
        read_manifest(json.dumps(document).encode())


TEXT = st.text(max_size=9)
LINES = st.builds(LineChange, key=st.sampled_from(MANAGED_KEYS), value=st.none() | TEXT, old=st.none() | TEXT)
BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    bytes: st.binary(max_size=20),
    str: TEXT,
    tuple[str, ...]: st.lists(TEXT, max_size=2).map(tuple),
    tuple[tuple[str, ...], ...]: st.lists(st.lists(TEXT, max_size=2).map(tuple), max_size=2).map(tuple),
    Mapping[str, str]: st.dictionaries(TEXT, TEXT, max_size=2),
    tuple[LineChange, ...]: st.lists(LINES, max_size=2).map(tuple),
}
BY_NAME = {
    "target": st.sampled_from(["101", "950"]),
    "path": st.just("/etc/apparmor.d/lxc-a"),
    "before_stat": st.none() | st.just("0644 0 0"),
    "after_stat": st.none() | st.just("4755 1000 1000"),
}


def actions_of(kind: type[Action]) -> st.SearchStrategy[Action]:
    """Any action of one type, but for what a journal does not hold."""
    strategies: dict[str, st.SearchStrategy[Any]] = {}
    for one in fields(kind):
        hint = get_type_hints(kind)[one.name]
        if not one.metadata.get("recorded", True):
            strategies[one.name] = st.none()
        elif one.name in BY_NAME:
            strategies[one.name] = BY_NAME[one.name]
        else:
            kinds = [hint] if hint in BY_TYPE else get_args(hint) or [hint]
            strategies[one.name] = st.one_of(
                [BY_TYPE[part] if part in BY_TYPE else st.from_type(part) for part in kinds]
            )
    return st.builds(kind, **strategies)


ACTIONS = st.one_of([actions_of(kind) for kind in TYPES.values()])
HEADERS = st.builds(
    Header,
    id=st.integers(1, 99),
    time=st.text(max_size=9),
    user=st.text(max_size=9),
    command=st.tuples(st.text(max_size=9)),
    runtime=st.sampled_from(["lxc", "proxmox"]),
    actions=st.lists(ACTIONS, max_size=4).map(tuple),
    manifest=st.none() | st.binary(max_size=20),
)


@given(HEADERS, st.data())
def test_journals(header: Header, data: st.DataObject) -> None:
    """Cut off anywhere, or with a byte changed anywhere, a journal is read, refused, or never began."""
    text = entries.header_line(header)
    for number, action in enumerate(header.actions):
        text += entries.begin_line(number) + entries.done_line(number, action, action)
    whole = entries.read(text, "x")
    assert whole is not None and whole.header == header and whole.actions == header.actions
    assert whole.state == entries.UNFINISHED
    left = (Note(Code.STAYS_LOADED, "profile a", {"pids": (7,)}), Note(Code.CREATED, "container 950"))
    ended = entries.read(text + entries.end_line(entries.UNDONE, left, "t"), "x")
    assert ended is not None and (ended.state, ended.left) == (entries.UNDONE, left)
    at = data.draw(st.integers(0, len(text)))
    cut = entries.read(text[:at], "x")
    first = text.index(b"\n")
    assert (cut is None) == (at <= first)
    if cut is not None:
        assert cut.actions == header.actions[: len(cut.actions)]
    changed = bytearray(text)
    if changed:
        changed[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    read_journal(bytes(changed))


@given(st.binary(max_size=200) | VALUES.map(lambda v: json.dumps(v).encode() + b"\n"))
def test_journals_of_any_bytes(data: bytes) -> None:
    read_journal(data)
    header = entries.header_line(
        Header(id=1, time="t", user="u", command=(), runtime="lxc", actions=(), manifest=None)
    )
    entry = entries.read(header + data, "x")
    assert entry is not None


@pytest.mark.parametrize("path", sorted(FINDS.glob("*/*")), ids=lambda p: f"{p.parent.name}-{p.name}")
def test_what_was_found(path: Path) -> None:
    READERS[path.parent.name](path.read_bytes())
