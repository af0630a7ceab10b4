"""What speaks against a move: by table, each reason once, and what is no reason."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_hypervisor.plan.bundle import Bundle, Features, LoadedThere, Number
from phoenix_hypervisor.plan.migration import MAX_AGE, Needs, Passed, is_against, is_older, judge, parts
from phoenix_hypervisor.plan.migration_codes import MoveCode
from phoenix_hypervisor.values import replace

NOW = 1_800_000_000.0
SECCOMP = "/var/lib/phoenix/seccomp/privileged"
FEATURES = Features(hash="f1", same_as=(), mediated=("file", "mount", "userns"), unmediated=("io_uring",))
A = LoadedThere(mode="enforce", kernel="sha256:11", compiled="c1", source="s1")
NODE = Bundle(
    node="pve2",
    gathered=NOW - 60,
    phoenix="1",
    parser="4.1.0",
    release="6.17.13-2-pve",
    apparmor=True,
    features=FEATURES,
    runtime="proxmox",
    packages={"pve-container": "6.1.10", "lxc-pve": "6.0.5-3"},
    profiles={"lxc-a": A, "lxc-b": A},
    devices={"/dev/nvidia0": ("c", 195, 0), "/dev/nvidia-uvm": ("c", 510, 0)},
    files={SECCOMP: "q1"},
)
HERE = replace(NODE, node="pve1")


def passed(path: str = "/dev/nvidia0", *, by_name: bool = False, majors: tuple[int, ...] = ()) -> Passed:
    def lets(number: Number) -> bool:
        return number[1] in majors

    return Passed(path=path, line=f"line of {path}", by_name=by_name, lets=lets)


RAW = passed("/dev/nvidia-uvm", majors=(510,))
BASE = Needs(ctid="101", profile="lxc-a")


def there(**changes: Any) -> Bundle:
    return replace(NODE, **changes)


def profile(**changes: Any) -> Mapping[str, LoadedThere]:
    return {"lxc-a": replace(A, **changes)}


OTHER_KERNEL = {"features": replace(FEATURES, hash="f2")}
CASES: list[tuple[str, Needs, Bundle, Bundle, list[MoveCode]]] = [
    ("nothing speaks against it", BASE, HERE, NODE, []),
    ("facts of two days ago", BASE, HERE, there(gathered=NOW - 2 * MAX_AGE), [MoveCode.FACTS_OLD]),
    ("a clock that is ahead", BASE, HERE, there(gathered=NOW + 3600), [MoveCode.FACTS_OLD]),
    ("a clock that is a little ahead", BASE, HERE, there(gathered=NOW + 60), []),
    ("plain LXC there", BASE, HERE, there(runtime="lxc", packages={}), [MoveCode.OTHER_RUNTIME]),
    (
        "an older Proxmox there",
        BASE,
        HERE,
        there(packages={"pve-container": "5.3.5", "lxc-pve": "6.0.5-1"}),
        [MoveCode.RUNTIME_OLDER, MoveCode.RUNTIME_OLDER],
    ),
    ("a newer Proxmox there", BASE, HERE, there(packages={"pve-container": "6.2.0"}), []),
    ("AppArmor off there", BASE, HERE, there(apparmor=False, profiles={}), [MoveCode.NO_APPARMOR]),
    ("AppArmor off on both", BASE, replace(HERE, apparmor=False), there(apparmor=False, profiles={}), []),
    (
        "a kernel that mediates less",
        BASE,
        HERE,
        there(features=replace(FEATURES, mediated=("file", "mount"))),
        [MoveCode.NOT_MEDIATED],
    ),
    ("a kernel that mediates more", BASE, replace(HERE, features=replace(FEATURES, mediated=())), NODE, []),
    ("features that no kernel tells", BASE, HERE, there(features=None), []),
    ("a profile that is not there", BASE, HERE, there(profiles={}), [MoveCode.PROFILE_MISSING]),
    (
        "one profile of a stack is not there",
        replace(BASE, profile="lxc-a//&lxc-c//&:ns:lxc-d"),
        replace(HERE, profiles={"lxc-a": A, "lxc-c": A}),
        NODE,
        [MoveCode.PROFILE_MISSING],
    ),
    (
        "complain mode there",
        BASE,
        HERE,
        there(profiles=profile(mode="complain")),
        [MoveCode.THERE_NOT_ENFORCED],
    ),
    ("a directory host there", BASE, HERE, there(profiles=profile(mode="unknown", kernel=None)), []),
    (
        "another policy in the kernel",
        BASE,
        HERE,
        there(profiles=profile(kernel="sha256:22", compiled="c2", source="s2")),
        [MoveCode.THERE_POLICY_DIFFERS],
    ),
    (
        "another policy of the same source, and nothing explains it",
        BASE,
        HERE,
        there(profiles=profile(kernel="sha256:22")),
        [MoveCode.THERE_POLICY_DIFFERS],
    ),
    (
        "the same source for another kernel",
        BASE,
        HERE,
        there(profiles=profile(kernel="sha256:22", compiled="c2"), **OTHER_KERNEL),
        [MoveCode.COMPILED_OTHERWISE],
    ),
    (
        "the same source by another parser, with another hash of the kernel's",
        BASE,
        HERE,
        there(profiles=profile(kernel="sha1:33", compiled="c2"), parser="3.0.8"),
        [MoveCode.COMPILED_OTHERWISE],
    ),
    (
        "another source for another kernel",
        BASE,
        HERE,
        there(profiles=profile(kernel="sha256:22", source="s2"), **OTHER_KERNEL),
        [MoveCode.THERE_POLICY_DIFFERS],
    ),
    (
        "kernels that hash differently, and the same compiled copy",
        BASE,
        HERE,
        there(profiles=profile(kernel="sha1:33")),
        [],
    ),
    (
        "neither kernel nor records tell",
        BASE,
        HERE,
        there(profiles=profile(kernel=None, compiled=None, source=None)),
        [MoveCode.THERE_POLICY_UNKNOWN],
    ),
    (
        "nothing is known of it here",
        BASE,
        replace(HERE, profiles={}),
        NODE,
        [MoveCode.THERE_POLICY_UNKNOWN],
    ),
    ("a profile of its own by Proxmox", replace(BASE, profile=None), HERE, there(profiles={}), []),
    ("no confinement", replace(BASE, profile="unconfined"), HERE, there(profiles={}), []),
    ("its GPU is there", replace(BASE, nodes=(passed(),)), HERE, NODE, []),
    (
        "its GPU is not there",
        replace(BASE, nodes=(passed("/dev/nvidia1"),)),
        HERE,
        NODE,
        [MoveCode.GPU_MISSING],
    ),
    (
        "a directory of GPUs is not there",
        replace(BASE, nodes=(passed("/dev/dri"),)),
        replace(HERE, devices={"/dev/dri/card0": ("c", 226, 0)}),
        NODE,
        [MoveCode.GPU_MISSING],
    ),
    (
        "one GPU of a directory is not there",
        replace(BASE, nodes=(passed("/dev/dri"),)),
        replace(HERE, devices={"/dev/dri/card0": ("c", 226, 0), "/dev/dri/card1": ("c", 226, 1)}),
        there(devices={"/dev/dri/card0": ("c", 226, 0)}),
        [MoveCode.GPU_MISSING],
    ),
    (
        "a number that only this node has",
        replace(BASE, nodes=(RAW,)),
        HERE,
        there(devices={"/dev/nvidia-uvm": ("c", 511, 0)}),
        [MoveCode.GPU_NUMBER],
    ),
    (
        "a devN line looks its number up",
        replace(BASE, nodes=(replace(RAW, by_name=True),)),
        HERE,
        there(devices={"/dev/nvidia-uvm": ("c", 511, 0)}),
        [],
    ),
    (
        "a node that the container cannot open here either",
        replace(BASE, nodes=(passed("/dev/nvidia-uvm"),)),
        HERE,
        there(devices={"/dev/nvidia-uvm": ("c", 511, 0)}),
        [],
    ),
    ("the same seccomp file", replace(BASE, seccomp=SECCOMP), HERE, NODE, []),
    (
        "no seccomp file there",
        replace(BASE, seccomp=SECCOMP),
        HERE,
        there(files={}),
        [MoveCode.THERE_SECCOMP_MISSING],
    ),
    (
        "another seccomp file there",
        replace(BASE, seccomp=SECCOMP),
        HERE,
        there(files={SECCOMP: "q2"}),
        [MoveCode.SECCOMP_DIFFERS],
    ),
]


@pytest.mark.parametrize(
    ("needs", "here", "target", "codes"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_what_speaks_against_a_move(
    needs: Needs, here: Bundle, target: Bundle, codes: list[MoveCode]
) -> None:
    assert [note.code for note in judge(needs, here, target, now=NOW)] == codes


def test_each_reason_is_in_the_table() -> None:
    assert {code for case in CASES for code in case[4]} == set(MoveCode)


def test_only_one_code_is_no_reason() -> None:
    for case in CASES:
        for note in judge(*case[1:4], now=NOW):
            assert is_against(note) is (note.code is not MoveCode.COMPILED_OTHERWISE)


def test_all_reasons_are_told_at_once() -> None:
    needs = replace(BASE, nodes=(passed("/dev/nvidia7"),), seccomp=SECCOMP)
    worst = there(gathered=0, packages={"lxc-pve": "1"}, profiles={}, devices={}, files={})
    codes = [note.code for note in judge(needs, HERE, worst, now=NOW)]
    assert codes == [
        MoveCode.FACTS_OLD,
        MoveCode.RUNTIME_OLDER,
        MoveCode.PROFILE_MISSING,
        MoveCode.GPU_MISSING,
        MoveCode.THERE_SECCOMP_MISSING,
    ]


def test_the_age_is_the_operators_to_say() -> None:
    old = there(gathered=NOW - 600)
    assert [n.code for n in judge(BASE, HERE, old, now=NOW, max_age=599)] == [MoveCode.FACTS_OLD]
    assert judge(BASE, HERE, old, now=NOW, max_age=600) == []


@pytest.mark.parametrize(
    ("line", "names"),
    [
        (None, []),
        ("generated", []),
        ("unconfined", []),
        ("unchanged", []),
        ("lxc-a", ["lxc-a"]),
        ("lxc-a//&:ns:unconfined", ["lxc-a"]),
        ("lxc-a//&lxc-b", ["lxc-a", "lxc-b"]),
    ],
)
def test_the_profiles_that_a_line_needs(line: str | None, names: list[str]) -> None:
    assert parts(line) == names


VERSIONS = (
    "6.1.10",
    "6.1.9",
    "6.1.10~rc1",
    "6.0.5-3",
    "6.0.5-3+deb13u1",
    "6.0.5-3~bpo12+1",
    "1:1.0",
    "9",
    "2.0a",
    "2.0+b",
    "2.0",
    "1.0-1-1",
)


@pytest.mark.parametrize("one", VERSIONS)
def test_versions_are_compared_as_debian_does(one: str) -> None:
    for other in VERSIONS:
        judged = subprocess.run(["dpkg", "--compare-versions", one, "lt", other], check=False)
        assert is_older(one, other) is (judged.returncode == 0), (one, other)


@given(st.text(max_size=20), st.text(max_size=20))
def test_no_version_breaks_the_comparison(one: str, other: str) -> None:
    assert not (is_older(one, other) and is_older(other, one))
