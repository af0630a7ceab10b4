"""When a deprecated profile goes and why it stays, as whole plans."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from phoenix_hypervisor.plan.actions import (
    PROFILE_KEY,
    AssignLines,
    LineChange,
    RemoveFile,
    RestartContainer,
    StartContainer,
    UnloadProfile,
)
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.facts import KernelArgv, Retirement, RetirementFacts, Wish
from phoenix_hypervisor.plan.model import Assignments, Note, Plan
from phoenix_hypervisor.plan.retire import decide_retirement

OLD = Retirement(
    name="lxc-old",
    successor="lxc-a",
    path="/etc/apparmor.d/lxc-old",
    data=b"x",
    loaded=True,
    keep=None,
    foreign=True,
    compiled=b"blob",
    closure="c1",
    stat="0644 0 0",
)
FACTS = RetirementFacts(
    wish=Wish(),
    live=True,
    retirements=(OLD,),
    assignments=Assignments({"101": "lxc-a"}),
    declared=frozenset(["101"]),
    pids={"101": frozenset([4, 5])},
    argv=KernelArgv(("load",), "/compiled", ("unload",)),
)
UNLOAD = UnloadProfile(target="lxc-old", before=b"blob", processes=(("unload",),), old_closure="c1")
REMOVE = RemoveFile(
    target="lxc-old",
    path="/etc/apparmor.d/lxc-old",
    before=b"x",
    profile="lxc-old",
    successor="lxc-a",
    foreign=True,
    before_stat="0644 0 0",
)


def decided(so_far: Plan | None = None, *, old: Retirement = OLD, **facts: Any) -> Plan:
    return decide_retirement(replace(FACTS, **{"retirements": (old,), **facts}), so_far or Plan())


def test_a_profile_that_nobody_uses_is_unloaded_and_its_file_removed() -> None:
    assert decided() == Plan(actions=(UNLOAD, REMOVE))


def test_what_is_loaded_only_is_unloaded() -> None:
    assert decided(old=replace(OLD, path=None)) == Plan(actions=(UNLOAD,))


def test_a_kernel_that_does_not_have_it_or_is_not_ours_is_left_alone() -> None:
    assert decided(old=replace(OLD, loaded=False)) == Plan(actions=(REMOVE,))
    assert decided(live=False) == Plan(actions=(REMOVE,))


def test_each_deprecated_profile_is_judged() -> None:
    other = replace(OLD, name="lxc-older", path=None, loaded=False)
    kept = replace(OLD, name="lxc-kept", keep=("package", "x"))
    assert decided(retirements=(kept, OLD, other)) == Plan(
        actions=(UNLOAD, REMOVE),
        skipped=(Note(Code.DEPRECATED_KEPT, "lxc-kept", {"reason": "package", "by": "x"}),),
    )


@pytest.mark.parametrize(
    ("changed", "code", "data"),
    [
        ({"old": replace(OLD, keep=("stock", "x"))}, Code.DEPRECATED_KEPT, {"reason": "stock", "by": "x"}),
        (
            {"assignments": Assignments({"101": "lxc-old", "102": "lxc-a//&lxc-old"})},
            Code.DEPRECATED_ASSIGNED,
            {"containers": ("101", "102")},
        ),
        (
            {"assignments": Assignments({}, kept=(("101", "snap", "lxc-old"), ("102", "snap", "lxc-a")))},
            Code.DEPRECATED_IN_SNAPSHOT,
            {"places": (("101", "snap"),)},
        ),
        (
            {"assignments": Assignments({}, unknown=("103",))},
            Code.DEPRECATED_UNKNOWN,
            {"containers": ("103",)},
        ),
        (
            {"old": replace(OLD, processes=(1, 2, 3, 4, 5, 6))},
            Code.DEPRECATED_RUNNING,
            {"count": 6, "pids": (1, 2, 3, 4, 5)},
        ),
    ],
)
def test_what_somebody_uses_stays(changed: dict[str, Any], code: Code, data: dict[str, Any]) -> None:
    assert decided(**changed) == Plan(skipped=(Note(code, "lxc-old", data),))


def test_setup_refuses_while_a_declared_container_has_it() -> None:
    """Setup reassigns nothing, so the container would stay behind without a profile."""
    assigned = Assignments({"101": "lxc-old", "102": "lxc-old"})
    refusal = Note(Code.DEPRECATED_DECLARED, "lxc-old", {"containers": ("101",)})
    assert decided(wish=Wish(setup=True), assignments=assigned) == Plan(refusals=(refusal,))
    kept = Note(Code.DEPRECATED_ASSIGNED, "lxc-old", {"containers": ("101", "102")})
    assert decided(assignments=assigned) == Plan(skipped=(kept,))
    undeclared = decided(wish=Wish(setup=True), assignments=assigned, declared=frozenset())
    assert undeclared == Plan(skipped=(kept,))


def test_a_container_that_is_reassigned_in_the_same_run_does_not_count() -> None:
    line = LineChange(key=PROFILE_KEY, value="lxc-a", old="lxc-old")
    assign = AssignLines(target="101", path="/c", before=b"1", after=b"2", lines=(line,))
    assigned = Assignments({"101": "lxc-old"})
    assert decided(Plan(actions=(assign,)), assignments=assigned) == Plan(actions=(UNLOAD, REMOVE))


def test_processes_that_a_restart_ends_do_not_count() -> None:
    carried = replace(OLD, processes=(3, 4))
    restart = RestartContainer(target="101", profile="lxc-a", processes=())
    note = Note(Code.DEPRECATED_RUNNING, "lxc-old", {"count": 1, "pids": (3,)})
    assert decided(Plan(actions=(restart,)), old=carried) == Plan(skipped=(note,))
    ended = replace(OLD, processes=(5,))
    assert decided(Plan(actions=(restart,)), old=ended) == Plan(actions=(UNLOAD, REMOVE))
    # A start ends nothing, and of another container nothing is known.
    start = StartContainer(target="101", profile="lxc-a", processes=())
    other = replace(restart, target="102")
    for action in (start, other):
        note = Note(Code.DEPRECATED_RUNNING, "lxc-old", {"count": 1, "pids": (5,)})
        assert decided(Plan(actions=(action,)), old=ended) == Plan(skipped=(note,))
