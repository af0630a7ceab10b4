"""Every kind of fault in a configuration: named, with its pointer and line, all at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phoenix_hypervisor.config.document import Positions
from phoenix_hypervisor.config.load import load_config
from phoenix_hypervisor.config.schema import Schema, packaged_schema
from phoenix_hypervisor.errors import PhoenixError, ProblemsError
from phoenix_hypervisor.plan.declared import Desired

TOP = Path(__file__).parents[2]
SHIPPED = ("lxc-nvidia-gpu-base", "lxc-nvidia-gpu-docker")


def read(data: bytes | dict[str, Any], installed: tuple[str, ...] = ()) -> Desired:
    raw = data if isinstance(data, bytes) else json.dumps(data, indent=1).encode()
    schema = Schema(packaged_schema(), "schema")
    return load_config(raw, schema, where="config.json", shipped=SHIPPED, installed=lambda: installed)


def faults(data: bytes | dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ProblemsError) as caught:
        read(data)
    return {p.pointer: f"{p.message} [{p.hint}]" for p in caught.value.problems}


def one(entry: dict[str, Any], **top: Any) -> dict[str, Any]:
    return {"lxc_configs": {"950": entry}, **top}


def test_a_successor_must_exist() -> None:
    document: dict[str, Any] = {"lxc_configs": {}, "deprecated_profiles": {"lxc-old": "lxc-typo"}}
    pointer = "/deprecated_profiles/lxc-old"
    assert "lxc-typo is neither shipped nor installed [shipped: lxc-nvidia" in faults(document)[pointer]
    for name in ("lxc-typo", *SHIPPED):
        document["deprecated_profiles"]["lxc-old"] = name
        assert read(json.dumps(document).encode(), ("lxc-typo",)).deprecated == {"lxc-old": name}


def test_the_shipped_configuration() -> None:
    desired = read((TOP / "etc/phoenix_lxc_configs.json").read_bytes())
    assert list(desired.containers) == ["950", "952", "955"]
    assert desired.containers["950"].profile == "lxc-nvidia-gpu-base"
    assert desired.containers["955"].profile == "unconfined"
    assert desired.containers["955"].features == "nesting=1,keyctl=1"
    assert desired.containers["950"].gpus == ("0",)
    assert desired.deprecated == {"lxc-phoenix-nvidia-gpu": "lxc-nvidia-gpu-base"}


def test_the_schema_words_the_profile_as_the_documents_do() -> None:
    schema = json.loads((TOP / "etc/phoenix_lxc_configs.schema.json").read_bytes())
    assert schema["definitions"]["container"]["properties"]["apparmor_profile"] == {
        "type": "string",
        "description": "The AppArmor profile to apply to the container. Use 'unconfined' for no profile.",
        "default": "lxc-nvidia-gpu-base",
    }


def test_the_default_profile_comes_from_the_schema() -> None:
    assert read(one({})).containers["950"].profile == "lxc-nvidia-gpu-base"
    changed = packaged_schema().replace(b'"default": "lxc-nvidia-gpu-base"', b'"default": "generated"')
    schema = Schema(changed, "schema")
    desired = load_config(json.dumps(one({})).encode(), schema, where="c", shipped=SHIPPED)
    assert desired.containers["950"].profile == "generated"


@pytest.mark.parametrize(("features", "expected"), [(None, ""), ("", ""), ([], ""), (["nesting=1", "mount=nfs;cifs"], "nesting=1,mount=nfs;cifs"), ("keyctl=1", "keyctl=1")])  # fmt: skip
def test_features_in_every_form(features: object, expected: str) -> None:
    assert read(one({"features": features})).containers["950"].features == expected


def test_every_kind_at_once() -> None:
    text = b"""{
 "nvidia_driver": "1",
 "deprecated_profiles": {"lxc-old": "lxc-nvidia-gpu-base"},
 "lxc_configs": {
  "950": {"name": "a", "aparmor_profile": "lxc-nvidia-gpu-base", "network_config": {"name": "eth0", "bridge": "b", "ip": "10.0.0.1/24"}, "mac_address": "52:54:00:00:00:01"},
  "951": {"name": "under_score", "apparmor_profile": "lxc-nvidia-gpu-bse", "network_config": {"name": "eth0", "bridge": "b", "ip": "10.0.0.1/16"}, "mac_address": "52:54:00:00:00:01"},
  "952": {"apparmor_profile": "lxc-old", "memory_mb": "lots", "features": {"nesting": 1}, "gpu_assignment": "every"},
  "953": {"cores": 1, "cores": 2},
  "99": {}
 }
}"""
    found = faults(text)
    assert "did you mean apparmor_profile?" in found["/lxc_configs/950/aparmor_profile"]
    assert "did you mean nvidia_driver_version?" in found["/nvidia_driver"]
    assert "did you mean lxc-nvidia-gpu-base?" in found["/lxc_configs/951/apparmor_profile"]
    assert "10.0.0.1 is also the address of container 950" in found["/lxc_configs/951/network_config/ip"]
    assert "is also the address of container 950" in found["/lxc_configs/951/mac_address"]
    assert "deprecated [use lxc-nvidia-gpu-base]" in found["/lxc_configs/952/apparmor_profile"]
    assert "second time" in found["/lxc_configs/953/cores"]
    with pytest.raises(ProblemsError) as caught:
        read(text)
    codes = {p.pointer.removeprefix("/lxc_configs/"): p.code for p in caught.value.problems}
    assert codes == {
        "/nvidia_driver": "unknown-key",
        "950/aparmor_profile": "unknown-key",
        "951/name": "wrong-form",
        "951/apparmor_profile": "profile-unknown",
        "951/network_config/ip": "address-twice",
        "951/mac_address": "address-twice",
        "952/apparmor_profile": "profile-deprecated",
        "952/memory_mb": "wrong-type",
        "952/features": "wrong-form",
        "952/gpu_assignment": "wrong-form",
        "953/cores": "repeated-key",
        "99": "unknown-key",
    }
    lines = {p.pointer: p.line for p in caught.value.problems}
    assert lines["/nvidia_driver"] == 2
    assert lines["/lxc_configs/952/memory_mb"] == 7


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "not-json"),
        (b" \n", "not-json"),
        (b"5", "not-an-object"),
        (b"[]", "not-an-object"),
        (b"{", "not-json"),
        (b'{"a": NaN}', "not-json"),
        (b'{"a": "\xff"}', "not-utf-8"),
        (b"[" * 100000, "not-json"),
        (b'{"lxc_configs": 5}', "wrong-type"),
        (b"{}", "key-missing"),
        (b'{"lxc_configs": {"950": {"name": "a\\n"}}}', "control-character"),
        (b'{"lxc_configs": {"950\\n": {}}}', "control-character"),
        (b'{"lxc_configs": {"950": {"network_config": {"name":"eth0","bridge":"b","ip":"10.0.0.300/24"}}}}', "address-unusable"),
        (b'{"lxc_configs": {"950": []}}', "wrong-type"),
        (b'{"lxc_configs": {}, "deprecated_profiles": {"lxc-nvidia-gpu-base": "lxc-nvidia-gpu-docker"}}', "deprecated-shipped"),
    ],
)  # fmt: skip
def test_bad_documents(data: bytes, code: str) -> None:
    with pytest.raises(ProblemsError) as caught:
        read(data)
    assert [problem.code for problem in caught.value.problems] == [code]


@pytest.mark.parametrize(
    ("data", "line", "words", "next_step"),
    [
        (b'{"lxc_configs": {"101": {"name": "a",}}}', 1, "a comma before } is not allowed in JSON (column 37)", "remove this comma"),
        (b'{\n "lxc_configs": {},\n}\n', 2, "a comma before } is not allowed", "remove this comma"),
        (b'{"lxc_configs": {"101": {"features": ["a=1",\n]}}}', 1, "a comma before ] is not allowed", "remove this comma"),
        (b'{\n  // mine\n  "lxc_configs": {}}', 2, "JSON has no comments (column 3)", "note"),
        (b'{"lxc_configs": {} /* mine */}', 1, "JSON has no comments", "note"),
        (b'{"lxc_configs": {}}\n# the end', 2, "JSON has no comments", "note"),
        (b'{"lxc_configs": {\n "101": {}\n "102": {}}}', 2, "a comma is missing after this value (column 10)", "None"),
        (b'{"lxc_configs": {"101": {"start": True}}}', 1, "JSON does not know True", "write true"),
        (b'{"lxc_configs": {"101": {"features": None}}}', 1, "JSON does not know None", "write null"),
        (b'{lxc_configs: {}}', 1, "lxc_configs is not in quotes", '"lxc_configs"'),
        (b"{'lxc_configs': {}}", 1, "double quotes", "None"),
        (b'{"lxc_configs": {"101": {}}', 1, "the file ends too early", "close every"),
        (b'{"lxc_configs": {"101": {"name": "a}}}', 1, "the file ends too early", "close every"),
        (b"[" * 100000, None, "is nested too deep", "four deep"),
        (b'{"lxc_configs": {"101": {"cores": ' + b"1" * 5000 + b"}}}", None, "thousands of digits", "nine"),
        ('{"lxc_configs": {}}'.encode("utf-16"), None, "is UTF-16", "UTF-8"),
    ],
)  # fmt: skip
def test_a_document_that_is_not_json_says_what_to_correct(
    data: bytes, line: int | None, words: str, next_step: str
) -> None:
    with pytest.raises(ProblemsError) as caught:
        read(data)
    (problem,) = caught.value.problems
    assert words in problem.message
    assert problem.line == line
    assert next_step in str(problem.hint)


def test_a_byte_order_mark_tabs_and_crlf_are_accepted() -> None:
    data = b'\xef\xbb\xbf{\r\n\t"lxc_configs": {\r\n\t\t"101": {"name": "a"}\r\n\t}\r\n}\r\n'
    assert read(data).containers["101"].name == "a"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("gpu_assignment", 0, 'Write it with quotes: "0". GPUs, always in quotes: "none", "all", numbers'),
        ("memory_mb", "512", "Write it without quotes: 512"),
        ("start", "true", "Write it without quotes: true"),
    ],
)  # fmt: skip
def test_a_value_whose_quotes_are_wrong_is_shown_with_the_right_ones(
    key: str, value: object, words: str
) -> None:
    assert words in faults(one({key: value}))[f"/lxc_configs/950/{key}"]


def test_a_profile_that_others_installed_is_accepted() -> None:
    entry = one({"apparmor_profile": "lxc-container-default-cgns"})
    assert (
        read(entry, ("lxc-container-default-cgns",)).containers["950"].profile == "lxc-container-default-cgns"
    )
    assert "/lxc_configs/950/apparmor_profile" in faults(entry)


def test_a_broken_schema_is_one_clear_error() -> None:
    with pytest.raises(PhoenixError, match="not a Phoenix schema"):
        Schema(b"{}", "s")
    with pytest.raises(PhoenixError, match="not a Phoenix schema"):
        Schema(b"nonsense", "s")


def test_positions() -> None:
    text = '{\n "a": [1,\n  {"b~/": "x:{,"}],\n "c": {}\n}'
    lines = Positions(text).lines
    assert lines["/a"] == 2 and lines["/a/0"] == 2
    assert lines["/a/1"] == 3 and lines["/a/1/b~0~1"] == 3 and lines["/c"] == 4
