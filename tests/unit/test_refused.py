"""What is refused of one container: it has no action, the others have theirs, and no advice is in vain."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from phoenix_hypervisor.cli.notes import words
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.containers import decide_containers, refused_now
from phoenix_hypervisor.plan.facts import ContainerFacts, Creation, Wish
from phoenix_hypervisor.plan.model import (
    Ask,
    AtWork,
    ConfFault,
    ContainerState,
    Elsewhere,
    NextStart,
    Note,
    Plan,
    ProcessLabel,
    ReadOnly,
    Wishes,
    because,
)
from phoenix_hypervisor.plan.verify import judge_container
from support.one_container import LIVE, SPEC, STATE

RESTART = replace(LIVE, wish=Wish(restart=True))
VM = Elsewhere("VM", "b", False)
BACKUP = AtWork("Proxmox", "backup")
PENDING = NextStart("/etc/pve/lxc/950.conf", "unconfined")
BAD = ConfFault(path="/etc/pve/lxc/950.conf", reason="section-header", why="bad header", next=None)
NO = {"key": "template"}


def codes(notes: Iterable[Note]) -> list[str]:
    return [note.code for note in notes]


def of(state: ContainerState, facts: ContainerFacts = LIVE) -> Plan:
    """What is decided for one container."""
    return decide_containers(replace(facts, pairs=((SPEC, state),)), Plan())


def running(label: str) -> ContainerState:
    process = ProcessLabel(7, label)
    return replace(STATE, running=True, init=process, processes=(process,))


WISHES = Wishes(named=True, asks=(Ask("mount nfs", "features: mount=nfs"),))


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (replace(STATE, after=b"x", lock=BACKUP), "locked"),
        (replace(STATE, fault=BAD), "conf-unusable"),
        (replace(STATE, data=None, elsewhere=VM), "is-vm"),
        (replace(STATE, next_start=PENDING), "pending-raw"),
        (replace(STATE, after=b"x", missing_file="/gone"), "start-without-file"),
        (replace(STATE, after=b"x", wanted="lxc-z"), "start-unloaded"),
        (replace(STATE, data=None, after=None), "key-needed"),
    ],
)
def test_one_odd_container_has_no_action_and_the_others_have_theirs(state: ContainerState, code: str) -> None:
    """Nothing of it is told or done, and all of the others' is."""
    odd = replace(state, ctid="951", warnings=(Note(Code.OLD_KEY, "container 951"),), wishes=WISHES)
    fine = replace(STATE, after=b"x", assigned=None)
    facts = replace(
        LIVE,
        pairs=((replace(SPEC, ctid="951"), odd), (SPEC, fine)),
        starts={"950": (("start", "950"),), "951": (("start", "951"),)},
        creations={"951": Creation(process=("create",), problems=(Note(Code.KEY_NEEDED, "/x", NO),))},
    )
    plan = decide_containers(facts, Plan())
    alone = of(fine)
    assert codes(plan.refused) == [code] and alone.refused == ()
    assert plan == replace(alone, refused=plan.refused)


def test_what_apply_would_be_refused_for() -> None:
    """The same as in a plan, and a lock also where there is only a start to be left out."""
    for state, code in (
        (STATE, None),
        (running("lxc-b (enforce)"), None),
        (replace(STATE, lock=BACKUP), "locked"),
        (replace(STATE, after=b"x", lock=BACKUP), "locked"),
        (replace(STATE, fault=BAD), "conf-unusable"),
        (replace(running("lxc-b (enforce)"), next_start=PENDING), "pending-raw"),
        (replace(STATE, wanted="lxc-z"), "start-unloaded"),
        (replace(STATE, data=None, elsewhere=VM), "is-vm"),
        (replace(STATE, data=None), None),
    ):
        found = refused_now(SPEC, state, RESTART, frozenset())
        assert codes(found) == ([] if code is None else [code])
    assert refused_now(SPEC, replace(STATE, wanted="lxc-z"), RESTART, frozenset({"lxc-z"})) == ()
    no_quorum = replace(RESTART, read_only=ReadOnly("no-quorum"))
    assert codes(refused_now(SPEC, replace(STATE, data=None), no_quorum, frozenset())) == ["read-only"]


def test_a_verdict_says_what_stands_in_the_way_of_apply() -> None:
    lock = Note(Code.LOCKED, "container 950", {"by": "Proxmox", "reason": "backup", "command": None})
    state = replace(STATE, after=b"x", assigned=None, lock=BACKUP)
    line, stopped = judge_container(SPEC, state, live=True, refused=(lock,)).findings
    assert (line.code, stopped.code) == ("not-assigned", "not-running")
    assert line.blocked_by == stopped.blocked_by == (lock,)
    assert words(line)[1] == "not now: is locked by Proxmox (backup); wait for that task"
    assert words(stopped)[1] == "wait for that task", "said once"
    assert "phoenix apply" in str(words(replace(line, blocked_by=()))[1])
    bad = replace(STATE, fault=BAD)
    note = because(Code.CONF_UNUSABLE, "container 950", BAD)
    assert judge_container(SPEC, bad, live=True, refused=(note,)).findings[0].blocked_by == ()


@pytest.mark.parametrize(
    ("lock", "pending", "expected"),
    [
        (None, None, []),
        (BACKUP, None, ["locked"]),
        (None, PENDING, ["pending-raw"]),
        (BACKUP, PENDING, ["locked", "pending-raw"]),
    ],
)
def test_a_restart_in_vain_is_not_advised(
    lock: AtWork | None, pending: NextStart | None, expected: list[str]
) -> None:
    state = replace(running("lxc-b (enforce)"), lock=lock, next_start=pending)
    (note,) = of(state).skipped
    assert note.code == "restart-needed" and codes(note.blocked_by) == expected
    assert (words(note)[1] == "`phoenix apply 950 --restart`") is (expected == [])
