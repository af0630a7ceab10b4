"""Bad habits that the text of a source shows.

Owns what is told from the words of rules and headers.  Must not compile, and must not name files that
are not ours: who calls has left those out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from phoenix_hypervisor.policy.source import Statement
from phoenix_hypervisor.values import dataclass

_NAME = re.compile(r"lxc-[A-Za-z0-9_.-]+")
_PLAIN = re.compile(r"(?:[rwamkl]|ix)+")
"""File permissions that `file,` grants as well: no change of profile."""
_FREED = re.compile(r"[rwamkl]*[pPcC]?[uU]x[rwamkl]*")
"""File permissions that run a program without confinement, or may."""
_BARE = {
    "mount": "bare-mount",
    "ptrace": "bare-ptrace",
    "capability": "bare-capability",
    "all": "bare-all",
}
"""Rules of one word."""
_FLAGS = {"complain": "complain-flag", "unconfined": "unconfined-flag", "default_allow": "unconfined-flag"}
_UNSAFE = ("safe", "unsafe")


@dataclass(frozen=True, slots=True)
class Hit:
    """A code and where it was met."""

    code: str
    statement: Statement | None
    detail: str = ""


def is_for_lxc(statements: Sequence[Statement]) -> bool:
    """Whether the source is for a container of LXC: by a profile's name, or by what it includes."""
    named = any(s.kind == "block" and s.profile.startswith("lxc-") for s in statements)
    return named or any("abstractions/lxc/" in s.text for s in statements if s.kind == "include")


def in_text(mine: Sequence[Statement], *, lxc: bool) -> Iterator[Hit]:
    """What can be told from the text alone; with `lxc` also what a container of LXC needs."""
    with_file = {s.profile for s in mine if s.kind == "rule" and s.text in ("file,", "allow file,")}
    for statement in mine:
        if statement.kind == "include" and "lxc/start-container" in statement.text:
            yield Hit("start-container", statement)
        elif statement.kind == "block" and statement.profile and not statement.within:
            yield from _header(statement, lxc)
        elif statement.kind == "rule" and statement.profile and not statement.denies:
            yield from _rule(statement, lxc, covered=statement.profile in with_file)


def _header(statement: Statement, lxc: bool) -> Iterator[Hit]:
    for flags in re.findall(r"\(([^)]*)\)", statement.text):
        for word in re.split(r"[\s,]+", flags):
            if word in _FLAGS:
                yield Hit(_FLAGS[word], statement, word)
    if lxc and "//" not in statement.profile and not _NAME.fullmatch(statement.profile):
        yield Hit("profile-name", statement, statement.profile)


def _rule(statement: Statement, lxc: bool, *, covered: bool) -> Iterator[Hit]:
    words = _words(statement)
    if len(words) == 1 and words[0] in _BARE:
        yield Hit(_BARE[words[0]], statement)
    elif words[:1] == ["change_profile"]:
        yield from _change(statement, words, lxc)
    elif letters := next(iter(_letters(words)), None):
        if _FREED.fullmatch(letters):
            yield Hit("unconfined-exec", statement, letters)
        elif covered and _is_covered_path(statement, words):
            yield Hit("covered-by-file", statement)


def _words(statement: Statement) -> list[str]:
    """The words of a rule behind `audit`, `owner` and the like."""
    words = statement.text.rstrip(",").split()
    return words[next((n for n, word in enumerate(words) if not _prefix(word)), 0) :]


def _prefix(word: str) -> bool:
    return word in ("audit", "quiet", "allow", "owner", "other") or word.startswith("priority=")


def _letters(words: list[str]) -> list[str]:
    """The permissions of a rule for a path; empty for any other rule."""
    words = words[1:] if words[:1] == ["file"] else words
    words = words[: words.index("->")] if "->" in words else words
    if len(words) < 2 or not any(
        word.strip('"').startswith(("/", "@{", "{")) for word in (words[0], words[-1])
    ):
        return []
    return [word for word in (words[-1], words[0]) if re.fullmatch(r"[a-zA-Z]+", word)]


def _change(statement: Statement, words: list[str], lxc: bool) -> Iterator[Hit]:
    target = words[words.index("->") + 1].strip('"') if "->" in words[:-1] else ""
    if not target or not target.strip("*"):
        yield Hit("bare-change-profile", statement)
    elif lxc and not target.startswith(("lxc-", "@{profile_name}")):
        yield Hit("change-profile-out", statement, target)


def _is_covered_path(statement: Statement, words: list[str]) -> bool:
    """An allow rule for a path without a change of profile, audit or priority."""
    if statement.prefixes - {"allow", "owner"} or statement.within:
        return False
    words = words[1:] if words[:1] == ["file"] else words
    return len(words) == 2 and any(_PLAIN.fullmatch(letters) for letters in _letters(words))
