"""What the kernel shows of the policy that it has loaded.

Owns securityfs `apparmor/policy/profiles`: one folder `NAME.N` for each profile, children
below `profiles/`, with hashes where the kernel was built and told to show them
(security/apparmor/apparmorfs.c).  Reads only; must not judge.
"""

from __future__ import annotations

import os
import re

from phoenix_hypervisor.host.kernel import SECURITYFS
from phoenix_hypervisor.host.root import Root
from phoenix_hypervisor.values import dataclass

_FOLDER = re.compile(r".+\.[0-9]+")
_HASHES = ("sha256", "sha1")


@dataclass(frozen=True, slots=True)
class LoadedPolicy:
    """One loaded profile, as far as this kernel tells."""

    name: str
    """`parent//child` for children."""
    hashes: tuple[tuple[str, str], ...]
    """Of the profile: algorithm and digest."""
    raw_hashes: tuple[tuple[str, str], ...] = ()
    """Of the whole blob that it came with."""
    raw: bytes | None = None
    """That blob, where no hash is shown."""


def loaded_policy(root: Root, name: str) -> list[LoadedPolicy]:
    """The loaded profile `name` and its children; empty where the kernel shows nothing."""
    return [found for folder in _folders(_top(root), name) for found in _gather(folder, name)]


def all_hashes(root: Root) -> dict[str, list[LoadedPolicy]]:
    """Every loaded profile of the host's own namespace and its children, by its name."""
    found: dict[str, list[LoadedPolicy]] = {}
    for folder in _folders(_top(root), None):
        # What the kernel writes otherwise in a folder's name it has in this file as it is.
        name = _text(f"{folder}/name") or os.path.basename(folder).rpartition(".")[0]
        found[name] = _gather(folder, name, raw=False)
    return found


def raw_policy(root: Root, name: str, limit: int) -> bytes | None:
    """What the loaded profile `name` was loaded from, at most `limit` bytes; None where that is not shown."""
    for folder in _folders(_top(root), name):
        data = _read(f"{folder}/raw_data", limit)
        if data is not None:
            return data
    return None


def _top(root: Root) -> str:
    """`policy` is a link that only the kernel itself can follow: it leads into a file system of its own."""
    if root.is_live:
        return f"{SECURITYFS}/policy/profiles"
    return root.locate(f"{SECURITYFS}/policy/profiles")


def _folders(parent: str, name: str | None) -> list[str]:
    try:
        entries = sorted(os.listdir(parent))
    except OSError:
        return []
    # The kernel writes `/` and some other bytes of a name otherwise; our names hold none of them.
    return [
        os.path.join(parent, entry)
        for entry in entries
        if _FOLDER.fullmatch(entry) and (name is None or entry.rpartition(".")[0] == name)
    ]


def _gather(folder: str, name: str, *, raw: bool = True) -> list[LoadedPolicy]:
    hashes = tuple((a, text) for a in _HASHES if (text := _text(f"{folder}/{a}")) is not None)
    raw_hashes = tuple((a, text) for a in _HASHES if (text := _text(f"{folder}/raw_{a}")) is not None)
    blob = None if hashes or raw_hashes or not raw else _read(f"{folder}/raw_data")
    found = [LoadedPolicy(name, hashes, raw_hashes, blob)]
    for child in _folders(f"{folder}/profiles", None):
        own = _text(f"{child}/name") or os.path.basename(child).rpartition(".")[0]
        found += _gather(child, f"{name}//{own.rpartition('//')[2]}", raw=raw)
    return found


def _text(path: str) -> str | None:
    data = _read(path)
    return None if data is None else data.decode("utf-8", "surrogateescape").strip() or None


def _read(path: str, limit: int = -1) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read(limit)
    except OSError:
        return None
