"""One line of a log that AppArmor wrote, as data.

Owns the form of such lines: their fields, quoted or in hexadecimal.  Pure: text in, a value out.  Must
not know what an operation means; `asked` does.
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
}
"""Fields that the kernel writes in hexadecimal where they hold a blank, a quote or a byte beyond ASCII."""


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
