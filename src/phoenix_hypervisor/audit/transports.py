"""The ways by which AppArmor's lines come.

Owns telling from one line of a log by which way it came: auditd, the kernel's log as dmesg, /dev/kmsg,
syslog and journald hold it.  Owns which of those only the kernel can have written.  Pure.

A line is AppArmor's where such a record *begins* with it.  Programs in containers choose names that other
messages quote: what merely contains the text is never an event.
Source: kernel/audit.c (kauditd_printk_skb, audit_receive_msg), auditd's auditd-event.c (format_raw, which
makes a blank of each line break), systemd's journald-kmsg.c and journald-audit.c.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from phoenix_hypervisor.audit.copied import as_copied
from phoenix_hypervisor.audit.event import Doubt, Event, Transport
from phoenix_hypervisor.audit.line import Line, read_anyhow, read_kernels, read_old
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

LOOKS = re.compile(
    rb'apparmor=\\?"?(?:DENIED|ALLOWED|AUDIT|HINT|STATUS|ERROR|KILLED|AUTO)\b'
    rb"|type=(?:UNKNOWN\[)?15\d\d|type=APPARMOR"
)
"""What makes a line look like AppArmor's, wherever it stands."""
_BYTES = re.compile(rb'"MESSAGE" ?: ?\[')
"""journald writes a message that it takes for no text as a list of bytes."""

_OLD_TYPES = {
    b"1501": "AUDIT",
    b"1502": "ALLOWED",
    b"1503": "DENIED",
    b"1504": "HINT",
    b"1505": "STATUS",
    b"1506": "ERROR",
    b"1507": "KILLED",
}
_TYPE = rb"(1400|AVC|1107|USER_AVC|(?:UNKNOWN\[)?15[0-9][0-9]\]?|APPARMOR_[A-Z]+)"
_ID = rb"audit\(([0-9]{1,12}\.[0-9]{3}:[0-9]{1,20})\): "
_WORD = rb"[0-9]{0,2}[A-Za-z\x80-\xff]{1,12}\.?"
"""A month or a weekday: syslog's are English, journalctl's in the operator's language."""
_DATE = rb"(?:" + _WORD + rb" [ 0-9][0-9] |[0-9]{4}-[0-9]{2}-[0-9]{2}[T ])"
_STAMP = (
    rb"(?:" + _DATE + rb"[0-9:]{8}[0-9.,]{0,10}(?:Z|[+-][0-9:]{2,5})?"
    # journalctl's short-full, with a name or a number for the zone, and its short-unix.
    rb"|" + _WORD + rb" [0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}(?:\.[0-9]{6})? (?:[A-Z]{2,5}|[+-][0-9]{2,4})"
    rb"|[0-9]{9,11}\.[0-9]{6})"
)
_AUDITD = re.compile(
    rb"(?:node=(\S+) )?(?:type=" + _TYPE + rb" )?msg=audit\(([0-9./: -]{1,40}:[0-9]{1,20})\) ?: "
)
_KERNEL = re.compile(rb"(?:audit: )?type=" + _TYPE + rb" " + _ID)
_OLDEST = re.compile(rb"(?:\[ *[0-9.]+\] )?" + _ID[:-1] + rb" +type=(15[0-9][0-9]) ")
"""Until Linux 2.6.24."""
_RECORD = re.compile(_KERNEL.pattern.replace(b"(?:audit: )?", b"audit: ", 1))
_DMESG = re.compile(
    rb"(?:<[0-9]{1,4}>)?(?:[a-z]+ *:[a-z]+ *: ?)?"
    rb"(?:\[[A-Za-z0-9 :.+<>-]{1,40}\] ?|" + _STAMP + rb" ){0,3}" + _KERNEL.pattern
)
_KMSG = re.compile(rb"([0-9]{1,4}),[0-9]+,[0-9]+,[^;]{1,40};")
_SYSLOG = re.compile(
    rb"(?:<[0-9]{1,4}>)?(?:1 )?(?:" + _STAMP + rb"|\[ *[0-9.]+(?: *<[ 0-9.*]{1,32}>)? {0,32}\]) "
    rb"(?:\S+ )?([A-Za-z][A-Za-z0-9_.-]*)(?:\[[0-9]+\])?(?:: | - - - +)"
)
_BARE = re.compile(rb"(AVC )?(?=apparmor=)")
"""What `journalctl --output=cat` leaves of a record of the audit socket, and people of any line."""
_NUMBERED = re.compile(rb"([0-9]{1,12}\.[0-9]{3}):[0-9]{1,20}\Z")
_ENRICHED = b"\x1d"
_GLUED = re.compile(rb'(?<=[0-9])(?:FSUID|OUID)="[^"]*"(?: [A-Z_]+="[^"]*")*\Z')
"""What auditd adds, where a terminal has swallowed what is between."""
_DISPATCHERS = (b"audispd", b"audisp-syslog", b"auditd")
_BUSES = (b"dbus", b"dbus-daemon", b"dbus-broker", b"dbus-broker-launch")
FULL = 930
"""Characters of a line from where on its end may be missing, in what the kernel prints.

Measured: Linux 6.1 cuts a message at 989 characters, 6.12 at 1,021; before the line stand 43 to 50.
"""


