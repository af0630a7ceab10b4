"""What to do about what apparmor_parser says.

Owns the parser's words that hide their cause, which rule words and flags came with which version, and the
next step for each.  Pure: a source comes as text.  Must not run the parser.
Source: parser/parser_misc.c (keyword table), profile.h (flags), parser_yacc.y of 3.0.8, 3.1.7, 4.0.0, 4.1.0.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Version = tuple[int, int, int]

RULE_WORDS = {"mqueue": (4, 0), "io_uring": (4, 0), "userns": (4, 0), "all": (4, 0)}
"""Since when a parser knows a rule; what stands in none of these tables it knew before 3.0."""
PREFIXES = {"priority": (4, 1), "prompt": (4, 1)}
FLAGS = {
    "default_allow": (4, 0),
    "interruptible": (4, 0),
    "attach_disconnected.path": (4, 0),
    "kill.signal": (4, 0),
    "error": (4, 1),
    "prompt": (4, 1),
}
_QUALIFIERS = ("audit", "deny", "allow", "owner", "quiet")
_OLD_RULES = ("file", "capability", "network", "mount", "remount", "umount", "pivot_root", "ptrace", "signal")
_OLD_REST = ("dbus", "unix", "change_profile", "link", "include", "abi", "set", "hat", "profile", "alias")
_OLD_WORDS = (*_QUALIFIERS, *_OLD_RULES, *_OLD_REST, "if", "else")
_PLACE = re.compile(r"parser error(?: for \S+)?(?: in (?:profile )?(?P<file>\S+))? at line (?P<line>\d+): ")
_VARIABLE = re.compile(r"reference to variable (\w+)|find declaration for: @\{(\w+)\}")
_GLOBAL = re.compile(r"^\s*#?include\s+(?:if\s+exists\s+)?[<\"]tunables/global", re.M)
_MISSING = re.compile(r"Could not open '([^']+)'")
_FLAG = re.compile(r"Invalid profile flag: (\w+(?:\.\w+)?)")
_NO_WORDS = re.compile(r"\([^)]*\)|\"[^\"]*\"|[/@]\S*|#.*")
"""Lists, quoted names, paths and comments, in which a comma or brace begins no rule."""
_BEFORE = rf"(?:(?:{'|'.join(_QUALIFIERS)})\s+|priority\s*=\s*\S+\s+)*"
_RULE = re.compile(rf"(?:^|[,{{}}])\s*{_BEFORE}([a-z_]{{2,}})\b")
_SPELL_OUT = "write `deny` before each rule"
_PERMISSIONS = re.compile(r"[rwaxmklicupd]+")


def cure(said: str, where: str, version: Version, read: Callable[[str], str | None]) -> str | None:
    """The next step after `said` about the source `where`; None where the parser's words say it all.

    `read` gives the text of a file that the parser names, or of `where`.
    """
    text = read(where) or ""
    match = _VARIABLE.search(said)
    if match is not None:
        return _declare(match[1] or match[2], text)
    match = _MISSING.search(said)
    if match is not None:
        return f"no include directory has {match[1]}: install the package it comes with, or put it there"
    match = _FLAG.search(said)
    if match is not None:
        return _since(match[1], FLAGS, "the flag", version)
    if "conflicting x modifiers" in said:
        return "two rules let the same path be executed in different ways: leave one of them"
    if "deny prefix not allowed" in said and version < (4, 0, 0):
        return f"`deny {{ }}` needs AppArmor 4.0 or newer, and this parser is {_shown(version)}: {_SPELL_OUT}"
    place = _PLACE.search(said)
    if place is None or ("syntax error" not in said and "Invalid network entry" not in said):
        return None
    if "unexpected end of file" in said:
        return "a } is missing"
    if "unexpected TOK_CLOSE, expecting TOK_END_OF_RULE" in said:
        return "the rule before that } ends without its comma"
    if place["file"] is not None and place["file"] != where:
        text = read(place["file"]) or ""
    lines = text.splitlines()
    number = int(place["line"])
    return _of_line(lines[number - 1], version) if 0 < number <= len(lines) else None


def _declare(name: str, text: str) -> str:
    if not _GLOBAL.search(text):
        return f"write `include <tunables/global>` above the profile: @{{{name}}} is declared there"
    return f"declare it above the profile, `@{{{name}}}=...`, or include the file that does"


def _of_line(line: str, version: Version) -> str | None:
    """What in `line` this parser may not know."""
    code = _NO_WORDS.sub("/", line)
    prefix = re.search(r"(?:^|[\s,{])(priority|prompt)\b", code)
    if prefix is not None and (newer := _since(prefix[1], PREFIXES, "", version)) is not None:
        return newer
    if re.search(r"\bnetwork\b.*\b(?:ip|port)\s*=", code) and version < (4, 0, 0):
        return _since("network ip=", {"network ip=": (4, 0)}, "", version)
    for word in _RULE.findall(code):
        if word in RULE_WORDS:
            return _since(word, RULE_WORDS, "", version)
        if word not in _OLD_WORDS and not _PERMISSIONS.fullmatch(word):
            return _unknown(word)
    return None


def _unknown(word: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, [*_OLD_WORDS, *RULE_WORDS], 1)
    meant = f": did you mean `{close[0]}`?" if close else ""
    return f"`{word}` is no rule that this parser knows{meant}"


def _since(word: str, table: dict[str, tuple[int, int]], what: str, version: Version) -> str | None:
    since = table.get(word)
    if since is None or version[:2] >= since:
        return None
    kind, needed = f"{what} " if what else "", f"AppArmor {since[0]}.{since[1]} or newer"
    return f"{kind}`{word}` needs {needed}, and this parser is {_shown(version)}: leave it out"


def _shown(version: Version) -> str:
    return ".".join(map(str, version))
