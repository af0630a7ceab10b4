"""Lines that a container, or anybody but the kernel, can bring into a log so that they look like the kernel's.

Owns one line for each way, and where it would be read.  None may be believed.
"""

from __future__ import annotations

import json

from phoenix_hypervisor.audit.event import Transport
from phoenix_hypervisor.audit.logs import AUDITD, EVERYTHING, JOURNALD, KMSG

PROFILE = "lxc-forged"
ID = "1795681057.740:16"
BODY = (
    f'apparmor="DENIED" operation="open" class="file" profile="{PROFILE}" name="/x" pid=8 comm="c"'
    ' requested_mask="w" denied_mask="w" fsuid=0 ouid=0'
)
AVC = f"type=AVC msg=audit({ID}): {BODY}"
RAW = f"audit: type=1400 audit({ID}): {BODY}"
SHORT = f'audit: type=1400 audit({ID}): apparmor="DENIED" operation="open" profile="{PROFILE}" name="/x"'
PACKET = "IN=eth0 OUT= MAC=52:54:00:00:00:01 SRC=10.0.0.1 DST=10.0.0.2 LEN=40 PROTO=TCP SPT=1 DPT=2"


def entry(message: object = RAW, **fields: object) -> str:
    return json.dumps({"_TRANSPORT": "kernel", "SYSLOG_FACILITY": "0", "MESSAGE": message, **fields})


def without(*names: str) -> str:
    found = json.loads(entry())
    return json.dumps({name: value for name, value in found.items() if name not in names})


