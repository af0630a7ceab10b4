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
from support.signing import sign_all, some_keys

PLUGINS = TOP / "ansible/plugins"
MODULES = sorted((PLUGINS / "modules").glob("*.py"))
WISH: dict[str, Any] = {
    "containers": [],
    "start": True,
    "restart": False,
    "skip_refused": False,
    "require_signed": None,
}
SETUP: dict[str, Any] = {"adopt": [], "require_signed": None}


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
    assert COMMAND.setup(_run, _params(one, **SETUP), False)["changed"] is False
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


def test_only_what_was_signed_is_installed(one: DirectoryHost) -> None:
    (one.etc / "policy_tests").mkdir()
    verbs = ((COMMAND.setup, SETUP), (COMMAND.apply, WISH))
    with some_keys() as keys:
        ring = {"require_signed": str(keys.ring("fleet"))}
        before = contents(one.root)

        def refused(*said: str, **more: str) -> None:
            for verb, words in verbs:
                for check in (True, False):
                    with pytest.raises(COMMAND.Failed) as failed:
                        verb(_run, _params(one, **{**words, **ring, **more}), check)
                    assert all(text in str(failed.value) for text in said), failed.value
                    assert contents(one.root) == before

        refused("not signed as required", f"{one.etc}/SHA256SUMS: there is no SHA256SUMS")
        sign_all(one.etc, keys, "other")
        refused("not signed as required", "a key that is not in the keyring")
        refused("the keyring cannot be read", require_signed=str(keys.ring("nobodys")))
        refused("the keyring cannot be read", require_signed="")
        sign_all(one.etc, keys)
        one.source("lxc-a", "/etc/shadow r,")
        refused("not signed as required", f"{one.sources}/lxc-a: is not what was signed")
        sign_all(one.etc, keys)
        for verb, words in verbs:
            params = _params(one, **{**words, **ring})
            checked = verb(_run, params, True)
            done = verb(_run, params, False)
            assert done["changed"] and checked["diff"] == done["diff"]
            assert verb(_run, params, False)["changed"] is False


def test_what_is_refused_fails_in_either_mode(one: DirectoryHost) -> None:
    one.conf("101", "lock: backup\n")
    for check in (True, False):
        with pytest.raises(COMMAND.Failed, match="container 101"):
            COMMAND.apply(_run, _params(one, **WISH), check)
    with pytest.raises(COMMAND.Failed, match="is not a container"):
        COMMAND.apply(_run, _params(one, **{**WISH, "containers": ["--restart"]}), False)
    with pytest.raises(COMMAND.Failed, match=r"ended with 1: .*no such words"):
        COMMAND.setup(lambda argv: (1, "", "no such words"), _params(one, **SETUP), False)


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


SHARED = {"COMMON": "DOCUMENTATION", "SIGNED": "SIGNED"}
"""What of the options is shared, and the documentation fragment of each."""


def test_the_shared_options_are_documented() -> None:
    said = _texts(PLUGINS / "doc_fragments/command.py")
    for taken, fragment in SHARED.items():
        options = getattr(COMMAND, taken)
        keys = ("type", "default", "choices")
        found = {n: {k: o[k] for k in keys if k in o} for n, o in said[fragment]["options"].items()}
        assert found == options


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_each_module_extends_the_fragments_of_the_options_that_it_shares(path: Path) -> None:
    extended = _texts(path)["DOCUMENTATION"]["extends_documentation_fragment"]
    names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
    fragments = {"phoenix.hypervisor.command" + ("" if n == "COMMON" else f".{n.lower()}"): n for n in SHARED}
    assert {n for n in SHARED if n in names} == {fragments[f] for f in extended if f in fragments}


def test_what_a_change_returns_is_told_in_the_same_words() -> None:
    """Ansible has fragments for options alone, so each module repeats it."""
    apply, *others = (
        _texts(PLUGINS / f"modules/{name}.py")["RETURN"] for name in ("apply", "setup", "rollback")
    )
    for other in others:
        assert apply == {name: said for name, said in other.items() if name != "rolled_back_by"}
