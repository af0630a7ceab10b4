"""What the golden profiles allow, the same in every encoding of them."""

from __future__ import annotations

import socket
from array import array
from typing import Any

import pytest

from phoenix_hypervisor.policy import constants
from phoenix_hypervisor.policy.answers import Reason
from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.perms import Masks
from phoenix_hypervisor.policy.queries import (
    NetworkQuery,
    PtraceQuery,
    RawQuery,
    SignalQuery,
    UmountQuery,
    UsernsQuery,
    parse_query,
)
from phoenix_hypervisor.policy.raw_masks import raw_masks
from phoenix_hypervisor.policy.reader import read_policy
from unit.policy.samples import ENCODINGS, blob, evaluator

A = "lxc-a"
CASES: list[tuple[str, dict[str, Any], str]] = [
    (A, {"kind": "file", "path": "/x", "access": "rw"}, "allowed rule"),
    (A, {"kind": "file", "path": "/proc/sysrq-trigger", "access": "w"}, "denied deny rule"),
    (A, {"kind": "file", "path": "/proc/sysrq-trigger", "access": "m"}, "allowed rule"),
    (A, {"kind": "file", "path": "/etc/shadow", "access": "r"}, "allowed rule audited"),
    (A, {"kind": "file", "path": "/etc/shadow", "access": "k"}, "allowed rule"),
    (A, {"kind": "file", "path": "/etc/gshadow", "access": "r"}, "denied no rule"),
    (A, {"kind": "file", "path": "/home/u/.ssh/id", "access": "w"}, "denied deny rule"),
    (A, {"kind": "file", "path": "/home/u/.ssh/id", "access": "w", "other": True}, "allowed rule"),
    (f"{A}//child", {"kind": "file", "path": "/y", "access": "w"}, "allowed rule"),
    (f"{A}//child", {"kind": "file", "path": "/y", "access": "create,delete,chmod"}, "allowed rule"),
    (f"{A}//child", {"kind": "file", "path": "/y", "access": "r"}, "denied no rule"),
    (f"{A}//child", {"kind": "link", "path": "/l/a", "target": "/t/b"}, "allowed rule"),
    (f"{A}//child", {"kind": "link", "path": "/l/a", "target": "/y"}, "denied no rule"),
    (A, {"kind": "mount", "source": "proc", "target": "/proc/", "fstype": "proc"}, "allowed rule"),
    (A, {"kind": "mount", "source": "p", "target": "/procx", "fstype": "proc"}, "denied no rule"),
    (A, {"kind": "mount", "source": "/a/", "target": "/b/", "flags": ["ro", "bind"]}, "allowed rule"),
    (A, {"kind": "mount", "source": "/c/", "target": "/d/", "flags": ["bind", "ro"]}, "allowed rule"),
    (A, {"kind": "mount", "source": "/c/", "target": "/d/", "flags": ["rbind"]}, "denied no rule"),
    (A, {"kind": "mount", "source": "/c/", "target": "/d/", "flags": 0x1000}, "allowed rule"),
    (A, {"kind": "mount", "source": "/c/", "target": "/d/", "flags": 0xC0ED1000}, "allowed rule"),
    (A, {"kind": "mount", "source": "/c/", "target": "/d/", "flags": 0x71001000}, "allowed rule"),
    (A, {"kind": "mount", "target": "/e/", "flags": ["remount", "ro"]}, "allowed rule"),
    (A, {"kind": "mount", "source": "/x", "fstype": "y", "target": "/e/", "flags": 0x21}, "allowed rule"),
    (A, {"kind": "mount", "target": "/e/", "flags": ["remount"]}, "denied no rule"),
    (A, {"kind": "umount", "target": "/b/"}, "allowed rule"),
    (A, {"kind": "umount", "target": "/c/"}, "denied no rule"),
    (A, {"kind": "pivot_root", "new_root": "/new/", "put_old": "/old/"}, "allowed rule"),
    (A, {"kind": "pivot-root", "new_root": "/new/", "put_old": "/x/"}, "denied no rule"),
    (A, {"kind": "capability", "name": "sys_admin"}, "allowed rule"),
    (A, {"kind": "capability", "name": "CAP_SYS_MODULE"}, "denied deny rule"),
    (A, {"kind": "capability", "name": "chown"}, "allowed rule audited"),
    (A, {"kind": "capability", "name": "bpf"}, "denied no rule"),
    (A, {"kind": "network", "family": "inet", "type": "stream"}, "allowed rule"),
    (A, {"kind": "network", "family": "inet6", "type": "dgram"}, "denied deny rule"),
    (A, {"kind": "unix", "type": "stream"}, "denied no rule"),
    (A, {"kind": "signal", "signal": "kill", "access": "send", "peer": "lxc-b"}, "allowed rule"),
    (A, {"kind": "signal", "signal": "hup", "access": "send", "peer": "lxc-b"}, "denied no rule"),
    (A, {"kind": "signal", "signal": "rtmin+3", "access": "receive", "peer": "x"}, "allowed rule"),
    (A, {"kind": "signal", "signal": "kill", "access": "send", "peer": "lxc-b//&lxc-c"}, "denied no rule"),
    (A, {"kind": "ptrace", "access": "trace", "peer": "lxc-b"}, "allowed rule"),
    (A, {"kind": "ptrace", "access": "trace", "peer": "lxc-b//&lxc-c"}, "allowed rule"),
    (A, {"kind": "ptrace", "access": "read", "peer": "lxc-b"}, "denied deny rule"),
    (A, {"kind": "ptrace", "access": "readby", "peer": "lxc-b"}, "denied no rule"),
    (A, {"kind": "ptrace", "access": "tracedby", "peer": "unconfined"}, "allowed unconfined"),
    (A, {"kind": "change_profile", "target": "lxc-c"}, "allowed rule"),
    (A, {"kind": "change-profile", "target": "unconfined"}, "denied no rule"),
    (A, {"kind": "change_profile", "target": "lxc-c//&lxc-c"}, "allowed rule"),
    (A, {"kind": "change_profile", "target": "lxc-c//&lxc-d"}, "denied no rule"),
    # complain allows what no rule allows, but not what a rule denies
    ("lxc-b", {"kind": "file", "path": "/r", "access": "r"}, "allowed rule"),
    ("lxc-b", {"kind": "file", "path": "/r", "access": "w"}, "allowed no rule complain"),
    ("lxc-b", {"kind": "file", "path": "/d", "access": "w"}, "denied deny rule"),
    ("lxc-b", {"kind": "file", "path": "/d", "access": "rw"}, "allowed deny rule complain"),
    ("lxc-b", {"kind": "file", "path": "/d", "access": "x"}, "allowed no rule complain"),
    ("lxc-b", {"kind": "capability", "name": "mknod"}, "denied deny rule"),
    ("lxc-b", {"kind": "capability", "name": "kill"}, "allowed rule"),
    ("lxc-b", {"kind": "umount", "target": "/"}, "allowed no rule complain"),
    ("lxc-open", {"kind": "file", "path": "/x", "access": "w"}, "allowed unconfined"),
    ("lxc-open", {"kind": "capability", "name": "kill"}, "allowed unconfined"),
    ("lxc-open", {"kind": "userns"}, "allowed unconfined"),
]


