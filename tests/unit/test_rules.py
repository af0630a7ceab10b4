"""The smallest rule for a question, as text; and what there is no rule for."""

from __future__ import annotations

from typing import Any

import pytest

from phoenix_hypervisor.audit.rules import NODES, NOT_PRINTED, NoRule, rules
from phoenix_hypervisor.policy.queries import Query, parse_query

MOUNT = {"kind": "mount", "target": "/srv/b/"}


def asked(fields: dict[str, Any]) -> Query:
    question = parse_query(fields)
    assert isinstance(question, Query)
    return question


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"kind": "file", "path": "/srv/a b", "access": "r"}, 'owner "/srv/a b" r,'),
        ({"kind": "file", "path": "/srv/a", "access": "rcd", "other": True}, "/srv/a rw,"),
        ({"kind": "file", "path": "/srv/a", "access": "a", "other": True}, "/srv/a a,"),
        ({"kind": "file", "path": "/srv/a", "access": "ac", "other": True}, "/srv/a w,"),
        ({"kind": "file", "path": "/srv/a/", "access": "chmod", "other": True}, "/srv/a/ w,"),
        ({"kind": "file", "path": "/srv/a", "access": "getattr", "other": True}, "/srv/a r,"),
        ({"kind": "file", "path": "/srv/a", "access": "mk", "other": True}, "/srv/a mk,"),
        ({"kind": "file", "path": "/srv/a", "access": "x", "other": True}, "/srv/a ix,"),
        ({"kind": "file", "path": "/proc/77/io", "access": "r", "other": True}, "/proc/@{pid}/io r,"),
        ({"kind": "link", "path": "/srv/a", "target": "/srv/b"}, "owner link subset /srv/a -> /srv/b,"),
        ({"kind": "capability", "name": "net_raw"}, "capability net_raw,"),
        ({"kind": "network", "family": "xdp", "type": "raw"}, "network xdp raw,"),
        ({"kind": "unix", "type": "dgram", "access": "connect", "peer_address": "@a b", "peer": "lxc-a"},
         'unix (connect) type=dgram peer=(label=lxc-a, addr="\\@a b"),'),
        ({"kind": "signal", "signal": "kill", "access": "send", "peer": "a b"}, 'signal (send) set=("kill") peer="a b",'),
        ({"kind": "ptrace", "access": "read", "peer": "lxc-a"}, 'ptrace (read) peer="lxc-a",'),
        ({"kind": "change_profile", "target": "lxc-a"}, "change_profile -> lxc-a,"),
        ({"kind": "change_profile", "target": "&lxc-a"}, 'change_profile -> "&lxc-a",'),
        ({"kind": "mqueue", "name": "/q", "access": "create,read"}, "mqueue (read, create) type=posix /q,"),
        ({"kind": "io_uring", "operation": "sqpoll"}, "io_uring (sqpoll),"),
        ({"kind": "userns"}, "userns,"),
        ({"kind": "umount", "target": "/srv/b/"}, "umount /srv/b/,"),
        ({"kind": "pivot_root", "new_root": "/a/", "put_old": "/a/b/"}, "pivot_root oldroot=/a/b/ /a/,"),
        ({**MOUNT, "source": "nas:/x", "fstype": "nfs4", "flags": ["nosuid", "ro"]},
         "mount fstype=nfs4 options=(ro, nosuid) nas:/x -> /srv/b/,"),
        ({**MOUNT, "source": "//nas/x", "fstype": "cifs"}, 'mount fstype=cifs options=(rw) "/\\057nas/x" -> /srv/b/,'),
        ({**MOUNT, "fstype": "tmpfs"}, 'mount fstype=tmpfs options=(rw) "" -> /srv/b/,'),
        ({**MOUNT, "source": "/a/", "flags": ["bind", "rec", "nosuid"]}, "mount options=(rbind) /a/ -> /srv/b/,"),
        ({**MOUNT, "source": "/a/", "flags": ["move"]}, "mount options=(move) /a/ -> /srv/b/,"),
        ({**MOUNT, "flags": ["remount", "bind", "ro"]}, "mount options=(ro, remount, bind) -> /srv/b/,"),
        ({**MOUNT, "flags": ["rslave", "silent"]}, "mount options=(silent, make-rslave) -> /srv/b/,"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_question_has_a_smallest_rule(fields: dict[str, Any], text: str) -> None:
    question = asked(fields)
    found = rules(question)
    assert found[0].text == text
    assert all(rule.covers(question) for rule in found)


def test_a_rule_widened_by_a_pattern_has_one_for_the_name_behind_it() -> None:
    """Profiles without our tunables have no such variables."""
    question = asked({"kind": "file", "path": "/proc/77/io", "access": "r"})
    assert [rule.text for rule in rules(question)] == ["owner /proc/@{pid}/io r,", "owner /proc/77/io r,"]
    assert [rule.widened for rule in rules(question)] == [True, False]


@pytest.mark.parametrize(
    "fields",
    [
        {**MOUNT, "source": "c", "fstype": "cgroup2", "flags": ["rec"]},
        {**MOUNT, "source": "c", "fstype": "cgroup2", "flags": ["bit27"]},
        {**MOUNT, "source": "c", "fstype": "cgroup2", "flags": ["nouser"]},
        {**MOUNT, "source": "c"},
        {"kind": "network", "family": 99, "type": "raw"},
        {"kind": "network", "family": "inet", "type": 9},
        {"kind": "attachment", "path": "/a"},
    ],
    ids=["rec", "unnamed-flag", "nouser", "no-type", "family", "socket-type", "attachment"],
)
def test_what_rules_have_no_word_for_has_no_rule(fields: dict[str, Any]) -> None:
    with pytest.raises(NoRule):
        rules(asked(fields))


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({**MOUNT, "source": "x", "fstype": "nfs"}, f"{NODES}; {NOT_PRINTED}"),
        ({**MOUNT, "source": "x", "fstype": "nfs", "flags": ["nodev"]}, NOT_PRINTED),
        ({**MOUNT, "source": "x", "fstype": "tmpfs"}, NOT_PRINTED),
        ({**MOUNT, "source": "/a/", "flags": ["bind"]}, None),
        ({**MOUNT, "flags": ["remount", "ro"]}, NOT_PRINTED),
    ],
    ids=["nodes", "nodev", "own", "bind", "remount"],
)
def test_a_mount_says_what_its_line_does_not(fields: dict[str, Any], note: str | None) -> None:
    assert rules(asked(fields))[0].note == note


