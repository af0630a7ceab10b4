"""What was denied is said in one clause; what a container has named is printed so that no terminal obeys it."""

from __future__ import annotations

import pytest

from phoenix_hypervisor.audit.groups import Groups
from phoenix_hypervisor.audit.meaning import means, printable
from phoenix_hypervisor.audit.transports import understand


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (b"/etc/x", "/etc/x"),
        ("/etc/\u00e4".encode(), "/etc/\u00e4"),
        (b"a\x1b[2Jb", "a\\x1b[2Jb"),
        (b"a\nb\rc\td\0e\x7f", "a\\x0ab\\x0dc\\x09d\\x00e\\x7f"),
        (b"\xff\xfe", "\\xff\\xfe"),
        ("\u202eevil\u2028\u200b", "\\u202eevil\\u2028\\u200b"),
        ("\x85", "\\u0085"),
        (b"\x85", "\\x85"),
        ("\udcff", "\\xff"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_no_control_character_is_left(given: bytes | str, shown: str) -> None:
    assert printable(given) == shown


BODIES = {
    'operation="open" class="file" profile="p" name="/a" requested_mask="rw" denied_mask="w" fsuid=0 ouid=0': (
        "reading and writing /a"
    ),
    'operation="open" profile="p" name="/a" requested_mask="wc" fsuid=0 ouid=0': "creating or writing to /a",
    'operation="open" profile="p" name="/a" requested_mask="r::" fsuid=0 ouid=0': "reading /a",
    'operation="unlink" profile="p" name="/a" requested_mask="d" fsuid=0 ouid=0': "deleting /a",
    'operation="exec" profile="p" name="/a" requested_mask="x" fsuid=0 ouid=0 target="b"': "running /a",
    'operation="link" profile="p" name="/a" target="/b" requested_mask="l" fsuid=0 ouid=0': (
        "making the hard link /a to /b"
    ),
    'operation="open" class="file" profile="p" requested_mask="wr" denied_mask="wr" fsuid=1 ouid=0': (
        "reading and writing a file without a path"
    ),
    'operation="mount" class="mount" profile="p" name="/m/" fstype="nfs4" srcname="h:/x" flags="rw" options="v=4"': (
        "mounting nfs4 h:/x on /m/ (rw; v=4)"
    ),
    'operation="mount" profile="p" name="/m/" srcname="/s/" flags="rw, bind"': "bind-mounting /s/ on /m/ (rw, bind)",
    'operation="mount" profile="p" name="/m/" flags="ro, remount, bind"': "remounting on /m/ (ro, remount, bind)",
    'operation="mount" profile="p" name="/" flags="rw, rslave"': "changing how mounts spread on / (rw, rslave)",
    'operation="umount" profile="p" name="/m/"': "unmounting /m/",
    'operation="pivotroot" profile="p" name="/n/" srcname="/n/o/"': "making this the root: /n/ (old root: /n/o/)",
    'operation="capable" profile="p" capability=21  capname="sys_admin"': "using the capability sys_admin",
    'operation="create" profile="p" family="inet" sock_type="stream" protocol=6 requested_mask="create"': (
        "making a socket: inet stream 6"
    ),
    'operation="connect" profile="p" family="unix" sock_type="stream" protocol=0 requested="connect" addr=none'
    ' peer_addr="@x" peer="q"': "connect on a socket: unix stream none @x q",
    'operation="ptrace" profile="p" requested_mask="read" peer="q"': (
        "reading the memory or the state of a process of q"
    ),
    'operation="ptrace" parent=1 profile="p" requested_mask="trace"': "tracing a process",
    'operation="signal" profile="p" requested_mask="send" signal=term peer="unconfined"': (
        "sending the signal term to an unconfined process"
    ),
    'operation="signal" profile="p" requested_mask="receive" signal=kill peer="q"': (
        "receiving the signal kill from a process of q"
    ),
    'operation="change_profile" profile="p" name="q"': "changing to the profile q",
    'operation="userns_create" class="namespace" profile="p" requested="userns_create"': "making a user namespace",
    'operation="uring_sqpoll" class="io_uring" profile="p" requested="sqpoll"': "io_uring (sqpoll)",
    'operation="open" class="posix_mqueue" profile="p" name="/q" requested="read"': "the message queue (read) /q",
    'operation="setrlimit" profile="p" rlimit=memlock': "changing a limit",
}


@pytest.mark.parametrize("fields", BODIES)
def test_what_it_means(fields: str) -> None:
    event = understand(f'type=AVC msg=audit(1795681057.740:16): apparmor="DENIED" {fields}'.encode())
    assert event is not None
    groups = Groups()
    groups.add(event)
    (group,) = groups.found()
    assert means(group.event.line, group.kind, group.object, group.requested) == BODIES[fields]
