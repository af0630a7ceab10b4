"""Every deny group of a shipped profile holds something: without it a real operation goes through.

A group is a run of `deny` rules under one comment.  Each is taken out in turn, the rest compiled and loaded in
the guest, and the same operations run as root under it.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from phoenix_hypervisor.lab.booted import Lab
from phoenix_hypervisor.policy.assertions import run_tests
from phoenix_hypervisor.policy.diff import diff_profiles
from phoenix_hypervisor.policy.profile import Profile
from phoenix_hypervisor.policy.reader import read_policy
from phoenix_hypervisor.profiles.prove import read_tests

GUEST = Path(__file__).parent / "guest"
ETC = Path(__file__).parents[2] / "etc/apparmor"
PROFILE = "lxc-nvidia-gpu-base"
_DENY = re.compile(r"^\s*deny\b")
READ, WRITE = os.O_RDONLY, os.O_WRONLY
OPERATIONS: list[Sequence[object]] = [
    *(["open", path, WRITE] for path in (
        "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/sys/kernel/uevent_helper",
        "/proc/sys/fs/file-max", "/proc/sys/vm/swappiness", "/proc/sys/kernel/printk", "/proc/irq/default_smp_affinity",
        "/sys/power/state", "/sys/module/printk/parameters/time", "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/class/net/lo/mtu", "/sys/devices/virtual/net/lo/mtu", "/t/release_agent", "/t/binfmt_misc/register",
    )),
    *(["open", path, READ] for path in ("/proc/kcore", "/sys/kernel/security/lsm", "/dev/mem", "/t/kcore")),
    *(["mount", source, "/t/a", fstype, 0] for source, fstype in (("proc", "proc"), ("sysfs", "sysfs"), ("none", "debugfs"))),
    *(["mount", source, "/t/a", None, flags] for source in ("/proc", "/sys", "/proc/sys") for flags in (4096, 4096 | 16384)),
    ["capability", "sys_time"],
    ["capability", "mknod"],
]  # fmt: skip


def folders(lab: Lab) -> list[str]:
    """Where sources are looked for on this release, the first that has a file wins."""
    return ["if-parser-accepts", "."] if lab.release.name == "trixie" else ["."]


def place(lab: Lab, name: str) -> str:
    """The file that counts as `name`, relative to the sources; empty for the distribution's."""
    found = [f"{folder}/{name}" for folder in folders(lab) if (ETC / folder / name).is_file()]
    return found[0] if found else ""


def groups(lab: Lab) -> list[tuple[str, str, list[int]]]:
    """(file, first rule, line numbers) of each deny group that the profile includes."""
    files = [place(lab, PROFILE)]
    for name in files:
        included = re.findall(
            r"include (?:if exists )?<(abstractions/phoenix/[a-z0-9-]+)>", (ETC / name).read_text()
        )
        files += [found for found in (place(lab, one) for one in included) if found]
    found = []
    for name in dict.fromkeys(files):
        run: list[int] = []
        lines = (ETC / name).read_text().split("\n")
        for number, line in enumerate([*lines, ""]):
            if _DENY.match(line):
                run.append(number)
            elif run and not line.strip():
                found.append((name, lines[run[0]].strip(), run))
                run = []
    return found


def load(lab: Lab, without: tuple[str, list[int]] | None) -> Profile:
    """Compile the shipped profile from a copy that lacks some lines; load it as lxc-t-deny."""
    lab.run("rm -rf /tmp/deny && cp -r /usr/local/phoenix_hypervisor/etc/apparmor /tmp/deny", check=True)
    if without is not None:
        name, numbers = without
        lines = (ETC / name).read_text().split("\n")
        lab.put(f"/tmp/deny/{name}", "\n".join(x for n, x in enumerate(lines) if n not in numbers))
    include = " ".join(f"-I /tmp/deny/{folder}" for folder in folders(lab))
    source = f"/tmp/deny/{place(lab, PROFILE)}"
    lab.run(
        f"sed -i 's/profile {PROFILE} /profile lxc-t-deny /' {source}"
        f" && apparmor_parser -QKS {include} {source} > /tmp/deny.bin && apparmor_parser -r -B /tmp/deny.bin",
        check=True,
        timeout=120,
    )
    return read_policy(lab.get("/tmp/deny.bin")).profiles[0]


def run(lab: Lab, profile: str | None) -> list[int]:
    order = json.dumps({"profile": profile, "operations": OPERATIONS}).encode()
    argv = ["python3", "-I", "-S", "/tmp/operations.py"]
    return list(json.loads(lab.run(argv, input=order, timeout=200, check=True).stdout))


@pytest.fixture(scope="module")
def held_by() -> dict[str, str]:
    """What holds each group, over both releases."""
    return {}


def test_without_any_one_deny_group_something_goes_through(
    lab: Lab, held_by: dict[str, str], tell: Callable[[str], None]
) -> None:
    """A real operation, or a policy test on what this guest's parser compiled, tells on each group.

    Parser 4.1 allows nothing of what some groups deny (they are there for 3.0.8, which widens mount rules), so
    a group of the older sources must be effective on one release at least.
    """
    tests = read_tests(str(ETC.parent / "policy_tests"), optional=lab.release.name == "trixie")
    lab.install_phoenix()
    lab.run(
        "mkdir -p /t/a /t/binfmt_misc; touch /t/release_agent /t/binfmt_misc/register /t/kcore", check=True
    )
    lab.put("/tmp/operations.py", (GUEST / "operations.py").read_bytes())
    free = run(lab, None)
    whole_policy = load(lab, None)
    assert run_tests(tests, {PROFILE: whole_policy}).ok
    whole = run(lab, "lxc-t-deny")
    refused = (errno.EACCES, errno.EPERM)
    held = [
        i
        for i, (plain, code) in enumerate(zip(free, whole, strict=True))
        if plain not in refused and code in refused
    ]
    report = [f"{lab.release.name}: {len(held)} of {len(OPERATIONS)} operations refused by {PROFILE}"]
    missed = []
    for name, first, numbers in groups(lab):
        group = f"{name}: {first}"
        policy = load(lab, (name, numbers))
        without = run(lab, "lxc-t-deny")
        through = [str(OPERATIONS[i]) for i in held if without[i] not in refused]
        failed = [failure.test.name for failure in run_tests(tests, {PROFILE: policy}).failures]
        if through or failed:
            held_by[group] = (
                f"{lab.release.name}: " + (through or [f"policy test {name!r}" for name in failed])[0]
            )
        elif list(diff_profiles(whole_policy, policy)):
            missed.append(group)
        report.append(f"  without {group}: {len(through)} go through, {len(failed)} policy answers change")
    tell("\n".join(report))
    assert not missed, "the policy differs, but nothing tells"
    if lab.release.name == "bookworm":
        assert not [f"{n}: {f}" for n, f, _ in groups(lab) if f"{n}: {f}" not in held_by], "not effective"
