"""The verdict on containers that are not declared: the key decides, but never over one that is unconfined."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.declared import Undeclared
from phoenix_hypervisor.plan.model import ConfFault, ContainerState, Finding, Note, ProcessLabel
from phoenix_hypervisor.plan.verify import judge_container
from support.one_container import STATE as AS_DECLARED

STATE = replace(AS_DECLARED, wanted=None, unprivileged=True)
GONE = replace(STATE, data=None, after=None, assigned=None)


def running(label: str, state: ContainerState = STATE) -> ContainerState:
    process = ProcessLabel(7, label)
    return replace(state, running=True, init=process, processes=(process,))


def finding(code: Code, data: dict[str, Any] | None = None) -> tuple[Finding, ...]:
    """One fault of container 950."""
    return (Finding(code, "container 950", data or {}),)


def undeclared(state: ContainerState, key: Undeclared) -> tuple[tuple[Finding, ...], tuple[Note, ...]]:
    verdict = judge_container(None, replace(state, wanted=None), live=True, undeclared=key)
    return verdict.findings, verdict.notes


@pytest.mark.parametrize(
    ("key", "findings", "notes"),
    [
        (Undeclared.IGNORE, (), ()),
        (Undeclared.NOTE, (), (Note(Code.NOT_DECLARED, "container 950"),)),
        (Undeclared.FAULT, finding(Code.UNDECLARED), ()),
    ],
)
def test_a_container_that_is_not_declared_follows_the_key(
    key: Undeclared, findings: tuple[Finding, ...], notes: tuple[Note, ...]
) -> None:
    for state in (STATE, running("lxc-b (enforce)"), running(""), replace(STATE, assigned=None)):
        assert undeclared(state, key) == (findings, notes)


@pytest.mark.parametrize("key", Undeclared)
def test_one_that_is_unconfined_too_is_a_fault_whatever_the_key_says(key: Undeclared) -> None:
    notes = (Note(Code.NOT_DECLARED, "container 950"),) if key is Undeclared.NOTE else ()

    def told(line: str | None, label: str) -> tuple[tuple[Finding, ...], tuple[Note, ...]]:
        data = {"ctid": "950", "line": line, "label": label}
        return finding(Code.UNDECLARED_UNCONFINED, data), notes

    free = replace(STATE, assigned="unconfined")
    assert undeclared(free, key) == told("unconfined", "")
    assert undeclared(running("unconfined", state=free), key) == told("unconfined", "unconfined")
    # Its line was changed and it still runs as before; Proxmox passes on what LXC unquotes.
    assert undeclared(running("lxc-b (enforce)", state=free), key) == told("unconfined", "lxc-b (enforce)")
    assert undeclared(replace(STATE, assigned='"unconfined"'), key) == told('"unconfined"', "")
    assert undeclared(running("unconfined"), key) == told(None, "unconfined")


@pytest.mark.parametrize("key", Undeclared)
def test_one_whose_line_cannot_be_read_may_be_unconfined(key: Undeclared) -> None:
    fault = ConfFault(path="/c", reason="unreadable", why="no", next=None)
    findings, _ = undeclared(replace(GONE, fault=fault), key)
    data = {"path": "/c", "reason": "unreadable", "why": "no", "next": None}
    assert findings[:1] == finding(Code.CONF_UNUSABLE, data)
