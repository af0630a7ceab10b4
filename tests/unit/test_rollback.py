"""What undoing a transaction would do, and why it must not: whole plans."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from phoenix_hypervisor.plan.actions import (
    NESTING_KEY,
    PROFILE_KEY,
    SECCOMP_KEY,
    Action,
    AdoptFile,
    AssignLines,
    InstallFile,
    LineChange,
    LoadProfile,
    LoadWhy,
    ReloadService,
    RemoveFile,
    UnloadProfile,
)
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.entries import Entry, Header
from phoenix_hypervisor.plan.facts import KernelArgv
from phoenix_hypervisor.plan.inverse import Step
from phoenix_hypervisor.plan.model import (
    Assignments,
    AtWork,
    ConfFault,
    Conflict,
    Note,
    Plan,
    ReadOnly,
)
from phoenix_hypervisor.plan.rollback import Line, RollbackFacts, decide_rollback, undone_by

NAME = "/etc/apparmor.d/lxc-a"
INCLUDE = "/etc/apparmor.d/abstractions/x"
INSTALL = InstallFile(
    target="lxc-a", path=NAME, before=b"new", after=b"old", profile="lxc-a", takes_back=True
)
REMOVE = RemoveFile(target="lxc-a", path=NAME, before=b"new", profile="lxc-a", takes_back=True)
LOADED = LoadProfile(
    target="lxc-a", before=b"1", after=b"2", processes=(), closure="c2", old_closure="c1", replaces=True
)
LOAD = replace(LOADED, before=b"2", after=b"1", closure="c1", old_closure="c2", takes_back=True)
UNLOAD = UnloadProfile(
    target="lxc-a", before=b"2", processes=(("remove",),), old_closure="c2", takes_back=True
)
SERVICE = ReloadService(target="s", processes=(("r",),), closures={}, old_closures={}, takes_back=True)
ASSIGN = AssignLines(
    target="101",
    path="/c",
    before=b"as left",
    after=b"as it was",
    lines=(
        LineChange(key=PROFILE_KEY, value="lxc-old", old="lxc-a"),
        LineChange(key=NESTING_KEY, value=None, old="1"),
    ),
    takes_back=True,
)
AS_LEFT = {PROFILE_KEY: "lxc-a", NESTING_KEY: "1"}
AS_IT_WAS = {PROFILE_KEY: "lxc-old", NESTING_KEY: None}
SWEPT = AdoptFile(target="x", path="/x", after=b"")
FACTS = RollbackFacts(
    steps=(),
    live=True,
    kernel=True,
    loaded={"lxc-a": "enforce"},
    recorded={"lxc-a": "c2"},
    former={"lxc-a": b"now"},
    earlier=3,
    argv=KernelArgv(("load",), "/compiled", ("remove",)),
)
NOTHING = Note(Code.NOTHING_TO_UNDO, "rollback", {"earlier": 3})


def decided(*steps: Step | Action, **facts: Any) -> Plan:
    """The plan for these steps; an action alone takes back something that is never loaded."""
    whole = tuple(one if isinstance(one, Step) else Step(SWEPT, one) for one in steps)
    return decide_rollback(replace(FACTS, steps=whole, **facts), Plan())


# Files ------------------------------------------------------------------------------


def test_a_file_that_is_as_the_transaction_left_it_goes_back() -> None:
    assert decided(INSTALL, files={NAME: b"new"}) == Plan(actions=(INSTALL,))
    assert decided(REMOVE, files={NAME: b"new"}) == Plan(actions=(REMOVE,))


def test_a_file_that_is_back_already_counts_as_done() -> None:
    assert decided(INSTALL, files={NAME: b"old"}) == Plan(ok=1, skipped=(NOTHING,))
    twice = replace(REMOVE, path="/etc/apparmor.d/lxc-b")
    assert decided(REMOVE, twice, files={NAME: None, twice.path: None}) == Plan(ok=2, skipped=(NOTHING,))


def test_a_file_that_somebody_changed_is_a_conflict() -> None:
    assert decided(INSTALL, files={NAME: b"theirs"}) == Plan(
        conflicts=(Conflict(NAME, b"new", b"theirs", b"old"),)
    )
    assert decided(REMOVE, files={NAME: b"theirs"}) == Plan(
        conflicts=(Conflict(NAME, b"new", b"theirs", None),)
    )


# Lines ------------------------------------------------------------------------------


def lines(now: Line, **facts: Any) -> Plan:
    return decided(ASSIGN, lines={"101": now}, **facts)


def test_a_configuration_that_is_as_left_goes_back_whole() -> None:
    assert lines(Line(data=b"as left", values=AS_LEFT)) == Plan(actions=(ASSIGN,))


def test_of_a_configuration_that_others_changed_the_lines_alone_go_back() -> None:
    now = Line(data=b"more", values=AS_LEFT, merged=b"more, put back")
    alone = replace(ASSIGN, before=b"more", after=b"more, put back", alone=True)
    assert lines(now) == Plan(actions=(alone,))
    same = replace(now, merged=b"more")
    assert lines(same) == Plan(ok=1, skipped=(NOTHING,))


def test_a_container_that_was_created_keeps_all_but_our_lines() -> None:
    """Nothing is known of its configuration before."""
    back = replace(ASSIGN, before=None, after=None)
    now = Line(data=b"more", values=AS_LEFT, merged=b"put back")
    expected = replace(back, before=b"more", after=b"put back", alone=True)
    assert decided(back, lines={"101": now}) == Plan(actions=(expected,))


def test_lines_that_are_back_already_count_as_done() -> None:
    done = Plan(ok=1, skipped=(NOTHING,))
    assert lines(Line(data=b"as it was", values=AS_IT_WAS)) == done
    assert lines(Line(data=b"other", values=AS_IT_WAS)) == done
    # The bytes alone are enough.
    assert lines(Line(data=b"as it was", values=AS_LEFT)) == done


def test_a_line_that_changed_nothing_that_counts_still_goes_back() -> None:
    """As left and as it was say the same; the bytes differ."""
    same = replace(ASSIGN, lines=(LineChange(key=PROFILE_KEY, value="lxc-a", old="lxc-a"),))
    now = Line(data=b"as left", values=AS_LEFT)
    assert decided(same, lines={"101": now}) == Plan(actions=(same,))


def test_lines_that_somebody_changed_are_a_conflict() -> None:
    values = {PROFILE_KEY: "lxc-b", NESTING_KEY: "1"}
    conflict = Conflict("/c", b"as left", b"theirs", b"as it was")
    assert lines(Line(data=b"theirs", values=values)) == Plan(conflicts=(conflict,))
    half = {PROFILE_KEY: "lxc-a", NESTING_KEY: None}
    assert lines(Line(data=b"theirs", values=half)) == Plan(conflicts=(conflict,)), "one of two is not back"


def test_a_configuration_that_is_as_left_goes_back_whatever_its_lines_say() -> None:
    values = {PROFILE_KEY: "lxc-b", NESTING_KEY: "1"}
    assert lines(Line(data=b"as left", values=values)) == Plan(actions=(ASSIGN,))


FAULT: dict[str, Any] = {"path": "/c", "reason": "header", "why": "bad header", "next": None}


@pytest.mark.parametrize(
    ("now", "facts", "expected"),
    [
        (
            Line(data=b"as left", fault=ConfFault(**FAULT)),
            {},
            Plan(refusals=(Note(Code.CONF_UNUSABLE, "container 101", FAULT),)),
        ),
        (Line(), {}, Plan(skipped=(Note(Code.CONTAINER_GONE, "container 101"), NOTHING))),
        (
            Line(data=b"as left", values=AS_LEFT, lock=AtWork("x", "backup", "unlock")),
            {},
            Plan(
                refusals=(
                    Note(
                        Code.LOCKED,
                        "container 101",
                        {"by": "x", "reason": "backup", "command": "unlock"},
                    ),
                )
            ),
        ),
        (
            Line(data=b"as left", values=AS_LEFT),
            {"read_only": ReadOnly("no-quorum", "status")},
            Plan(
                refusals=(Note(Code.READ_ONLY, "container 101", {"cause": "no-quorum", "command": "status"}),)
            ),
        ),
    ],
    ids=["unusable", "gone", "locked", "read-only"],
)
def test_a_configuration_that_cannot_be_written(now: Line, facts: dict[str, Any], expected: Plan) -> None:
    assert lines(now, **facts) == expected


# The kernel -------------------------------------------------------------------------


@pytest.mark.parametrize("back", [LOAD, UNLOAD, SERVICE], ids=lambda back: back.kind)
def test_without_a_kernel_only_files_go_back(back: Action) -> None:
    for live, code in ((True, Code.KERNEL_OFF), (False, Code.FILES_ONLY)):
        note = Note(code, back.target, {"what": "undo"})
        assert decided(Step(LOADED, back), live=live, kernel=False) == Plan(skipped=(note, NOTHING))


def test_a_policy_that_was_replaced_is_loaded_again() -> None:
    expected = replace(LOAD, before=b"now")
    assert decided(Step(LOADED, LOAD)) == Plan(actions=(expected,))
    assert decided(Step(LOADED, LOAD), former={}) == Plan(actions=(replace(LOAD, before=None),))


def test_a_policy_that_was_unloaded_is_loaded_unless_it_is_there() -> None:
    unloaded = UnloadProfile(target="lxc-a", before=b"1", processes=(), old_closure="c1")
    assert decided(Step(unloaded, LOAD)) == Plan(ok=1, skipped=(NOTHING,))
    assert decided(Step(unloaded, LOAD), loaded={}, recorded={}) == Plan(actions=(LOAD,))


def test_a_policy_that_nobody_kept_is_made_of_its_file() -> None:
    back = replace(LOAD, after=None)
    unknown = Plan(skipped=(Note(Code.POLICY_UNKNOWN, "profile lxc-a"), NOTHING))
    assert decided(Step(LOADED, back), files={NAME: None}) == unknown
    loads = replace(back, before=b"now")
    assert decided(Step(LOADED, back), files={NAME: b"x"}) == Plan(actions=(loads,))
    # What the rollback itself does to the file counts.
    install = replace(INSTALL, before=None)
    assert decided(install, Step(LOADED, back), files={NAME: None}) == Plan(actions=(install, loads))
    removed = decided(REMOVE, Step(LOADED, back), files={NAME: b"new"})
    assert removed.actions == (REMOVE,) and removed.skipped == (unknown.skipped[0],)
    # Another file does not, and kernel and lines are not looked at.
    other = replace(REMOVE, path=INCLUDE + "2", target="x", profile="x")
    files = {NAME: b"x", other.path: b"new"}
    assert decided(other, Step(LOADED, back), files=files) == Plan(actions=(other, loads))


def test_a_profile_that_was_new_is_unloaded_unless_it_is_gone() -> None:
    first = replace(LOADED, replaces=False)
    assert decided(Step(first, UNLOAD)) == Plan(actions=(replace(UNLOAD, before=b"now"),))
    assert decided(Step(first, UNLOAD), loaded={}) == Plan(ok=1, skipped=(NOTHING,))


@pytest.mark.parametrize("back", [LOAD, UNLOAD], ids=lambda back: back.kind)
def test_what_a_later_transaction_loaded_again_is_not_the_next_to_go(back: Action) -> None:
    refused = Plan(refusals=(Note(Code.LOADED_LATER, "profile lxc-a"),))
    assert decided(Step(LOADED, back), recorded={"lxc-a": "c3"}) == refused
    # Of what a reload of the service loaded, nothing is known.
    reloaded = decided(Step(replace(SERVICE, takes_back=False), back), recorded={"lxc-a": "c3"})
    assert reloaded.refusals == () and len(reloaded.actions) == 1


def test_the_service_reloads_as_it_did() -> None:
    assert decided(SERVICE) == Plan(actions=(SERVICE,))


# Profiles that include what goes back -----------------------------------------------

BACK = InstallFile(target="x", path=INCLUDE, before=b"new", after=b"old", profile=None, takes_back=True)
INCLUDERS = {INCLUDE: ("lxc-b", "lxc-a")}
WITH_INCLUDE: dict[str, Any] = {
    "files": {INCLUDE: b"new"},
    "includers": INCLUDERS,
    "closures": {"lxc-a": "c9", "lxc-b": "c8"},
}
AGAIN = LoadProfile(
    target="lxc-a",
    before=b"now",
    after=None,
    processes=(("load", "/compiled/lxc-a"),),
    closure="c9",
    old_closure="c2",
    replaces=True,
    why=LoadWhy.INCLUDE,
)


def test_a_profile_that_includes_what_goes_back_is_loaded_again() -> None:
    """A later transaction installed it; lxc-b is not in the kernel."""
    assert decided(BACK, **WITH_INCLUDE) == Plan(actions=(BACK, AGAIN))
    both = decided(BACK, **WITH_INCLUDE, loaded={"lxc-a": "enforce", "lxc-b": "enforce"})
    second = replace(AGAIN, target="lxc-b", before=None, closure="c8", old_closure=None)
    second = replace(second, processes=(("load", "/compiled/lxc-b"),))
    assert both == Plan(actions=(BACK, AGAIN, second))


def test_a_profile_that_is_not_loaded_keeps_no_other_from_being_loaded_again() -> None:
    second = replace(AGAIN, target="lxc-b", before=None, closure="c8", old_closure=None)
    second = replace(second, processes=(("load", "/compiled/lxc-b"),))
    assert decided(BACK, **WITH_INCLUDE, loaded={"lxc-b": "enforce"}) == Plan(actions=(BACK, second))


def test_without_a_kernel_nothing_is_loaded_again() -> None:
    assert decided(BACK, **WITH_INCLUDE, kernel=False) == Plan(actions=(BACK,))


def test_a_profile_that_the_rollback_loads_or_unloads_itself_is_not_loaded_twice() -> None:
    loads = replace(LOAD, before=b"now")
    assert decided(BACK, Step(LOADED, LOAD), **WITH_INCLUDE) == Plan(actions=(BACK, loads))
    unloads = replace(UNLOAD, before=b"now")
    assert decided(BACK, Step(LOADED, UNLOAD), **WITH_INCLUDE) == Plan(actions=(BACK, unloads))


def test_a_profile_whose_file_goes_in_the_same_rollback_is_not_loaded_again() -> None:
    facts = {**WITH_INCLUDE, "files": {INCLUDE: b"new", NAME: b"new"}}
    assert decided(REMOVE, BACK, **facts) == Plan(actions=(REMOVE, BACK))
    assert decided(INSTALL, BACK, **facts) == Plan(actions=(INSTALL, BACK, AGAIN))


def test_the_service_loads_all_there_is() -> None:
    assert decided(SERVICE, BACK, **WITH_INCLUDE) == Plan(actions=(SERVICE, BACK))


def test_a_profile_is_no_include() -> None:
    facts = {**WITH_INCLUDE, "files": {NAME: b"new"}, "includers": {NAME: ("lxc-a",)}}
    assert decided(INSTALL, **facts) == Plan(actions=(INSTALL,))


# What is still in use ---------------------------------------------------------------


def test_a_profile_that_a_container_is_assigned_stays() -> None:
    users = {"containers": ("101", "102")}
    assigned = Assignments({"101": "lxc-a", "102": "lxc-a", "103": "lxc-b"}, unknown=("104",))
    note = Note(Code.ASSIGNED, "profile lxc-a", users)
    unloads = replace(UNLOAD, before=b"now")
    assert decided(Step(LOADED, UNLOAD), assignments=assigned) == Plan(actions=(unloads,), refusals=(note,))
    removes = decided(REMOVE, files={NAME: b"new"}, assignments=assigned)
    assert removes == Plan(actions=(REMOVE,), refusals=(note,))
    both = decided(Step(LOADED, UNLOAD), REMOVE, files={NAME: b"new"}, assignments=assigned)
    assert both.refusals == (note,), "said once"


def test_a_profile_that_a_container_may_be_assigned_stays() -> None:
    plan = decided(REMOVE, files={NAME: b"new"}, assignments=Assignments({}, unknown=("104",)))
    note = Note(Code.PERHAPS_ASSIGNED, "profile lxc-a", {"containers": ("104",)})
    assert plan == Plan(actions=(REMOVE,), refusals=(note,))


def test_a_container_whose_line_goes_back_too_does_not_count() -> None:
    now = {"101": Line(data=b"as left", values=AS_LEFT)}
    assigned = Assignments({"101": "lxc-a"})
    plan = decided(ASSIGN, REMOVE, files={NAME: b"new"}, lines=now, assignments=assigned)
    assert plan == Plan(actions=(ASSIGN, REMOVE))


def test_a_profile_that_processes_carry_is_not_unloaded() -> None:
    labels = dict.fromkeys(range(1, 8), "lxc-a (enforce)") | {9: "lxc-b (enforce)"}
    note = Note(Code.CARRIED, "profile lxc-a", {"pids": (1, 2, 3, 4, 5)})
    both = decided(Step(LOADED, UNLOAD), REMOVE, files={NAME: b"new"}, labels=labels)
    assert both.refusals == (note,)
    assert decided(REMOVE, files={NAME: b"new"}, labels=labels) == Plan(actions=(REMOVE,)), "it stays loaded"
    assert decided(REMOVE, Step(LOADED, UNLOAD), files={NAME: b"new"}, labels=labels).refusals == (note,)


GONE = RemoveFile(target="x", path=INCLUDE, before=b"new", profile=None, takes_back=True)


def test_an_include_that_a_profile_still_pulls_in_stays() -> None:
    note = Note(Code.INCLUDED, INCLUDE, {"profiles": ("lxc-b", "lxc-a")})
    plan = decided(GONE, files={INCLUDE: b"new"}, includers=INCLUDERS)
    assert plan == Plan(actions=(GONE,), refusals=(note,))
    # A profile whose file goes too does not count.
    files = {INCLUDE: b"new", NAME: b"new"}
    note = Note(Code.INCLUDED, INCLUDE, {"profiles": ("lxc-b",)})
    assert decided(GONE, REMOVE, files=files, includers=INCLUDERS).refusals == (note,)
    assert decided(GONE, REMOVE, files=files, includers={INCLUDE: ("lxc-a",)}).refusals == ()


SECCOMP = "/var/lib/phoenix/seccomp/privileged"


def test_a_seccomp_file_that_a_container_still_names_stays() -> None:
    gone = replace(GONE, path=SECCOMP)
    facts: dict[str, Any] = {
        "files": {SECCOMP: b"new"}, "includers": {SECCOMP: ()}, "naming": {SECCOMP: ("101", "102")},
        "lines": {"101": Line(data=b"as left", values={SECCOMP_KEY: SECCOMP})},
    }  # fmt: skip
    both = Note(Code.STILL_NAMED, SECCOMP, {"containers": ("101", "102")})
    assert decided(gone, **facts) == Plan(actions=(gone,), refusals=(both,))
    assert decided(gone, **{**facts, "naming": {}}) == Plan(actions=(gone,))
    # One whose line goes in the same rollback does not count; one that keeps or gets it does.
    for value, named in ((None, ("102",)), ("/other", ("102",)), (SECCOMP, ("101", "102"))):
        line = replace(ASSIGN, lines=(LineChange(key=SECCOMP_KEY, value=value, old="/x"),))
        note = Note(Code.STILL_NAMED, SECCOMP, {"containers": named})
        assert decided(line, gone, **facts).refusals == (note,), value
    other = replace(ASSIGN, lines=(LineChange(key=PROFILE_KEY, value="x", old="lxc-a"),))
    assert decided(other, gone, **facts).refusals == (both,)


# Which rollback undid what ----------------------------------------------------------


def entry(number: int, undoes: int | None = None, state: str = "committed") -> Entry:
    header = Header(
        id=number, time="", user="", command=(), runtime="", actions=(), manifest=None, undoes=undoes
    )
    return Entry(header, state, ())


def test_a_transaction_is_undone_by_the_rollback_that_names_it() -> None:
    assert undone_by([entry(3, 1), entry(2), entry(1)]) == {1: 3}
    assert undone_by([entry(2, 1, "undone"), entry(1)]) == {}, "that rollback failed"


def test_a_rollback_that_was_rolled_back_undoes_nothing_any_more() -> None:
    assert undone_by([entry(3, 2), entry(2, 1), entry(1)]) == {2: 3}
    assert undone_by([entry(4, 3), entry(3, 2), entry(2, 1), entry(1)]) == {3: 4, 1: 2}


def test_everything_that_is_back_already_is_counted() -> None:
    first = replace(LOADED, replaces=False)
    unloaded = UnloadProfile(target="lxc-b", before=b"1", processes=(), old_closure="c1")
    others = [replace(ASSIGN, target=ctid) for ctid in ("102", "103")]
    steps: list[Step | Action] = [
        INSTALL,
        Step(first, UNLOAD),
        Step(unloaded, replace(LOAD, target="lxc-b")),
        *others,
    ]
    now = {"102": Line(data=b"as it was"), "103": Line(data=b"x", values=AS_LEFT, merged=b"x")}
    facts: dict[str, Any] = {"files": {NAME: b"old"}, "loaded": {"lxc-b": "enforce"}, "lines": now}
    for order in (steps, steps[::-1]):
        assert decided(*order, **facts) == Plan(ok=5, skipped=(NOTHING,))


def test_steps_that_take_nothing_back_are_passed_over() -> None:
    assert decided(Step(SWEPT, SWEPT)) == Plan(skipped=(NOTHING,))
