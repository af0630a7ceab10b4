"""Profiles that others define.

Owns finding, in /etc/apparmor.d, the files that are not ours and define a given profile.
Reads only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.profiles.includes import APPARMOR_D, is_skipped
from phoenix_hypervisor.profiles.store import Store

_COMPUTED_NAME = re.compile(rb"^[ \t]*profile[ \t]+[^\n{]*@\{", re.M)
_NOT_PROFILES = frozenset({"abi", "abstractions", "tunables", "disable", "force-complain", "cache", "local"})


def foreign_definitions(store: Store, names: Iterable[str]) -> dict[str, str]:
    """Which of `names` a file that is not ours defines already: file by profile name.

    A file is asked of the parser only when it mentions the name, or computes one from a
    variable.  Files pulled in from sub-directories (lxc/ by lxc-containers) count.
    """
    wanted = {name: name.encode() for name in names}
    if not wanted:
        return {}
    top = store.host.directory(APPARMOR_D)
    if top is None:
        return {}
    with top:
        real = top.real
    suspects: dict[str, str] = {}
    for folder, folders, files in os.walk(real):
        if folder == real:
            folders[:] = [f for f in folders if f not in _NOT_PROFILES]
        for file in files:
            path = os.path.join(folder, file)
            relative = os.path.relpath(path, real)
            if is_skipped(file) or relative in store.sources.profiles:
                continue
            try:
                # At boot links are followed; here too, inside the root.
                path = store.host.root.locate(f"{APPARMOR_D}/{relative}")
                if not os.path.isfile(path):
                    continue
                with open(path, "rb") as opened:
                    data = opened.read()
            except (OSError, PhoenixError):
                continue
            if any(name in data for name in wanted.values()) or _COMPUTED_NAME.search(data):
                suspects[relative] = path
    found: dict[str, str] = {}
    for relative, path in sorted(suspects.items()):
        try:
            defined = store.parser.names([path])
            if any("@{" in name for name in defined):
                # --names prints variables as they are written; only a compile resolves them.
                from phoenix_hypervisor.policy.names import profile_names

                defined = profile_names(store.parser.compile(path, optional=False)[0])
        except PhoenixError:
            # Fragments of lxc/ need their parent's tunables; fall back to the text.
            defined = _names_in_text(path)
        for name in wanted:
            if name in defined:
                found.setdefault(name, f"{APPARMOR_D}/{relative}")
    return found


def _names_in_text(path: str) -> list[str]:
    with open(path, "rb") as opened:
        data = opened.read()
    return [
        m.decode("utf-8", "replace") for m in re.findall(rb'^[ \t]*profile[ \t]+"?([^\s"{(]+)', data, re.M)
    ]
