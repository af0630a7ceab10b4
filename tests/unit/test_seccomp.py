"""The seccomp companion's text: the host's rules first, ours after them, in LXC's grammar."""

from __future__ import annotations

import ctypes
import ctypes.util

import pytest

from phoenix_hypervisor.containers.seccomp import RULES, fault_of, render, syscalls

COMMON = b"""2
denylist
reject_force_umount  # comment this to allow umount -f;  not recommended
[all]
kexec_load errno 1
open_by_handle_at errno 1
"""


def test_the_hosts_own_rules_stay_first_and_whole() -> None:
    assert render(COMMON).startswith(COMMON)


def test_every_rule_follows_in_a_section_for_all_architectures() -> None:
    own = render(COMMON)[len(COMMON) :].decode()
    assert own.index("[all]") < own.index(RULES[0].line)
    assert [line for line in own.splitlines() if line.startswith(tuple(r.syscall for r in RULES))] == [
        rule.line for rule in RULES
    ]


def test_rules_without_a_final_newline_are_not_glued_to_ours() -> None:
    assert b"\nkexec_load errno 1\n" in render(b"2\ndenylist\nkexec_load errno 1")


def test_without_lxcs_rules_the_companion_stands_alone() -> None:
    assert fault_of(render(None)) is None
    assert set(syscalls(render(None))) == {rule.syscall for rule in RULES}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "version 2"),
        (b"1\nallowlist\n1\n", "version 2"),
        (b"2\n", "line 2"),
        (b"2\ndenylist\nmount errno\n", "line 3"),
        (b"2\ndenylist\n[all]\nmount: errno 1\n", "line 4"),
    ],
)
def test_a_file_that_lxc_would_refuse_is_refused(text: bytes, reason: str) -> None:
    assert reason in (fault_of(text) or "")
    with pytest.raises(ValueError, match=reason):
        render(text)


def test_a_list_of_what_is_allowed_is_refused() -> None:
    with pytest.raises(ValueError, match="allow list"):
        render(b"2\nallowlist\nread\n")


def test_what_proxmox_itself_renders_is_read() -> None:
    """The forms of pve-container's make_seccomp_config."""
    text = COMMON + (
        b"ioctl errno 1 [1,0x9400,SCMP_CMP_MASKED_EQ,0xff00]\n"
        b"keyctl errno 38\n"
        b"mknod notify [1,8192,SCMP_CMP_MASKED_EQ,61440]\n"
        b"socket errno 97 [0,38,SCMP_CMP_EQ]\n"
    )
    assert fault_of(text) is None
    assert syscalls(text) == ("kexec_load", "open_by_handle_at", "ioctl", "keyctl", "mknod", "socket")


def test_libseccomp_knows_every_system_call() -> None:
    name = ctypes.util.find_library("seccomp")
    if name is None:
        pytest.fail("libseccomp is not installed")
    resolve = ctypes.CDLL(name).seccomp_syscall_resolve_name
    unknown = {r.syscall for r in RULES if resolve(r.syscall.encode("ascii")) == -1}
    # Linux 6.15's; LXC leaves out a name that its libseccomp does not know, and says so at level INFO.
    assert unknown <= {"open_tree_attr"}
