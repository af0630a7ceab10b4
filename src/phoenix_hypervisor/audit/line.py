"""One line of a log that AppArmor wrote, as data.

Owns the form of such lines: their fields, quoted or in hexadecimal.  Pure: text in, a value out.  Must
not know what an operation means (`asked` does), nor what stands before the fields (`transports` does).
Source: security/apparmor/audit.c (audit_pre), kernel/audit.c (audit_log_untrustedstring), dbus-daemon's
bus/apparmor.c.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping

from phoenix_hypervisor.errors import UsageError
from phoenix_hypervisor.values import dataclass

_HEAD = re.compile(r'\bapparmor="?([A-Z]+)\b"?')
# Where USER_AVC quotes a whole message in '...', its last field ends before that quote.
_FIELD = re.compile(r"(\w+)=(?:\"([^\"]*)\"|([^\s\"']*))")
_HEX = re.compile(r"(?:[0-9A-F]{2})+")
_TEXTS = {"profile", "label", "namespace", "name", "target", "comm", "peer", "tcontext", "capname"} | {
    "srcname",
    "fstype",
    "trans",
    "options",
    "addr",
    "peer_addr",
    "execpath",
}
"""Fields that the kernel writes in hexadecimal where they hold a blank, a quote or a byte beyond ASCII."""

_KERNELS = re.compile(
    rb'apparmor="([A-Z]+)"((?: +[a-z_0-9]+=(?:"[\x20\x21\x23-\x7e]*"|[\x21\x23-\x26\x28-\x7e]*))+) *'
)
"""A whole line as the kernel writes it: ASCII, and no name that could end its own quotes."""
_OLD = re.compile(rb'((?: *[a-z_0-9]+=(?:"[^"]*"|[^\s"]*))+) *')
"""As kernels wrote it for Ubuntu until 2010: the verdict is the record's type."""
_PAIR = re.compile(rb'([a-z_0-9]+)=(?:"([^"]*)"|([^\s"\']*))')
_ANY_HEAD = re.compile(rb'apparmor="?([A-Z]+)\b"?')
_LAST = re.compile(rb"\s+[a-z_0-9]+=(?:\"[^\"]*|[^\s\"]*)\Z")
_INTERPRETED = re.compile(rb" ([a-z_0-9]+)=(.*?)(?= [a-z_0-9]+=|\Z)", re.DOTALL)
_NAMES: dict[bytes, str] = {}
"""Each field's name is decoded once.  Only those that the kernel's own lines hold: there are few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What AppArmor logged of one decision."""

    verdict: str
    """DENIED; ALLOWED (a profile that only complains); AUDIT (a rule asks for it); KILLED, STATUS, ..."""
    fields: Mapping[str, bytes]
    """By name, without `apparmor`; where one comes twice, the last counts."""

    def text(self, name: str) -> str:
        """A field for people; empty where there is none."""
        return self.fields.get(name, b"").decode("utf-8", "backslashreplace")

    def words(self, *names: str) -> tuple[str, ...]:
        """The words of the first of these fields that is there: `send receive`, `ro, remount`."""
        for name in names:
            if self.fields.get(name):
                return tuple(self.text(name).replace(",", " ").split())
        return ()

    @property
    def operation(self) -> str:
        return self.text("operation")


def parse_line(text: str) -> Line:
    """The decision in `text`: a line as dmesg, journalctl, auditd, ausearch or a daemon shows it.

    What stands around it is passed over, and so are the line breaks and backslashes of a copy.
    Raises UsageError where there is none, or more than one.
    """
    text = text.replace('\\"', '"')
    heads = list(_HEAD.finditer(text))
    if not heads:
        hint = 'paste one with apparmor="DENIED", as `journalctl -k` and `dmesg` show them'
        raise UsageError("holds no line of AppArmor's", where="--denial", hint=hint)
    if len(heads) > 1:
        raise UsageError(
            f"holds {len(heads)} lines of AppArmor's", where="--denial", hint="paste one at a time"
        )
    fields = {
        match[1]: _value(match[1], match[2], match[3]) for match in _FIELD.finditer(text, heads[0].end())
    }
    return Line(verdict=heads[0][1], fields=fields)


def _value(name: str, quoted: str | None, bare: str) -> bytes:
    if quoted is None:
        plain = binascii.unhexlify(bare) if name in _TEXTS and _HEX.fullmatch(bare) else None
        return bare.encode("utf-8", "surrogateescape") if plain is None else plain
    if name in ("addr", "peer_addr") and quoted.startswith("@") and _HEX.fullmatch(quoted, 1):
        # An abstract name is written so where it holds a control character, and only there.
        name_of_socket = binascii.unhexlify(quoted[1:])
        if any(not 0x21 <= byte <= 0x7E or byte == 0x22 for byte in name_of_socket):
            return b"@" + name_of_socket
    return quoted.encode("utf-8", "surrogateescape")


def read_kernels(body: bytes) -> Line | None:
    """The line in `body`, where that is just as the kernel writes it: `apparmor="DENIED" ...`."""
    match = _KERNELS.fullmatch(body)
    if match is None or b" apparmor=" in match[2]:
        return None
    fields = {}
    for key, quoted, bare in _PAIR.findall(match[2]):
        name = _NAMES.get(key)
        if name is None:
            name = _named(key)
        if (bare and name in _TEXTS) or quoted[:1] == b"@":
            fields[name] = _value(name, None if bare else quoted.decode(), bare.decode())
        else:
            fields[name] = quoted or bare
    return Line(verdict=match[1].decode(), fields=fields)


def _named(key: bytes) -> str:
    name = key.decode()
    if len(_NAMES) < 256:
        _NAMES[key] = name
    return name


def read_anyhow(body: bytes, *, cut: bool = False) -> Line | None:
    """As much of `body` as can be read, where it is not as the kernel writes it.

    `cut`: its end is missing, and so the last field counts for nothing.  None where nothing is said of an
    operation.
    """
    head = _ANY_HEAD.match(body)
    if head is None:
        return None
    rest = body[head.end() :]
    if cut:
        rest = _LAST.sub(b"", rest)
    if b'"' not in head[0] and b'="' not in rest:
        return _interpreted(head[1].decode(), rest)
    return _line(head[1].decode(), rest)


def read_old(verdict: str, body: bytes) -> Line | None:
    """A line of Linux 2.6, whose record's type says the verdict."""
    return _line(verdict, body) if _OLD.fullmatch(body) else None


def _line(verdict: str, text: bytes) -> Line | None:
    fields = {}
    for match in _PAIR.finditer(text):
        quoted = None if match[2] is None else match[2].decode("utf-8", "surrogateescape")
        name = match[1].decode()
        fields[name] = _value(name, quoted, (match[3] or b"").decode("utf-8", "surrogateescape"))
    return Line(verdict=verdict, fields=fields) if _tells(fields) else None


def _interpreted(verdict: str, text: bytes) -> Line | None:
    """What `ausearch --interpret` makes of a line: names without quotes, whatever is in them."""
    fields = {match[1].decode(): match[2] for match in _INTERPRETED.finditer(text)}
    return Line(verdict=verdict, fields=fields) if _tells(fields) else None


def _tells(fields: Mapping[str, bytes]) -> bool:
    return bool(fields.get("operation") or fields.get("info"))
