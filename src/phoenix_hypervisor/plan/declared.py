"""What an operator declares, as values.

Owns the declared side: the containers with what is asked of them, and what a container id
may be.  Pure and frozen; must not read anything nor decide anything.  `config` fills it in
from the JSON, by the table of keys in data/phoenix_lxc_configs.schema.json.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum

from phoenix_hypervisor.values import TYPE_CHECKING, dataclass, field

if TYPE_CHECKING:
    from typing import Any

CTID = "[1-9][0-9]{2,8}"
"""What Proxmox takes for a container id: 100 to 999999999 (PVE::JSONSchema, pve-vmid)."""

_CTID = re.compile(CTID)


def is_ctid(text: str) -> bool:
    """Whether `text` is a container id."""
    return _CTID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One row of the table of keys: a property of the schema's `container`."""

    name: str
    kind: str
    """`string`, `integer`, `boolean`, `object`, or several with `or` between them."""
    meaning: str
    default: object = None
    """None: without the key nothing is passed on."""
    becomes: Mapping[str, str] = field(default_factory=dict)
    """Argument by runtime.  One with `{}` takes the value there and is passed on as it stands; one
    without is made by the runtime's module, perhaps from several keys."""

    def text(self, value: object) -> str:
        """A value as an argument: flags are 0 and 1, a list is joined by commas, 512.0 is 512."""
        if isinstance(value, list):
            return ",".join(str(item) for item in value)
        return str(int(value) if isinstance(value, bool | float) else value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One interface of a container."""

    name: str
    bridge: str
    ip: str | None = None
    gw: str | None = None
    ip6: str | None = None
    gw6: str | None = None
    tag: int | None = None
    """The VLAN."""
    mac_address: str | None = None
    firewall: bool | None = None
    mtu: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One mount point of a container."""

    volume: str
    """A path of the host, STORAGE:VOLUME, or the storage that a new volume of `size_gb` is made on."""
    path: str
    size_gb: int | None = None
    read_only: bool | None = None
    backup: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """One declared container.

    The fields are what Phoenix itself acts upon; every other key is in `values` only.
    """

    ctid: str
    name: str
    profile: str
    """The `apparmor_profile` value, or the schema's default."""
    start: bool
    unprivileged: bool
    seccomp: bool = True
    """A privileged one gets the seccomp companion."""
    unknown: bool = False
    """Nobody here knows the profile: its line may stand, and is never written."""
    node: str | None = None
    """The node that creates it where it is missing; None: the one that is asked to."""
    template: str = ""
    storage_pool: str = ""
    storage_size_gb: int = 0
    features: str = ""
    gpus: tuple[str, ...] = ()
    """The words of `gpu_assignment`: numbers, UUIDs, MIG slices, `all`; none for `none`."""
    gpus_named: bool = False
    """`gpu_assignment` was declared, and is no default."""
    scope_gpus: bool = False
    """Its profile is to refuse other GPUs' nodes by name."""
    scope: str = ""
    """What its variant's name ends in then; empty: it has none."""
    manage_gpus: bool = False
    """`devN` lines of an existing container follow `gpu_assignment`."""
    values: Mapping[str, object] = field(default_factory=dict)
    """By key, what was declared and the defaults of what was not."""
    keys: tuple[Key, ...] = ()
    """The table's rows."""

    # What only a creation asks for is made when it is asked for.

    @property
    def keep(self) -> bool:
        """The lines that stand are kept where they mean the declared profile."""
        return self.values.get("lines") == "keep"

    def networks(self) -> dict[int, Network]:
        """The interfaces by number, as in net0; `network_config` is the older way to declare that one."""
        found = {number: _network(one) for number, one in _numbered(self.values.get("networks"), "net")}
        older = self.values.get("network_config")
        if isinstance(older, Mapping):
            found[0] = _network({"mac_address": self.values.get("mac_address"), **older})
        return dict(sorted(found.items()))

    def mounts(self) -> dict[int, Mount]:
        """The mount points by number, as in mp0."""
        return {
            number: Mount(
                volume=str(one["volume"]),
                path=str(one["path"]),
                size_gb=None if one.get("size_gb") is None else int(one["size_gb"]),
                read_only=one.get("read_only"),
                backup=one.get("backup"),
            )
            for number, one in _numbered(self.values.get("mount_points"), "mp")
        }

    def address_is_lost(self) -> bool:
        """A MAC address is declared, and no interface that would have it."""
        return self.values.get("mac_address") is not None and 0 not in self.networks()

    def passed_on(self, runtime: str) -> Iterator[tuple[str, str]]:
        """The arguments of `runtime` that one value fills in, each with that value, in the table's order."""
        for key in self.keys:
            argument = key.becomes.get(runtime, "")
            value = self.values.get(key.name)
            if "{}" in argument and value not in (None, "", []):
                yield argument, key.text(value)


_OF_A_NETWORK = ("name", "bridge", "ip", "gw", "ip6", "gw6", "tag", "mac_address", "firewall", "mtu")


def _network(entry: Mapping[str, Any]) -> Network:
    known = {key: entry[key] for key in _OF_A_NETWORK if entry.get(key) is not None}
    for key in ("tag", "mtu"):
        if key in known:
            # JSON Schema takes 20.0 for an integer.
            known[key] = int(known[key])
    return Network(**known)


def _numbered(entries: object, prefix: str) -> list[tuple[int, Mapping[str, Any]]]:
    """In the order of their numbers: arguments do not depend on the order of a file."""
    if not isinstance(entries, Mapping):
        return []
    return sorted((int(name.removeprefix(prefix)), entry) for name, entry in entries.items())


class Undeclared(StrEnum):
    """What `verify` says of containers that are not declared, as the key `undeclared` has it."""

    IGNORE = "ignore"
    NOTE = "note"
    FAULT = "fault"


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What the configuration asks for, in CTID order."""

    containers: Mapping[str, ContainerSpec]
    deprecated: Mapping[str, str] = field(default_factory=dict)
    """Successor by deprecated profile name."""
    explicit_unconfined: bool = False
    """`unconfined` writes the line instead of leaving it out."""
    reload_service: bool = False
    """Reload apparmor.service instead of loading what changed."""
    shipped: frozenset[str] = frozenset()
    """The profiles that there are sources of."""
    undeclared: Undeclared = Undeclared.NOTE
