"""How kernel and boot-time cache have moved away from what Phoenix loaded.

Owns comparing the kernel's policy with our compiled copy, and cache entries with the files
they were made from.  Reads only; `plan.verify` words it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.profiles.includes import APPARMOR_D
from phoenix_hypervisor.profiles.records import MAX_COMPILED, compiled
from phoenix_hypervisor.values import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from phoenix_hypervisor.host.policyfs import LoadedPolicy

CACHE_DIRS = ("/var/cache/apparmor", "/etc/apparmor.d/cache", "/etc/apparmor.d/cache.d")


def differing(host: Host, name: str, blob: bytes | None) -> str | None:
    """Which loaded profile is not the one in `blob`: `name` or a child; None where none is known to be."""
    if blob is None:
        return None
    from phoenix_hypervisor.host.policyfs import loaded_policy

    for loaded in loaded_policy(host.root, name):
        if _same(loaded, blob) is False:
            return loaded.name
    return None


def proven(host: Host, name: str, blob: bytes) -> bool:
    """Whether the kernel shows that it has just what is in `blob`; False where it does not tell."""
    from phoenix_hypervisor.host.policyfs import loaded_policy
    from phoenix_hypervisor.policy.fault import PolicyError
    from phoenix_hypervisor.policy.names import profile_names

    loaded = loaded_policy(host.root, name)
    try:
        names = set(profile_names(blob))
    except PolicyError:
        return False
    return names == {one.name for one in loaded} and all(_same(one, blob) is True for one in loaded)


def known_policy(host: Host, name: str, mode: str | None) -> bytes | None:
    """What the kernel has of profile `name`, such that loading it again changes nothing; None: not known.

    `mode` is the kernel's, None for a profile that is not loaded: then our copy is kept, as a record.
    """
    copy = compiled(host, name)
    if mode is None:
        return copy
    from phoenix_hypervisor.host.policyfs import raw_policy

    raw = raw_policy(host.root, name, MAX_COMPILED + 1)
    if raw is not None and len(raw) <= MAX_COMPILED and _is_of(raw, name):
        return raw
    if copy is None or mode not in ("enforce", "kill") or differing(host, name, copy) is not None:
        return None
    return copy


def _is_of(blob: bytes, name: str) -> bool:
    """Whether a blob holds nothing but profile `name` and its children."""
    from phoenix_hypervisor.policy.fault import PolicyError
    from phoenix_hypervisor.policy.names import profile_names

    try:
        return {one.partition("//")[0] for one in profile_names(blob)} == {name}
    except PolicyError:
        return False


def _same(loaded: LoadedPolicy, blob: bytes) -> bool | None:
    """None where the kernel shows neither a hash nor what it was given."""
    from phoenix_hypervisor.policy.fault import PolicyError
    from phoenix_hypervisor.policy.names import profile_hash

    for algorithm, digest in loaded.hashes:
        try:
            return profile_hash(blob, loaded.name, algorithm) == digest
        except PolicyError:
            return False
    for algorithm, digest in loaded.raw_hashes:
        return hashlib.new(algorithm, blob, usedforsecurity=False).hexdigest() == digest
    return None if loaded.raw is None else loaded.raw == blob


@dataclass(frozen=True, slots=True)
class StaleCache:
    """A boot-time cache entry that was not made from the files as they are now."""

    profile: str
    path: str
    newer: bool
    """The parser takes an entry that is not older than any of its files: it would load this one."""


def stale_caches(
    host: Host, names: Iterable[str], compiled: Callable[[str], bytes | None]
) -> list[StaleCache]:
    """The entries of profiles `names` whose time is not that of their newest file.

    The parser gives an entry just that time when it writes it (apparmor_parser 3.0 and 4.1).
    One that equals our `compiled` copy is right whatever its time says.
    """
    wanted = set(names)
    found = []
    for top in CACHE_DIRS:
        for folder in _names(host, top):
            for name in sorted(wanted.intersection(_names(host, f"{top}/{folder}"))):
                path = f"{top}/{folder}/{name}"
                entry = _time(host, path)
                newest = max(filter(None, (_time(host, p) for p in _files(host, name))), default=None)
                if entry is None or newest is None or entry == newest:
                    continue
                if entry > newest and _data(host, path) == compiled(name):
                    continue
                found.append(StaleCache(name, path, entry > newest))
    return found


SWITCHES = ("disable", "force-complain")
"""Folders of /etc/apparmor.d in which an entry with a file's name switches that file's profile off
or to complain mode (apparmor_parser.d, aa-disable); for the boot, and for whoever compiles that file."""


def switched_off(host: Host, names: Iterable[str]) -> list[tuple[str, str]]:
    """Profile and host path of each such entry for `names`."""
    wanted = set(names)
    return [
        (name, f"{APPARMOR_D}/{folder}/{name}")
        for folder in SWITCHES
        for name in sorted(wanted.intersection(_names(host, f"{APPARMOR_D}/{folder}")))
    ]


def _files(host: Host, name: str) -> list[str]:
    from phoenix_hypervisor.profiles.installed import included_by

    return [f"{APPARMOR_D}/{path}" for path in (name, *included_by(host, name))]


def _names(host: Host, path: str) -> list[str]:
    try:
        directory = host.directory(path)
    except PhoenixError:
        return []
    if directory is None:
        return []
    with directory:
        return sorted(name for name in directory.names() if not name.startswith("."))


def _time(host: Host, path: str) -> int | None:
    try:
        return os.stat(host.root.locate(path)).st_mtime_ns
    except OSError:
        return None


def _data(host: Host, path: str) -> bytes | None:
    try:
        return host.read(path, MAX_COMPILED)
    except PhoenixError:
        return None
