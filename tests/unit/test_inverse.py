"""What takes actions back, whole."""

from __future__ import annotations

from dataclasses import replace

import pytest

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
from phoenix_hypervisor.plan.facts import KernelArgv
from phoenix_hypervisor.plan.inverse import inverse

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


def test_the_inverse_of_a_file_that_was_replaced() -> None:
    done = replace(INSTALL, before_stat="0600 1 2", after_stat="0644 0 0")
    back = InstallFile(
        target="lxc-a",
        path="/p",
        before=b"new",
        after=b"old",
        profile="lxc-a",
        foreign=False,
        returns=True,
        takes_back=True,
        before_stat="0644 0 0",
        after_stat="0600 1 2",
    )
    assert _backs(done) == [back]
    assert _backs(replace(done, foreign=False, returns=True)) == [replace(back, foreign=True, returns=False)]
    assert _backs(replace(INSTALL, before=b"new")) == [], "it changed nothing"


def test_the_inverse_of_a_file_that_is_new() -> None:
    done = replace(INSTALL, before=None, foreign=False, returns=True, after_stat="0644 0 0")
    back = RemoveFile(
        target="lxc-a",
        path="/p",
        before=b"new",
        profile="lxc-a",
        foreign=True,
        takes_back=True,
        before_stat="0644 0 0",
    )
    assert _backs(done) == [back]


def test_the_inverse_of_a_removal() -> None:
    back = InstallFile(
        target="lxc-old",
        path="/p",
        before=None,
        after=b"old",
        profile="lxc-old",
        returns=True,
        takes_back=True,
        after_stat="0600 1 2",
    )
    assert _backs(replace(REMOVE, before_stat="0600 1 2")) == [back]
    assert _backs(replace(REMOVE, before=None)) == [], "it was not there"


def test_the_inverse_of_lines() -> None:
    back = AssignLines(
        target="101",
        path="/c",
        before=b"b",
        after=b"a",
        lines=(
            LineChange(key=PROFILE_KEY, value="x", old="lxc-a"),
            LineChange(key="lxc.apparmor.allow_nesting", value=None, old="1"),
        ),
        takes_back=True,
    )
    assert _backs(ASSIGN) == [back]
    # Of a container that was created in the same run only the lines go.
    assert _backs(replace(ASSIGN, before=None)) == [replace(back, before=None, after=None)]
    assert _backs(replace(ASSIGN, before=None, after=None)) == [replace(back, before=None, after=None)]
    assert _backs(replace(ASSIGN, before=b"b")) == [], "it changed nothing"


def test_the_inverse_of_a_load() -> None:
    back = LoadProfile(
        target="lxc-a",
        before=b"2",
        after=b"1",
        processes=(("load", "/compiled/lxc-a"),),
        closure="c1",
        old_closure="c2",
        replaces=True,
        takes_back=True,
    )
    assert _backs(LOAD) == [back]
    first = UnloadProfile(
        target="lxc-a", before=b"2", after=b"1", processes=(("remove",),), old_closure="c2", takes_back=True
    )
    assert _backs(replace(LOAD, replaces=False)) == [first]


def test_the_inverse_of_an_unload() -> None:
    back = LoadProfile(
        target="lxc-a",
        before=b"2",
        after=b"1",
        processes=(("load", "/compiled/lxc-a"),),
        closure="c1",
        old_closure=None,
        replaces=False,
        takes_back=True,
    )
    assert _backs(replace(UNLOAD, after=b"2")) == [back]


def test_the_inverse_of_a_reload_unloads_what_was_new_and_reloads_the_rest() -> None:
    gone = UnloadProfile(target="b", before=None, processes=(("remove",),), old_closure="2", takes_back=True)
    again = ReloadService(
        target="s",
        processes=(("r",),),
        closures={"a": "0"},
        old_closures={"a": "1", "b": "2"},
        takes_back=True,
    )
    assert _backs(SERVICE) == [gone, again]


def test_files_go_back_newest_first_and_the_kernel_after_them() -> None:
    other = replace(INSTALL, target="lxc-b")
    steps = inverse([INSTALL, LOAD, CREATE, other, UNLOAD], KERNEL_ARGV)
    assert [step.done for step in steps] == [other, INSTALL, UNLOAD, LOAD]
    assert [step.back for step in steps] == _backs(other) + _backs(INSTALL) + _backs(UNLOAD) + _backs(LOAD)


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
