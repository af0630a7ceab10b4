"""Importing, for any configuration: planning right after it changes nothing, and merging loses nothing."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phoenix_hypervisor import Phoenix
from phoenix_hypervisor.config import written
from phoenix_hypervisor.config.load import load_config
from phoenix_hypervisor.config.schema import Schema, packaged_schema
from phoenix_hypervisor.containers.seccomp import COMMON, COMPANION
from phoenix_hypervisor.engine.requests import ImportRequest
from phoenix_hypervisor.plan.actions import AssignLines, CreateContainer, RestartContainer, StartContainer
from support.confs import CORPUS
from support.hosts import DirectoryHost

LINES = sorted(
    {line for data in CORPUS.values() for line in data.splitlines()}
    | {
        b"[snap]",
        b"[pve:pending]",
        b"[1x]",
        b"lxc.apparmor.profile:",
        b"lxc.apparmor.profile: a b",
        f"lxc.seccomp.profile = {COMPANION}".encode(),
        b"net0: name=eth0,bridge=vmbr0,ip=0.0.0.0/8,mtu=64",
        b"mp255: a0:b,mp=/a/.",
        b"rootfs: a0:vm,size=1T",
        b"memory: 99999999999",
    }
)
CONFS = st.one_of(
    st.lists(st.sampled_from(LINES), max_size=12).map(lambda lines: b"".join(line + b"\n" for line in lines)),
    st.lists(st.sampled_from(LINES), max_size=6).map(b"\r\n".join),
    st.binary(max_size=120),
)
OF_CONTAINERS = AssignLines | CreateContainer | StartContainer | RestartContainer


@pytest.fixture(scope="module")
def host() -> Iterator[DirectoryHost]:
    with tempfile.TemporaryDirectory() as folder:
        found = DirectoryHost(Path(folder))
        for name in ("lxc-a", "lxc-a-unprivileged", "lxc-b"):
            found.source(name)
        common = found.root / COMMON[1:]
        common.parent.mkdir(parents=True)
        common.write_bytes(b"2\ndenylist\n[all]\nkexec_load errno 1\n")
        found.declare({})
        assert found.phoenix("setup").code == 0
        yield found


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CONFS, st.booleans())
def test_a_plan_after_an_import_is_empty(host: DirectoryHost, data: bytes, plain: bool) -> None:
    runtime = "lxc" if plain else "proxmox"
    place = host.root / "var/lib/lxc/101" if plain else host.lxc
    place.mkdir(parents=True, exist_ok=True)
    path = place / ("config" if plain else "101.conf")
    path.write_bytes(data)
    phoenix = Phoenix(str(host.root), str(host.config), runtime)
    host.config.unlink(missing_ok=True)
    one = phoenix.import_()
    assert one.written and host.config.read_bytes() == one.data
    assert phoenix.import_(ImportRequest(write=False)).data == one.data
    assert bool(one.containers) is not bool(one.left_out)
    plan = phoenix.plan().plan
    assert [action for action in plan.actions if isinstance(action, OF_CONTAINERS)] == []
    assert path.read_bytes() == data


KEYS = st.text(st.characters(codec="utf-8", exclude_characters='"\\'), max_size=6)
NOTES = st.dictionaries(st.sampled_from(["note", "vllm_a", "vllm_b"]), KEYS, max_size=3)
DOCUMENTS = st.dictionaries(st.integers(100, 199).map(str), NOTES, max_size=4)
ENTRIES = st.dictionaries(
    st.integers(200, 299).map(str),
    st.fixed_dictionaries(
        {"apparmor_profile": st.just("generated")},
        optional={
            "memory_mb": st.integers(16, 99999),
            "networks": st.just({"net0": {"name": "eth0", "bridge": "b"}}),
            "tags": st.lists(st.just("a"), max_size=2),
        },
    ),
    min_size=1,
    max_size=3,
)
INDENTATIONS = st.sampled_from([None, 0, 1, 2, 4, "\t"])
SCHEMA = Schema(packaged_schema(), "the packaged schema")


@settings(max_examples=300)
@given(DOCUMENTS, ENTRIES, INDENTATIONS, st.booleans(), st.booleans(), st.booleans())
def test_merging_keeps_every_key_and_its_order(
    containers: dict[str, Any],
    entries: dict[str, Any],
    indentation: int | str | None,
    explicit: bool,
    crlf: bool,
    first: bool,
) -> None:
    others: dict[str, Any] = {"note": 'a "lxc_configs": {} b'}
    document = {"lxc_configs": containers, **others} if first else {**others, "lxc_configs": containers}
    text = json.dumps(document, indent=indentation, ensure_ascii=False)
    if crlf:
        text = text.replace("\n", "\r\n")
    found = written.merged(text, entries, explicit=explicit)
    pairs = json.loads(found, object_pairs_hook=list)
    expected = list(document.items())
    if explicit:
        expected.insert(0 if first else 1, ("unconfined_means", "explicit-line"))
    assert [key for key, _ in pairs] == [key for key, _ in expected]
    read = json.loads(found)
    assert list(read["lxc_configs"].items()) == [*containers.items(), *entries.items()]
    assert {k: v for k, v in read.items() if k in others} == others
    load_config(found.encode(), SCHEMA, where="c", shipped=("lxc-nvidia-gpu-base",))
    # What was there is there still, in its order: only something was put in.
    position = 0
    for character in text.replace("{}", "{ }").replace(" ", ""):
        position = found.index(character, position) + 1 if character.strip() else position
