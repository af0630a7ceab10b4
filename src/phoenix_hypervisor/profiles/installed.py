"""What stands in /etc/apparmor.d, whatever the sources say.

Owns questions about installed files that need no sources: which of our profiles include a
file, which file a profile is loaded through.  Reads only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.profiles.includes import APPARMOR_D, Closures, is_skipped
from phoenix_hypervisor.profiles.records import Manifest
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from phoenix_hypervisor.profiles.parser import Parser

_COMPUTED_NAME = re.compile(rb"^[ \t]*(?:profile\b|/|@\{)[^\n{]*@\{", re.M)
_WITHOUT_PROFILES = ("abi/", "tunables/")


def includers(host: Host, manifest: Manifest, path: str) -> list[str]:
    """The installed profiles of ours that include host path `path`, directly or not."""
    wanted = path.removeprefix(f"{APPARMOR_D}/")
    closures = Closures(lambda name: _lookup(host, name))
    found = []
    for other in sorted(manifest.files):
        parent, name = os.path.split(other)
        data = _lookup(host, name) if parent == APPARMOR_D else None
        if isinstance(data, bytes) and wanted in closures.of(data)[1]:
            found.append(name)
    return found


def closure_with(host: Host, name: str, changed: Mapping[str, bytes | None]) -> str | None:
    """The closure of installed profile `name` once the host paths in `changed` hold these bytes."""

    def lookup(path: str) -> bytes | list[str] | None:
        full = f"{APPARMOR_D}/{path}".rstrip("/")
        return changed[full] if full in changed else _lookup(host, path)

    data = lookup(name)
    return Closures(lookup).of(data)[0] if isinstance(data, bytes) else None


def included_by(host: Host, name: str) -> tuple[str, ...]:
    """All that installed profile `name` includes, relative to /etc/apparmor.d."""
    data = _lookup(host, name)
    return Closures(lambda path: _lookup(host, path)).of(data)[1] if isinstance(data, bytes) else ()


def loaded_through(host: Host, parser: Parser, name: str) -> str | None:
    """The file directly in /etc/apparmor.d that defines profile `name`, itself or through an include.

    Its name there; None where no file does.  A file is asked of the parser only where it, or what it
    includes, mentions the name or computes one.  Raises PhoenixError where one that mentions it is broken.
    """
    broken: PhoenixError | None = None
    for file in _mentioning(host, name.encode("utf-8", "surrogateescape")):
        path = host.root.locate(f"{APPARMOR_D}/{file}")
        try:
            defined = parser.names([path])
            if any("@{" in one for one in defined):
                # --names prints variables as they are written; only a compile resolves them.
                from phoenix_hypervisor.policy.names import profile_names

                defined = profile_names(parser.compile(path, optional=False)[0])
        except PhoenixError as error:
            broken = broken or error
            continue
        if name in defined:
            return file
    if broken is not None:
        raise broken
    return None


def _mentioning(host: Host, wanted: bytes) -> Iterator[str]:
    contents: dict[str, bytes | list[str] | None] = {}

    def lookup(name: str) -> bytes | list[str] | None:
        if name not in contents:
            contents[name] = _lookup(host, name)
        return contents[name]

    closures = Closures(lookup)
    files = _lookup(host, "")
    for file in files if isinstance(files, list) else ():
        data = None if is_skipped(file) else lookup(file)
        if isinstance(data, bytes):
            included = (name for name in closures.of(data)[1] if not name.startswith(_WITHOUT_PROFILES))
            texts = (data, *(text for name in included if isinstance(text := lookup(name), bytes)))
            if any(wanted in text or _COMPUTED_NAME.search(text) for text in texts):
                yield file


def _lookup(host: Host, name: str) -> bytes | list[str] | None:
    return host.content(f"{APPARMOR_D}/{name}")
