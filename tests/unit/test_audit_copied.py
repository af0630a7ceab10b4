"""What people keep and paste is read, and never taken for the kernel's."""

from __future__ import annotations

import json

import pytest

from phoenix_hypervisor.audit.event import Doubt, Transport
from phoenix_hypervisor.audit.logs import EVERYTHING, Reader
from phoenix_hypervisor.audit.transports import Unread, understand

ID = "1795681057.740:16"
BODY = (
    'apparmor="DENIED" operation="open" class="file" profile="lxc-base" name="/sys/kernel/debug/x" pid=812'
    ' comm="cat" requested_mask="r" denied_mask="r" fsuid=0 ouid=0'
)
RAW = f"audit: type=1400 audit({ID}): {BODY}"
RECORD = json.dumps({"PRIORITY": "5", "_TRANSPORT": "kernel", "SYSLOG_FACILITY": "0", "MESSAGE": RAW})

COPIES = {
    "journalctl cat, audit socket": (f"AVC {BODY}", Transport.COPIED),
    "nothing before it": (BODY, Transport.COPIED),
    "journalctl verbose": (f"    MESSAGE={RAW}", Transport.DMESG),
    "journalctl export": (f"MESSAGE=AVC {BODY}", Transport.COPIED),
    "journalctl json-pretty": (f'        "MESSAGE" : {json.dumps(RAW)},', Transport.DMESG),
    "journalctl json-sse": (
        f"data: {RECORD}",
        Transport.KERNEL,
    ),
    "journalctl json-seq": (
        f"\x1e{RECORD}",
        Transport.KERNEL,
    ),
    "dmesg --color": (
        f"\x1b[32m[   12.345678] \x1b[0m\x1b[33maudit: \x1b[0m{RAW.removeprefix('audit: ')}",
        Transport.DMESG,
    ),
    "grep -H": (f"/var/log/kern.log.1:Nov 26 08:17:37 pve1 kernel: {RAW}", Transport.SYSLOG),
    "grep -n": (f"1207:2026-11-26T08:17:37.740811+00:00 pve1 kernel: {RAW}", Transport.SYSLOG),
    "grep -Hn, auditd's": (f"audit.log:7:type=AVC msg=audit({ID}): {BODY}", Transport.AUDITD),
    "a mail's quote": (f"> > [   12.345678] {RAW}", Transport.DMESG),
    "a shell's comment": (f"#   [Thu Nov 26 08:17:37 2026] {RAW}", Transport.DMESG),
    "indented": (f"\t    {RAW}", Transport.DMESG),
    "without its date": (f"pve1 kernel: {RAW}", Transport.DMESG),
    "between backticks": (f"`{RAW}`", Transport.DMESG),
    "a file with CRLF": (f"{RAW}\r", Transport.DMESG),
}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_is_read_and_never_believed(name: str) -> None:
    text, transport = COPIES[name]
    reader = Reader(EVERYTHING, b"pve1")
    (event,) = reader.read([text.encode() + b"\n"])
    assert (event.transport, event.doubt, reader.unread) == (transport, Doubt.FORM, 0)
    line = event.line
    assert (line.verdict, line.operation, line.text("profile")) == ("DENIED", "open", "lxc-base")
    assert line.fields["name"] == b"/sys/kernel/debug/x"


@pytest.mark.parametrize(
    "text",
    [
        f"Nov 26 08:17:37 pve1 sudo[1]: root : COMMAND=/bin/echo {RAW}",
        f"Nov 26 08:17:37 pve1 app[1]: > {RAW}",
        f"Thu 2026-11-26 08:17:37 CET pve1 app[1]: pve1 kernel: {RAW}",
        f"1795681057.740811 pve1 app[1]: {RAW}",
        f"    _CMDLINE=echo {RAW}",
        f'        "_CMDLINE" : {json.dumps(RAW)},',
        f"    MESSAGE=said {RAW}",
    ],
)
def test_what_a_program_quotes_is_no_copy(text: str) -> None:
    with pytest.raises(Unread):
        understand(text.encode(), b"pve1")
