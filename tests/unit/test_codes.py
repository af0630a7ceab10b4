"""The registry of codes: each is used, has words for people, and stands in docs/codes.md."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from phoenix_hypervisor.cli.codes_reference import page
from phoenix_hypervisor.cli.notes import words
from phoenix_hypervisor.plan import entries
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.entries import Header
from phoenix_hypervisor.plan.model import Finding, Note
from phoenix_hypervisor.plan.registries import REGISTRIES, every
from phoenix_hypervisor.plan.roles import Coded, Role

TOP = Path(__file__).parents[2]
PACKAGE = TOP / "src/phoenix_hypervisor"
SAMPLES: dict[str, Any] = {
    "asked": ({"what": "mount nfs", "line": "features: {mount nfs}", "question": "mount {a,b}"},),
    "containers": ("101", "102"),
    "count": 2,
    "newer": True,
    "paths": ("/a", "/b"),
    "pid": 7,
    "pids": (7, 8),
    "places": (("101", "snap"),),
    "processes": ((7, "unconfined"),),
    "profiles": ("lxc-a",),
    "programs": ("A (a)", "B (b)"),
    "rules": ("mount fstype={a,b},",),
    "sections": ("snap",),
    "snapshots": (("snap", "lxc-{a,b}"),),
    "transaction": 3,
    "gpu": 1,
    "gpus": (1, 2),
    "walls": ("cgroup",),
    "made": True,
    "words": "{words}",
    "known": (0, 1),
    "lines": ("{lines}",),
    "what": "load",
}
"""Data that are not a text."""


def sample(code: Coded) -> dict[str, Any]:
    return {name: SAMPLES.get(name, f"{{{name}}}") for name in code.data}


def test_the_page_is_what_the_registry_says() -> None:
    assert (TOP / "docs/codes.md").read_text() == page(), "run make reference"


@pytest.mark.parametrize("code", list(every()))
def test_a_code_has_words_in_every_role(code: Coded) -> None:
    """Braces in the data are others' text: they stand for themselves."""
    for role in set(code.roles) - {Role.FAULT}:
        kind = Finding if role is Role.FINDING else Note
        text, hint = words(kind(code, "container 101", sample(code)))
        assert text and text[0] != " "
        for name in re.findall(r"\{(\w+)\}", f"{text} {hint}"):
            assert name in code.data, f"{name} is not one of its data"
        if role is Role.FINDING and code is not Code.NOT_DECLARED:
            assert hint, "a finding says what to do"


@pytest.mark.parametrize("code", list(every()))
def test_a_code_is_used(code: Coded) -> None:
    word = re.compile(rf"\b{type(code).__name__}\.{code.name}\b")
    users = [
        path
        for path in PACKAGE.rglob("*.py")
        if path.name != "notes.py" and word.search(path.read_text()) is not None
    ]
    # `host` lies below the registry.
    users += [path for path in (PACKAGE / "host").glob("*.py") if f'"{code}"' in path.read_text()]
    assert users, f"nothing reports {code}"


def test_every_fault_comes_with_a_code() -> None:
    missing = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.parent.name == "cli":
            continue
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        for call in calls:
            is_problem = isinstance(call.func, ast.Name) and call.func.id == "Problem"
            if is_problem and "code" not in {keyword.arg for keyword in call.keywords}:
                missing.append(f"{path.relative_to(PACKAGE)}:{call.lineno}")
    assert missing == []


def test_codes_are_words_with_hyphens_and_each_stands_once() -> None:
    assert all(re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", code) for code in every())
    members = [name for registry in REGISTRIES for name in registry.__members__]
    assert len({str(code) for code in every()}) == len(members) == len(set(members))


def test_data_that_do_not_belong_to_a_code_are_refused() -> None:
    with pytest.raises(TypeError, match="restart-needed"):
        Note(Code.RESTART_NEEDED, "container 101", {"ctid": "101"})
    with pytest.raises(TypeError, match="missing"):
        Finding(Code.MISSING, "container 101", {"ctid": "101", "more": 1})


def test_what_a_code_says_is_said_in_one_place() -> None:
    """Below `cli` a note is a code with data: no room makes sentences of it."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.parent.name in ("cli", "policy"):
            continue
        source = path.read_text()
        assert not re.search(r"\b(Note|Finding)\(\s*f?\"", source), path


def test_what_is_left_alone_says_so_by_a_code() -> None:
    """Below `cli` such an error carries a code of the registry, and no sentence."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("LeftAlone", "CodedError"):
                found.append((path.name, ast.unparse(node.args[0])))
    assert len(found) >= 5
    for name, code in found:
        registry, _, member = code.partition(".")
        (found_in,) = [one for one in REGISTRIES if one.__name__ == registry]
        assert member in found_in.__members__, name


@pytest.mark.parametrize(
    ("told", "note"),
    [
        ("profile x stays loaded", Note(Code.SENTENCE, "transaction", {"words": "profile x stays loaded"})),
        (
            {"code": "stays-loaded", "target": "profile x", "data": {"pids": [7]}},
            Note(Code.STAYS_LOADED, "profile x", {"pids": (7,)}),
        ),
        ({"code": "stays-loaded", "target": "profile x", "data": {"other": 1}}, None),
        ({"code": "of-a-later-version", "target": "x", "data": {}}, None),
        (["a list"], None),
    ],
    ids=["a sentence", "a code", "other data", "an unknown code", "something else"],
)
def test_what_a_journal_says_that_stayed_is_read_whatever_it_is(told: object, note: Note | None) -> None:
    header = Header(id=1, time="t", user="u", command=("x",), runtime="proxmox", actions=(), manifest=None)
    end = json.dumps({"end": "undone", "left": [told], "time": "t"}).encode() + b"\n"
    entry = entries.read(entries.header_line(header) + end, "x")
    assert entry is not None and entry.state == entries.UNDONE
    (left,) = entry.left
    if note is None:
        note = Note(Code.SENTENCE, "transaction", {"words": json.dumps(told)})
    assert left == note
