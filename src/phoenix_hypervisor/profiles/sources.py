"""Profile sources: the files of etc/apparmor.

Owns reading and checking that directory: which file is a profile, which an include, which
is only for parsers that take it, which profile is a variant of another.  Must not compile
and must not look at the host.
Sources come from other people's git repositories, so links, devices and stray names are
refused here.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping

from phoenix_hypervisor.errors import PhoenixError, Problem, ProblemsError
from phoenix_hypervisor.host.files import Directory, open_to_others
from phoenix_hypervisor.plan.fault_codes import Fault
from phoenix_hypervisor.profiles.includes import include_loop, included, is_skipped, reaching_outside
from phoenix_hypervisor.values import dataclass, field

PROFILE_NAME = re.compile(r"lxc-[A-Za-z0-9_.-]+")
"""LXC may change only to names that begin with `lxc-` (abstractions/lxc/start-container)."""

RESERVED = frozenset(
    {
        "lxc-container-default",
        "lxc-container-default-cgns",
        "lxc-container-default-with-mounting",
        "lxc-container-default-with-nesting",
    }
)
"""Stock profiles of the lxc package: a second definition makes lxc-containers fail to load."""

ACCEPTED = "accepted"
"""Rules that the operator accepted, a file for each profile: `phoenix accept` writes them."""
INCLUDE_DIRS = ("abi", "abstractions", "tunables", ACCEPTED)
"""`abi` first: feature files that profiles pin (`abi <abi/NAME>,`), installed as includes are."""
OPTIONAL = "if-parser-accepts"
"""Files below it count, before those of the same name, where the host's parser accepts them all."""

