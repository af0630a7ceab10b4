"""What takes actions back, and a transaction that takes them back."""

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
    ReloadService,
    RemoveFile,
    RestartContainer,
    StartContainer,
    SweepFile,
    SweepWhy,
    UnloadProfile,
)
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.facts import KernelArgv
from phoenix_hypervisor.plan.inverse import inverse
from phoenix_hypervisor.plan.model import Note, Plan
from phoenix_hypervisor.plan.transaction import Transaction, TransactionFailed

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


KERNEL_ARGV = KernelArgv(("load",), "/compiled", ("remove",))


def _backs(*actions: Action) -> list[Action]:
    return [step.back for step in inverse(actions, KERNEL_ARGV)]


class Log:
    """Remembers how a transaction ended."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, list[Note]]] = []

    def begin(self, number: int) -> None:
        pass

    def done(self, number: int, action: Action) -> None:
        pass

    def end(self, state: str, left: Sequence[Note] = ()) -> None:
        self.ended.append((state, list(left)))


def _transaction(
    perform: Callable[[Action], Action], settled: list[Sequence[Action]], log: Log
) -> Transaction:
    return Transaction(
        perform=perform, back=lambda actions: inverse(actions, KERNEL_ARGV), settle=settled.append, log=log
    )


def test_a_failure_undoes_newest_first_and_the_kernel_last() -> None:
    done: list[str] = []

    def perform(action: Action) -> Action:
        if isinstance(action, AssignLines):
            raise PhoenixError("no space left", where="x")
        done.append(f"{action.kind} {action.target}")
        return action

    plan = Plan(
        actions=(
            replace(INSTALL, target="a", before=None), replace(LOAD, target="k", replaces=False),
            replace(INSTALL, target="b"), CREATE, replace(ASSIGN, target="950", before=None),
        )
    )  # fmt: skip
    settled: list[Sequence[Action]] = []
    with pytest.raises(TransactionFailed) as caught:
        _transaction(perform, settled, Log()).execute(plan)
    assert done[4:] == ["install b", "remove a", "unload k"]
    # Even the step that failed is taken back: it may have been done in part; here that failed too.
    step = {"step": "assign", "subject": "950"}
    assert caught.value.notes == (
        Note(Code.STEP_FAILED, "container 950", step),
        Note(Code.FAILED, "x", {"why": "no space left", "next": None}),
        Note(Code.UNDO_CONTINUES, "transaction"),
        Note(Code.UNDO_FAILED, "x", {**step, "why": "no space left"}),
        Note(Code.CREATED, "container 950"),
    )
    assert [a.target for a in settled[0]] == ["950"]


def test_an_undo_that_fails_is_reported_and_the_others_still_run() -> None:
    def perform(action: Action) -> Action:
        if isinstance(action, RemoveFile) and action.target == "b":
            raise LeftAlone(Code.CHANGED_MEANWHILE, "b")
        if isinstance(action, SweepFile):
            raise PhoenixError("no")
        return action

    plan = Plan(actions=(*(replace(INSTALL, target=name, before=None) for name in "ab"), SWEEP))
    log = Log()
    with pytest.raises(TransactionFailed) as caught:
        _transaction(perform, [], log).execute(plan)
    assert Note(Code.CHANGED_MEANWHILE, "b") in caught.value.notes
    assert log.ended == [("undone", [Note(Code.CHANGED_MEANWHILE, "b")])]


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
