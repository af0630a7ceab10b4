"""The companion's rules in this machine's own kernel: each refuses what it names, with the answer it names."""

from __future__ import annotations

import ctypes.util
import json
import subprocess
import sys
from collections.abc import Sequence
from functools import cache

import pytest

from phoenix_hypervisor.containers.seccomp import ENOSYS, EPERM, RULES

# Loads the rules as LXC does (SCMP_ACT_ALLOW for the rest), then calls; a call that is let through fails
# by its arguments, which are wrong on purpose.
SCRIPT = r"""
import ctypes, errno, json, sys
rules, calls = json.loads(sys.argv[1]), json.loads(sys.argv[2])
seccomp, libc = ctypes.CDLL(sys.argv[3]), ctypes.CDLL(None, use_errno=True)

class Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]

OPERATORS = {"SCMP_CMP_LT": 2, "SCMP_CMP_GE": 5, "SCMP_CMP_MASKED_EQ": 7}
libc.strdup.restype = libc.gnu_get_libc_version.restype = ctypes.c_void_p
heap, library = libc.strdup(b"tmpfs"), libc.gnu_get_libc_version()
seccomp.seccomp_init.restype = ctypes.c_void_p
context = ctypes.c_void_p(seccomp.seccomp_init(0x7FFF0000))
numbers = {}
for name, number, condition in rules:
    numbers[name] = seccomp.seccomp_syscall_resolve_name(name.encode())
    compare = (Compare * 1)()
    if condition:
        index, value, operator, *mask = condition.strip("[]").split(",")
        a, b = (int(mask[0], 0), int(value, 0)) if mask else (int(value, 0), 0)
        compare[0] = Compare(int(index), OPERATORS[operator], a, b)
    action = ctypes.c_uint(0x00050000 | number)
    if seccomp.seccomp_rule_add_array(context, action, numbers[name], len(condition) > 0, compare):
        sys.exit(f"libseccomp does not take {name} {condition}")
if seccomp.seccomp_load(context):
    sys.exit("the kernel does not take the rules")
answers = []
for name, *arguments in calls:
    known = {"heap": heap, "library": library}
    given = [ctypes.c_long(known.get(one, one)) for one in arguments]
    ctypes.set_errno(0)
    answers.append(ctypes.get_errno() if libc.syscall(numbers[name], *given) < 0 else 0)
print(json.dumps(answers))
"""
MS_REC, MS_BIND, MS_PRIVATE = 0x4000, 0x1000, 0x40000
CALLS = [
    (("fsopen", "heap", 1), ENOSYS),
    (("fsopen", "library", 1), EPERM),
    (("fsconfig", -1, 6, 0, 0, 0), ENOSYS),
    (("fsmount", -1, 0, 0), ENOSYS),
    (("fspick", -1, 0, 0), ENOSYS),
    (("open_tree", -1, 0, 0), ENOSYS),
    (("mount", 0, 0, 0, MS_REC, 0), EPERM),
    (("bpf", 9, 0, 0), EPERM),
    (("bpf", 17, 0, 0), EPERM),
]
FREE = [
    ("mount", 0, 0, 0, 0, 0),
    ("mount", 0, 0, 0, MS_REC | MS_BIND, 0),
    ("mount", 0, 0, 0, MS_REC | MS_PRIVATE, 0),
]


@cache
def _library() -> str:
    name = ctypes.util.find_library("seccomp")
    if name is None:
        pytest.fail("libseccomp is not installed")
    return name


def answers(calls: Sequence[tuple[object, ...]]) -> list[int]:
    known = ctypes.CDLL(_library()).seccomp_syscall_resolve_name
    rules = [(r.syscall, r.errno, r.condition) for r in RULES if known(r.syscall.encode("ascii")) != -1]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(rules), json.dumps(calls), _library()],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[int] = json.loads(done.stdout)
    return found


def test_each_call_gets_its_answer() -> None:
    assert answers([call for call, _ in CALLS]) == [errno for _, errno in CALLS]


def test_what_no_rule_names_reaches_the_kernel() -> None:
    """mount(2) of nothing ends with EFAULT or the like, never with the rules' answers."""
    assert not {ENOSYS, EPERM, 0} & set(answers(FREE))
