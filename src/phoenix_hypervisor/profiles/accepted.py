"""Files of accepted rules: their form.

Owns how a rule stands in such a file with its evidence, and taking one out again.  What is written there by
hand stays as it is.  Pure: bytes in, bytes out; must not decide what may be accepted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from phoenix_hypervisor.values import dataclass

HEAD = """\
# Rules that were accepted for {profile}, with what they were accepted for: `phoenix accept --remove ID` takes
# one out. This is source: `phoenix plan` shows what it changes, and `phoenix apply` proves and installs it.
"""
_ENTRY = re.compile(r"# accepted ([0-9a-f]{8})\b(.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One accepted rule."""

    id: str
    """Of the denial; empty: it was written by hand."""
    rule: str
    evidence: tuple[str, ...] = ()
    """When and by whom it was accepted, then what for."""


def entries(data: bytes) -> list[Entry]:
    """The rules of a file, in order."""
    return [found for _, found in _blocks(data) if found is not None]


def added(data: bytes | None, profile: str, new: Iterable[Entry]) -> bytes:
    """The file with more rules; `data` None: there is none yet."""
    text = HEAD.format(profile=profile) if data is None else data.decode("utf-8", "surrogateescape")
    for one in new:
        head, *more = (safe(line) for line in one.evidence)
        lines = [f"# accepted {one.id} {head}", *(f"#   {line}" for line in more), one.rule]
        text = text.rstrip("\n") + "\n\n" + "\n".join(lines) + "\n"
    return text.encode("utf-8", "surrogateescape")


def removed(data: bytes, ids: Iterable[str]) -> bytes | None:
    """The file without the rules of these denials; None where nothing but comments is left."""
    gone = frozenset(ids)
    kept = [block for block, found in _blocks(data) if found is None or found.id not in gone]
    text = "\n\n".join(block.strip("\n") for block in kept)
    if not any(line.strip() and not line.lstrip().startswith("#") for line in text.split("\n")):
        return None
    return (text + "\n").encode("utf-8", "surrogateescape")


def safe(line: str) -> str:
    """Evidence that cannot end its comment, nor be taken for a waiver of lint's or an include.

    It holds names that containers have chosen.
    """
    return "".join(char if char.isprintable() and char != "#" else f"\\x{ord(char):02x}" for char in line)


def _blocks(data: bytes) -> Iterator[tuple[str, Entry | None]]:
    """Each part between blank lines, and the rule in it where it has one."""
    text = data.decode("utf-8", "surrogateescape")
    for block in re.split(r"\n(?:[ \t]*\n)+", text.strip("\n")):
        yield block, _entry(block.split("\n"))


def _entry(lines: Sequence[str]) -> Entry | None:
    rule = " ".join(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))
    if not rule:
        return None
    at = next((n for n, line in enumerate(lines) if _ENTRY.match(line)), None)
    if at is None:
        return Entry(id="", rule=rule)
    match = _ENTRY.match(lines[at])
    assert match is not None
    more = [line.lstrip("# ").rstrip() for line in lines[at + 1 :] if line.startswith("#")]
    return Entry(id=match[1], rule=rule, evidence=(match[2].strip(), *more))
