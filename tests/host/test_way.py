"""Values walk down: the way of plan and apply is the one of the tables in ARCHITECTURE.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.hosts import LiveHost
from support.way import way

TEXT = (Path(__file__).parents[2] / "ARCHITECTURE.md").read_text()
DECIDERS = {"plan/decide.py", "plan/profiles.py", "plan/containers.py", "plan/retire.py", "plan/rollback.py"}


def table(title: str) -> list[tuple[str, str]]:
    """Phase and file of each row of a table in ARCHITECTURE.md."""
    section = TEXT.split(f"### {title}\n", 1)[1].split("\n#", 1)[0]
    rows = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| ")]
    return [(phase.strip(), file) for phase, cell in rows[1:] for file in re.findall(r"`([^`]+\.py)`", cell)]


@pytest.fixture
def host(live: LiveHost) -> LiveHost:
    """950 is applied once; then its profile changes, and another one is new and declared for it."""
    live.source("lxc-a")
    live.conf("950")
    live.declare({"950": "lxc-a"})
    assert live.apply("950", "--no-start").code == 0
    live.source("lxc-a", "/etc/shadow r,")
    live.source("lxc-b")
    live.declare({"950": "lxc-b"})
    return live


def test_a_plan_looks_gathers_and_decides_and_comes_back_for_the_proof_alone(host: LiveHost) -> None:
    order, entered = way(lambda: host.phoenix("plan", "950"))
    assert order == ["look", "gather", "decide", "prove", "decide"]
    for phase, file in table("plan 950"):
        if phase in entered:
            assert file in entered[phase], f"{file} is not entered to {phase}"
            others = {p for p, files in entered.items() if file in files} - {phase}
            assert others <= {"prove"}, f"{file}: {others}"
    assert {file for file in entered["decide"] if not file.startswith("plan/")} == set()
    assert entered["gather"] & DECIDERS == set()


def test_where_nothing_is_to_be_compiled_a_plan_never_comes_back(host: LiveHost) -> None:
    assert host.apply("950").code == 0
    order, _ = way(lambda: host.phoenix("plan", "950"))
    assert order == ["look", "gather", "decide"]


def test_an_apply_comes_back_under_the_lock_and_for_the_proof_alone(host: LiveHost) -> None:
    order, entered = way(lambda: host.apply("950"))
    planned = ["gather", "decide", "prove", "decide"]
    assert order == ["look", *planned, "look", *planned, "perform", "confirm"]
    for phase, file in table("apply 950"):
        if phase in entered:
            assert file in entered[phase], f"{file} is not entered to {phase}"
    for phase in ("look", "gather", "prove", "perform", "confirm"):
        assert entered[phase] & DECIDERS == set(), phase


def test_every_file_stands_once_in_each_table() -> None:
    for title in ("plan 950", "apply 950"):
        files = [file for _, file in table(title)]
        assert len(files) > 10 and sorted(files) == sorted(set(files))
