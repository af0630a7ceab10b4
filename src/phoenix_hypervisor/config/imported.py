"""A container that stands, as an entry of the configuration.

Owns the entry's order, and that each value in it is one that `load` takes: what is not, is left
out and named.  Pure: values come in.  Must not know where they were read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from phoenix_hypervisor.config import validator
from phoenix_hypervisor.config.devices import faults
from phoenix_hypervisor.config.document import CONTROL
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from phoenix_hypervisor.config.devices import Seen

ORDER = (
    "name",
    "apparmor_profile",
    "lines",
    "node",
    "start",
    "unprivileged",
    "memory_mb",
    "swap_mb",
    "cores",
    "storage_pool",
    "storage_size_gb",
    "networks",
    "mount_points",
    "onboot",
    "tags",
    "features",
    "gpu_assignment",
)
"""The keys that an import writes, as they follow each other."""

_WITH_ENTRIES = ("networks", "mount_points")


def can_be_declared(profile: str) -> bool:
    """Whether a JSON document of ours can say this profile."""
    return profile != "" and re.search(CONTROL, profile) is None


def entry(ctid: str, values: Mapping[str, object], seen: Seen) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The entry of one container, and the keys of those `values` that cannot be declared.

    `seen` is who has which address so far: two containers of one address are a fault.
    """
    found = {key: values[key] for key in ORDER if key in values}
    refused: list[str] = []
    if not _fits(ctid, found):
        refused = [place for place in _places(found) if not _fits(ctid, _only(found, place))]
    elif "networks" not in found and "mount_points" not in found:
        return found, ()
    for place in refused:
        found = _without(found, place)
    for place, *_ in faults(ctid, found, seen):
        name = "/".join(place.split("/")[:2])
        if name not in refused:
            refused.append(name)
            found = _without(found, name)
    return found, tuple(refused)


def _fits(ctid: str, found: Mapping[str, Any]) -> bool:
    try:
        validator.validate({"lxc_configs": {ctid: found}})  # type: ignore[no-untyped-call]
    except validator.Invalid:
        return False
    return True


def _places(found: Mapping[str, Any]) -> list[str]:
    """Each value by its place: `memory_mb`, `networks/net0`."""
    places = []
    for key, value in found.items():
        places += [f"{key}/{name}" for name in value] if key in _WITH_ENTRIES else [key]
    return places


def _only(found: Mapping[str, Any], place: str) -> dict[str, Any]:
    key, _, name = place.partition("/")
    return {key: {name: found[key][name]} if name else found[key]}


def _without(found: Mapping[str, Any], place: str) -> dict[str, Any]:
    key, _, name = place.partition("/")
    rest = dict(found)
    inner = {other: value for other, value in found[key].items() if other != name} if name else {}
    if inner:
        rest[key] = inner
    else:
        del rest[key]
    return rest
