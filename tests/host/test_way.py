"""Values walk down: the way of plan and apply is the one of the tables in ARCHITECTURE.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.hosts import CREATION, LiveHost, profile, told
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
    live.conf("950", (live.lxc / "950.conf").read_text() + "features: mount=nfs\n")
    live.source("lxc-a", "/etc/shadow r,")
    live.source("lxc-b")
    live.declare({"950": "lxc-b"})
    return live


@pytest.fixture
def rich(live: LiveHost) -> LiveHost:
    """All that a host may have: variants, features, nested containers, a GPU, a creation, a retirement."""
    for name in ("lxc-a", "lxc-a-unprivileged", "lxc-b"):
        live.source(name)
    (live.root / "dev").mkdir()
    for name in ("nvidia0", "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset"):
        (live.root / "dev" / name).touch()
    live.conf("101", "features: nesting=1,mount=nfs;cifs\nunprivileged: 1\n")
    live.conf("102", "lxc.apparmor.profile: lxc-old\n")
    (live.installed / "lxc-old").write_bytes(profile("lxc-old"))
    live.load_file("lxc-old")
    assert live.pct("start", "101").ok
    live.process(4711, "/lxc/101/ns/lxc.monitor.nested", "unconfined", nspid="4711 9 1")
    live.declare({"101": "lxc-a", "102": "lxc-b", "950": CREATION}, deprecated_profiles={"lxc-old": "lxc-a"})
    return live


def left_out() -> set[str]:
    """What ARCHITECTURE.md names as types and doors."""
    section = TEXT.split("Left out are what is used everywhere:", 1)[1].split("\n### ", 1)[0]
    return set(re.findall(r"`([^`]+\.py)`", section))


def entered_twice(entered: dict[str, set[str]]) -> dict[str, set[str]]:
    """Files that more than one phase enters; to prove is the first return, which reads what it proves."""
    files = set().union(*entered.values()) - left_out()
    found = {file: {phase for phase in entered if file in entered[phase]} - {"prove"} for file in files}
    return {
        file: phases for file, phases in found.items() if len(phases) > 1 and not file.startswith("host/")
    }


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


def test_no_file_is_entered_by_two_phases(rich: LiveHost) -> None:
    order, entered = way(lambda: rich.phoenix("plan"))
    assert order == ["look", "gather", "decide", "prove", "decide"] and entered_twice(entered) == {}
    results = []
    order, entered = way(lambda: results.append(rich.apply("--all", "--restart", "--json")))
    assert results[0].code == 0, results
    kinds = {action["kind"] for action in results[0].document["actions"]}
    assert kinds == {"install", "load", "create", "assign", "start", "restart", "unload", "remove"}
    codes = sorted(code for code, _ in told(results[0].document["warnings"]))
    assert codes == ["features-lost", "features-lost", "sandboxes-lost"]
    assert order[-2:] == ["perform", "perform"] and entered_twice(entered) == {}
    # Left out is only what has to be: each of the doors is gone through by two phases.
    named = left_out()
    used = {file for file in named if sum(file in files for files in entered.values()) > 1}
    assert used >= {"containers/conf.py", "profiles/store.py", "profiles/parser.py", "engine/journal.py"}


def test_what_compiled_policy_is_asked_is_asked_for_the_proof(rich: LiveHost) -> None:
    """Nothing is compiled while gathering, whatever features there are."""
    _, entered = way(lambda: rich.phoenix("plan"))
    compiling = {"profiles/prove.py", "engine/losses.py"}
    compiling |= {file for files in entered.values() for file in files if file.startswith("policy/")}
    assert compiling & entered["prove"] >= {"profiles/prove.py", "engine/losses.py", "policy/reader.py"}
    for phase in ("look", "gather", "decide"):
        assert not compiling & entered[phase], phase


def test_where_nothing_is_to_be_compiled_a_plan_never_comes_back(host: LiveHost) -> None:
    assert host.apply("950").code == 0
    order, _ = way(lambda: host.phoenix("plan", "950"))
    # What it asks for is not told at rest.
    assert order == ["look", "gather", "decide"]
    host.conf("950", (host.lxc / "950.conf").read_text().replace("lxc-b", "lxc-c"))
    order, entered = way(lambda: host.phoenix("plan", "950"))
    # It is asked of what is loaded already.
    assert order == ["look", "gather", "decide", "prove", "decide"]
    assert "profiles/prove.py" not in entered["prove"]


def test_an_apply_comes_back_under_the_lock_and_for_the_proof_alone(host: LiveHost) -> None:
    order, entered = way(lambda: host.apply("950"))
    planned = ["gather", "decide", "prove", "decide"]
    # The container step looks after itself whether what it started runs.
    assert order == ["look", *planned, "look", *planned, "perform", "perform"]
    for phase, file in table("apply 950"):
        if phase in entered:
            assert file in entered[phase], f"{file} is not entered to {phase}"
    for phase in ("look", "gather", "prove", "perform"):
        assert entered[phase] & DECIDERS == set(), phase


def test_every_file_stands_once_in_each_table() -> None:
    for title in ("plan 950", "apply 950"):
        files = [file for _, file in table(title)]
        assert len(files) > 10 and sorted(files) == sorted(set(files))
