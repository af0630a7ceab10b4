"""What Proxmox generates from `features`, and a custom profile switches off.

Pure.  Source: PVE::LXC::make_apparmor_config, which writes none of these rules once
`lxc.apparmor.profile` is set, and `lxc.apparmor.raw` feeds only LXC's generated profile.
"""

from __future__ import annotations

import re

_TRUE = ("1", "on", "yes", "true")
"""What Proxmox takes for a set flag (PVE::JSONSchema), without regard to case."""


def lost_rules(features: str) -> list[str]:
    """The configuration lines that a custom profile makes ineffective, for `features`."""
    lost: list[str] = []
    for item in features.split(","):
        key, _, value = item.strip().partition("=")
        if key == "nesting" and value.lower() in _TRUE:
            lost += ["lxc.apparmor.allow_nesting = 1", "lxc.apparmor.raw = allow userns, (Proxmox VE 9)"]
        elif key == "fuse" and value.lower() in _TRUE:
            lost.append("lxc.apparmor.raw = mount fstype=fuse,")
        elif key == "mount" and value:
            lost += [f"lxc.apparmor.raw = mount fstype={fs}," for fs in re.split(r"[;\s]+", value) if fs]
    return lost


def warn(value: str | None, features: str) -> str | None:
    """A sentence for the operator where `value` (the line) takes rules away, else None."""
    if value is None or value == "generated":
        return None
    lost = lost_rules(features)
    if not lost:
        return None
    text = (
        f"profile {value} switches off what Proxmox generates for features {features}: "
        + "; ".join(lost)
        + " - the profile must carry these rules itself"
    )
    if lost[0].startswith("lxc.apparmor.allow_nesting"):
        text += "; where something in an unprivileged container mounts proc or sys in namespaces of its own "
        text += (
            "(rootless Docker or Podman, LXC), it needs the raw line lxc.apparmor.allow_nesting: 1 as well"
        )
    return text
