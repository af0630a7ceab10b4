"""The pure parts: differences, verdicts, and the transaction's undoing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from phoenix_hypervisor.errors import LeftAlone, PhoenixError
from phoenix_hypervisor.plan.actions import (
    PROFILE_KEY,
    Action,
    AdoptFile,
    AssignLines,
    CreateContainer,
    InstallFile,
    LineChange,
    LoadProfile,
    LoadWhy,
    ReloadService,
    RemoveFile,
    RestartContainer,
    StartContainer,
    SweepFile,
    SweepWhy,
    UnloadProfile,
)
from phoenix_hypervisor.plan.containers import Argv, Mode, container_actions, unloaded_starts
from phoenix_hypervisor.plan.declared import ContainerSpec
from phoenix_hypervisor.plan.inverse import KernelArgv, inverse
from phoenix_hypervisor.plan.model import (
    Assignments,
    ContainerState,
    Elsewhere,
    FileState,
    Obstacle,
    Ownership,
    Plan,
    ProcessLabel,
    ProfileState,
)
from phoenix_hypervisor.plan.profiles import (
    LoadPolicy,
    Retirement,
    file_actions,
    load_actions,
    name_refusals,
    retire_actions,
    to_prove,
)
from phoenix_hypervisor.plan.transaction import Transaction
from phoenix_hypervisor.plan.verify import judge_container, judge_profiles

SPEC = ContainerSpec(ctid="950", name="a", profile="lxc-a", start=True, unprivileged=True)
DATA = b"lxc.apparmor.profile: lxc-a\n"
STATE = ContainerState(
    ctid="950",
    path="/etc/pve/lxc/950.conf",
    data=DATA,
    after=DATA,
    wanted="lxc-a",
    assigned="lxc-a",
    running=False,
)
LIVE = Mode(live=True, node="pve1")
FILES = Mode(live=False)
READ_ONLY = replace(LIVE, read_only=Obstacle("no quorum"))
OTHER = Elsewhere("container on node b", True, "run phoenix on that node")
VM = Elsewhere("VM on node b", False, "declare the container under a free id")
BACKUP = Obstacle("is locked (backup)", "wait for that task")
PENDING = Obstacle("the next start puts other lines there", "remove them")
ARGV = Argv(lambda s: ("create", s.ctid), lambda c: ("start", c), lambda c: (("stop", c), ("start", c)))


LOAD = LoadProfile(
    target="lxc-a",
    before=b"1",
    after=b"2",
    processes=(("load", "lxc-a"),),
    closure="c2",
    old_closure="c1",
    replaces=True,
)
INSTALL = InstallFile(target="lxc-a", path="/p", before=b"old", after=b"new", profile="lxc-a", foreign=True)
REMOVE = RemoveFile(target="lxc-old", path="/p", before=b"old", profile="lxc-old", foreign=True)
UNLOAD = UnloadProfile(target="lxc-a", before=b"1", processes=(("remove",),), old_closure="c1")
ASSIGN = AssignLines(
    target="101",
    path="/c",
    before=b"a",
    after=b"b",
    lines=(
        LineChange(key=PROFILE_KEY, value="lxc-a", old="x"),
        LineChange(key="lxc.apparmor.allow_nesting", value="1", old=None),
    ),
)
SERVICE = ReloadService(
    target="s", processes=(("r",),), closures={"a": "1", "b": "2"}, old_closures={"a": "0"}
)
CREATE = CreateContainer(target="950", name="new", processes=(("create",),))
SWEEP = SweepFile(target="c", path="c", why=SweepWhy.LEFTOVER)


def kinds(plan: Plan) -> list[str]:
    return [f"{a.kind} {a.target}" for a in plan.actions]


def running(label: str) -> ContainerState:
    process = ProcessLabel(7, label)
    return replace(STATE, running=True, init=process, processes=(process,))


@pytest.mark.parametrize(
    ("state", "mode", "expected"),
    [
        (STATE, LIVE, ["start 950"]),
        (STATE, replace(LIVE, start=False), []),
        (replace(STATE, is_template=True), LIVE, []),
        (running("lxc-a (enforce)"), LIVE, []),
        (running("lxc-b (enforce)"), LIVE, []),
        (running("lxc-b (enforce)"), replace(LIVE, restart=True), ["restart 950"]),
        (running("lxc-a (enforce)"), replace(LIVE, restart=True), []),
        (replace(STATE, after=b"x", assigned=None), LIVE, ["assign 950", "start 950"]),
        (replace(STATE, data=None, after=None), LIVE, ["create 950", "assign 950", "start 950"]),
        (replace(STATE, data=None, after=None, wanted=None), LIVE, ["create 950", "start 950"]),
        (replace(STATE, data=None, after=None), FILES, []),
        (replace(STATE, data=None, elsewhere=OTHER), LIVE, []),
        (replace(STATE, running=None), FILES, []),
        (replace(STATE, lock=BACKUP), LIVE, []),
        (replace(STATE, next_start=PENDING), replace(LIVE, start=False), []),
        (replace(STATE, next_start=PENDING, after=b"x"), replace(LIVE, start=False), ["assign 950"]),
    ],
)
def test_actions(state: ContainerState, mode: Mode, expected: list[str]) -> None:
    plan = container_actions([(SPEC, state)], mode, ARGV)
    assert kinds(plan) == expected
    assert not plan.refusals


def test_never_start_what_is_declared_stopped() -> None:
    assert kinds(container_actions([(replace(SPEC, start=False), STATE)], LIVE, ARGV)) == []


@pytest.mark.parametrize(
    ("state", "mode", "words"),
    [
        (replace(STATE, after=b"x", lock=BACKUP), LIVE, "is locked (backup)"),
        (replace(STATE, after=b"x"), READ_ONLY, "no quorum"),
        (replace(STATE, fault="bad header"), LIVE, "bad header"),
        (replace(STATE, data=None, elsewhere=VM), LIVE, "VM on node b"),
        (replace(STATE, data=None, elsewhere=OTHER), replace(LIVE, named=True), "node b"),
        (replace(STATE, data=None), replace(FILES, named=True), "no configuration"),
        (replace(STATE, data=None), READ_ONLY, "no quorum"),
        (replace(STATE, next_start=PENDING), LIVE, "the next start puts other lines there"),
        (
            replace(running("lxc-b (enforce)"), next_start=PENDING),
            replace(LIVE, restart=True),
            "the next start",
        ),
    ],
)
def test_refusals(state: ContainerState, mode: Mode, words: str) -> None:
    plan = container_actions([(SPEC, state)], mode, ARGV)
    assert plan.actions == ()
    assert words in plan.refusals[0].text
    assert plan.refusals[0].target == "container 950"


@pytest.mark.parametrize(
    ("node", "here", "expected"),
    [
        (None, "pve1", "create 950"),
        ("pve1", "pve1", "create 950"),
        ("pve2", "pve1", "is created by node pve2; this is node pve1"),
        ("pve2", None, "is created by node pve2; this is node whose name is not known"),
    ],
)
@pytest.mark.parametrize("named", [False, True])
def test_a_container_is_created_by_the_node_that_it_names(
    node: str | None, here: str | None, expected: str, named: bool
) -> None:
    state, mode = replace(STATE, data=None, after=None), replace(LIVE, node=here, named=named)
    plan = container_actions([(replace(SPEC, node=node), state)], mode, ARGV)
    assert [*kinds(plan)[:1], *(note.text for note in plan.skipped)] == [expected]
    assert plan.refusals == ()
    verdict = judge_container(replace(SPEC, node=node), state, live=True, node=here)
    assert verdict.as_declared is (expected != "create 950")
    assert [f.code for f in verdict.findings] == [
        "missing" if expected == "create 950" else "on-another-node"
    ]


def test_a_container_that_exists_is_looked_after_wherever_it_is() -> None:
    spec = replace(SPEC, node="pve2")
    assert kinds(container_actions([(spec, STATE)], LIVE, ARGV)) == ["start 950"]
    assert judge_container(spec, running("lxc-a (enforce)"), live=True, node="pve1").as_declared


def test_pending_lines_that_take_the_profile_away_are_a_fault_of_their_own() -> None:
    state = replace(running("lxc-a (enforce)"), next_start=PENDING)
    verdict = judge_container(SPEC, state, live=True)
    assert [f.code for f in verdict.findings] == ["pending-raw"] and not verdict.as_declared
    plan = container_actions([(SPEC, state)], LIVE, ARGV)
    assert [w.text for w in plan.warnings] == [PENDING.text] and not plan.refusals


def test_a_restart_is_one_action_with_its_processes() -> None:
    plan = container_actions([(SPEC, running("unconfined"))], replace(LIVE, restart=True), ARGV)
    (restart,) = plan.actions
    assert isinstance(restart, RestartContainer)
    assert restart.processes == (("stop", "950"), ("start", "950"))


def test_a_start_under_a_profile_that_is_not_loaded_is_refused() -> None:
    plan = container_actions([(SPEC, STATE)], LIVE, ARGV)
    assert "not loaded" in unloaded_starts(plan, Plan(), {})[0].text
    assert "AppArmor is off" in unloaded_starts(plan, Plan(), None)[0].text
    assert unloaded_starts(plan, Plan(), {"lxc-a": "enforce"}) == []
    assert unloaded_starts(plan, Plan((LOAD,)), {}) == []


FILE = FileState("/etc/apparmor.d/lxc-a", "src/lxc-a", b"new", None, Ownership.ABSENT, False, "lxc-a")


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
    "lxc-a", "src/lxc-a", "c1", "c1", "enforce", True, ("/etc/apparmor.d/lxc-a", "/etc/apparmor.d/tunables/t")
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
    policy = LoadPolicy(True, False, lambda name: ("load", name))
    plan = load_actions([profile], policy)
    assert bool(plan.actions) is (reason is not None)
    if reason is not None:
        (load,) = plan.actions
        assert isinstance(load, LoadProfile) and load.why is reason
        assert load.replaces is (profile.mode is not None)
    assert load_actions([profile], replace(policy, live=False)).actions == ()
    service = load_actions([profile], replace(policy, service=True))
    assert [a.kind for a in service.actions] == (["reload-service"] if reason else [])


def test_a_changed_include_is_proven_through_every_profile_that_includes_it() -> None:
    change = Plan((replace(INSTALL, path="/etc/apparmor.d/tunables/t"),))
    other = replace(PROFILE, name="lxc-b", includes=("/etc/apparmor.d/lxc-b",))
    assert to_prove(change, [PROFILE, other], live=False) == [PROFILE]


def test_names_that_others_own() -> None:
    none = frozenset[str]()
    assert (
        "lxc/x" in name_refusals(["lxc-a"], {"lxc-a": "/etc/apparmor.d/lxc/x"}, {}, {}, none).refusals[0].text
    )
    assert "someone else" in name_refusals(["lxc-a"], {}, {"lxc-a": "enforce"}, {}, none).refusals[0].text
    assert not name_refusals(["lxc-a"], {}, {"lxc-a": "enforce"}, {"lxc-a": "c"}, none).refusals
    assert not name_refusals(["lxc-a"], {}, {"lxc-a": "enforce"}, {}, frozenset(["lxc-a"])).refusals


OLD = Retirement("lxc-old", "lxc-a", "/etc/apparmor.d/lxc-old", b"x", True, None)


def retire(old: Retirement, assigned: dict[str, str | None], refuse: bool = False, live: bool = True) -> Plan:
    return retire_actions(
        [old],
        Assignments(assigned),
        frozenset(["950"]),
        refuse_declared=refuse,
        live=live,
        unload_argv=("unload",),
    )


def test_retirement() -> None:
    assert kinds(retire(OLD, {"950": "lxc-a"})) == ["unload lxc-old", "remove lxc-old"]
    assert kinds(retire(OLD, {}, live=False)) == ["remove lxc-old"]
    for kept in (
        retire(OLD, {"950": "lxc-old"}),
        retire(OLD, {"960": "lxc-old//&:ns:unconfined"}),
        retire(replace(OLD, processes=(4, 5)), {}),
        retire(replace(OLD, keep="its file belongs to package x"), {}),
    ):
        assert kept.actions == () and len(kept.skipped) == 1 and not kept.refusals
    assert retire(OLD, {"950": "lxc-old"}, refuse=True).refusals
    assert not retire(OLD, {"960": "lxc-old"}, refuse=True).refusals


def codes(state: ContainerState, spec: ContainerSpec | None = SPEC, live: bool = False) -> list[str]:
    return [f.code for f in judge_container(spec, state, live=live).findings]


def test_verdicts() -> None:
    assert codes(STATE) == []
    assert codes(STATE, live=True) == ["not-running"]
    assert codes(STATE, replace(SPEC, start=False), live=True) == []
    assert codes(running("lxc-a (enforce)")) == []
    assert codes(running("lxc-b (enforce)")) == ["old-label"]
    assert codes(running("lxc-a (complain)")) == ["complain"]
    assert codes(replace(STATE, after=b"x", assigned=None)) == ["not-assigned"]
    assert codes(replace(STATE, data=None, after=None)) == ["missing"]
    assert codes(replace(STATE, fault="x")) == ["conf-unusable"]
    stray = replace(
        running("lxc-a (enforce)"),
        processes=(ProcessLabel(7, "lxc-a (enforce)"), ProcessLabel(8, "unconfined")),
    )
    assert codes(stray) == ["stray-process"]
    assert judge_container(SPEC, stray, live=True).confined is False
    assert judge_container(SPEC, running("lxc-a (enforce)"), live=True).confined is True
    assert judge_container(SPEC, STATE, live=True).confined is None
    assert codes(running("unconfined"), None) == []


def test_profile_verdicts() -> None:
    same = replace(FILE, installed=b"new")
    include = FileState("/etc/apparmor.d/tunables/t", "t", b"1", b"1", Ownership.OURS, True)

    def codes_of(file: FileState, profile: ProfileState, tunable: FileState = include) -> list[str]:
        return [f.code for f in judge_profiles([file, tunable], [profile], {})[0].findings]

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


KERNEL_ARGV = KernelArgv(("load",), "/compiled", ("remove",))


def _backs(*actions: Action) -> list[Action]:
    return [step.back for step in inverse(actions, KERNEL_ARGV)]


class Log:
    """Remembers how a transaction ended."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, list[str]]] = []

    def begin(self, number: int) -> None:
        pass

    def done(self, number: int, action: Action) -> None:
        pass

    def end(self, state: str, left: Sequence[str] = ()) -> None:
        self.ended.append((state, list(left)))


