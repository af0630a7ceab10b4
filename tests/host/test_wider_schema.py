"""A schema that comes with the configuration and allows more than the shipped one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.hosts import DirectoryHost, snapshot

NETWORK = {"name": "eth0", "bridge": "vmbr0", "ip": "10.0.0.5/24"}


OPEN: dict[str, Any] = {
    "definitions": {"container": {"properties": {"apparmor_profile": {"default": "lxc-a"}}}}
}


def _schema(host: DirectoryHost, document: object) -> None:
    text = document if isinstance(document, str) else json.dumps(document)
    (host.etc / "phoenix_lxc_configs.schema.json").write_text(text)


@pytest.mark.parametrize("name", ["../passwd", "a/b", "..", "", "a\nb", "-x y"])
def test_a_schema_that_allows_all_lets_no_path_through(host: DirectoryHost, name: str) -> None:
    _schema(host, OPEN)
    host.source("lxc-a")
    (host.root / "etc/passwd").write_text("root\n")
    host.declare({}, deprecated_profiles={name: "lxc-a"})
    before = snapshot(host.root)
    result = host.phoenix("setup")
    assert result.code == 1 and "/deprecated_profiles" in result.err, result
    assert snapshot(host.root) == before


@pytest.mark.parametrize(
    "fields",
    [
        {"template": "--rootfs=x"},
        {"storage_pool": "local,size=9"},
        {"network_config": {"name": "eth0", "bridge": "vmbr0,hwaddr=x", "ip": "dhcp"}},
        {"memory_mb": "64"},
        {"gpu_assignment": "../../etc"},
        {"start": "no"},
    ],
)
def test_a_schema_that_allows_all_lets_no_argument_through(
    host: DirectoryHost, fields: dict[str, Any]
) -> None:
    _schema(host, OPEN)
    host.source("lxc-a")
    host.declare({"950": {"name": "x", **fields}})
    result = host.phoenix("plan")
    assert result.code == 1 and f"/lxc_configs/950/{next(iter(fields))}" in result.err, result


def test_a_wider_schema_may_allow_keys_of_its_own(host: DirectoryHost) -> None:
    _schema(host, OPEN)
    host.source("lxc-a")
    host.conf("950")
    host.declare({"950": {"owner": "web team", "notes": [1, {"a": 2}]}}, site={"x": 1})
    assert host.apply().code == 0


@pytest.mark.parametrize(
    "extra, words",
    [
        ({"$ref": "http://127.0.0.1:9/x.json"}, "outside itself"),
        ({"properties": {"lxc_configs": {"$ref": "file:///etc/hostname"}}}, "outside itself"),
        ({"allOf": [{"$ref": 7}]}, "outside itself"),
        ({"$ref": "#"}, "cannot be used as a schema"),
    ],
)
def test_a_schema_that_leads_elsewhere(host: DirectoryHost, extra: dict[str, Any], words: str) -> None:
    _schema(host, {**OPEN, **extra})
    host.source("lxc-a")
    host.declare({})
    result = host.phoenix("plan")
    assert result.code == 1 and words in result.err and "internal error" not in result.err, result


@pytest.mark.parametrize("text", ["[" * 100000, '{"a":' * 100000, " " * (1024 * 1024 + 1), ""])
def test_a_schema_that_is_too_much(host: DirectoryHost, text: str) -> None:
    _schema(host, text)
    host.source("lxc-a")
    host.declare({})
    result = host.phoenix("plan")
    assert result.code == 1 and "schema" in result.err and "internal error" not in result.err, result


def test_policy_tests_that_are_nested_too_deep(host: DirectoryHost) -> None:
    (host.etc / "policy_tests").mkdir()
    (host.etc / "policy_tests/deep.toml").write_text("a = " + "[" * 20000)
    host.source("lxc-a")
    host.declare({})
    result = host.phoenix("setup")
    assert result.code == 1 and "deep.toml" in result.err and "internal error" not in result.err, result


@pytest.mark.parametrize(
    "fields",
    [
        {"network_config": {"name": "eth0", "bridge": "vmbr0", "ip": "10.0.0.1/7"}},
        {"network_config": {"name": "eth0", "bridge": "vmbr0", "ip": "010.0.0.1/24"}},
        {"network_config": {"name": "eth0", "bridge": "vmbr0", "ip": "dhcp", "gw": "10.0.0.010"}},
        {"storage_pool": "x"},
        {"storage_pool": "local-"},
        {"template": "local:" + "x" * 255},
    ],
)
def test_what_pct_create_would_refuse_is_refused_before(host: DirectoryHost, fields: dict[str, Any]) -> None:
    host.source("lxc-a")
    host.declare({"950": {"apparmor_profile": "lxc-a", **fields}})
    assert host.phoenix("check").code == 1
