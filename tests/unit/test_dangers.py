"""Classes of dangers: what belongs to one, and for which profiles it counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from phoenix_hypervisor.audit.dangers import CAPABILITIES, CLASSES, Held, classes, why
from phoenix_hypervisor.policy.assertions import load_tests
from phoenix_hypervisor.policy.queries import Query, parse_query
from phoenix_hypervisor.policy.query import RawQuery

MOUNT = {"kind": "mount", "target": "/srv/b/"}
TESTS = Path(__file__).parents[2] / "etc/policy_tests"


def of(fields: dict[str, Any]) -> set[str]:
    return set(classes(parse_query(fields), "lxc-a"))


FILES = [
    ("/proc/sys/kernel/core_pattern", "w", {"kernel programs", "kernel settings"}),
    ("/proc/sys/kernel/core_pattern", "r", set()),
    ("/mnt/p/sys/kernel/modprobe", "w", {"kernel programs", "settings under other names"}),
    ("/proc/sysrq-trigger", "w", {"crash"}),
    ("/dev/mem", "r", {"kernel memory"}),
    ("/dev/sda", "r", {"raw devices"}),
    ("/dev/mapper/pve-root", "r", {"raw devices"}),
    ("/dev/vfio/vfio", "w", {"raw devices"}),
    ("/dev/net/tun", "rw", set()),
    ("/dev/fuse", "rw", set()),
    ("/dev/shm/x", "rw", set()),
    ("/dev/null", "rw", set()),
    ("/dev/nvidia0", "rw", set()),
    ("/dev/fd/3", "r", set()),
    ("/proc/kmsg", "r", {"kernel secrets"}),
    ("/proc/sys/vm/drop_caches", "w", {"kernel settings"}),
    ("/proc/sys/net/ipv4/ip_forward", "w", set()),
    ("/proc/sys/kernel/hostname", "w", set()),
    ("/proc/sys/kernel/shmmax", "w", set()),
    ("/sys/class/net/eth0/mtu", "w", set()),
    ("/sys/fs/cgroup/x.slice/memory.max", "w", set()),
    ("/sys/fs/cgroup/memory.max", "w", {"kernel settings"}),
    ("/sys/block/sda/queue/nr_requests", "w", {"kernel settings"}),
    ("/sys/kernel/debug/x", "r", {"kernel secrets"}),
    ("/.detached/etc/shadow", "w", {"detached mounts"}),
    ("/etc/hosts", "w", set()),
]


@pytest.mark.parametrize(
    ("path", "access", "found"), FILES, ids=[f"{path}-{access}" for path, access, _ in FILES]
)
def test_a_file_belongs_to_classes(path: str, access: str, found: set[str]) -> None:
    assert of({"kind": "file", "path": path, "access": access}) == found


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({**MOUNT, "source": "proc", "fstype": "proc"}, {"second procfs or sysfs"}),
        ({**MOUNT, "source": "x", "fstype": "nfs4"}, set()),
        ({**MOUNT, "source": "x", "fstype": "fuse.sshfs"}, set()),
        ({**MOUNT, "source": "/dev/loop3", "fstype": "ext4"}, {"host file systems"}),
        ({**MOUNT, "source": "x", "fstype": "virtiofs"}, {"host file systems"}),
        ({**MOUNT, "source": "x", "fstype": "overlay"}, {"overlay"}),
        ({**MOUNT, "source": "x", "fstype": "cgroup"}, {"kernel programs"}),
        ({**MOUNT, "source": "/srv/a/", "flags": ["bind"]}, set()),
        ({**MOUNT, "source": "/", "flags": ["rbind"]}, {"second names"}),
        ({**MOUNT, "source": "/proc/", "flags": ["bind"]}, {"second names"}),
        ({**MOUNT, "source": "/x/sys/kernel/", "flags": ["bind"]}, {"second names"}),
        ({**MOUNT, "source": "/dev/sda", "flags": ["bind"]}, {"second names"}),
        ({**MOUNT, "source": "/x/core_pattern", "flags": ["move"]}, {"second names"}),
        ({**MOUNT, "flags": ["move"]}, {"detached mounts"}),
        ({**MOUNT, "flags": ["remount"]}, {"remounts"}),
        ({**MOUNT, "flags": ["remount", "bind"]}, {"remounts"}),
        ({**MOUNT, "flags": ["remount", "bind", "ro"]}, set()),
        ({"kind": "mount", "target": "/dev/shm/", "source": "/srv/a/", "flags": ["bind"]}, {"remounts"}),
        ({**MOUNT, "flags": ["rslave"]}, set()),
        ({"kind": "umount", "target": "/proc/sys/"}, {"masks"}),
        ({"kind": "umount", "target": "/mnt/"}, set()),
        ({"kind": "pivot_root", "new_root": "/a/", "put_old": "/a/"}, {"new roots"}),
        ({"kind": "capability", "name": "sys_module"}, {"capability sys_module"}),
        ({"kind": "capability", "name": "net_raw"}, set()),
        ({"kind": "change_profile", "target": "unconfined"}, {"other profiles"}),
        ({"kind": "change_profile", "target": "lxc-a//x"}, set()),
        ({"kind": "change_profile", "target": "lxc-ab"}, {"other profiles"}),
        ({"kind": "signal", "signal": "kill", "access": "send", "peer": "lxc-b"}, {"other labels"}),
        ({"kind": "signal", "signal": "kill", "access": "send", "peer": "lxc-a"}, set()),
        ({"kind": "signal", "signal": "kill", "access": "send", "peer": "lxc-a//&:lxc-1_x:d"}, set()),
        ({"kind": "signal", "signal": "kill", "access": "send", "peer": ":lxc-1_x:d"}, {"other labels"}),
        ({"kind": "signal", "signal": "kill", "access": "send", "peer": "lxc-a//&lxc-b"}, {"other labels"}),
        ({"kind": "signal", "signal": "kill", "access": "receive", "peer": "unconfined"}, set()),
        ({"kind": "signal", "signal": "kill", "access": "receive", "peer": "lxc-b"}, {"other labels"}),
        ({"kind": "ptrace", "access": "trace", "peer": "unconfined"}, {"other labels"}),
        ({"kind": "ptrace", "access": "readby", "peer": "unconfined"}, set()),
        ({"kind": "io_uring", "operation": "override_creds", "peer": "lxc-b"}, {"other labels"}),
        ({"kind": "io_uring", "operation": "sqpoll"}, set()),
        ({"kind": "network", "family": "vsock", "type": "stream"}, {"sockets"}),
        ({"kind": "network", "family": "inet6", "type": "stream"}, set()),
        ({"kind": "unix", "type": "stream", "access": "connect", "peer": "unconfined"}, {"unix peers"}),
        ({"kind": "link", "path": "/srv/x", "target": "/dev/sda"}, {"raw devices"}),
        ({"kind": "userns"}, set()),
    ],
    ids=lambda value: str(parse_query(value)) if isinstance(value, dict) else "",
)
def test_other_questions_belong_to_classes(fields: dict[str, Any], found: set[str]) -> None:
    assert of(fields) == found


def test_every_class_is_reached_and_says_why() -> None:
    reached = {
        name for path, access, _ in FILES for name in of({"kind": "file", "path": path, "access": access})
    }
    assert reached < set(CLASSES)
    assert all(why(name) for name in [*CLASSES, *(f"capability {one}" for one in CAPABILITIES)])
    assert classes(RawQuery(2, b"/etc"), "lxc-a") == frozenset()


def held(profile: str) -> Held:
    tests = [
        test for path in sorted(TESTS.glob("*.toml")) for test in load_tests(path.read_bytes(), str(path))
    ]
    return Held(tests, profile)


@pytest.mark.parametrize("name", [*CLASSES, *(f"capability {one}" for one in CAPABILITIES)])
def test_every_class_counts_for_a_profile_that_no_test_speaks_of(name: str) -> None:
    counts = held("lxc-of-the-operator").counts(name)
    assert counts is not None and counts.test is None


def test_the_tests_say_what_counts() -> None:
    """In an unprivileged container the user namespace is the wall: its tests expect such mounts to be allowed."""
    privileged, unprivileged = held("lxc-base"), held("lxc-base-unprivileged")
    second = privileged.counts("second procfs or sysfs")
    assert second is not None and second.test is not None and not second.test.allowed
    assert unprivileged.counts("second procfs or sysfs") is None
    assert unprivileged.counts("capability sys_boot") is None
    assert privileged.counts("capability sys_boot") is not None
    for one in (privileged, unprivileged):
        assert one.counts("other labels") is not None
        assert one.counts("capability sys_module") is not None
        assert one.counts("kernel programs") is not None


def test_a_test_that_expects_it_denied_outweighs_one_that_allows() -> None:
    both = b"""
[[test]]
expect = "allowed"
queries = [{ kind = "capability", name = ["mknod", "bpf"] }]
[[test]]
expect = "denied"
queries = [{ kind = "capability", name = "mknod" }]
"""
    found = Held(load_tests(both, "x.toml"), "lxc-a")
    assert found.counts("capability mknod") is not None
    assert found.counts("capability bpf") is None


def test_a_glob_of_a_test_names_its_paths() -> None:
    text = b'[[test]]\nname = "n"\nkind = "file"\nglob = "/srv/{a,b}/**"\naccess = "w"\nexpect = "denied"\n'
    found = Held(load_tests(text, "x.toml"), "lxc-a")

    def named(path: str, access: str) -> bool:
        question = parse_query({"kind": "file", "path": path, "access": access})
        assert isinstance(question, Query)
        return found.names(question) is not None

    assert named("/srv/b/x", "w") and named("/srv/a/x/y", "rw")
    assert not named("/srv/c/x", "w") and not named("/srv/a/x", "r")
