"""What a custom profile takes away from a container's features."""

from __future__ import annotations

import pytest

from phoenix_hypervisor.containers.features import lost_rules, warn


@pytest.mark.parametrize(
    ("features", "lost"),
    [
        ("", []),
        ("nesting=0,keyctl=1", []),
        ("nesting=1", ["lxc.apparmor.allow_nesting = 1", "lxc.apparmor.raw = allow userns, (Proxmox VE 9)"]),
        ("keyctl=1,fuse=1", ["lxc.apparmor.raw = mount fstype=fuse,"]),
        ("fuse=true", ["lxc.apparmor.raw = mount fstype=fuse,"]),
        ("mount=nfs;cifs", ["lxc.apparmor.raw = mount fstype=nfs,", "lxc.apparmor.raw = mount fstype=cifs,"]),
        ("mount=nfs cifs", ["lxc.apparmor.raw = mount fstype=nfs,", "lxc.apparmor.raw = mount fstype=cifs,"]),
    ],
)
def test_lost_rules(features: str, lost: list[str]) -> None:
    assert lost_rules(features) == lost


@pytest.mark.parametrize("flag", ["1", "on", "yes", "TRUE"])
def test_every_way_to_say_yes_counts(flag: str) -> None:
    text = warn("lxc-a", f"nesting={flag}")
    assert text is not None and "lxc.apparmor.allow_nesting: 1" in text


def test_nothing_is_lost_without_a_profile() -> None:
    assert warn(None, "nesting=1") is None and warn("generated", "nesting=1") is None
    assert "allow_nesting" not in (warn("lxc-a", "fuse=1") or "")
