"""What begins and ends a trial, whole; and what takes it back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.plan.actions import (
    PROFILE_KEY,
    SECCOMP_KEY,
    Action,
    AssignLines,
    InstallFile,
    LineChange,
    LoadProfile,
    LoadWhy,
    RemoveFile,
    RestartContainer,
    TrialTimer,
    UnloadProfile,
)
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.facts import KernelArgv
from phoenix_hypervisor.plan.inverse import inverse
from phoenix_hypervisor.plan.model import Finding, Note, Plan
from phoenix_hypervisor.plan.trial_codes import TrialCode
from phoenix_hypervisor.plan.trials import (
    BeginFacts,
    EndFacts,
    Stage,
    Trial,
    decide_begin,
    decide_end,
    judge_trial,
    on_trial,
    read_trial,
    stage,
)
from phoenix_hypervisor.values import replace

ARGV = KernelArgv(("load",), "/compiled", ("remove",))
NAME = "lxc-trial-950"
LINES = (
    LineChange(key=PROFILE_KEY, value=NAME, old="lxc-a"),
    LineChange(key=SECCOMP_KEY, value="/s", old=None),
)
TRIAL = Trial(
    ctid="950", profile="lxc-b", begun=1000, until=8200, by="root(0)", boot="b", policy="p", lets=("r,",),
    lines=LINES,
)  # fmt: skip
ASSIGN = AssignLines(target="950", path="/950.conf", before=b"old", after=b"new", lines=LINES)
BEGIN = BeginFacts(
    trial=replace(TRIAL, lines=()), text=b"text", closed=b"closed", open=b"open", closure="c",
    timer=(("stop",), ("start",)), argv=ARGV,
)  # fmt: skip
END = EndFacts(
    trial=TRIAL, closed=b"closed", closure="c", recorded="c", record=b"record", file=b"text", data=b"new",
    path="/950.conf", values={PROFILE_KEY: NAME, SECCOMP_KEY: "/s"}, after=b"old", timer=(("stop",),), argv=ARGV,
)  # fmt: skip


def loads(actions: Any) -> list[tuple[bytes | None, bytes | None]]:
    return [(one.before, one.after) for one in actions if isinstance(one, LoadProfile)]


def kinds(actions: Any) -> list[str]:
    return [one.kind for one in actions]


def begun() -> tuple[Action, ...]:
    return decide_begin(BEGIN, Plan(actions=(ASSIGN,))).actions


def test_beginning() -> None:
    record, file, closed, timer, opened, assign = begun()
    assert isinstance(record, InstallFile) and record.path == "/var/lib/phoenix/trials/950.json"
    assert read_trial(record.after, "x") == TRIAL, "the record has what was made of the lines"
    assert isinstance(file, InstallFile) and (file.path, file.after) == (f"/etc/apparmor.d/{NAME}", b"text")
    assert isinstance(closed, LoadProfile) and (closed.after, closed.replaces, closed.why) == (
        b"closed", False, LoadWhy.NEW,
    )  # fmt: skip
    assert isinstance(timer, TrialTimer) and timer.until == "1970-01-01T02:16:40Z", "before it is open"
    assert isinstance(opened, LoadProfile) and (opened.before, opened.after, opened.replaces) == (
        b"closed", b"open", True,
    )  # fmt: skip
    assert opened.why is LoadWhy.TRIAL and assign is ASSIGN


def test_taking_it_back_closes_it_before_anything_is_unloaded() -> None:
    backs = [step.back for step in inverse(begun(), ARGV)]
    assert kinds(backs) == ["assign", "remove", "remove", "load", "unload"]
    assert loads(backs) == [(b"open", b"closed")]


def test_a_name_that_is_loaded_already_is_replaced_twice() -> None:
    facts = replace(BEGIN, loaded=True, former=b"former", old_closure="o")
    actions = decide_begin(facts, Plan(actions=(ASSIGN,))).actions
    assert loads(actions) == [(b"former", b"closed"), (b"closed", b"open")]
    assert loads([step.back for step in inverse(actions, ARGV)]) == [
        (b"open", b"closed"),
        (b"closed", b"former"),
    ]


def test_what_refuses_the_lines_refuses_the_trial() -> None:
    for plan in (
        Plan(refused=(Note(Code.NO_CONFIGURATION, "container 950"),)),
        Plan(refusals=(Note(Code.NO_CONFIGURATION, "container 950"),)),
    ):
        assert decide_begin(BEGIN, plan) == plan


def test_what_is_told_of_a_beginning() -> None:
    restart = Note(Code.RESTART_NEEDED, "container 950", {"ctid": "950", "label": "lxc-a (enforce)"})
    facts = replace(
        BEGIN, timer=(), trial=replace(TRIAL, lets=()), stays_closed=((("mount,",), "mount proc"),)
    )
    found = decide_begin(facts, Plan(actions=(ASSIGN,), skipped=(restart,)))
    assert [note.code for note in found.skipped] == [TrialCode.AT_START]
    assert [note.code for note in found.warnings] == [
        TrialCode.STAYS_CLOSED,
        TrialCode.NOTHING_OPENED,
        TrialCode.NO_TIMER,
    ]
    assert not any(isinstance(one, TrialTimer) for one in found.actions)
    assert decide_begin(BEGIN, Plan(actions=(ASSIGN,))).warnings == ()


def test_ending_where_nobody_runs_under_it() -> None:
    plan = decide_end(END)
    load, timer, assign, file, record, unload = plan.actions
    assert isinstance(load, LoadProfile) and load.why is LoadWhy.TRIAL_OVER
    assert isinstance(timer, TrialTimer) and timer.until is None
    assert isinstance(assign, AssignLines) and assign.lines == tuple(one.swapped() for one in LINES)
    assert (assign.before, assign.after) == (b"new", b"old")
    assert isinstance(file, RemoveFile) and (file.path, file.profile) == (f"/etc/apparmor.d/{NAME}", NAME)
    assert isinstance(record, RemoveFile) and (record.before, record.profile) == (b"record", None)
    assert isinstance(unload, UnloadProfile) and unload.before == b"closed"
    assert plan.skipped == ()


def test_taking_an_end_back_opens_nothing() -> None:
    for facts in (END, replace(END, carried=True)):
        backs = [step.back for step in inverse(decide_end(facts).actions, ARGV)]
        assert all(after == b"closed" for _, after in loads(backs)) and loads(backs)


def test_ending_where_the_container_runs_on() -> None:
    plan = decide_end(replace(END, carried=True))
    assert kinds(plan.actions) == ["load", "trial-timer", "assign", "remove", "remove"]
    assert [note.code for note in plan.skipped] == [TrialCode.RUNS_ON]
    assert [one.profile for one in plan.actions if isinstance(one, RemoveFile)] == [None, None]


def test_ending_with_a_restart() -> None:
    plan = decide_end(replace(END, carried=True, restart=(("reboot",),)))
    assert kinds(plan.actions) == ["load", "trial-timer", "assign", "restart", "remove", "remove"]
    (restart,) = [one for one in plan.actions if isinstance(one, RestartContainer)]
    assert restart.profile == "lxc-a" and plan.skipped == ()


def test_a_configuration_that_cannot_be_written_leaves_the_rest_for_later() -> None:
    note = Note(Code.READ_ONLY, "container 950", {"cause": "no-quorum", "command": None})
    plan = decide_end(replace(END, blocked=(note,)))
    assert kinds(plan.actions) == ["load"] and plan.refused == (note,)


def test_a_second_try_to_end_it_writes_nothing_while_that_lasts() -> None:
    note = Note(Code.READ_ONLY, "container 950", {"cause": "no-quorum", "command": None})
    assert decide_end(replace(END, is_closed=True, blocked=(note,))).actions == ()
    assert kinds(decide_end(replace(END, is_closed=True)).actions) == [
        "trial-timer", "assign", "remove", "remove", "unload",
    ]  # fmt: skip


def test_lines_that_others_changed_stay() -> None:
    plan = decide_end(replace(END, values={PROFILE_KEY: "lxc-c", SECCOMP_KEY: "/s"}))
    (assign,) = [one for one in plan.actions if isinstance(one, AssignLines)]
    assert [one.key for one in assign.lines] == [SECCOMP_KEY]
    assert [(note.code, note.data) for note in plan.skipped] == [
        (TrialCode.LINE_STAYS, {"assigned": "lxc-c"})
    ]
    plan = decide_end(replace(END, restart=(("reboot",),), values={PROFILE_KEY: "lxc-c"}))
    assert not any(isinstance(one, AssignLines | RestartContainer) for one in plan.actions)


def test_ending_what_is_not_there_any_more() -> None:
    plan = decide_end(replace(END, closed=None, file=None, data=None, values={}, timer=()))
    assert kinds(plan.actions) == ["remove"] and plan.skipped == ()


@pytest.mark.parametrize(
    ("now", "in_kernel", "found"),
    [
        (8199.9, True, Stage.OPEN),
        (8200, True, Stage.OVERDUE),
        (1, False, Stage.ENDED),
        (9000, False, Stage.ENDED),
    ],
)
def test_how_far_it_is(now: float, in_kernel: bool, found: Stage) -> None:
    assert stage(TRIAL, now, in_kernel=in_kernel) is found
    finding = judge_trial(TRIAL, found)
    assert finding.fault is (found is not Stage.OPEN)


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": 2},
        {"ctid": "../x"},
        {"until": "soon"},
        {"profile": 1},
        {"lets": None},
        {"lines": [{"key": "lxc.cap.drop", "value": "x", "old": None}]},
        {"lines": [{"key": PROFILE_KEY, "value": 1, "old": None}]},
        {"lines": [{}]},
    ],
    ids=range(8),
)
def test_a_record_that_is_none(wrong: dict[str, Any]) -> None:
    assert read_trial(TRIAL.to_bytes(), "x") == TRIAL
    document = {**json.loads(TRIAL.to_bytes()), **wrong}
    with pytest.raises(PhoenixError, match="not a trial's record"):
        read_trial(json.dumps(document).encode(), "/x")


RECORD = "/var/lib/phoenix/trials/950.json"
FILE = f"/etc/apparmor.d/{NAME}"
LOAD = (("load", f"/compiled/{NAME}"),)
CLOSES = LoadProfile(
    target=NAME, before=b"closed", after=b"closed", processes=LOAD, closure="c", old_closure="c", replaces=True,
    why=LoadWhy.TRIAL_OVER,
)  # fmt: skip


def test_a_beginning_whole() -> None:
    facts = replace(BEGIN, installed=b"before", old_closure="o")
    assert decide_begin(facts, Plan(actions=(ASSIGN,), ok=1)) == Plan(
        actions=(
            InstallFile(target=RECORD, path=RECORD, before=None, after=TRIAL.to_bytes(), profile=None),
            InstallFile(target=NAME, path=FILE, before=b"before", after=b"text", profile=NAME),
            LoadProfile(
                target=NAME, before=None, after=b"closed", processes=LOAD, closure="c", old_closure="o",
                replaces=False, why=LoadWhy.NEW,
            ),
            TrialTimer(target="950", until="1970-01-01T02:16:40Z", processes=(("stop",), ("start",))),
            LoadProfile(
                target=NAME, before=b"closed", after=b"open", processes=LOAD, closure="c", old_closure="c",
                replaces=True, why=LoadWhy.TRIAL,
            ),
            ASSIGN,
        ),
        ok=1,
    )  # fmt: skip


def test_notes_of_a_beginning_whole() -> None:
    other = Note(Code.OLD_KEY, "container 950")
    restart = Note(
        Code.RESTART_NEEDED, "container 950", {"ctid": "950", "label": "lxc-a (enforce)"}, blocked_by=(other,)
    )
    facts = replace(
        BEGIN, timer=(), trial=replace(TRIAL, lets=()), stays_closed=((("mount,",), "mount proc"),)
    )
    found = decide_begin(facts, Plan(actions=(), skipped=(restart, other), warnings=(other,)))
    at_start = Note(TrialCode.AT_START, "container 950", restart.data, blocked_by=(other,))
    assert found.skipped == (at_start, other)
    assert found.warnings == (
        other,
        Note(TrialCode.STAYS_CLOSED, "container 950", {"rules": ("mount,",), "question": "mount proc"}),
        Note(TrialCode.NOTHING_OPENED, "container 950"),
        Note(TrialCode.NO_TIMER, "container 950", {"ctid": "950", "until": TRIAL.ends}),
    )
    record = found.actions[0]
    assert isinstance(record, InstallFile) and read_trial(record.after, "x").lines == ()


def test_an_end_whole() -> None:
    back = tuple(one.swapped() for one in LINES)
    rest = (
        TrialTimer(target="950", until=None, processes=(("stop",),)),
        AssignLines(target="950", path="/950.conf", before=b"new", after=b"old", lines=back),
    )
    record = RemoveFile(target=RECORD, path=RECORD, before=b"record", profile=None)
    unload = UnloadProfile(target=NAME, before=b"closed", processes=(("remove",),), old_closure="c")
    file = RemoveFile(target=NAME, path=FILE, before=b"text", profile=NAME)
    assert decide_end(END) == Plan(actions=(CLOSES, *rest, file, record, unload))
    stays = replace(file, profile=None)
    runs_on = Note(TrialCode.RUNS_ON, "container 950", {"ctid": "950", "profile": "lxc-b"})
    carried = replace(END, carried=True)
    assert decide_end(carried) == Plan(actions=(CLOSES, *rest, stays, record), skipped=(runs_on,))
    restart = RestartContainer(target="950", profile="lxc-a", processes=(("reboot",),))
    found = decide_end(replace(carried, restart=(("reboot",),)))
    assert found == Plan(actions=(CLOSES, *rest, restart, stays, record))
    kept = Note(TrialCode.LINE_STAYS, "container 950", {"assigned": None})
    found = decide_end(replace(END, values={PROFILE_KEY: None, SECCOMP_KEY: None}))
    assert found == Plan(actions=(CLOSES, rest[0], file, record, unload), skipped=(kept,))


def test_what_is_told_of_a_trial_whole() -> None:
    data = {"ctid": "950", "profile": "lxc-b"}
    timed = {**data, "until": "1970-01-01T02:16:40Z"}
    assert on_trial(TRIAL) == Note(TrialCode.ON_TRIAL, "container 950", timed)
    assert judge_trial(TRIAL, Stage.OPEN) == Finding(TrialCode.ON_TRIAL, "container 950", timed, fault=False)
    assert judge_trial(TRIAL, Stage.OVERDUE) == Finding(TrialCode.OVERDUE, "container 950", timed)
    assert judge_trial(TRIAL, Stage.ENDED) == Finding(TrialCode.ENDED, "container 950", data)


def test_a_record_names_its_place_and_the_next_step() -> None:
    with pytest.raises(PhoenixError) as caught:
        read_trial(b"{}", "/var/x")
    assert caught.value.where == "/var/x" and "remove this file" in str(caught.value.hint)
    assert TRIAL.to_bytes().endswith(b"}\n")
