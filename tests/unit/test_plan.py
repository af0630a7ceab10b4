"""What is decided from facts, and the verdicts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from phoenix_hypervisor.plan.actions import LoadProfile, LoadWhy, RestartContainer
from phoenix_hypervisor.plan.containers import decide_containers
from phoenix_hypervisor.plan.declared import ContainerSpec
from phoenix_hypervisor.plan.facts import (
    ContainerFacts,
    KernelArgv,
    ProfileFacts,
    Proof,
    Retirement,
    RetirementFacts,
    Wish,
)
from phoenix_hypervisor.plan.model import (
    Assignments,
    AtWork,
    ConfFault,
    ContainerState,
    Elsewhere,
    FileState,
    NextStart,
    Note,
    Ownership,
    Plan,
    ProcessLabel,
    ProfileState,
    ReadOnly,
)
from phoenix_hypervisor.plan.profiles import decide_profiles, file_actions, load_actions, to_prove
from phoenix_hypervisor.plan.retire import decide_retirement
from phoenix_hypervisor.plan.verify import judge_container, judge_profiles
from support.one_container import LIVE, SPEC, STATE

WISH = Wish()
FILES = replace(LIVE, live=False)
READ_ONLY = replace(LIVE, read_only=ReadOnly("no-quorum"))
OTHER = Elsewhere("container", "b", True)
VM = Elsewhere("VM", "b", False)
BACKUP = AtWork("Proxmox", "backup")
PENDING = NextStart("/etc/pve/lxc/950.conf", "unconfined")
BAD = ConfFault(path="/etc/pve/lxc/950.conf", reason="section-header", why="bad header", next=None)
KERNEL_ARGV = KernelArgv(("load",), "/compiled", ("unload",))


def kinds(plan: Plan) -> list[str]:
    return [f"{a.kind} {a.target}" for a in plan.actions]


def codes(notes: Iterable[Note]) -> list[str]:
    return [note.code for note in notes]


def wishing(facts: ContainerFacts, **wish: Any) -> ContainerFacts:
    return replace(facts, wish=replace(facts.wish, **wish))


def of(state: ContainerState, facts: ContainerFacts = LIVE, spec: ContainerSpec = SPEC) -> Plan:
    """What is decided for one container."""
    return decide_containers(replace(facts, pairs=((spec, state),)), Plan())


def running(label: str) -> ContainerState:
    process = ProcessLabel(7, label)
    return replace(STATE, running=True, init=process, processes=(process,))


@pytest.mark.parametrize(
    ("state", "facts", "expected"),
    [
        (STATE, LIVE, ["start 950"]),
        (STATE, wishing(LIVE, start=False), []),
        (replace(STATE, is_template=True), LIVE, []),
        (running("lxc-a (enforce)"), LIVE, []),
        (running("lxc-b (enforce)"), LIVE, []),
        (running("lxc-b (enforce)"), wishing(LIVE, restart=True), ["restart 950"]),
        (running("lxc-a (enforce)"), wishing(LIVE, restart=True), []),
        (replace(STATE, after=b"x", assigned=None), LIVE, ["assign 950", "start 950"]),
        (replace(STATE, data=None, after=None), LIVE, ["create 950", "assign 950", "start 950"]),
        (replace(STATE, data=None, after=None, wanted=None), LIVE, ["create 950", "start 950"]),
        (replace(STATE, data=None, after=None), FILES, []),
        (replace(STATE, data=None, elsewhere=OTHER), LIVE, []),
        (replace(STATE, running=None), FILES, []),
        (replace(STATE, lock=BACKUP), LIVE, []),
        (replace(STATE, next_start=PENDING), wishing(LIVE, start=False), []),
        (replace(STATE, next_start=PENDING, after=b"x"), wishing(LIVE, start=False), ["assign 950"]),
    ],
)
def test_actions(state: ContainerState, facts: ContainerFacts, expected: list[str]) -> None:
    plan = of(state, facts)
    assert kinds(plan) == expected
    assert not plan.refusals and not plan.refused


def test_never_start_what_is_declared_stopped() -> None:
    assert kinds(of(STATE, spec=replace(SPEC, start=False))) == []


@pytest.mark.parametrize(
    ("state", "facts", "code"),
    [
        (replace(STATE, after=b"x", lock=BACKUP), LIVE, "locked"),
        (replace(STATE, after=b"x"), READ_ONLY, "read-only"),
        (replace(STATE, fault=BAD), LIVE, "conf-unusable"),
        (replace(STATE, data=None, elsewhere=VM), LIVE, "is-vm"),
        (replace(STATE, data=None, elsewhere=OTHER), wishing(LIVE, named=True), "on-another-node"),
        (replace(STATE, data=None), wishing(FILES, named=True), "no-configuration"),
        (replace(STATE, data=None), READ_ONLY, "read-only"),
        (replace(STATE, next_start=PENDING), LIVE, "pending-raw"),
        (
            replace(running("lxc-b (enforce)"), next_start=PENDING),
            wishing(LIVE, restart=True),
            "pending-raw",
        ),
    ],
)
def test_refusals(state: ContainerState, facts: ContainerFacts, code: str) -> None:
    plan = of(state, facts)
    assert plan.actions == ()
    assert codes((*plan.refusals, *plan.refused)) == [code]
    assert bool(plan.refusals) is (code == "read-only"), "the host's own stand in everybody's way"
    assert (*plan.refusals, *plan.refused)[0].target == "container 950"


@pytest.mark.parametrize(
    ("node", "here", "expected"),
    [
        (None, "pve1", "create 950"),
        ("pve1", "pve1", "create 950"),
        ("pve2", "pve1", "made-elsewhere"),
        ("pve2", None, "made-elsewhere"),
    ],
)
@pytest.mark.parametrize("named", [False, True])
def test_a_container_is_created_by_the_node_that_it_names(
    node: str | None, here: str | None, expected: str, named: bool
) -> None:
    state, spec = replace(STATE, data=None, after=None), replace(SPEC, node=node)
    plan = of(state, wishing(replace(LIVE, node=here), named=named), spec)
    assert [*kinds(plan)[:1], *codes(plan.skipped)] == [expected]
    assert plan.refusals == ()
    verdict = judge_container(spec, state, live=True, node=here)
    assert verdict.as_declared is (expected != "create 950")
    assert codes(verdict.findings) == ["missing" if expected == "create 950" else "made-elsewhere"]


def test_a_container_that_exists_is_looked_after_wherever_it_is() -> None:
    spec = replace(SPEC, node="pve2")
    assert kinds(of(STATE, spec=spec)) == ["start 950"]
    assert judge_container(spec, running("lxc-a (enforce)"), live=True, node="pve1").as_declared


def test_pending_lines_that_take_the_profile_away_are_a_fault_of_their_own() -> None:
    state = replace(running("lxc-a (enforce)"), next_start=PENDING)
    verdict = judge_container(SPEC, state, live=True)
    assert codes(verdict.findings) == ["pending-raw"] and not verdict.as_declared
    plan = of(state)
    assert codes(plan.warnings) == ["pending-raw"] and not plan.refusals


def test_a_restart_is_one_action_with_its_processes() -> None:
    plan = of(running("unconfined"), wishing(LIVE, restart=True))
    (restart,) = plan.actions
    assert isinstance(restart, RestartContainer)
    assert restart.processes == (("stop", "950"), ("start", "950"))


def test_a_start_under_a_profile_that_is_not_loaded_is_refused() -> None:
    assert codes(of(STATE, replace(LIVE, loaded={})).refused) == ["start-unloaded"]
    assert codes(of(STATE, replace(LIVE, loaded=None)).refused) == ["start-kernel-off"]
    assert of(STATE).refused == ()
    arriving = load_actions(replace(PROFILES, profiles=(replace(PROFILE, mode=None),)), Proof())
    assert decide_containers(replace(LIVE, loaded={}), arriving).refused == ()


FILE = FileState(
    path="/etc/apparmor.d/lxc-a",
    source="src/lxc-a",
    wanted=b"new",
    installed=None,
    ownership=Ownership.ABSENT,
    recorded=False,
    profile="lxc-a",
)


@pytest.mark.parametrize(
    ("state", "adopt", "expected"),
    [
        (FILE, "", ["install lxc-a"]),
        (replace(FILE, installed=b"new", ownership=Ownership.FOREIGN), "", ["adopt lxc-a"]),
        (replace(FILE, installed=b"new", ownership=Ownership.OURS, recorded=True), "", []),
        (replace(FILE, installed=b"old", ownership=Ownership.OURS), "", ["install lxc-a"]),
        (replace(FILE, installed=b"old", ownership=Ownership.FOREIGN), "", None),
        (replace(FILE, installed=b"old", ownership=Ownership.FOREIGN), "lxc-a", ["install lxc-a"]),
        (replace(FILE, installed=b"old", ownership=Ownership.FOREIGN), "lxc-b", None),
        (replace(FILE, fault="is a symbolic link"), "", None),
    ],
)
def test_files(state: FileState, adopt: str, expected: list[str] | None) -> None:
    plan = file_actions([state], frozenset([adopt]))
    assert kinds(plan) == (expected or [])
    assert bool(plan.refusals) is (expected is None)


PROFILE = ProfileState(
    name="lxc-a",
    source="src/lxc-a",
    closure="c1",
    loaded_closure="c1",
    mode="enforce",
    kernel_known=True,
    includes=("/etc/apparmor.d/lxc-a", "/etc/apparmor.d/tunables/t"),
)


PROFILES = ProfileFacts(
    wish=WISH,
    live=True,
    kernel=True,
    service=False,
    files=(),
    profiles=(PROFILE,),
    argv=KERNEL_ARGV,
)


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        (PROFILE, None),
        (replace(PROFILE, mode=None), LoadWhy.MISSING),
        (replace(PROFILE, loaded_closure="c0"), LoadWhy.CHANGED),
        (replace(PROFILE, loaded_closure=None), LoadWhy.NEW),
    ],
)
def test_loads_exactly_what_changed(profile: ProfileState, reason: LoadWhy | None) -> None:
    facts = replace(PROFILES, profiles=(profile,))
    plan = load_actions(facts, Proof())
    assert bool(plan.actions) is (reason is not None)
    if reason is not None:
        (load,) = plan.actions
        assert isinstance(load, LoadProfile) and load.why is reason
        assert load.replaces is (profile.mode is not None)
    assert load_actions(replace(facts, kernel=False), Proof()).actions == ()
    service = load_actions(replace(facts, service=True), Proof())
    assert [a.kind for a in service.actions] == (["reload-service"] if reason else [])


def test_a_changed_include_is_proven_through_every_profile_that_includes_it() -> None:
    change = file_actions([replace(FILE, path="/etc/apparmor.d/tunables/t")], frozenset())
    other = replace(PROFILE, name="lxc-b", includes=("/etc/apparmor.d/lxc-b",))
    assert to_prove(change, [PROFILE, other], kernel=False) == [PROFILE]


def test_a_plan_names_what_it_has_no_proof_of() -> None:
    facts = replace(PROFILES, files=(FILE,), profiles=(replace(PROFILE, loaded_closure="c0"),))
    assert [p.name for p in decide_profiles(facts, Plan()).unproven] == ["lxc-a"]
    proof = Proof(blobs={"lxc-a": b"blob"}, warnings=(("src/lxc-a", "hm"),))
    proven = decide_profiles(replace(facts, proof=proof), Plan())
    assert proven.unproven == () and codes(proven.warnings) == ["parser-warning"]
    assert [a.after for a in proven.actions if isinstance(a, LoadProfile)] == [b"blob"]
    foreign = replace(FILE, installed=b"old", ownership=Ownership.FOREIGN)
    refused = decide_profiles(replace(facts, files=(foreign,)), Plan())
    assert codes(refused.refusals) == ["file-foreign"] and refused.unproven == (), "not ours to compile"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"defined": {"lxc-a": "/etc/apparmor.d/lxc/x"}}, ["name-defined"]),
        ({"loaded": {"lxc-a": "enforce"}}, ["name-loaded"]),
        ({"loaded": {"lxc-a": "enforce"}, "recorded": {"lxc-a": "c"}}, []),
        ({"loaded": {"lxc-a": "enforce"}, "wish": Wish(adopt=frozenset(["lxc-a"]))}, []),
        ({}, []),
    ],
)
def test_names_that_others_own(changed: dict[str, Any], expected: list[str]) -> None:
    facts = replace(PROFILES, new=("lxc-a",), **changed)
    assert codes(decide_profiles(facts, Plan()).refusals) == expected


OLD = Retirement(
    name="lxc-old", successor="lxc-a", path="/etc/apparmor.d/lxc-old", data=b"x", loaded=True, keep=None
)


def retire(
    old: Retirement, assigned: dict[str, str | None], *, setup: bool = False, live: bool = True
) -> Plan:
    facts = RetirementFacts(
        wish=Wish(setup=setup),
        live=live,
        retirements=(old,),
        assignments=Assignments(assigned),
        declared=frozenset(["950"]),
        pids={"950": frozenset([4, 5])},
        argv=KERNEL_ARGV,
    )
    return decide_retirement(facts, Plan())


def test_a_deprecated_profile_goes_where_nobody_uses_it() -> None:
    assert kinds(retire(OLD, {"950": "lxc-a"})) == ["unload lxc-old", "remove lxc-old"]
    assert kinds(retire(OLD, {}, live=False)) == ["remove lxc-old"]
    assert kinds(retire(OLD, {"960": "lxc-old"}, setup=True)) == []


@pytest.mark.parametrize(
    ("old", "assigned", "code"),
    [
        (OLD, {"950": "lxc-old"}, "deprecated-assigned"),
        (OLD, {"960": "lxc-old//&:ns:unconfined"}, "deprecated-assigned"),
        (replace(OLD, processes=(4, 5)), {}, "deprecated-running"),
        (replace(OLD, keep=("package", "x")), {}, "deprecated-kept"),
    ],
)
def test_a_deprecated_profile_stays(old: Retirement, assigned: dict[str, str | None], code: str) -> None:
    plan = retire(old, assigned)
    assert plan.actions == () and codes(plan.skipped) == [code] and not plan.refusals


def test_setup_refuses_to_retire_what_a_declared_container_has() -> None:
    assert codes(retire(OLD, {"950": "lxc-old"}, setup=True).refusals) == ["deprecated-declared"]


def test_processes_that_a_restart_ends_do_not_keep_a_profile() -> None:
    restarted = of(running("lxc-b (enforce)"), wishing(LIVE, restart=True))
    facts = RetirementFacts(
        wish=WISH,
        live=True,
        retirements=(replace(OLD, processes=(4, 5)),),
        pids={"950": frozenset([4, 5])},
        argv=KERNEL_ARGV,
    )
    assert kinds(decide_retirement(facts, restarted)) == ["unload lxc-old", "remove lxc-old"]


def found(state: ContainerState, spec: ContainerSpec | None = SPEC, live: bool = False) -> list[str]:
    return codes(judge_container(spec, state, live=live).findings)


def test_verdicts() -> None:
    assert found(STATE) == []
    assert found(STATE, live=True) == ["not-running"]
    assert found(STATE, replace(SPEC, start=False), live=True) == []
    assert found(running("lxc-a (enforce)")) == []
    assert found(running("lxc-b (enforce)")) == ["old-label"]
    assert found(running("lxc-a (complain)")) == ["complain"]
    assert found(replace(STATE, after=b"x", assigned=None)) == ["not-assigned"]
    assert found(replace(STATE, data=None, after=None)) == ["missing"]
    assert found(replace(STATE, fault=BAD)) == ["conf-unusable"]
    stray = replace(
        running("lxc-a (enforce)"),
        processes=(ProcessLabel(7, "lxc-a (enforce)"), ProcessLabel(8, "unconfined")),
    )
    assert found(stray) == ["stray-process"]
    assert judge_container(SPEC, stray, live=True).confined is False
    assert judge_container(SPEC, running("lxc-a (enforce)"), live=True).confined is True
    assert judge_container(SPEC, STATE, live=True).confined is None
    assert found(running("lxc-b (enforce)"), None) == []
    assert found(running("unconfined"), None) == ["undeclared-unconfined"]


def test_profile_verdicts() -> None:
    same = replace(FILE, installed=b"new")
    include = FileState(
        path="/etc/apparmor.d/tunables/t",
        source="t",
        wanted=b"1",
        installed=b"1",
        ownership=Ownership.OURS,
        recorded=True,
    )

    def codes_of(file: FileState, profile: ProfileState, tunable: FileState = include) -> list[str]:
        return codes(judge_profiles([file, tunable], [profile], {})[0].findings)

    assert codes_of(same, PROFILE) == []
    assert codes_of(FILE, PROFILE) == ["not-installed"]
    assert codes_of(replace(FILE, installed=b"old"), PROFILE) == ["file-differs"]
    assert codes_of(same, PROFILE, replace(include, installed=b"2")) == ["file-differs"]
    assert codes_of(same, replace(PROFILE, mode=None)) == ["not-loaded"]
    assert codes_of(same, replace(PROFILE, mode="complain")) == ["complain"]
    assert codes_of(same, replace(PROFILE, mode="kill")) == []
    for mode in ("unconfined", "user", "prompt"):
        assert codes_of(same, replace(PROFILE, mode=mode)) == ["not-enforced"]
    assert codes_of(same, replace(PROFILE, loaded_closure="c0")) == ["stale-policy"]
    assert codes_of(same, replace(PROFILE, mode=None, kernel_known=False, loaded_closure=None)) == []
