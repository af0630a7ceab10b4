"""Lines that AppArmor logs: read as the kernel writes them, and turned into the question that it asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from phoenix_hypervisor.audit.asked import ask_again, whose
from phoenix_hypervisor.audit.line import parse_line
from phoenix_hypervisor.errors import UsageError
from phoenix_hypervisor.policy.profile import PathFlag, Profile
from phoenix_hypervisor.policy.reader import read_policy
from phoenix_hypervisor.values import replace

BLOB = Path(__file__).parents[1] / "data/policy/kinds-41.bin"
HEAD = '[ 12.5] audit: type=1400 audit(1795681057.740:16): apparmor="DENIED" '


@pytest.fixture(scope="module")
def profile() -> Profile:
    return read_policy(BLOB.read_bytes()).get("lxc-k")


QUESTIONS = {
    # files
    'operation="open" class="file" profile="p" name="/etc/x" comm="a" requested_mask="wr" denied_mask="w"'
    " fsuid=0 ouid=0": "file /etc/x --access rw",
    'operation="open" profile="p" name="/etc/x" requested_mask="r" denied_mask="r" fsuid=5 ouid=0': (
        "file /etc/x --access r --other"
    ),
    'operation="open" profile="p" name="/etc/x" requested_mask="::r" denied_mask="::r"': (
        "file /etc/x --access r --other"
    ),
    'operation="mkdir" profile="p" name="/srv/a/" requested_mask="c" fsuid=0 ouid=0': "file /srv/a/ --access c",
    'operation="unlink" profile="p" name="/a" requested_mask="d" fsuid=0 ouid=0': "file /a --access d",
    'operation="chmod" profile="p" name="/a" requested_mask="w" fsuid=0 ouid=0': "file /a --access chmod",
    'operation="chown" profile="p" name="/a" requested_mask="w" fsuid=0 ouid=0': "file /a --access chown",
    'operation="getattr" profile="p" name="/a" requested_mask="r" fsuid=0 ouid=0': "file /a --access getattr",
    'operation="file_mmap" profile="p" name="/a" requested_mask="rm" fsuid=0 ouid=0': "file /a --access rm",
    'operation="exec" profile="p" name="/bin/a" requested_mask="x" target="b" fsuid=0 ouid=0': (
        "file /bin/a --access x"
    ),
    'operation="link" profile="p" name="/n" requested_mask="l" fsuid=0 ouid=0 target="/o"': (
        "link /n --target /o"
    ),
    'operation="connect" class="file" profile="p" name="/run/s" requested_mask="wr" fsuid=0 ouid=0': (
        "file /run/s --access rw"
    ),
    'operation="open" profile="p" name=2F612062 requested_mask="r" fsuid=0 ouid=0': (
        "file '/a b' --access r"
    ),
    # mounts
    'operation="mount" class="mount" info="failed flags match" error=-13 profile="p" name="/run/u/"'
    ' flags="ro, remount, noatime, bind"': "mount --target /run/u/ --flags ro,remount,noatime,bind",
    'operation="mount" profile="p" name="/mnt/" fstype="nfs4" srcname="h:/x" flags="rw, nosuid"'
    ' options="vers=4"': "mount --source h:/x --target /mnt/ --fstype nfs4 --flags nosuid --data vers=4",
    'operation="mount" profile="p" name="/" flags="rw, rslave"': "mount --target / --flags rec,slave",
    'operation="umount" profile="p" name="/mnt/"': "umount --target /mnt/",
    'operation="pivotroot" profile="p" name="/new/" srcname="/new/old/"': (
        "pivot-root --new-root /new/ --put-old /new/old/"
    ),
    # others
    'operation="capable" class="cap" profile="p" capability=21  capname="sys_admin"': "capability sys_admin",
    'operation="capable" profile="p" capability=12': "capability net_admin",
    'operation="ptrace" profile="p" requested_mask="readby" denied_mask="readby" peer="q"': (
        "ptrace --access readby --peer q"
    ),
    'operation="signal" profile="p" requested_mask="send" denied_mask="send" signal=rtmin+2 peer="a//b"': (
        "signal rtmin+2 --access send --peer a//b"
    ),
    'operation="change_profile" class="file" profile="p" name="q" target="q"': "change-profile q",
    'operation="change_onexec" profile="p" name="q"': "change-profile q --onexec",
    'operation="stack_onexec" profile="p" name="q"': "change-profile '&q' --onexec",
    'operation="userns_create" class="namespace" profile="p" requested="userns_create"': "userns",
    'operation="uring_sqpoll" class="io_uring" profile="p" requested="sqpoll"': "io-uring sqpoll",
    'operation="uring_override" class="io_uring" profile="p" requested="override_creds" tcontext="q"': (
        "io-uring override_creds --peer q"
    ),
    'operation="open" profile="p" name="/q" requested="read create" denied="read" class="posix_mqueue"': (
        "mqueue /q --access read,create"
    ),
    'operation="mqueue_unlink" class="posix_mqueue" profile="p" name="/q" requested="delete"': (
        "mqueue /q --access delete"
    ),
    # sockets
    'operation="create" class="net" profile="p" family="inet6" sock_type="raw" protocol=58'
    ' requested_mask="create" denied_mask="create"': "network inet6 raw --protocol 58",
    'operation="create" class="net" profile="p" family="unknown(45)" sock_type="unknown(7)" protocol=0'
    ' requested_mask="create"': "network mctp 7",
    'operation="bind" profile="p" family="unix" sock_type="dgram" protocol=0 requested_mask="bind"'
    ' addr="@/x"': "network unix dgram --access bind --address @/x",
    'operation="connect" profile="p" family="unix" sock_type="stream" protocol=0 addr=none peer_addr="@616201"'
    ' requested_mask="send receive connect" denied_mask="send" peer="q"': (
        "network unix stream --access connect,send,receive --peer-address $'@ab\\x01' --peer q"
    ),
    'operation="listen" profile="p" family="inet" sock_type="stream" protocol=6': (
        "network inet stream --access listen --protocol 6"
    ),
    # a bus
    'operation="dbus_method_call"  bus="system" path="/o" interface="i.f" member="M" mask="send" name="n.m"'
    ' pid=2 label="p" peer_pid=1 peer_label="unconfined"': (
        "dbus send system --name n.m --peer unconfined --path /o --interface i.f --member M"
    ),
    'operation="dbus_bind"  bus="session" name="n.m" mask="bind" pid=2 profile="p"': (
        "dbus bind session --name n.m"
    ),
    'operation="dbus_eavesdrop"  bus="session" mask="eavesdrop" pid=2 label="p"': "dbus eavesdrop session",
}


@pytest.mark.parametrize("fields", QUESTIONS)
def test_a_line_becomes_the_question_that_was_asked(fields: str, profile: Profile) -> None:
    line = parse_line(HEAD + fields)
    asked = ask_again(line, profile)
    assert str(asked.question) == QUESTIONS[fields]
    assert (whose(line), asked.refused, asked.note) == ("p", None, None)


def test_every_verdict_and_every_wrapping_is_read() -> None:
    body = 'apparmor="{}" operation="open" profile="p" name="/etc/x" requested_mask="r" fsuid=0 ouid=0'
    for verdict in ("DENIED", "ALLOWED", "AUDIT", "KILLED"):
        assert parse_line(body.format(verdict)).verdict == verdict
    denied = body.format("DENIED")
    expected = parse_line(denied)
    for text in (
        f"type=USER_AVC msg=audit(1.2:3): pid=1 uid=100 msg='{denied}'",
        denied.replace('"', '\\"'),
        denied.replace(" ", "\n  "),
        denied.replace('"', ""),
        f"Nov 26 10:00:00 pve kernel: {denied}\n",
    ):
        assert parse_line(text) == expected, text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no line of AppArmor's"),
        ("kernel: eth0: link up", "holds no line of AppArmor's"),
        ('apparmor="DENIED" operation="x"\napparmor="DENIED" operation="y"', "holds 2 lines"),
    ],
)
def test_what_is_no_line_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_line(text)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ('operation="profile_replace" name="p"', "what was loaded"),
        ('operation="setrlimit" profile="p" rlimit=nofile value=9', "limits, not permissions"),
        ('operation="change_hat" profile="p"', "which hats there are"),
        ('operation="sysv_mqueue" profile="p" name="1" class="sysv_mqueue"', "System V"),
        ('operation="open" profile="p" requested_mask="r"', "it names no path"),
        ('operation="open" profile="p" name="/x"', "it says no access"),
        ('operation="open" profile="p" name="/x" requested_mask="q"', "unknown file access"),
        ('operation="ptrace" profile="p" target=""', "'access' is missing"),
        ('operation="mount" profile="p" name="/x/" flags="rw, odd"', "unknown mount flag 'odd'"),
        ('operation="made_up" profile="p"', "it names no path"),
        (
            'operation="getattr" info="Failed name lookup - disconnected IPC path" profile="p"',
            "names nothing",
        ),
    ],
)
def test_what_nobody_can_ask_is_told(fields: str, words: str, profile: Profile) -> None:
    with pytest.raises(UsageError, match=words):
        ask_again(parse_line(HEAD + fields), profile)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("", "names no profile"),
        ('profile="unconfined"', "unconfined process"),
        ('label="a//&b"', "about a stack"),
        ('namespace="root//lxc-103" profile="docker-default"', "namespace root//lxc-103"),
        ('profile="a//null-/bin/sh"', "the kernel makes"),
    ],
)
def test_a_profile_that_is_not_this_host_s_is_told(fields: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        whose(parse_line(HEAD + f'operation="open" {fields}'))


def test_what_the_kernel_has_no_path_for(profile: Profile) -> None:
    """A flag of the profile decides whether rules are asked, and under which name."""
    text = (
        'operation="open" info="Failed name lookup - {}" error=-13 profile="p" name="{}" requested_mask="r"'
    )
    away = parse_line(HEAD + text.format("disconnected path", "run/x"))
    gone = parse_line(HEAD + text.format("deleted entry", "/run/x"))
    strict = replace(profile, path_flags=0)
    assert "flags=(attach_disconnected)" in (ask_again(away, strict).refused or "")
    assert "flags=(mediate_deleted)" in (ask_again(gone, strict).refused or "")
    loose = replace(profile, path_flags=PathFlag.ATTACH_DISCONNECTED | PathFlag.MEDIATE_DELETED)
    for line in (away, gone):
        asked = ask_again(line, loose)
        assert (str(asked.question), asked.refused) == ("file /run/x --access r", None)
    moved = ask_again(away, replace(loose, disconnected=b"/gone"))
    assert str(moved.question) == "file /gone/run/x --access r"
    long = parse_line(HEAD + text.format("name too long", "/run/x"))
    assert "name too long" in (ask_again(long, loose).refused or "")


def test_what_rules_do_not_decide_is_told(profile: Profile) -> None:
    line = parse_line(
        HEAD + 'operation="exec" info="no new privs" error=-1 profile="p" name="/a" requested_mask="x"'
    )
    assert "no new privs" in (ask_again(line, profile).note or "")
