"""Containers that HA starts and stops in the runtime's place: what is decided, and what is found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from phoenix_hypervisor.cli.words import summary
from phoenix_hypervisor.plan.actions import StartContainer
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.containers import decide_containers
from phoenix_hypervisor.plan.declared import ContainerSpec
from phoenix_hypervisor.plan.facts import ContainerFacts, Wish
from phoenix_hypervisor.plan.model import AtWork, ContainerState, Finding, Manager, Note, Plan, ProcessLabel
from phoenix_hypervisor.plan.verify import judge_container, judge_started

SPEC = ContainerSpec(ctid="950", name="a", profile="lxc-a", start=True, unprivileged=True)
DATA = b"lxc.apparmor.profile: lxc-a\n"
HA = Manager("HA", "ct:950", "started", "ha-manager set ct:950 --state started")
STATE = ContainerState(
    ctid="950", data=DATA, after=DATA, wanted="lxc-a", assigned="lxc-a", running=False, manager=HA
)
FACTS = ContainerFacts(
    wish=Wish(), live=True, starts={"950": (("start", "950"),)}, loaded={"lxc-a": "enforce"}
)
HELD = {"by": "HA", "service": "ct:950", "state": "stopped", "command": HA.command}


def of(state: ContainerState) -> Plan:
    return decide_containers(replace(FACTS, pairs=((SPEC, state),)), Plan())


def told(state: str) -> ContainerState:
    return replace(STATE, manager=replace(HA, state=state))


def test_the_plan_names_who_is_asked() -> None:
    (start,) = of(STATE).actions
    assert start == StartContainer(target="950", profile="lxc-a", processes=(("start", "950"),), asks="HA")
    assert summary(start) == "start under lxc-a (HA is asked to start it)"
    (alone,) = of(replace(STATE, manager=None)).actions
    assert alone == replace(start, asks=None) and summary(alone) == "start under lxc-a"


@pytest.mark.parametrize("state", ["stopped", "disabled", "error"])
def test_what_it_was_not_told_to_start_is_left(state: str) -> None:
    plan = of(told(state))
    note = Note(Code.HA_STOPPED, "container 950", {**HELD, "state": state})
    assert (plan.actions, plan.skipped, plan.refused) == ((), (note,), ())
    # The line is assigned all the same.
    edited = of(replace(told(state), after=b"x", assigned=None))
    assert [action.kind for action in edited.actions] == ["assign"]
    # What the runtime is at work on is said first.
    locked = of(replace(told(state), lock=AtWork("Proxmox", "backup")))
    assert [one.code for one in locked.skipped] == ["start-locked"]


def test_the_verdict_is_no_fault_where_apply_would_not_start_it() -> None:
    found = judge_container(SPEC, told("stopped"), live=True)
    assert found.findings == (Finding(Code.HA_STOPPED, "container 950", HELD, fault=False),)
    assert found.as_declared
    (started,) = judge_container(SPEC, STATE, live=True).findings
    assert (started.code, started.fault) == ("not-running", True)
    assert judge_container(replace(SPEC, start=False), told("stopped"), live=True).findings == ()


def test_what_was_asked_for_and_does_not_run_says_who_was_asked() -> None:
    data = {"by": "HA", "service": "ct:950", "seconds": 180}
    assert judge_started(STATE, 180.4) == [Finding(Code.HA_NOT_STARTED, "container 950", data)]
    process = ProcessLabel(7, "lxc-a (enforce)")
    runs = replace(STATE, running=True, init=process, processes=(process,))
    assert judge_started(runs, 3) == []
    (other,) = judge_started(replace(runs, init=ProcessLabel(7, "unconfined")), 3)
    assert other.code == "old-label"
    (alone,) = judge_started(replace(STATE, manager=None))
    assert alone.code == "not-running"
