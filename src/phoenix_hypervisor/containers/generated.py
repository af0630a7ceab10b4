"""What Proxmox generates from `features`, and a custom profile switches off.

Pure.  Source: PVE::LXC::make_apparmor_config, which writes none of these rules once
`lxc.apparmor.profile` is set, and `lxc.apparmor.raw` feeds only LXC's generated profile.
"""

from __future__ import annotations

import re
from functools import lru_cache

_TRUE = ("1", "on", "yes", "true")
"""What Proxmox takes for a set flag (PVE::JSONSchema), without regard to case."""
# A host has a handful of different `features` and perhaps thousands of containers: answers are kept.


@lru_cache(maxsize=1024)
def flag(features: str, name: str) -> bool:
    """Whether `features` sets a flag, such as nesting."""
    items = (item.strip().partition("=") for item in features.split(","))
    return any(key == name and value.lower() in _TRUE for key, _, value in items)


def mounts(features: str) -> tuple[str, ...]:
    """The file systems that `features` lets a container mount: `mount=nfs;cifs`."""
    found: dict[str, None] = {}
    for item in features.split(","):
        key, _, value = item.strip().partition("=")
        if key == "mount":
            found.update(dict.fromkeys(kind for kind in re.split(r"[;\s]+", value) if kind))
    return tuple(found)