class Unread(Exception):
    """Looks like AppArmor's, and cannot be read."""


def understand(line: bytes, node: bytes | None = None) -> Event | None:
    """The event in one line, without its line break; None: it is no line of AppArmor's.

    `node` is what auditd calls this machine.  Raises Unread.  The event's doubt does not speak of the
    place where the line was read.
    """
    try:
        return _as_logged(line, node)
    except Unread:
        copied = as_copied(line)
        if copied is None:
            raise
        event = _as_logged(copied, node)
        return event if event is None or event.doubt is not None else _doubted(event, Doubt.FORM)


def _as_logged(line: bytes, node: bytes | None) -> Event | None:
    """The event in a line that is as a log holds it.  Raises Unread."""
    if line[:1] == b"{":
        if LOOKS.search(line) is None and _BYTES.search(line) is None:
            return None
        return _journald(line)
    looks = LOOKS.search(line)
    if looks is None:
        return None
    match = _AUDITD.match(line)
    if match is not None:
        return _auditd(line, match, node)
    match = _DMESG.match(line)
    if match is not None:
        return _made(Transport.DMESG, match[1], match[2], line[match.end() :], printed=True)
    match = _KMSG.match(line)
    if match is not None:
        return _printed(Transport.KMSG, line[match.end() :], int(match[1]) >> 3 == 0)
    match = _BARE.match(line)
    if match is not None:
        return _doubted(_made(Transport.COPIED, b"AVC", None, line[match.end() :]), Doubt.FORM)
    return _syslog(line)


def _auditd(line: bytes, match: re.Match[bytes], node: bytes | None) -> Event:
    name, kind, number = match.groups()
    body = line[match.end() :]
    event = _made(Transport.AUDITD, kind or b"AVC", number, body)
    if event.doubt is None:
        # Without its type, or as ausearch interprets it, it may be anything.
        if kind is None or event.id is None:
            return _doubted(event, Doubt.FORM)
        if name is not None and (node is None or name.partition(b".")[0] != node.partition(b".")[0]):
            return _doubted(event, Doubt.NODE)
    return event


def _printed(transport: Transport, message: bytes, kernels: bool) -> Event:
    """A message of the kernel's log, without what a program puts before it; `kernels`: by its facility."""
    match = _RECORD.match(message)
    if match is None:
        raise Unread
    event = _made(transport, match[1], match[2], message[match.end() :], printed=True)
    return event if kernels else _doubted(event, Doubt.USER)


def _syslog(line: bytes) -> Event:
    match = _SYSLOG.match(line)
    if match is None:
        raise Unread
    rest, tag = line[match.end() :], match[1]
    if tag in (b"kernel", b"kern.notice", b"kern.warn"):
        inner = _DMESG.match(rest)
        if inner is not None:
            return _made(Transport.SYSLOG, inner[1], inner[2], rest[inner.end() :], printed=True)
        oldest = _OLDEST.match(rest)
        if oldest is not None:
            return _made(Transport.SYSLOG, oldest[2], oldest[1], rest[oldest.end() :])
    elif tag == b"audit" and rest[:4] == b"AVC ":
        return _made(Transport.SYSLOG, b"AVC", None, rest[4:])
    elif tag in _DISPATCHERS:
        inner = _AUDITD.match(rest)
        if inner is not None:
            return _made(Transport.SYSLOG, inner[2] or b"AVC", inner[3], rest[inner.end() :])
    elif tag in _BUSES and rest.startswith(b"apparmor="):
        return _made(Transport.DBUS, b"1107", None, rest)
    raise Unread