@pytest.mark.parametrize(
    ("fields", "other"),
    [
        ({"kind": "file", "path": "/a", "access": "r"}, {"kind": "file", "path": "/a", "access": "w"}),
        ({"kind": "file", "path": "/a", "access": "r"}, {"kind": "file", "path": "/b", "access": "r"}),
        ({"kind": "file", "path": "/a", "access": "x"}, {"kind": "file", "path": "/a", "access": "m"}),
        ({**MOUNT, "source": "x", "fstype": "nfs"}, {**MOUNT, "source": "x", "fstype": "proc"}),
        ({**MOUNT, "source": "x", "fstype": "nfs"}, {**MOUNT, "source": "x", "fstype": "nfs", "flags": ["ro"]}),
        ({**MOUNT, "source": "/a/", "flags": ["bind"]}, {**MOUNT, "source": "/", "flags": ["bind"]}),
        ({"kind": "network", "family": "xdp", "type": "raw"}, {"kind": "network", "family": "alg", "type": "raw"}),
        ({"kind": "capability", "name": "bpf"}, {"kind": "capability", "name": "mknod"}),
    ],
    ids=["access", "path", "map", "type", "flags", "source", "family", "capability"],
)  # fmt: skip
def test_a_rule_is_about_its_own_object_only(fields: dict[str, Any], other: dict[str, Any]) -> None:
    assert not rules(asked(fields))[0].covers(asked(other))