MAX_SOURCE = 1024 * 1024
_COMMENTS = re.compile(rb"^\s*#(?!include)[^\n]*", re.MULTILINE)
_NO_RULE = re.compile(
    rb"^\s*(?:#?include\b|abi\b|profile\b|hat\b|\^|if\b|alias\b|set\s|\$|@\{\w+\}\s*\+?=|[{}])"
    rb"|(?:^|,)\s*(?:(?:audit|deny|allow|owner|quiet)\s+)*priority\s*=",
    re.MULTILINE,
)
"""What an accepted rule has no use for: it could outrank a wall, or end the profile."""
_INCLUDE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The sources of one directory; keys are names, or paths relative to /etc/apparmor.d.

    `optional` holds the files that only some parsers take: profiles and includes, each in
    place of the file with the same key in `profiles` or `includes`, if there is one.
    """

    directory: str
    profiles: dict[str, bytes] = field(default_factory=dict)
    includes: dict[str, bytes] = field(default_factory=dict)
    optional: dict[str, bytes] = field(default_factory=dict)
    overlay: str = ""
    """The directory that `accepted` lies in, where that is another one."""
    made_of: Mapping[str, str] = field(default_factory=dict)
    """By profile that has no file of its own, the one that it is made of (`profiles.scoped`)."""

    def place(self, name: str) -> str:
        """The path of a profile or include, for parsers that do not take the optional files."""
        elsewhere = self.overlay and name.startswith(f"{ACCEPTED}/")
        return os.path.join(self.overlay if elsewhere else self.directory, self.made_of.get(name, name))

    def find(self, name: str, *, optional: bool) -> tuple[str, bytes] | None:
        """The path and bytes of a profile or include; `optional`: the parser takes the optional files."""
        if optional and name in self.optional:
            path = os.path.join(self.directory, OPTIONAL, self.made_of.get(name, name))
            return path, self.optional[name]
        data = self.profiles.get(name, self.includes.get(name))
        return None if data is None else (self.place(name), data)

    def chosen(self, *, optional: bool) -> dict[str, tuple[str, bytes]]:
        """Path and bytes of every file that counts, by name."""
        names = [*self.includes, *self.profiles, *(self.optional if optional else ())]
        return {name: found for name in names if (found := self.find(name, optional=optional)) is not None}

    def files(self) -> dict[str, bytes]:
        """Everything that was read, by path."""
        read = {**self.includes, **self.profiles}
        plain = {self.place(n): d for n, d in read.items() if n not in self.made_of}
        return plain | {os.path.join(self.directory, OPTIONAL, n): d for n, d in self.optional_read().items()}

    def optional_read(self) -> dict[str, bytes]:
        """The optional files that were read, without what is made of them."""
        return {name: data for name, data in self.optional.items() if name not in self.made_of}


def edited_in_vain(sources: Sources) -> list[tuple[str, str]]:
    """Files that were edited since `make install`, and the ones below if-parser-accepts that count instead.

    Only an installation knows what it shipped: a checkout has no such record, and nothing is found.
    """
    shipped = os.path.join(os.path.dirname(os.path.dirname(sources.directory)), "shipped", "apparmor")
    found = []
    for name in sorted(sources.optional):
        data = sources.profiles.get(name, sources.includes.get(name))
        parent, base = os.path.split(os.path.join(shipped, name))
        if data is None or not os.path.isfile(os.path.join(parent, base)):
            continue
        with Directory(parent, parent, parent) as directory:
            if directory.read(base, MAX_SOURCE) != data:
                place = os.path.join(sources.directory, name)
                found.append((place, os.path.join(sources.directory, OPTIONAL, name)))
    return found


def is_passed_over(name: str) -> bool:
    """Whether a file is none of our business: hidden, a backup or lock of an editor, or a document."""
    return name.startswith((".", "README")) or name.endswith(("~", ".md")) or name[0] == name[-1] == "#"


def to_probe(optional: Mapping[str, bytes]) -> tuple[list[str], list[str]]:
    """What to try a parser with: the optional profiles, and optional includes that none of them pulls in."""
    profiles = sorted(name for name in optional if "/" not in name)
    pulled: set[str] = set()
    pending = list(profiles)
    while pending:
        more = [path for path in included(optional[pending.pop()]) if path in optional]
        pending += [path for path in more if path not in pulled]
        pulled.update(more)
    return profiles, sorted(set(optional) - set(profiles) - pulled)


def read_sources(directory: str, overlay: str = "") -> Sources:
    """Read all of `directory`, with the accepted rules below `overlay` where there is one.

    Raises ProblemsError naming every fault at once.
    """
    sources = Sources(directory=directory, overlay=overlay)
    problems: list[Problem] = []
    if not os.path.isdir(directory):
        raise ProblemsError(
            "no profile sources",
            [Problem("is not a directory", directory, hint="see --config", code=Fault.NO_SOURCES)],
        )
    with Directory(directory, directory, directory) as top:
        _check_mode(top, problems)
        for name, info in top.entries():
            place = os.path.join(directory, name)
            if is_passed_over(name):
                continue
            if stat.S_ISLNK(info.st_mode):
                problems.append(
                    Problem(
                        "is a symbolic link",
                        place,
                        hint="put the file itself there",
                        code=Fault.SOURCE_PLACE,
                    )
                )
            elif stat.S_ISDIR(info.st_mode):
                if name == ACCEPTED and overlay:
                    continue
                if name in INCLUDE_DIRS:
                    _read_tree(directory, name, sources.includes, problems)
                elif name == OPTIONAL:
                    _read_optional(os.path.join(directory, OPTIONAL), sources, problems)
                else:
                    hint = f"includes go below {' or '.join(INCLUDE_DIRS)}"
                    problems.append(
                        Problem("is not a directory for includes", place, hint=hint, code=Fault.SOURCE_PLACE)
                    )
            elif PROFILE_NAME.fullmatch(name) is None:
                text = "a profile's name must be lxc-NAME, of letters, digits and _ . -"
                hint = "rename it, or move it elsewhere"
                problems.append(Problem(text, place, hint=hint, code=Fault.SOURCE_NAME))
            elif is_skipped(name):
                problems.append(
                    Problem(
                        "the boot skips files with such an ending",
                        place,
                        hint="rename it",
                        code=Fault.SOURCE_NAME,
                    )
                )
            elif name in RESERVED:
                problems.append(
                    Problem(
                        "is the name of a stock profile of the lxc package", place, code=Fault.SOURCE_NAME
                    )
                )
            else:
                _read_file(top, name, name, place, sources.profiles, problems)
    problems += [
        Problem("replaces no profile", os.path.join(directory, OPTIONAL, name),
                hint=f"put a {name} for older parsers into {directory}", code=Fault.SOURCE_PLACE)
        for name in sources.optional if "/" not in name and name not in sources.profiles
    ]  # fmt: skip
    if overlay:
        _read_tree(overlay, ACCEPTED, sources.includes, problems)
    problems += _accepted_faults(sources)
    folded: dict[str, str] = {}
    for name in [*sources.profiles, *sources.includes, *sources.optional]:
        other = folded.setdefault(name.casefold(), name)
        if other != name:
            problems.append(
                Problem(
                    f"differs from {other} only by case",
                    os.path.join(directory, name),
                    code=Fault.SOURCE_NAME,
                )
            )
    loop = include_loop(sources.includes) or include_loop({**sources.includes, **sources.optional})
    if loop:
        problems.append(
            Problem(f"{' and '.join(loop)} include each other", directory, code=Fault.SOURCE_LOOP)
        )
    if problems:
        raise ProblemsError("the profile sources cannot be used", problems)
    return sources


def without_accepted(name: str, text: bytes) -> bytes:
    """A profile's source without the line that includes its accepted rules: there are none any more.

    The parser would take those that are still installed.
    """
    line = re.compile(rb"include\s+if\s+exists\s+<%s>" % re.escape(f"{ACCEPTED}/{name}".encode()))
    return line.sub(lambda match: b" " * len(match[0]), text)


def includes_accepted(name: str, text: bytes) -> bool:
    """Whether a profile's source takes its accepted rules."""
    return f"{ACCEPTED}/{name}" in included(text)