def _transaction(
    perform: Callable[[Action], Action], settled: list[Sequence[Action]], log: Log
) -> Transaction:
    return Transaction(perform, lambda actions: inverse(actions, KERNEL_ARGV), settled.append, log)


def test_a_failure_undoes_newest_first_and_the_kernel_last() -> None:
    done: list[str] = []

    def perform(action: Action) -> Action:
        if isinstance(action, AssignLines):
            raise PhoenixError("no space left", where="x")
        done.append(f"{action.kind} {action.target}")
        return action

    plan = Plan(
        (
            replace(INSTALL, target="a", before=None), replace(LOAD, target="k", replaces=False),
            replace(INSTALL, target="b"), CREATE, replace(ASSIGN, target="950", before=None),
        )
    )  # fmt: skip
    settled: list[Sequence[Action]] = []
    with pytest.raises(PhoenixError) as caught:
        _transaction(perform, settled, Log()).execute(plan)
    assert done[4:] == ["install b", "remove a", "unload k"]
    assert "no space left" in str(caught.value)
    assert "created and left in place: container 950" in str(caught.value)
    # Even the step that failed is taken back: it may have been done in part; here that failed too.
    assert "could not undo: assign 950: x: no space left" in str(caught.value)
    assert [a.target for a in settled[0]] == ["950"]


