"""What stands in /etc/apparmor.d, whatever the sources say.

Owns questions about installed files that need no sources: which of our profiles include a
file.  Reads only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.profiles.includes import APPARMOR_D, Closures
from phoenix_hypervisor.profiles.records import Manifest


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


def _lookup(host: Host, name: str) -> bytes | list[str] | None:
    return host.content(f"{APPARMOR_D}/{name}")
