"""Lines of a document that people can read in an editor.

Owns where prose is broken into lines.  Must not change tables, code or headings.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

WIDTH = 110
_KEPT = ("|", "    ", "#", "<!--")


def wrapped(document: str) -> str:
    """`document` (Markdown) with no line of prose over `WIDTH` characters.

    A paragraph or an item of a list is broken anew where one of its lines is too long; all else stays.
    """
    return "\n".join(line for block in _blocks(document.splitlines()) for line in block) + "\n"


def _blocks(lines: list[str]) -> Iterator[list[str]]:
    """What belongs together: a paragraph, an item; a line of its own for everything else."""
    block: list[str] = []
    code = False
    for line in lines:
        fence = line.startswith("```")
        kept = code or fence or not line.strip() or line.startswith(_KEPT)
        if block and (kept or _mark(line)):
            yield _broken(block)
            block = []
        if kept:
            yield [line]
        else:
            block.append(line)
        code ^= fence
    if block:
        yield _broken(block)


def _mark(line: str) -> str:
    """The indent and the mark of an item of a list; nothing for what is none."""
    found = re.match(r" *(?:[-*]|\d+\.) ", line)
    return found[0] if found else ""


def _broken(block: list[str]) -> list[str]:
    if all(len(line) <= WIDTH for line in block):
        return block
    indent = " " * len(_mark(block[0]))
    text = " ".join([block[0].rstrip(), *(line.strip() for line in block[1:])])
    return textwrap.wrap(
        text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