def test_an_undo_that_fails_is_reported_and_the_others_still_run() -> None:
    def perform(action: Action) -> Action:
        if isinstance(action, RemoveFile) and action.target == "b":
            raise LeftAlone("changed by somebody else")
        if isinstance(action, SweepFile):
            raise PhoenixError("no")
        return action

    plan = Plan((*(replace(INSTALL, target=name, before=None) for name in "ab"), SWEEP))
    log = Log()
    with pytest.raises(PhoenixError) as caught:
        _transaction(perform, [], log).execute(plan)
    assert "changed by somebody else" in str(caught.value)
    assert log.ended == [("undone", ["changed by somebody else"])]


def test_the_inverse_of_a_file() -> None:
    (back,) = _backs(INSTALL)
    assert isinstance(back, InstallFile)
    assert (back.before, back.after, back.returns, back.foreign) == (b"new", b"old", True, False)
    (back,) = _backs(replace(INSTALL, before=None, foreign=False))
    assert isinstance(back, RemoveFile)
    assert (back.before, back.profile) == (b"new", "lxc-a")
    assert _backs(replace(INSTALL, before=b"new")) == []
    (back,) = _backs(replace(REMOVE, before_stat="0600 1 2"))
    assert isinstance(back, InstallFile)
    assert (back.before, back.after, back.returns, back.after_stat) == (None, b"old", True, "0600 1 2")
    assert _backs(replace(REMOVE, before=None)) == []


