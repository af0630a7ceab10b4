"""What the Ansible modules do, with the real command on a directory; Ansible itself is in tests/collection."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from support.hosts import TOP, DirectoryHost, contents

PLUGINS = TOP / "ansible/plugins"
MODULES = sorted((PLUGINS / "modules").glob("*.py"))
WISH: dict[str, Any] = {"containers": [], "start": True, "restart": False, "skip_refused": False}


def _command() -> ModuleType:
    spec = importlib.util.spec_from_file_location("command", PLUGINS / "module_utils/command.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


COMMAND = _command()


def _run(argv: list[str]) -> tuple[int, str, str]:
    done = subprocess.run(argv, capture_output=True, timeout=120, check=False)
    return (
        done.returncode,
        done.stdout.decode("utf-8", "surrogateescape"),
        done.stderr.decode("utf-8", "replace"),
    )


def _params(host: DirectoryHost, **more: object) -> dict[str, object]:
    given = dict.fromkeys(COMMAND.COMMON)
    place = {"executable": str(TOP / "bin/phoenix"), "root": str(host.root), "config": str(host.config)}
    return {**given, **place, **more}


@pytest.fixture
def one(host: DirectoryHost) -> DirectoryHost:
    host.source("lxc-a")
    host.conf("101", b"#caf\xe9\r\narch: amd64")
    host.declare({"101": "lxc-a"})
    return host


def test_a_node_from_check_mode_to_rollback(one: DirectoryHost) -> None:
    before = contents(one.root / "etc")
    apply = _params(one, **WISH)
    checked = COMMAND.apply(_run, apply, True)
    assert contents(one.root / "etc") == before
    done = COMMAND.apply(_run, apply, False)
    assert (checked["diff"], checked["changes"]) == (done["diff"], done["changes"]) and done["changed"]
    assert done["diff"][1]["before"] == "#caf\\xe9\r\narch: amd64", "what is not UTF-8 is spelt out"
    assert COMMAND.apply(_run, apply, False)["changed"] is False
    assert COMMAND.setup(_run, _params(one, adopt=[]), False)["changed"] is False
    found = COMMAND.verify(_run, _params(one, containers=["101"], strict=True), False)
    assert found["as_declared"] and [one["ctid"] for one in found["containers"]] == ["101"]

    back = _params(one, transaction=done["transaction"], restart=True)
    checked = COMMAND.rollback(_run, back, True)
    undone = COMMAND.rollback(_run, back, False)
    assert checked["diff"] == undone["diff"] and undone["changed"]
    assert contents(one.root / "etc") == before
    again = COMMAND.rollback(_run, back, False)
    assert (again["changed"], again["rolled_back_by"]) == (False, undone["transaction"])
    with pytest.raises(COMMAND.Failed, match="not as declared: container 101") as failed:
        COMMAND.verify(_run, _params(one, containers=[], strict=True), False)
    assert failed.value.result["as_declared"] is False
    assert COMMAND.verify(_run, _params(one, containers=[], strict=False), False)["faults"]


def test_import_adds_what_the_configuration_lacks(one: DirectoryHost) -> None:
    one.conf("102")
    params = _params(one, output=None, all_nodes=False)
    checked = COMMAND.import_(_run, params, True)
    assert "102" not in one.config.read_text()
    done = COMMAND.import_(_run, params, False)
    assert checked["diff"] == done["diff"] and checked["changed"] and done["changed"]
    assert done["diff"][0]["after"] == one.config.read_text()
    again = COMMAND.import_(_run, params, False)
    assert (again["changed"], again["diff"]) == (False, [])


def test_what_is_refused_fails_in_either_mode(one: DirectoryHost) -> None:
    one.conf("101", "lock: backup\n")
    for check in (True, False):
        with pytest.raises(COMMAND.Failed, match="container 101"):
            COMMAND.apply(_run, _params(one, **WISH), check)
    with pytest.raises(COMMAND.Failed, match="is not a container"):
        COMMAND.apply(_run, _params(one, **{**WISH, "containers": ["--restart"]}), False)
    with pytest.raises(COMMAND.Failed, match=r"ended with 1: .*no such words"):
        COMMAND.setup(lambda argv: (1, "", "no such words"), _params(one, adopt=[]), False)


def _texts(path: Path) -> dict[str, Any]:
    """The documentation variables of a plugin, as data."""
    tree = ast.parse(path.read_text())
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name.isupper() and isinstance(node.value, ast.Constant):
                found[name] = yaml.safe_load(node.value.value)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_documented_options_are_those_that_are_taken(path: Path) -> None:
    """ansible-test compares them more closely; it takes minutes."""
    documented = _texts(path)["DOCUMENTATION"]
    (main,) = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef)]
    spec = ast.literal_eval(next(n.value for n in main.body if isinstance(n, ast.Assign)))
    keys = ("type", "elements", "default", "required")
    taken = {name: {k: v for k, v in one.items() if k in keys} for name, one in spec.items()}
    said = {n: {k: v for k, v in o.items() if k in keys} for n, o in documented["options"].items()}
    assert documented["module"] == path.stem and taken == said


def test_the_common_options_are_documented() -> None:
    said = _texts(PLUGINS / "doc_fragments/command.py")["DOCUMENTATION"]["options"]
    assert {n: (o["type"], o.get("default")) for n, o in said.items()} == {
        n: (o["type"], o.get("default")) for n, o in COMMAND.COMMON.items()
    }
