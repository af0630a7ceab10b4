"""What stands in a configuration, as keys of ours.

Owns reading the values that Phoenix can create again out of one configuration, of Proxmox's or of
plain LXC's; the profile line is not its business.  Pure: a parsed configuration comes in.  What
does not say one plain thing is left out and named, never guessed.

Sources: PVE::LXC::Config (pve-container 6.1), lxc.container.conf(5).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from phoenix_hypervisor.containers.conf import Conf, Dialect
from phoenix_hypervisor.containers.described_lxc import describe_lxc
from phoenix_hypervisor.containers.described_values import Described, comes_with_gpus, gib, integer
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

_SETTING = re.compile(r"^([a-z][a-z_]*[0-9]*):[ \t\r\f\v]*([^\n]+?)[ \t\r\f\v]*$", re.M)
_RAW = re.compile(r"^(lxc\.[a-z0-9_\-.]+)(?::|[ \t\r\f\v]*=)[ \t\r\f\v]*([^\n]*?)[ \t\r\f\v]*$", re.M)
_NUMBERED = re.compile(r"(net|mp|dev)([0-9]+)")
_FEATURES = re.compile(r"[a-z_]+=[A-Za-z0-9;_-]+(,[a-z_]+=[A-Za-z0-9;_-]+)*")
_VOLUME = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9]):(.+)")
_GPU = re.compile(r"/dev/nvidia([0-9]{1,3})")
_SHARED = re.compile(r"/dev/nvidia(ctl|-[a-z-]+|-caps/nvidia-cap[0-9]+|-caps)")
_BIND = re.compile(r"(/dev/nvidia\S*) (\S+) none (\S+)( 0 0)?")
_INTEGERS = {"memory": "memory_mb", "swap": "swap_mb", "cores": "cores"}

_OF_THE_GUEST = frozenset(
    ["arch", "ostype", "description", "lock", "template", "parent", "digest", "snaptime", "unprivileged"]
)
"""What says how a container is and not how it is made, and what its template brings."""
_ALLOW = "lxc.cgroup2.devices.allow"
_OURS = ("lxc.apparmor.profile", "lxc.apparmor.allow_nesting", "lxc.seccomp.profile")


def describe(ctid: str, conf: Conf) -> Described:
    """The values of one container."""
    if conf.dialect is Dialect.LXC:
        return describe_lxc(conf.data, unprivileged=conf.unprivileged)
    return _Proxmox(ctid, conf).described()


class _Proxmox:
    """One configuration of Proxmox's; only what stands above the first section counts."""

    def __init__(self, ctid: str, conf: Conf) -> None:
        self._ctid = ctid
        self._values: dict[str, object] = {"unprivileged": conf.unprivileged}
        self._left: dict[str, None] = {}
        self._gpus: set[int] = set()
        text = conf.data[: conf.head].decode("utf-8", "surrogateescape")
        # The last of several counts, as in Proxmox's own parser.
        self._settings = dict(_SETTING.findall(text))
        self._raw: list[tuple[str, str]] = _RAW.findall(text) if "lxc." in text else []

    def described(self) -> Described:
        networks: dict[str, object] = {}
        mounts: dict[str, object] = {}
        for key, value in self._settings.items():
            numbered = _NUMBERED.fullmatch(key)
            kind = key if numbered is None else numbered[1]
            if kind == "net":
                self._put(networks, key, key, _network(value))
            elif kind == "mp":
                self._put(mounts, key, key, self._mount(value))
            elif kind == "dev":
                self._device(key, value)
            elif key in _INTEGERS:
                self._put(self._values, _INTEGERS[key], key, integer(value))
            elif key == "hostname":
                self._values["name"] = value
            elif key == "rootfs":
                self._rootfs(value)
            elif key == "onboot":
                self._put(self._values, "onboot", key, _FLAGS.get(value))
            elif key == "tags":
                self._values["tags"] = [tag for tag in re.split(r"[;,\s]+", value) if tag]
            elif key == "features":
                self._put(self._values, key, key, value if _FEATURES.fullmatch(value) else None)
            elif key not in _OF_THE_GUEST and not key.startswith("unused"):
                self._left[key] = None
        self._lines()
        for name, found in (("networks", networks), ("mount_points", mounts)):
            if found:
                order = sorted(found, key=lambda key: int(re.sub(r"\D", "", key)))
                self._values[name] = {key: found[key] for key in order}
        if self._gpus:
            self._values["gpu_assignment"] = ",".join(map(str, sorted(self._gpus)))
        return Described(self._values, tuple(sorted(self._left)))

    def _put(self, into: dict[str, object], name: str, key: str, value: object) -> None:
        if value is None:
            self._left[key] = None
        else:
            into[name] = value

    def _rootfs(self, value: str) -> None:
        parts = _parts(value, "volume")
        volume = _VOLUME.fullmatch(parts.get("volume", ""))
        size = gib(parts.get("size", ""))
        if volume is None or size is None or parts.keys() - {"volume", "size"}:
            self._left["rootfs"] = None
            return
        self._values.update(storage_pool=volume[1], storage_size_gb=size)

    def _mount(self, value: str) -> dict[str, Any] | None:
        parts = _parts(value, "volume")
        if parts.keys() - {"volume", "mp", "size", "ro", "backup"} or "mp" not in parts:
            return None
        flags = {key: _FLAGS.get(parts[key]) for key in ("ro", "backup") if key in parts}
        if None in flags.values():
            return None
        found: dict[str, Any] = {"volume": parts.get("volume", ""), "path": parts["mp"]}
        volume = _VOLUME.fullmatch(found["volume"])
        own = rf"(?:.*/)?(?:vm|subvol|base|basevol)-{self._ctid}-.*"
        if volume is not None and re.fullmatch(own, volume[2]):
            # It goes with the container, so that creating it again needs a new one.
            size = gib(parts.get("size", ""))
            if size is None:
                return None
            found.update(volume=volume[1], size_gb=size)
        names = {"ro": "read_only", "backup": "backup"}
        return {**found, **{names[key]: flag for key, flag in flags.items()}}

    def _device(self, key: str, value: str) -> None:
        parts = _parts(value, "path")
        path = parts.pop("path", "")
        gpu = _GPU.fullmatch(path)
        if gpu is not None:
            self._gpus.add(int(gpu[1]))
        # Created again, a node gets the mode that the driver gives it, and nothing else.
        if (gpu is None and not _SHARED.fullmatch(path)) or parts not in ({}, {"mode": "0666"}):
            self._left[key] = None

    def _lines(self) -> None:
        """The raw lines: of GPUs, and those that Phoenix would not write again."""
        left: dict[str, None] = {}
        # The GPUs first: what belongs to them may stand in front of them.
        for key, value in sorted(self._raw, key=lambda line: line[0] != "lxc.mount.entry"):
            bind = _BIND.fullmatch(value) if key == "lxc.mount.entry" else None
            if bind is not None and bind[2] == bind[1][1:] and "bind" in bind[3].split(","):
                gpu = _GPU.fullmatch(bind[1])
                if gpu is not None:
                    self._gpus.add(int(gpu[1]))
                    continue
                if _SHARED.fullmatch(bind[1]):
                    continue
            # What lets a GPU's nodes be opened comes with them.
            if key not in _OURS and not (self._gpus and key == _ALLOW and comes_with_gpus(value)):
                left[key] = None
        self._left.update(left)


