"""What LXC makes of device rules: each answer here is a kernel's, measured with LXC 5 and 6.

`tests/lab/test_gpu.py` measures many more, and asks this code the same.
"""

from __future__ import annotations

import pytest

from phoenix_hypervisor.gpu.device_rules import MKNOD, Given, Number, Program, program

GPU: Number = ("c", 195, 1)


def made(*lines: str) -> Program:
    given = []
    for line in lines:
        verb, _, value = line.partition(" ")
        given.append(Given(verb == "allow", value, line))
    return program(given, lambda path: GPU if path == "/dev/nvidia1" else None)


@pytest.mark.parametrize(
    ("lines", "opens"),
    [
        ([], "rw"),
        (["deny a"], "rw"),
        (["deny a", "allow c 1:3 rwm"], ""),
        (["allow c 195:0 rwm"], ""),
        (["allow c 195:1 rwm"], "rw"),
        (["deny c 195:0 rwm"], ""),
        (["deny a", "allow c 195:* rwm", "deny c 195:1 rwm"], "rw"),
        (["deny a", "allow c 195:1 rwm", "deny c 195:1 rwm"], ""),
        (["deny a", "allow c 195:1 rwm", "deny c 195:1 rw"], "rw"),
        (["deny a", "deny c 195:1 rwm", "allow c 195:1 rwm"], "rw"),
        (["allow a"], "rw"),
        (["allow a", "deny c 195:1 rwm"], ""),
        (["allow a", "deny c 195:1 rw"], ""),
        (["allow a", "deny c 195:1 w"], "rw"),
        (["allow a", "deny c *:* rwm"], ""),
        (["allow a", "deny b 195:1 rwm"], "rw"),
        (["allow a", "deny c 195:1 rwm", "allow c 195:1 rwm"], "rw"),
        (["allow a", "deny c 195:* rwm", "allow c 195:1 rwm"], ""),
        (["allow c 195:* rwm", "deny a", "allow c 1:3 rwm"], ""),
        (["deny c 195:1 rwm", "allow a"], "rw"),
        (["deny a", "allow c 195:1 r"], "r"),
        (["deny a", "allow c 195:1 w"], "w"),
        (["deny a", "allow c 195:1 r", "allow c 195:1 w"], "r"),
        (["deny a", "allow a *:* rw"], "rw"),
        (["deny a", "deny a *:* rwm"], ""),
        (["deny a", "allow b 195:1 rwm"], ""),
        (["deny a", "allow c 194:1 rwm"], ""),
        (["deny a", "allow c 2147483647:1 rwm"], ""),
        (["deny a", "allow c 195:1 rwm", "allow c 195:0 rwm", "deny c 195:0 rwm"], "rw"),
        (["deny a", "allow c *:1 rw"], "rw"),
        (["deny a", "allow c *:* m"], ""),
        (["deny a", "allow /dev/nvidia1 rw"], "rw"),
    ],
)  # fmt: skip
def test_what_a_program_lets_through(lines: list[str], opens: str) -> None:
    found = made(*lines)
    assert found.access(GPU) == opens and not found.fault


def test_letters_in_two_rules_do_not_add_up() -> None:
    found = made("deny a", "allow c 195:1 r", "allow c 195:1 w")
    assert [found.decide(GPU, wanted)[0] for wanted in (1, 2, 3)] == [True, True, False]


def test_making_a_node_is_an_access_of_its_own() -> None:
    found = made("deny a", "allow c *:* m")
    assert found.decide(GPU, MKNOD) == (True, "allow c *:* m")
    assert made("deny a", "allow c 195:1 rw").decide(GPU, MKNOD) == (False, "deny a")


def test_a_path_is_for_allow_rules_only() -> None:
    assert made("deny /dev/nvidia1 rw").fault and not made("allow /dev/nvidia1 rw").fault


def test_whose_a_rule_is_goes_with_it() -> None:
    given = [Given(True, "c 1:1 r", "x", own=False), Given(True, "c 1:2 r", "y")]
    assert [rule.own for rule in program(given, lambda path: None).rules] == [True, False]
    assert made().decide(GPU, 3) == (True, "")


def test_the_deciding_line_and_those_without_effect_are_named() -> None:
    found = made("deny a", "allow c 195:* rwm", "deny c 195:1 rwm")
    assert found.decide(GPU, 3) == (True, "allow c 195:* rwm")
    assert found.inert() == ("deny c 195:1 rwm",)


@pytest.mark.parametrize(
    "value",
    ["c 195:1 rwx", "c 195:1", "c195:1 rw", "x 195:1 rw", "c 195 rw", "c 195:-1 rw", "c 99999999999:1 rw", "", " a", "/dev/none rw"],
)  # fmt: skip
def test_what_lxc_cannot_read_keeps_the_container_from_starting(value: str) -> None:
    assert made(f"allow {value}").fault == f"allow {value}"


def test_only_three_letters_are_read() -> None:
    found = made("deny a", "allow c 195:1 rwm # the GPU")
    assert found.access(GPU) == "rw" and not found.fault
    assert made("deny a", "allow c 195:1 rw # the GPU").fault


@pytest.mark.parametrize("lines", [["deny a", "allow a *:* rwm"], ["allow a", "deny a *:* mwr"]])
def test_a_rule_of_everything_keeps_the_container_from_starting(lines: list[str]) -> None:
    """Measured on LXC 5 and 6: the kernel refuses a program of which a part is never reached."""
    assert made(*lines).fault == lines[1]