def test_the_inverse_of_lines() -> None:
    (back,) = _backs(ASSIGN)
    assert isinstance(back, AssignLines)
    assert (back.before, back.after) == (b"b", b"a")
    assert [(line.key, line.value, line.old) for line in back.lines] == [
        (PROFILE_KEY, "x", "lxc-a"),
        ("lxc.apparmor.allow_nesting", None, "1"),
    ]
    (back,) = _backs(replace(ASSIGN, before=None))
    assert isinstance(back, AssignLines)
    assert (back.before, back.after) == (None, None)


def test_the_inverse_of_the_kernel() -> None:
    (back,) = _backs(LOAD)
    assert isinstance(back, LoadProfile)
    assert (back.after, back.closure, back.processes) == (b"1", "c1", (("load", "/compiled/lxc-a"),))
    (back,) = _backs(replace(LOAD, replaces=False))
    assert isinstance(back, UnloadProfile)
    assert (back.after, back.processes) == (b"1", (("remove",),))
    (back,) = _backs(UNLOAD)
    assert isinstance(back, LoadProfile)
    assert (back.after, back.closure, back.replaces) == (b"1", "c1", False)
    first, second = _backs(SERVICE)
    assert isinstance(first, UnloadProfile) and first.target == "b"
    assert isinstance(second, ReloadService) and second.closures == {"a": "0"}


@pytest.mark.parametrize(
    "action",
    [
        CREATE,
        SWEEP,
        AdoptFile(target="x", path="/x", after=b""),
        StartContainer(target="950", profile=None, processes=()),
        RestartContainer(target="950", profile=None, processes=()),
    ],
    ids=lambda action: action.kind,
)
def test_what_stays(action: Action) -> None:
    assert _backs(action) == []


@pytest.mark.parametrize(
    "action", [INSTALL, REMOVE, ASSIGN, LOAD, replace(LOAD, replaces=False), UNLOAD], ids=lambda a: a.kind
)
def test_the_inverse_of_the_inverse_does_it_again(action: Action) -> None:
    (back,) = _backs(action)
    (again,) = _backs(back)
    for name in ("before", "after", "path", "target", "lines", "closure", "profile"):
        assert getattr(again, name, None) == getattr(action, name, None), name
    assert again.kind == action.kind
