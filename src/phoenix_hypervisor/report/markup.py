"""HTML by construction: what is not made here is text, and text cannot become markup.

Owns escaping.  Everything that containers, configurations and logs say comes through `tag` or `escaped`;
there is no other way to an `Html`.  Pure.
"""

from __future__ import annotations

_MARKUP = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord('"'): "&quot;", ord("'"): "&#39;"}
MOST = 2000
"""Characters of one text: a line of a configuration may have millions."""
VOID = frozenset({"meta", "br", "hr"})


class Html(str):
    """Markup: it is put into a page as it is."""

    __slots__ = ()


def escaped(text: str) -> Html:
    """`text` as a page shows it; what is unseen, or turns the direction of writing, is spelt."""
    if type(text) is Html:
        return text
    text = cut(text, MOST)
    if not text.isprintable():
        text = "".join(one if one.isprintable() else _spelled(ord(one)) for one in text)
    return Html(text.translate(_MARKUP))


def _spelled(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00  # a byte that is no UTF-8
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def tag(name: str, /, *inside: str, **attributes: str) -> Html:
    """An element; `class_` is the attribute class, and `aria_label` is aria-label."""
    given = "".join(f' {_attribute(key)}="{escaped(value)}"' for key, value in attributes.items() if value)
    if name in VOID:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{''.join(map(escaped, inside))}</{name}>")


def _attribute(name: str) -> str:
    return name.rstrip("_").replace("_", "-")


def cut(text: str, most: int = 160) -> str:
    """`text`, or its beginning and how long it is."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def joined(*parts: str) -> Html:
    """The parts one after the other."""
    return Html("".join(map(escaped, parts)))