@pytest.mark.parametrize("which", ENCODINGS)
def test_cases_in_every_encoding(which: str) -> None:
    wrong = []
    for profile, fields, expected in CASES:
        query = parse_query(fields)
        assert not isinstance(query, RawQuery)
        answer = evaluator(f"sample-{which}", profile).ask(query)
        words = "allowed" if answer.allowed else "denied"
        words += f" {answer.reason.value}" + " audited" * answer.audited + " complain" * answer.complain
        if words != expected:
            wrong.append((profile, str(query), words, expected))
    assert not wrong


def test_operations_name_the_capabilities_they_need() -> None:
    judge = evaluator("sample-308", A)
    needs = {
        kind: judge.ask(parse_query({"kind": kind, **fields})).needs  # type: ignore[arg-type]
        for kind, fields in {
            "umount": {"target": "/b/"},
            "pivot_root": {"new_root": "/", "put_old": "/"},
            "mount": {"target": "/b/"},
            "capability": {"name": "kill"},
        }.items()
    }
    admin = ("sys_admin",)
    assert needs == {"umount": admin, "pivot_root": admin, "mount": admin, "capability": ()}
    assert judge.ask(NetworkQuery(family=constants.family("packet"), type=3)).needs == ("net_raw",)
    assert judge.ask(NetworkQuery(family=constants.family("inet"), type=1)).needs == ()