_FLAGS = {"0": False, "1": True}
_OF_A_NETWORK = {
    "name": "name",
    "bridge": "bridge",
    "ip": "ip",
    "gw": "gw",
    "ip6": "ip6",
    "gw6": "gw6",
    "tag": "tag",
    "hwaddr": "mac_address",
    "firewall": "firewall",
    "mtu": "mtu",
}


def _parts(value: str, first: str) -> dict[str, str]:
    """A property string; `first` names the part that may stand without its key."""
    found: dict[str, str] = {}
    for part in value.split(","):
        key, sign, text = part.partition("=")
        if not sign:
            key, text = first, part
        if key in found:
            # Twice the same key says two things.
            return {"": ""}
        found[key] = text
    return found


def _network(value: str) -> Mapping[str, object] | None:
    parts = _parts(value, "")
    if parts.pop("type", "veth") != "veth" or not {"name", "bridge"} <= parts.keys() <= _OF_A_NETWORK.keys():
        return None
    found: dict[str, object] = {}
    for key, name in _OF_A_NETWORK.items():
        if key not in parts:
            continue
        number = integer(parts[key]) if key in ("tag", "mtu") else None
        flag = _FLAGS.get(parts[key]) if key == "firewall" else None
        value_of = flag if key == "firewall" else number if key in ("tag", "mtu") else parts[key]
        if value_of is None:
            return None
        found[name] = value_of
    return found
