"""Lines that are no longer as a log holds them: quoted, coloured, grepped, or one field of a record.

Owns finding where AppArmor's line begins in what people keep and paste.  Must not say how far it is to be
believed: whoever asks knows that nothing before the line speaks for it any more.
Source: journalctl(1) --output=verbose, export, json-pretty, json-sse, json-seq; grep(1) -H, -n;
dmesg(1) --color.
"""

from __future__ import annotations

import json
import re

_COLOUR = re.compile(rb"\x1b\[[0-9;]{0,16}m")
_BEFORE = re.compile(
    rb"[ \t>#|`*\x1e]{0,32}"
    # The file and the line that grep names.
    rb"(?:[\w.+~@%,/-]{0,255}(?:log|messages|journal|txt)[\w.+-]{0,64}[:-])?"
    rb"(?:[0-9]{1,9}[:-](?![0-9]{2}[: ]))?[ \t]{0,8}"
    rb"(?:data: |MESSAGE=)?"
    rb"(?:(?:[\w.-]{1,64} )?kernel: (?:\[ *[0-9.]+\] )?)?"
)
_FIELD = re.compile(rb'[ \t]*"MESSAGE" ?: ?(".*"),?\s*\Z')


def as_copied(line: bytes) -> bytes | None:
    """The line without what was put before it and between; None where nothing of that kind is there."""
    plain = _COLOUR.sub(b"", line) if b"\x1b" in line else line
    field = _FIELD.match(plain)
    if field is not None:
        try:
            text = json.loads(field[1])
        except ValueError:
            return None
        return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else None
    match = _BEFORE.match(plain)
    inner = plain[match.end() :] if match is not None else plain
    return inner if inner != line else None