def test_classes_the_compiler_was_not_told_about_are_unmediated() -> None:
    judge = evaluator("sample-308-nofeatures", A)
    for answer in (
        judge.ask(UmountQuery(b"/")),
        judge.ask(SignalQuery(9, 2, b"x")),
        judge.ask(NetworkQuery(family=2, type=1)),
        judge.ask(UsernsQuery()),
        judge.ask(PtraceQuery(8, b"x")),
    ):
        assert (answer.allowed, answer.reason) == (True, Reason.UNMEDIATED)
    assert judge.ask(PtraceQuery(2, b"x")).needs == ("sys_ptrace",)
    assert judge.ask(PtraceQuery(2, b"lxc-a")).needs == ()
    assert judge.raw(RawQuery(7, b"/")) == Masks(0xFFFFFFFF, 0, 0, 0xFFFFFFFF)


@pytest.mark.parametrize("which", ENCODINGS)
def test_exec_transitions_are_named(which: str) -> None:
    child = evaluator(f"sample-{which}", "lxc-a//child")
    assert evaluator(f"sample-{which}", A).file(b"/bin/x", "x").transition == "Px -> foo"
    assert child.file(b"/bin/i", "x").transition == "ix"
    assert child.file(b"/bin/u", "x").transition == "ux"
    assert child.file(b"/bin/c", "x").transition == "cx"
    assert child.file(b"/y", "w").transition is None


@pytest.mark.parametrize("which", ENCODINGS[2:])
def test_raw_masks_are_those_of_every_other_encoding(which: str) -> None:
    for profile in (A, "lxc-a//child", "lxc-b", "lxc-open"):
        plain, coded = evaluator("sample-41", profile), evaluator(f"sample-{which}", profile)
        for uid in (0, 1000):
            for path in (b"", b"/", b"/y", b"/etc/shadow", b"/home/u/.ssh/x", b"/d", b"/bin/x", b"lxc-c"):
                query = RawQuery(2, path, uid)
                assert coded.raw(query) == plain.raw(query)
            for number, string in ((7, b"/b/"), (7, b"/new/\0/old/"), (10, b"\x09lxc-b"), (14, b"\0\2\0\1")):
                query = RawQuery(number, string, uid)
                assert coded.raw(query) == plain.raw(query)


def test_raw_answers_capabilities_as_unmediated() -> None:
    judge = evaluator("sample-308", A)
    assert judge.raw(RawQuery(3, b"\x15")).allow == 0xFFFFFFFF
    assert judge.raw(RawQuery(2, b"/etc/shadow", 1)) == Masks(0x2005B37F, 0, 0x244, 0)


def test_an_older_kernel_maps_permissions_a_little_differently() -> None:
    judge = evaluator("sample-308", A)
    query = RawQuery(7, b"/b/")
    assert judge.raw(query).allow == 0x8004
    assert judge.raw(query, (6, 1)).allow & 0x8000 == 0
    assert judge.raw(query, (6, 1)).allow & 0x7F == 0x4
    files = RawQuery(2, b"/etc/shadow", 1)
    assert judge.raw(files, (6, 1)) == judge.raw(files)
    no_files = evaluator("capability-308")
    assert no_files.profile.own_file is None
    assert no_files.raw(RawQuery(2, b"/x"), (6, 1)) == Masks(0, 0, 0, 0)


