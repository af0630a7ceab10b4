"""Deprecated profiles that are still around.

Owns finding them and the reasons never to remove one.  Must not decide: `plan.profiles`
weighs who still uses them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.plan.facts import Retirement
from phoenix_hypervisor.plan.labels import carriers
from phoenix_hypervisor.profiles.includes import APPARMOR_D
from phoenix_hypervisor.profiles.sources import RESERVED
from phoenix_hypervisor.profiles.store import Store

DPKG_INFO = "/var/lib/dpkg/info"
_DEFINES = rb'(?m)^[ \t]*(?:profile[ \t]+)?"?([^\s"{}()#@,]+)"?[ \t]+(?:flags=\([^)]*\)[ \t]*)?\{'


def find(store: Store, deprecated: Mapping[str, str]) -> list[Retirement]:
    """What of `deprecated` (successor by name) is installed or loaded on this host."""
    found: list[Retirement] = []
    labels: dict[int, str] | None = None
    for name, successor in sorted(deprecated.items()):
        keep: tuple[str, str] | None = None
        try:
            data = store.read_installed(name)
        except PhoenixError as error:
            data, keep = None, ("unreadable", error.message)
        loaded = store.loaded is not None and name in store.loaded
        if data is None and keep is None and not loaded:
            continue
        if labels is None:
            labels = store.host.kernel.labels()
        path = f"{APPARMOR_D}/{name}" if data is not None else None
        foreign = data is not None and not store.manifest.owns(f"{APPARMOR_D}/{name}", data)
        keep = keep or _reason_to_keep(store, name, data)
        found.append(
            Retirement(
                name=name,
                successor=successor,
                path=path,
                data=data,
                loaded=loaded,
                keep=keep,
                processes=carriers(labels, name),
                foreign=foreign,
                compiled=store.in_kernel(name),
                closure=store.manifest.loaded.get(name),
                stat=store.stat_installed(name) if foreign else None,
            )
        )
    return found


def _reason_to_keep(store: Store, name: str, data: bytes | None) -> tuple[str, str] | None:
    if name in RESERVED or name == "unconfined":
        return "stock", name
    if data is None:
        return None
    owner = _package_owner(store.host, f"{APPARMOR_D}/{name}")
    if owner is not None:
        return "package", owner
    others = [
        other for other in _defined(store, name, data) if other != name and not other.startswith(f"{name}//")
    ]
    if others:
        return "defines", ", ".join(others)
    return None


def _defined(store: Store, name: str, data: bytes) -> list[str]:
    path = store.host.root.locate(f"{APPARMOR_D}/{name}")
    try:
        return store.parser.names([path])
    except PhoenixError:
        # The documents' old profile does not parse; its text still says what it meant to define.
        return [m.decode("utf-8", "replace") for m in re.findall(_DEFINES, data)]


def _package_owner(host: Host, path: str) -> str | None:
    """The dpkg package that ships `path`, from dpkg's own file lists."""
    directory = host.directory(DPKG_INFO)
    if directory is None:
        return None
    line = b"\n" + os.fsencode(path) + b"\n"
    with directory:
        for name in directory.names():
            if name.endswith(".list"):
                try:
                    data = directory.read(name)
                except PhoenixError:
                    continue
                if data is not None and line in b"\n" + data:
                    return name.removesuffix(".list")
    return None
