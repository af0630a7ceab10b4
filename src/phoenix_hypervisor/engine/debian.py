"""Which Debian packages a host has.

Owns reading dpkg's own list: `pveversion` and `dpkg-query` take longer, and a directory that holds a host's
files has no program.  What cannot be read names nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.machine import Host

STATUS = "/var/lib/dpkg/status"
MAX_STATUS = 64 * 1024 * 1024


def packages(host: Host, names: Collection[str]) -> dict[str, str]:
    """Version by name, of those of `names` that are installed."""
    try:
        data = host.read(STATUS, MAX_STATUS) or b""
    except PhoenixError:
        return {}
    found = {}
    for block in data.decode("utf-8", "replace").split("\n\n"):
        name = block.partition("\n")[0].removeprefix("Package: ")
        if name in names and re.search(r"(?m)^Status: .* installed$", block):
            match = re.search(r"(?m)^Version: (\S+)", block)
            found[name] = match[1] if match is not None else ""
    return found