IN_AUDITD = {
    "user-avc": f"type=USER_AVC msg=audit({ID}): pid=5 uid=0 auid=0 ses=1 subj=unconfined msg='{BODY} exe=\"/d\"'",
    "user-avc by number": f"type=1107 msg=audit({ID}): pid=5 uid=0 auid=0 ses=1 msg='{BODY}'",
    "a line break in a message, which auditd makes a blank": (
        f"type=USER_LOGIN msg=audit({ID}): pid=5 uid=0 auid=0 ses=1 msg='op=x {AVC}'"
    ),
    "a message in a message": f"type=USER_CMD msg=audit({ID}): pid=5 msg='cwd=\"/\" cmd={AVC} res=success'",
    "a program's name": f'type=SYSCALL msg=audit({ID}): arch=c000003e syscall=2 comm="{AVC}" exe="/x"',
    "an argument": f'type=EXECVE msg=audit({ID}): argc=2 a0="x" a1="{AVC}"',
    "a file's name": f'type=PATH msg=audit({ID}): item=0 name="{AVC}" inode=1',
    "a directory's name": f'type=CWD msg=audit({ID}): cwd="{AVC}"',
    "a blank before": f" {AVC}",
    "a tab before": f"\t{AVC}",
    "a return before": f"type=USER msg=audit({ID}): pid=5 msg='x\r{AVC}",
    "only a return before": f"\r{AVC}",
    "an escape before": f"\x1b[1K\r{AVC}",
    "a NUL before": f"\0{AVC}",
    "another node": f"node=pve2 {AVC}",
    "another node whose name begins alike": f"node=pve12 {AVC}",
    "two nodes": f"node=pve1 node=pve1 {AVC}",
    "a small type": AVC.replace("type=AVC", "type=avc"),
    "no type": AVC.removeprefix("type=AVC "),
    "another kind of AVC": f'type=AVC msg=audit({ID}): avc:  denied  {{ read }} for pid=1 comm="{BODY}"',
    "something before the verdict": f"type=AVC msg=audit({ID}): op=x {BODY}",
    "a control character in a name": AVC.replace("/x", "/\x1b[31mx"),
    "a return in a name": AVC.replace("/x", "/x\r"),
    "a quote in a name": AVC.replace('"/x"', '"/x" y"'),
    "two verdicts": f'{AVC} apparmor="ALLOWED"',
    "a field that no kernel knows": f"{AVC} Profile=x",
    "interpreted": f"type=AVC msg=audit(11/26/2026 08:17:37.740:16) : {BODY.replace(chr(34), '')}",
    "a date as its id": AVC.replace(ID, "11/26/2026 08:17:37.740:16"),
    "a line of the kernel's log": RAW,
    "a line of the journal": entry(),
    "a record of /dev/kmsg": f"5,1,2,-;{RAW}",
}
IN_JOURNALD = {
    "syslog": entry(_TRANSPORT="syslog", SYSLOG_IDENTIFIER="kernel"),
    "a service's output": entry(_TRANSPORT="stdout", SYSLOG_IDENTIFIER="kernel"),
    "the journal's own door": entry(_TRANSPORT="journal", TRANSPORT="kernel", SYSLOG_IDENTIFIER="kernel"),
    "no way at all": without("_TRANSPORT"),
    "two ways": entry(_TRANSPORT=["kernel", "syslog"]),
    "written into the kernel's log": entry(SYSLOG_FACILITY="1"),
    "as a daemon into the kernel's log": entry(SYSLOG_FACILITY="3"),
    "no facility": without("SYSLOG_FACILITY"),
    "a facility that is a number": entry(SYSLOG_FACILITY=0),
    "two facilities": entry(SYSLOG_FACILITY=["0", "1"]),
    "a line break before": entry(f"eth0: link up\n{RAW}"),
    "a line break after": entry(f"{RAW}\n{RAW}"),
    "a return before": entry(f"eth0: link up\r{RAW}"),
    "a blank before": entry(f" {RAW}"),
    "bytes with a line break": entry(list(f"x\n{RAW}".encode())),
    "bytes with an escape": entry(list(f"\x1b[2J{RAW}".encode())),
    "two messages": entry([RAW, RAW]),
    "bytes that are none": entry([*RAW.encode(), 300]),
    "a cgroup's name": entry(f"cgroup: fork rejected by pids controller in /lxc/101/{RAW}"),
    "a program's name at the beginning": entry(f"audit: type=140[77]: segfault at 0 {RAW}"),
    "a volume's name": entry(f"EXT4-fs ({RAW}): mounted filesystem"),
    "a packet filter's prefix": entry(f"{SHORT} {PACKET}"),
    "a packet filter's prefix without a blank": entry(f"{SHORT}{PACKET}"),
    "a packet filter's prefix with an open quote": entry(f'{SHORT} comm="{PACKET}'),
    "a packet filter's prefix with an open field": entry(f"{SHORT} requested_mask={PACKET}"),
    "a user's message that the kernel prints": entry(
        f"audit: type=1107 audit({ID}): pid=5 uid=0 msg='{BODY}'"
    ),
    "a user's message with a line of the kernel's": entry(f"audit: type=1100 audit({ID}): pid=5 msg='{RAW}'"),
    "a user's message with a line break": entry(f"audit: type=1107 audit({ID}): pid=5 msg='x\n{RAW}'"),
    "the audit socket, as a user": entry(
        f"USER_AVC pid=5 uid=0 auid=0 ses=1 msg='{BODY}'",
        _TRANSPORT="audit",
        _AUDIT_TYPE="1107",
        _AUDIT_ID="16",
    ),
    "the audit socket, under another name": entry(
        f"USER_AVC {BODY}", _TRANSPORT="audit", _AUDIT_TYPE="1400", _AUDIT_ID="16"
    ),
    "the audit socket, of another type": entry(
        f"AVC {BODY}", _TRANSPORT="audit", _AUDIT_TYPE="1107", _AUDIT_ID="16"
    ),
    "a type that a program gives": entry(
        f"AVC {BODY}", _TRANSPORT="journal", AUDIT_TYPE="1400", _AUDIT_ID="16"
    ),
    "escapes in a name": entry(RAW.replace("/x", "/\x1b]0;title\x07x")),
    "writing turned round": entry(RAW.replace("/x", "/\u202ex")),
    "a line of auditd": entry(AVC),
    "a line of auditd as text": AVC,
    "a message that is no text": entry({"x": RAW}),
}
IN_KMSG = {
    "a user's facility": f"13,1,2,-;{RAW}",
    "something before": f"5,1,2,-;x {RAW}",
    "a continuation": f" SUBSYSTEM={RAW}",
    "no number": f"-3,1,2,-;{RAW}",
    "a large number": f"4294967301,1,2,-;{RAW}",
    "a line break as the kernel writes it": f"5,1,2,-;eth0: up\\x0a{RAW}",
}
IN_TEXTS = {
    "another program's message": f"Nov 26 08:17:37 pve1 cron[1]: {RAW}",
    "a tag in a message": f"Nov 26 08:17:37 pve1 sshd[1]: kernel: {RAW}",
    "a command": f"Nov 26 08:17:37 pve1 sudo[1]: root : COMMAND=/bin/echo {BODY}",
    "a bus that says what it cannot know": f"Nov 26 08:17:37 pve1 dbus-daemon[1]: {BODY}",
    "a cgroup's name in dmesg": f"[   12.5] cgroup: fork rejected by pids controller in /lxc/101/{RAW}",
    "a stamp that is none": f"[{RAW}] {RAW}",
    "three stamps": f"[1.0][2.0][3.0][4.0] {RAW}",
    "an escape after the head": RAW.replace("apparmor", "\x1b[2Kapparmor"),
    "a return after the head": RAW.replace(" operation", "\r operation"),
    "an operation with an escape": f"type=USER_AVC msg=audit({ID}): pid=5 msg='{BODY.replace('open', chr(27) + '[2J')}'",
    "a packet in dmesg": f"[   12.5] {SHORT} {PACKET}",
    "a user's message in dmesg": f"[   12.5] audit: type=1107 audit({ID}): pid=5 msg='{BODY}'",
}
FORGED: dict[str, tuple[frozenset[Transport], str]] = {
    **{f"auditd, {name}": (AUDITD, line) for name, line in IN_AUDITD.items()},
    **{f"journald, {name}": (JOURNALD, line) for name, line in IN_JOURNALD.items()},
    **{f"kmsg, {name}": (KMSG, line) for name, line in IN_KMSG.items()},
    **{f"texts, {name}": (EVERYTHING, line) for name, line in IN_TEXTS.items()},
}
"""By way: what is believed of the place, and the line."""

HEX = b'" profile="lxc-forged" x="'.hex().upper()
TRUE = BODY.replace(PROFILE, "lxc-true")
WITHIN = {
    "a name that would end its quotes": TRUE.replace('comm="c"', f"comm={HEX}"),
    "a name like a field": TRUE.replace('"/x"', '"profile=lxc-forged"'),
    "a name like a verdict": TRUE.replace('comm="c"', 'comm="apparmor=DENIED"'),
    "a name in hexadecimal that is text": TRUE.replace('comm="c"', 'comm="6C78"'),
    "a name with a separator": TRUE.replace('"/x"', (b"/x\x1dprofile=lxc-forged").hex().upper()),
    "a name with a NUL": TRUE.replace('"/x"', (b"/x\0profile=lxc-forged").hex().upper()),
}
"""True events whose names try to say something else."""
