"""The table of keys: each row of the schema does what it says, and nothing beside it says otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from phoenix_hypervisor.config.load import load_config
from phoenix_hypervisor.config.reference import code, renewed
from phoenix_hypervisor.config.schema import Schema, packaged_schema
from phoenix_hypervisor.containers.runtimes.lxc import PlainLxc
from phoenix_hypervisor.containers.runtimes.proxmox import Proxmox
from phoenix_hypervisor.errors import ProblemsError
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.plan.declared import CTID, ContainerSpec, Key, is_ctid
from support.hosts import CREATION, TOP

SCHEMA = Schema(packaged_schema(), "the packaged schema")
KEYS = {key.name: key for key in SCHEMA.rows()}
ROWS = [(key, runtime) for key in KEYS.values() for runtime in key.becomes]
FULL: dict[str, Any] = {
    **CREATION,
    "apparmor_profile": "generated",
    "swap_mb": 256,
    "unprivileged": True,
    "networks": {"net1": {"name": "eth1", "bridge": "vmbr1"}},
    "mount_points": {"mp0": {"volume": "/srv", "path": "/srv"}},
    "onboot": True,
    "tags": ["a", "b"],
}


def declared(entry: dict[str, Any], schema: Schema = SCHEMA) -> ContainerSpec:
    data = json.dumps({"lxc_configs": {"950": entry}}).encode()
    return load_config(data, schema, where="config.json", shipped=("lxc-nvidia-gpu-base",)).containers["950"]


def arguments(runtime: str, root: Path, entry: dict[str, Any]) -> str:
    """All that creating the container is told, a word or a line each."""
    (root / "dev").mkdir(exist_ok=True)
    (root / "dev/nvidia0").touch()
    (root / "etc").mkdir(exist_ok=True)
    for name in ("subuid", "subgid"):
        (root / "etc" / name).write_text("root:100000:65536\n")
    host, spec = Host(str(root)), declared(entry)
    if runtime == "proxmox":
        return "\n".join(Proxmox(host).create_argv(spec)) + "\n"
    file = PlainLxc(host).create_file(spec)
    assert file is not None
    return "\n".join(PlainLxc(host).create_argv(spec)) + "\n" + file[1].decode()


@pytest.mark.parametrize("key", KEYS.values(), ids=str)
def test_every_row_says_what_it_is(key: Key) -> None:
    assert key.kind and key.meaning.endswith(".")
    assert set(key.becomes) <= {"proxmox", "lxc"}


@pytest.mark.parametrize(("key", "runtime"), ROWS, ids=[f"{key.name}-{name}" for key, name in ROWS])
def test_a_declared_key_becomes_the_argument_of_its_row(key: Key, runtime: str, tmp_path: Path) -> None:
    entry = {**FULL, "template": "debian" if runtime == "lxc" else FULL["template"]}
    argument = key.becomes[runtime].replace("TEMPLATE", FULL["template"])
    if runtime == "proxmox":
        argument = argument.replace(" ", "\n")
    if "{}" in argument:
        argument = argument.replace("{}", key.text(entry[key.name])) + "\n"
        assert argument in arguments(runtime, tmp_path, entry)
        entry.pop(key.name)
        if key.default is None:
            assert argument not in arguments(runtime, tmp_path, entry), "said, and not declared"
        else:
            default = key.becomes[runtime].replace("{}", key.text(key.default)).replace(
                " ", "\n" if runtime == "proxmox" else " "
            )  # fmt: skip
            assert f"{default}\n" in arguments(runtime, tmp_path, entry)
    else:
        assert argument in arguments(runtime, tmp_path, entry)


SAID = {
    "network_config": "--net0",
    "networks": "--net1",
    "mount_points": "--mp0",
    "tags": "--tags",
    "gpu_assignment": "--dev0",
    "mac_address": "hwaddr=",
}


@pytest.mark.parametrize("name", SAID)
def test_what_several_keys_make_is_not_said_without_them(name: str, tmp_path: Path) -> None:
    entry = {key: value for key, value in FULL.items() if key != name}
    without = arguments("proxmox", tmp_path, entry)
    assert SAID[name] in arguments("proxmox", tmp_path, FULL) and SAID[name] not in without


def test_defaults_are_in_the_schema_alone() -> None:
    spec = declared({})
    assert spec.values == SCHEMA.defaults
    assert (spec.profile, spec.start, spec.unprivileged) == ("lxc-nvidia-gpu-base", True, True)
    assert (spec.values["memory_mb"], spec.values["cores"]) == (512, 1)


def test_a_schema_beside_the_configuration_may_set_other_defaults(tmp_path: Path) -> None:
    changed = packaged_schema().replace(b'"default": 512', b'"default": 1024')
    assert declared({}, Schema(changed, "etc")).values["memory_mb"] == 1024
    older = json.loads(packaged_schema())
    del older["definitions"]["container"]["properties"]["memory_mb"]["default"]
    assert declared({}, Schema(json.dumps(older).encode(), "etc")).values["memory_mb"] == 512


def test_a_default_that_cannot_be_used_is_an_error() -> None:
    changed = packaged_schema().replace(b'"default": 512', b'"default": "lots"')
    with pytest.raises(ProblemsError) as caught:
        declared({}, Schema(changed, "etc/the.schema.json"))
    assert "default of memory_mb in etc/the.schema.json" in str(caught.value)


def test_a_note_is_for_people_and_may_have_lines() -> None:
    document = {"note": "all\nof it", "lxc_configs": {"950": {"note": "one\n\tof it"}}}
    desired = load_config(json.dumps(document).encode(), SCHEMA, where="c", shipped=("lxc-nvidia-gpu-base",))
    assert desired.containers["950"].values["note"] == "one\n\tof it"
    with pytest.raises(ProblemsError, match="not of type string"):
        declared({"note": ["a", "b"]})


@pytest.mark.parametrize("ctid", ["100", "999999999", "99", "1000000000", "0100", "10a", "", " 100", "١٠٠"])
def test_one_pattern_says_what_a_container_id_is(ctid: str) -> None:
    document: dict[str, object] = {"lxc_configs": {ctid: {}}}
    assert SCHEMA.is_valid(document) is is_ctid(ctid)
    assert f"^{CTID}$" in SCHEMA.document["properties"]["lxc_configs"]["patternProperties"]


def test_the_reference_is_what_the_schema_says() -> None:
    path = TOP / "docs/configuration.md"
    assert path.read_text() == renewed(path.read_text(), SCHEMA), "run make reference"
    for key in KEYS.values():
        assert f"| `{key.name}` | {key.kind} |" in path.read_text()


def test_the_validator_is_what_the_schema_says() -> None:
    path = TOP / "src/phoenix_hypervisor/config/validator.py"
    assert path.read_text() == code(packaged_schema()), "run `make reference`"


def test_the_validator_agrees_with_the_slow_one() -> None:
    """Every key, once with a value of each kind: both say the same."""
    samples: list[object] = [
        None,
        True,
        False,
        0,
        16,
        -1,
        1.0,
        1.5,
        "",
        "x",
        "lxc-a",
        "auto",
        "0",
        [],
        ["a=1"],
        {},
    ]
    slow = jsonschema.Draft7Validator(SCHEMA.document)
    for key in SCHEMA.document["definitions"]["container"]["properties"]:
        for value in samples:
            one: dict[str, object] = {"lxc_configs": {"950": {key: value}}}
            assert SCHEMA.is_valid(one) is slow.is_valid(one), (key, value)
    for key in SCHEMA.document["properties"]:
        for value in samples:
            document: dict[str, object] = {"lxc_configs": {}, key: value}
            assert SCHEMA.is_valid(document) is slow.is_valid(document), (key, value)
