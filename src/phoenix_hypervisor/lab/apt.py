"""The machine's own apt settings, read to find the Debian mirror it already uses.

Owns parsing of one-line and deb822 sources.  Must not download, install or change anything.
Proxies and other apt options are not read here: mmdebstrap's apt reads the machine's own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from phoenix_hypervisor.errors import PhoenixError

SUITES = frozenset(
    [
        *("stable", "oldstable", "testing", "unstable", "sid"),
        *("buster", "bullseye", "bookworm", "trixie", "forky", "duke"),
    ]
)
KEYRINGS = (
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
)


@dataclass(frozen=True, slots=True)
class Source:
    """One archive: where it is and which suites are taken from it."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]


def debian_mirror(etc_apt: Path = Path("/etc/apt")) -> str:
    """The main Debian archive that this machine's apt uses, or PHOENIX_LAB_MIRROR.

    Raises PhoenixError where neither names one.
    """
    named = os.environ.get("PHOENIX_LAB_MIRROR")
    if named:
        return named.rstrip("/")
    for source in sources(etc_apt):
        if "main" in source.components and SUITES.intersection(source.suites):
            return source.uri.rstrip("/")
    raise PhoenixError(
        "no Debian archive in this machine's apt sources; the lab's guest is made from one",
        where="/etc/apt/sources.list.d",
        hint="add a Debian source there, or name a mirror in PHOENIX_LAB_MIRROR",
    )


def debian_keyring() -> Path | None:
    """The archive's keys, where this machine has them."""
    return next((path for path in map(Path, KEYRINGS) if path.is_file()), None)


def sources(etc_apt: Path) -> Iterator[Source]:
    """Every enabled binary source, in apt's own order of files."""
    lists = [etc_apt / "sources.list"]
    parts = etc_apt / "sources.list.d"
    if parts.is_dir():
        lists += sorted(parts.glob("*.list")) + sorted(parts.glob("*.sources"))
    for path in lists:
        try:
            text = path.read_text("utf-8", "replace")
        except OSError:
            continue
        yield from _deb822(text) if path.suffix == ".sources" else _one_line(text)


def _one_line(text: str) -> Iterator[Source]:
    for line in text.splitlines():
        line = line.split("#", 1)[0].strip()
        if not line.startswith("deb ") and not line.startswith("deb\t"):
            continue
        rest = line[3:].strip()
        if rest.startswith("["):
            rest = rest.partition("]")[2].strip()
        words = rest.split()
        if len(words) >= 3:
            yield Source(words[0], (words[1],), tuple(words[2:]))


def _deb822(text: str) -> Iterator[Source]:
    for stanza in text.replace("\r\n", "\n").split("\n\n"):
        fields: dict[str, list[str]] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                fields.setdefault(name, []).extend(line.split())
                continue
            head, colon, value = line.partition(":")
            if colon:
                name = head.strip().lower()
                fields[name] = value.split()
        if "deb" not in fields.get("types", []) or fields.get("enabled", ["yes"])[0].lower() == "no":
            continue
        for uri in fields.get("uris", []):
            yield Source(uri, tuple(fields.get("suites", [])), tuple(fields.get("components", [])))