def _journald(line: bytes) -> Event | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise Unread from None
    if not isinstance(record, dict):
        raise Unread
    message = _bytes(record.get("MESSAGE"))
    if message is None:
        raise Unread
    if LOOKS.search(message) is None:
        return None
    transport = record.get("_TRANSPORT")
    if transport == "kernel":
        return _printed(Transport.KERNEL, message, record.get("SYSLOG_FACILITY") == "0")
    if transport == "audit":
        return _of_audit_socket(record, message)
    name = record.get("SYSLOG_IDENTIFIER")
    if isinstance(name, str) and name.encode("utf-8", "replace") in _BUSES and message[:9] == b"apparmor=":
        return _timed(_made(Transport.DBUS, b"1107", None, message), record)
    raise Unread


def _of_audit_socket(record: Mapping[str, Any], message: bytes) -> Event:
    """Here the id is in fields of its own, which no program can set: they begin with `_`."""
    kind, serial = record.get("_AUDIT_TYPE"), record.get("_AUDIT_ID")
    name, _, body = message.partition(b" ")
    if not isinstance(kind, str) or (kind, name) not in (("1400", b"AVC"), ("1107", b"USER_AVC")):
        raise Unread
    micro = record.get("_SOURCE_REALTIME_TIMESTAMP")
    number = None
    if isinstance(micro, str) and isinstance(serial, str) and _digits(micro) and _digits(serial):
        number = f"{int(micro) // 1_000_000}.{int(micro) // 1000 % 1000:03d}:{int(serial)}".encode()
    event = _made(Transport.AUDIT, kind.encode(), number, body)
    return event if number is not None else _timed(event, record)


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 20


def _timed(event: Event, record: Mapping[str, Any]) -> Event:
    micro = record.get("__REALTIME_TIMESTAMP")
    if isinstance(micro, str) and _digits(micro):
        return Event(
            line=event.line,
            id=event.id,
            time=int(micro) / 1e6,
            transport=event.transport,
            doubt=event.doubt,
        )
    return event


def _bytes(message: object) -> bytes | None:
    """A message as journald writes it: a text, or a list of bytes."""
    if isinstance(message, str):
        return message.encode("utf-8", "surrogatepass")
    if isinstance(message, list) and all(isinstance(one, int) and 0 <= one < 256 for one in message):
        return bytes(message)
    return None


def _made(
    transport: Transport, kind: bytes, number: bytes | None, body: bytes, *, printed: bool = False
) -> Event:
    """The event of a record's body.  Raises Unread."""
    body = body.partition(_ENRICHED)[0].rstrip(b" ")
    kind = kind.removeprefix(b"UNKNOWN[").removesuffix(b"]")
    doubt = None
    line: Line | None
    if kind in (b"1400", b"AVC"):
        line = read_kernels(body)
        if line is None:
            doubt, line = _strange(body, printed)
        elif printed and len(body) >= FULL:
            doubt, line = Doubt.CUT, read_anyhow(body, cut=True)
    elif kind in (b"1107", b"USER_AVC"):
        doubt, start = Doubt.USER, body.find(b"apparmor=")
        line = read_anyhow(body[start:]) if start >= 0 else None
    else:
        verdict = _OLD_TYPES.get(kind) or kind.removeprefix(b"APPARMOR_").decode()
        line = read_old(verdict, body)
    if line is None:
        raise Unread
    text, time = _numbered(number)
    return Event(line=line, id=text, time=time, transport=transport, doubt=doubt)


def _strange(body: bytes, printed: bool) -> tuple[Doubt, Line | None]:
    """A line that is not as the kernel writes it, as far as it can be read."""
    whole = read_kernels(_GLUED.sub(b"", body))
    if whole is not None:
        return Doubt.FORM, whole
    cut = printed and len(body) >= FULL
    return Doubt.CUT if cut else Doubt.FORM, read_anyhow(body, cut=cut)


def _numbered(number: bytes | None) -> tuple[str | None, float | None]:
    match = None if number is None else _NUMBERED.match(number)
    if match is None:
        # ausearch --interpret writes a date in the operator's own way.
        return None, None
    return match[0].decode(), float(match[1])


def _doubted(event: Event, doubt: Doubt) -> Event:
    return Event(line=event.line, id=event.id, time=event.time, transport=event.transport, doubt=doubt)
