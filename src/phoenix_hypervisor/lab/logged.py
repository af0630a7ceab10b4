"""AppArmor's lines in the kernel log.

Owns their parsing (pure; bytes in, records out).  Remember what they cannot show: a rule that says
`deny` logs nothing, so silence is no evidence that something was allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_FIELD = re.compile(r'(\w+)=(?:"([^"]*)"|(\S+))')
_HEX = re.compile(r"\A(?:[0-9A-F]{2})+\Z")
_TEXT_FIELDS = frozenset(["profile", "name", "comm", "peer", "target", "srcname", "info", "namespace"])


@dataclass(frozen=True, slots=True)
class Record:
    """One kernel log line; `seconds` since boot."""

    sequence: int
    seconds: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """One AppArmor decision that the kernel logged."""

    verdict: str
    """DENIED, ALLOWED (complain mode) or AUDIT."""
    operation: str
    profile: str
    name: str
    requested: str
    fields: dict[str, str]
    text: str

    def __str__(self) -> str:
        return self.text


def parse_kmsg(data: bytes) -> Iterator[Record]:
    """Records of /dev/kmsg, one a line."""
    for line in data.decode("utf-8", "replace").splitlines():
        head, _, text = line.partition(";")
        parts = head.split(",")
        if len(parts) >= 3:
            yield Record(int(parts[1]), int(parts[2]) / 1e6, text)


def denials(records: Iterable[Record], *, verdicts: Iterable[str] = ("DENIED",)) -> list[Denial]:
    """AppArmor's decisions among `records`, names decoded where the kernel wrote them as hex."""
    wanted = frozenset(verdicts)
    found = []
    for record in records:
        if 'apparmor="' not in record.text:
            continue
        fields = {key: quoted or _plain(key, bare) for key, quoted, bare in _FIELD.findall(record.text)}
        if fields.get("apparmor") not in wanted:
            continue
        found.append(
            Denial(
                verdict=fields["apparmor"],
                operation=fields.get("operation", ""),
                profile=fields.get("profile", ""),
                name=fields.get("name", ""),
                requested=fields.get("requested_mask", fields.get("requested", "")),
                fields=fields,
                text=record.text,
            )
        )
    return found


def _plain(key: str, value: str) -> str:
    # Audit writes a text with a blank, a quote or a byte beyond ASCII as bare hexadecimal.
    if key in _TEXT_FIELDS and _HEX.match(value):
        return bytes.fromhex(value).decode("utf-8", "surrogateescape")
    return value
