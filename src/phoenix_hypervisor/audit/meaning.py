"""What AppArmor's lines mean, for people.

Owns the escaping of what containers have named, for every output.  Pure.  Must not decide whether
something is allowed.
"""

from __future__ import annotations


def printable(text: bytes | str) -> str:
    """`text` without anything that moves a cursor, turns writing round or is not seen.

    A program in a container chooses its name and its files' names, and an operator's terminal would obey
    them.  Bytes that are no UTF-8 become `\\xNN`, as every other byte that is not for printing.
    """
    if isinstance(text, str):
        text = text.encode("utf-8", "surrogateescape" if not _has_lone(text) else "backslashreplace")
    shown = text.decode("utf-8", "backslashreplace")
    return shown if shown.isprintable() else "".join(map(_escaped, shown))


def _has_lone(text: str) -> bool:
    """Whether it holds surrogates that stand for no byte."""
    return any("\ud800" <= one <= "\udfff" and not "\udc80" <= one <= "\udcff" for one in text)


def _escaped(one: str) -> str:
    if one.isprintable():
        return one
    code = ord(one)
    if code < 0x80:
        return f"\\x{code:02x}"
    # Not as `\x85`, which would be the byte: that is how bytes which are no UTF-8 are shown.
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
