"""A plan as one transaction: what is announced, what is taken back, what is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from phoenix_hypervisor.errors import LeftAlone, PhoenixError
from phoenix_hypervisor.plan.actions import (
    PROFILE_KEY,
    Action,
    AssignLines,
    CreateContainer,
    InstallFile,
    LineChange,
    LoadProfile,
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
from phoenix_hypervisor.plan.transaction import Transaction, TransactionFailed, take_back

INSTALL = InstallFile(target="a", path="/p", before=b"old", after=b"new", profile="a")
LOAD = LoadProfile(
    target="k", before=b"1", after=b"2", processes=(), closure="c2", old_closure="c1", replaces=True
)
ASSIGN = AssignLines(
    target="101",
    path="/c",
    before=b"a",
    after=b"b",
    lines=(LineChange(key=PROFILE_KEY, value="lxc-a", old="x"),),
)
CREATE = CreateContainer(target="950", name="new", processes=())
START = StartContainer(target="950", profile=None, processes=())
RESTART = RestartContainer(target="951", profile=None, processes=())
SWEEP = SweepFile(target="c", path="c", why=SweepWhy.LEFTOVER)
UNLOAD = UnloadProfile(target="k", before=b"2", processes=(), old_closure="c2")
ARGV = KernelArgv(("load",), "/compiled", ("remove",))

Perform = Callable[[Action], Action]
FULL = PhoenixError("no space left", where="/x", hint="make room")


class Run:
    """One transaction with its log: everything that was said to it, in order."""

    def __init__(self, perform: Perform, *, fails: str = "", where: str | None = "/journal") -> None:
        self.said: list[tuple[Any, ...]] = []
        self._perform = perform
        self._fails = fails
        self._where = where
        self.transaction = Transaction(
            perform=self.perform, back=lambda actions: inverse(actions, ARGV), settle=self.settle, log=self
        )

    def perform(self, action: Action) -> Action:
        done = self._perform(action)
        self.said.append(("perform", action))
        return done

    def settle(self, actions: Sequence[Action]) -> None:
        self._say("settle", list(actions))

    def begin(self, number: int) -> None:
        self._say("begin", number)

    def done(self, number: int, action: Action) -> None:
        self._say("done", number, action)

    def end(self, state: str, left: Sequence[Note] = ()) -> None:
        self._say("end", state, list(left))

    def _say(self, *words: Any) -> None:
        if words[0] == self._fails:
            raise PhoenixError("the disk is gone", where=self._where)
        self.said.append(words)

    def fail(self, *actions: Action, **more: Any) -> TransactionFailed:
        with pytest.raises(TransactionFailed) as caught:
            self.transaction.execute(Plan(actions=actions), **more)
        return caught.value

    def what(self, word: str) -> list[Any]:
        return [said[1] for said in self.said if said[0] == word]


WHY = Note(Code.FAILED, "/x", {"why": "no space left", "next": "make room"})


def step(kind: str, subject: str, target: str) -> Note:
    """The note of the step that failed."""
    return Note(Code.STEP_FAILED, target, {"step": kind, "subject": subject})


def failing(*targets: str, error: BaseException = FULL) -> Perform:
    """Performers that fail for these targets."""

    def perform(action: Action) -> Action:
        if action.target in targets:
            raise error
        return action

    return perform


def test_each_step_is_announced_done_and_recorded_as_it_was_done() -> None:
    seen: list[Action] = []
    as_done = replace(INSTALL, before=b"other")
    run = Run(lambda action: as_done if action is INSTALL else action)
    run.transaction.execute(Plan(actions=(INSTALL, CREATE)), seen.append)
    assert run.said == [
        ("begin", 0),
        ("perform", INSTALL),
        ("done", 0, as_done),
        ("begin", 1),
        ("perform", CREATE),
        ("done", 1, CREATE),
        ("settle", [as_done, CREATE]),
        ("end", "committed", []),
    ]
    assert seen == [INSTALL, CREATE]


def test_a_reader_that_goes_away_ends_no_transaction() -> None:
    def gone(action: Action) -> None:
        raise BrokenPipeError

    run = Run(lambda action: action)
    run.transaction.execute(Plan(actions=(INSTALL,)), gone)
    assert run.said[-1] == ("end", "committed", [])


def test_a_failure_undoes_newest_first_and_the_kernel_last() -> None:
    plan = (
        replace(INSTALL, before=None), replace(LOAD, replaces=False), replace(INSTALL, target="b"),
        CREATE, replace(ASSIGN, before=None),
    )  # fmt: skip
    run = Run(failing("101"))
    error = run.fail(*plan)
    assert [f"{a.kind} {a.target}" for a in run.what("perform")[4:]] == ["install b", "remove a", "unload k"]
    # Even the step that failed is taken back: it may have been done in part; here that failed too.
    assert (error.where, error.hint) == ("/x", "make room")
    assert error.notes == (
        Note(Code.STEP_FAILED, "container 101", {"step": "assign", "subject": "101"}),
        WHY,
        Note(Code.UNDO_CONTINUES, "transaction"),
        Note(Code.UNDO_FAILED, "/x", {"step": "assign", "subject": "101", "why": "no space left"}),
        Note(Code.CREATED, "container 950"),
    )
    assert run.what("settle") == [[plan[-1]]]
    assert run.what("end") == [], "it is not over"


def test_what_was_undone_is_recorded_as_undone() -> None:
    run = Run(failing("960"))
    error = run.fail(INSTALL, replace(CREATE, target="960"))
    assert error.notes == (
        step("create", "960", "container 960"),
        WHY,
        Note(Code.UNDONE, "transaction"),
        Note(Code.MAYBE_CREATED, "container 960"),
    )
    assert run.said[-2:] == [("settle", []), ("end", "undone", [])]


def test_a_failure_before_the_first_step_says_that_nothing_was_changed() -> None:
    def broken() -> None:
        raise PhoenixError("no space left")

    run = Run(lambda action: action)
    error = run.fail(INSTALL, prepare=broken)
    assert error.notes == (
        Note(Code.RECORD_FAILED, "journal", {"when": "before"}),
        Note(Code.FAILED, "journal", {"why": "no space left", "next": None}),
        Note(Code.NOTHING_DONE, "transaction"),
    )
    assert (error.where, error.hint) == (None, None)
    assert run.said == [("settle", []), ("end", "undone", [])]


def test_a_step_that_cannot_be_recorded_is_taken_back_with_the_others() -> None:
    run = Run(lambda action: action, fails="done")
    error = run.fail(INSTALL, CREATE)
    assert error.notes == (
        step("install", "a", "a"),
        Note(Code.FAILED, "/journal", {"why": "the disk is gone", "next": None}),
        Note(Code.UNDONE, "transaction"),
    )
    assert [a.takes_back for a in run.what("perform") if isinstance(a, InstallFile)] == [False, True]
    assert run.what("begin") == [0]


def test_a_manifest_that_cannot_be_written_is_said_beside_the_failure() -> None:
    run = Run(failing("b"), fails="settle")
    error = run.fail(INSTALL, replace(CREATE, target="b"))
    unrecorded = Note(Code.UNDO_UNRECORDED, "/journal", {"why": "the disk is gone"})
    assert error.notes[2:4] == (Note(Code.UNDO_CONTINUES, "transaction"), unrecorded)
    assert run.what("end") == []
    run = Run(lambda action: action, fails="settle")
    assert run.fail(INSTALL).notes[0] == Note(Code.RECORD_FAILED, "journal", {"when": "after"})


def test_what_cannot_be_recorded_has_a_place_even_where_the_error_names_none() -> None:
    run = Run(failing("b"), fails="settle", where=None)
    unrecorded = Note(Code.UNDO_UNRECORDED, "journal", {"why": "the disk is gone"})
    assert unrecorded in run.fail(replace(CREATE, target="b")).notes


@pytest.mark.parametrize(
    ("action", "code"),
    [(CREATE, Code.MAYBE_CREATED), (START, Code.MAYBE_RUNNING), (RESTART, Code.MAYBE_STOPPED)],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_what_a_failed_step_of_a_container_may_have_left(action: Action, code: Code) -> None:
    target = f"container {action.target}"
    assert Run(failing(action.target)).fail(action).notes == (
        step(action.kind, action.target, target),
        WHY,
        Note(Code.NOTHING_DONE, "transaction"),
        Note(code, target),
    )


def test_what_a_failed_step_has_left_is_looked_up_where_it_can_be() -> None:
    found = Note(Code.NOT_CREATED, "container 950")
    looked: list[Action] = []

    def look(action: Action) -> Note | None:
        looked.append(action)
        return found

    for action in (CREATE, INSTALL):
        run = Run(failing(action.target))
        run.transaction.look = look
        assert (found in run.fail(action).notes) is (action is CREATE)
    assert looked == [CREATE], "a file is taken back, and not looked for"

    def blind(action: Action) -> Note | None:
        raise PhoenixError("no /proc")

    run = Run(failing(START.target))
    run.transaction.look = blind
    assert run.fail(START).notes[3:] == (Note(Code.MAYBE_RUNNING, "container 950"),)


def test_containers_that_were_created_or_started_stay() -> None:
    also = replace(CREATE, target="952")
    notes = Run(failing("b")).fail(CREATE, also, START, RESTART, replace(CREATE, target="b")).notes
    assert notes[2:] == (
        Note(Code.NOTHING_DONE, "transaction"),
        Note(Code.CREATED, "container 950"),
        Note(Code.CREATED, "container 952"),
        Note(Code.STARTED, "container 950"),
        Note(Code.STARTED, "container 951"),
        Note(Code.MAYBE_CREATED, "container b"),
    )


def test_what_somebody_else_changed_stays_and_is_said() -> None:
    left = Note(Code.CHANGED_MEANWHILE, "/p")

    def perform(action: Action) -> Action:
        if isinstance(action, RemoveFile):
            raise LeftAlone("changed-meanwhile", "/p")
        if isinstance(action, SweepFile):
            raise PhoenixError("no")
        return action

    done = replace(INSTALL, before=None)
    run = Run(perform)
    error = run.fail(done, SWEEP)
    assert error.notes == (
        step("sweep", "c", "c"),
        Note(Code.FAILED, "c", {"why": "no", "next": None}),
        Note(Code.UNDONE_BUT, "transaction"),
        left,
    )
    assert run.said[-2:] == [("settle", [done]), ("end", "undone", [left])]


@pytest.mark.parametrize(
    ("action", "target"),
    [(INSTALL, "a"), (LOAD, "profile k"), (replace(LOAD, replaces=False), "profile k"), (ASSIGN, "container 101")],
    ids=["install", "load again", "load", "assign"],
)  # fmt: skip
def test_what_is_left_or_fails_without_a_place_is_named_by_what_it_is_about(
    action: Action, target: str
) -> None:
    steps = inverse([action], ARGV)

    def left(action: Action) -> Action:
        raise LeftAlone("changed-meanwhile", "")

    def fails(action: Action) -> Action:
        raise PhoenixError("no")

    assert take_back(steps, left).left == [Note(Code.CHANGED_MEANWHILE, target)]
    data = {"step": action.kind, "subject": action.target, "why": "no"}
    assert take_back(steps, fails).failed == [Note(Code.UNDO_FAILED, target, data)]


def test_one_step_that_cannot_be_undone_keeps_no_other_from_it() -> None:
    def perform(action: Action) -> Action:
        if getattr(action, "takes_back", False) and action.target in ("b", "c"):
            raise LeftAlone("changed-meanwhile", "b") if action.target == "b" else PhoenixError("no")
        return action

    steps = [replace(INSTALL, target=name) for name in "abc"]
    outcome = take_back(inverse(steps, ARGV), perform)
    assert outcome.changed is True and outcome.left == [Note(Code.CHANGED_MEANWHILE, "b")]
    failed = {"step": "install", "subject": "c", "why": "no"}
    assert outcome.failed == [Note(Code.UNDO_FAILED, "c", failed)]
    assert outcome.effective == [steps[2], steps[1]]
    assert take_back([], perform).changed is False


def test_a_policy_that_nobody_kept_is_said_to_be_what_the_file_says() -> None:
    """The kernel does not give out what it has; the file is compiled in its place."""
    unknown = replace(LOAD, before=None)

    def perform(action: Action) -> Action:
        return replace(action, after=b"compiled") if isinstance(action, LoadProfile) else action

    steps = inverse([unknown], ARGV)
    assert take_back(steps, perform).left == [Note(Code.POLICY_GUESSED, "profile k")]
    assert take_back(steps, lambda action: action).left == [], "nothing was loaded"
    assert take_back(inverse([LOAD], ARGV), perform).left == [], "it was kept"
    assert take_back(steps, lambda action: replace(UNLOAD, after=b"2")).left == [], "not loaded at all"
    first = inverse([replace(LOAD, before=None, replaces=False)], ARGV)
    assert isinstance(first[0].back, UnloadProfile)
    assert take_back(first, lambda action: LOAD).left == [], "nothing was to be loaded"


def test_a_refused_load_leaves_the_policy_that_was_there() -> None:
    """Where that is not known, loading the file's policy would replace what still works."""
    run = Run(failing("k"))
    error = run.fail(INSTALL, replace(LOAD, before=None))
    assert error.notes == (step("load", "k", "profile k"), WHY, Note(Code.UNDONE, "transaction"))
    assert [a.target for a in run.what("perform")] == ["a", "a"]
    for known in (LOAD, replace(LOAD, before=None, replaces=False)):
        codes = [note.code for note in Run(failing("k")).fail(INSTALL, known).notes]
        assert Code.UNDO_FAILED in codes, "it is taken back, too"


def test_ctrl_c_is_an_error_that_says_what_was_done_about_it() -> None:
    run = Run(failing("b", error=KeyboardInterrupt()))
    error = run.fail(INSTALL, replace(SWEEP, target="b"))
    assert error.notes == (
        step("sweep", "b", "b"),
        Note(Code.INTERRUPTED, "b"),
        Note(Code.UNDONE, "transaction"),
    )
    assert (error.where, error.hint) == (None, None)
    assert run.said[-1] == ("end", "undone", [])


def test_a_fault_of_ours_takes_everything_back_and_stays_what_it_is() -> None:
    run = Run(failing("b", error=ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        run.transaction.execute(Plan(actions=(INSTALL, replace(CREATE, target="b"))))
    assert run.said[-1] == ("end", "undone", [])


def test_the_message_of_a_failed_transaction_names_code_target_and_data() -> None:
    notes = (step("create", "b", "b"), Note(Code.UNDONE, "transaction"))
    error = TransactionFailed(notes, where="/x", hint="make room")
    data = {"step": "create", "subject": "b"}
    assert error.message == f"step-failed (b) {data}; undone (transaction)"
    assert (error.where, error.hint, error.notes) == ("/x", "make room", notes)