def test_without_a_file_automaton_the_general_one_is_read() -> None:
    judge = evaluator("capability-308")
    assert judge.profile.file is judge.profile.policy
    assert not judge.file(b"/x", "r").allowed
    assert not judge.file(b"/x", "r", other=True).allowed
    fresh = read_policy(blob("capability-308")).profiles[0]
    assert fresh.policy is not None
    assert isinstance(fresh.policy.dfa.accept, array)
    start = fresh.file_start
    fresh.policy.dfa.accept[start + 1] = 0x3  # what the neighbouring state grants
    assert raw_masks(fresh, RawQuery(2, b"", 0)).allow == 0x8004
    assert raw_masks(fresh, RawQuery(2, b"", 1000)).allow == 0x8003


def test_an_empty_profile_denies_files() -> None:
    judge = evaluator("sample-308-nofeatures", "lxc-b")
    assert not judge.file(b"/d", "w").allowed
    assert judge.raw(RawQuery(2, b"", 0)) == Masks(0x200, 0, 0, 0)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kind": "file", "path": "/x", "access": "z"}, "unknown file access"),
        ({"kind": "file", "path": "/x", "access": ""}, "unknown file access"),
        ({"kind": "file", "path": "/x\0", "access": "r"}, "NUL"),
        ({"kind": "file", "path": "\ud800", "access": "r"}, "not valid text"),
        ({"kind": "file", "access": "r"}, "'path' is missing"),
        ({"kind": "file", "path": 1, "access": "r"}, "'path' must be a string"),
        ({"kind": "file", "path": "/", "access": "r", "other": 1}, "true or false"),
        ({"kind": "file", "path": "/", "access": "r", "owner": True}, "unknown field 'owner'"),
        ({"kind": "mount", "target": "/", "flags": ["re"]}, "unknown mount flag"),
        ({"kind": "mount", "target": "/", "flags": [1]}, "list of words"),
        ({"kind": "mount", "target": "/", "flags": -1}, "number from 0"),
        ({"kind": "capability", "name": "sysadmin"}, "unknown capability"),
        ({"kind": "network", "family": "inet7", "type": "raw"}, "unknown network family"),
        ({"kind": "signal", "signal": "rtmin+99", "access": "send", "peer": "x"}, "unknown signal"),
        ({"kind": "ptrace", "access": "write", "peer": "x"}, "unknown ptrace access"),
        ({"kind": "raw", "class": 256, "string": ""}, "'class'"),
        ({"kind": "raw", "class": True, "string": ""}, "'class'"),
        ({"kind": "raw", "class": 2, "string": "0"}, "hexadecimal"),
        ({"kind": "nothing"}, "unknown kind"),
        ({}, "'kind' is missing"),
    ],
)
def test_bad_queries_say_what_is_wrong(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(PolicyError, match=words):
        parse_query(fields)


def test_a_bind_mount_without_source_is_refused_like_the_kernel() -> None:
    query = parse_query({"kind": "mount", "target": "/b/", "flags": ["bind"]})
    with pytest.raises(PolicyError, match="source"):
        evaluator("sample-308", A).ask(query)  # type: ignore[arg-type]


def test_family_numbers_are_the_systems() -> None:
    known = {
        name.removeprefix("AF_").lower(): int(number)
        for name, number in vars(socket).items()
        if name.startswith("AF_")
    }
    ours = {name: number for number, name in enumerate(constants.FAMILIES)}
    assert {n: ours[n] for n in ours if n in known} == {n: known[n] for n in ours if n in known}
    assert len([n for n in ours if n in known]) > 25