def _accepted_faults(sources: Sources) -> list[Problem]:
    """Accepted rules that no profile takes, or that are more than rules."""
    problems = []
    for key, data in sources.includes.items():
        folder, _, name = key.partition("/")
        if folder != ACCEPTED:
            continue
        place = sources.place(key)
        known = [found[name] for found in (sources.profiles, sources.optional) if name in found]
        if name not in sources.profiles:
            hint = "remove it, or name it as its profile"
            problems.append(
                Problem(f"there is no profile {name}", place, hint=hint, code=Fault.ACCEPTED_UNUSABLE)
            )
        elif not all(includes_accepted(name, source) for source in known):
            hint = f"write `include if exists <{key}>` into the profile, before its closing brace"
            text = f"the source of {name} does not take it"
            problems.append(Problem(text, place, hint=hint, code=Fault.ACCEPTED_UNUSABLE))
        elif (more := _NO_RULE.search(_COMMENTS.sub(b"", data))) is not None:
            word = more[0].decode("ascii", "replace").strip()
            hint = "accepted rules are plain rules: what needs more belongs into the profile"
            problems.append(Problem(f"holds {word!r}", place, hint=hint, code=Fault.ACCEPTED_UNUSABLE))
    return problems


def _read_optional(base: str, sources: Sources, problems: list[Problem]) -> None:
    for kind in ("abstractions", "tunables"):
        _read_tree(base, kind, sources.optional, problems)
    with Directory(base, base, base) as top:
        for name, info in top.entries():
            if stat.S_ISREG(info.st_mode) and not is_passed_over(name):
                _read_file(top, name, name, os.path.join(base, name), sources.optional, problems)


def _read_tree(
    base: str, relative: str, into: dict[str, bytes], problems: list[Problem], depth: int = 0
) -> None:
    path = os.path.join(base, relative)
    if not os.path.isdir(path) or os.path.islink(path):
        if os.path.lexists(path):
            problems.append(Problem("is not a directory", path, code=Fault.SOURCE_PLACE))
        return
    with Directory(path, path, path) as directory:
        _check_mode(directory, problems)
        for name, info in directory.entries():
            place = os.path.join(path, name)
            if is_passed_over(name):
                continue
            if _INCLUDE_NAME.fullmatch(name) is None:
                problems.append(
                    Problem("the name cannot be used in an include line", place, code=Fault.SOURCE_NAME)
                )
            elif is_skipped(name):
                problems.append(
                    Problem(
                        "apparmor_parser skips such a name",
                        place,
                        hint="rename it",
                        code=Fault.SOURCE_NAME,
                    )
                )
            elif name.endswith(".d") and stat.S_ISDIR(info.st_mode):
                text = "profiles of the host may include everything in there, so it would change those too"
                problems.append(
                    Problem(text, place, hint="put it below abstractions/phoenix", code=Fault.SOURCE_PLACE)
                )
            elif stat.S_ISDIR(info.st_mode):
                if depth >= 8:
                    problems.append(Problem("is nested too deep", place, code=Fault.SOURCE_PLACE))
                else:
                    _read_tree(base, f"{relative}/{name}", into, problems, depth + 1)
            else:
                _read_file(directory, name, f"{relative}/{name}", place, into, problems)


def _read_file(
    directory: Directory, name: str, key: str, place: str, into: dict[str, bytes], problems: list[Problem]
) -> None:
    try:
        data = directory.read(name, MAX_SOURCE)
    except PhoenixError as error:
        problems.append(Problem(error.message, place, code=Fault.SOURCE_UNREADABLE))
        return
    if data is None:
        return
    info = directory.lstat(name)
    writable = open_to_others(info) if info is not None else None
    if writable is not None:
        problems.append(Problem(writable, place, hint=f"chmod o-w {place}", code=Fault.SOURCE_WRITABLE))
    if b"\0" in data:
        problems.append(Problem("contains a NUL byte", place, code=Fault.SOURCE_UNREADABLE))
        return
    for path in reaching_outside(data):
        hint = "includes and ABI files are below /etc/apparmor.d: <PATH> there, or /etc/apparmor.d/PATH"
        problems.append(
            Problem(f"includes {path[:200]}, which is outside", place, hint=hint, code=Fault.SOURCE_OUTSIDE)
        )
    into[key] = data


def _check_mode(directory: Directory, problems: list[Problem]) -> None:
    """Sources that everybody can write would be policy that everybody can write."""
    writable = directory.open_to_others()
    if writable is not None:
        problems.append(
            Problem(
                writable, directory.shown, hint=f"chmod o-w {directory.shown}", code=Fault.SOURCE_WRITABLE
            )
        )
