"""Every container's settings in the order in which LXC reads them, as far as devices go.

Owns putting them together: what Proxmox writes in front of the raw lines, what LXC includes, the container's
own.  Must not say what they mean: `gpu` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from phoenix_hypervisor.containers import conf as codec
from phoenix_hypervisor.containers.details import hostname
from phoenix_hypervisor.containers.gpu_nodes import Nodes
from phoenix_hypervisor.containers.runtime import Runtime
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.gpu.guest import (
    Guest,
    Passed,
    Setting,
    device_rules,
    guest,
    of_device,
    of_mount_point,
)
from phoenix_hypervisor.host.machine import Host

SHARE = "/usr/share/lxc/config"
MAX_INCLUDES = 64
"""Files that one configuration may bring in, each by an include of another."""

_KEY = re.compile(rb"(?m)^(lxc\.[a-z0-9_\-.]+)(?::|[ \t]*=)[ \t]*([^\n]*?)[ \t\r]*$")
_DEVICE = re.compile(rb"(?m)^((?:dev|mp)[0-9]+|ostype):[ \t]*([^\n]*?)[ \t\r]*$")
_LXC_LINE = re.compile(rb"(?m)^[ \t]*(lxc\.[a-zA-Z0-9_\-.]+)[ \t]*=[ \t]*([^\n]*?)[ \t\r]*$")
_WANTED = (
    "lxc.cgroup",
    "lxc.cap.",
    "lxc.mount",
    "lxc.idmap",
    "lxc.id_map",
    "lxc.autodev",
    "lxc.hook.",
    "lxc.include",
)

# What a host without LXC's own files is taken to have; of lxc 5.0, 6.0 and lxc-pve.
_COMMON = (
    ("lxc.cap.drop", "mac_admin mac_override sys_time sys_module sys_rawio"),
    ("lxc.cgroup2.devices.deny", "a"),
    ("lxc.cgroup2.devices.allow", "c *:* m"),
    ("lxc.cgroup2.devices.allow", "b *:* m"),
    *(
        ("lxc.cgroup2.devices.allow", f"c {number} rwm")
        for number in ("1:3", "1:5", "1:7", "5:0", "5:1", "5:2", "1:8", "1:9", "136:*", "10:229")
    ),
)
_USERNS = (
    ("lxc.cgroup2.devices.deny", ""),
    ("lxc.cgroup2.devices.allow", ""),
    ("lxc.cap.drop", ""),
    ("lxc.cap.keep", ""),
)
_USERNS_PROXMOX = (("lxc.cgroup2.devices.allow", "a"),)
"""lxc-pve-userns.conf: in an unprivileged container of Proxmox the device cgroup lets everything through."""


class Guests:
    """Reads the containers of a host; what many of them include is read once."""

    def __init__(self, host: Host, runtime: Runtime, nodes: Nodes) -> None:
        self._host = host
        self._runtime = runtime
        self._nodes = nodes
        self._included: dict[str, tuple[Setting, ...]] = {}
        self._base: dict[tuple[str, bool], tuple[Setting, ...]] = {}
        self._real = host.exists(f"{SHARE}/common.conf")

    def of(self, ctid: str) -> Guest | None:
        """One container; None where it has no configuration."""
        try:
            data = self._runtime.read_conf(ctid)
        except PhoenixError as error:
            return Guest(ctid=ctid, fault=f"{error.where or ''}: {error.message}".lstrip(": "))
        return None if data is None else self.of_data(ctid, data)

    def of_data(self, ctid: str, data: bytes) -> Guest:
        """A container from the bytes of its configuration, as it is or as it would be."""
        dialect = self._runtime.dialect
        conf = codec.parse(data, dialect)
        profile = None if conf.assigned is None else codec.unquoted(conf.assigned)
        if dialect is codec.Dialect.LXC:
            return guest(
                ctid, self._lxc(data, ()), self._nodes.at, name=hostname(data, dialect), profile=profile
            )
        head = data[: conf.head]
        passed = list(_of_proxmox(head))
        settings = list(self._proxmox(conf, head, passed))
        if conf.pending is not None:
            settings.append(Setting("lxc.hook.mount", "pending", "[pve:pending] replaces the raw lines"))
        name = hostname(data, dialect)
        return guest(ctid, settings, self._nodes.at, name=name, profile=profile, passed=passed)

    # Proxmox -----------------------------------------------------------------------

    def _proxmox(self, conf: codec.Conf, head: bytes, passed: Sequence[Passed]) -> Iterator[Setting]:
        """As PVE::LXC::update_lxc_config writes them."""
        raw = list(_settings(head, _KEY))
        mapped = any(one.key == "lxc.idmap" for one in raw)
        ostype = dict(_DEVICE.findall(head)).get(b"ostype", b"").decode("utf-8", "replace")
        yield from self._of_ostype(ostype, conf.unprivileged or mapped)
        yield from device_rules(passed, self._nodes.at)
        if conf.unprivileged and not mapped:
            for kind in "ug":
                yield Setting("lxc.idmap", f"{kind} 0 100000 65536", "unprivileged: 1", own=False)
        yield from raw

    def _of_ostype(self, ostype: str, userns: bool) -> tuple[Setting, ...]:
        found = self._base.get((ostype, userns))
        if found is None:
            if self._real:
                found = self._include(self._share(ostype, "common.conf"), ())
                if userns:
                    found += self._include(self._share(ostype, "userns.conf"), ())
            else:
                known = (*_COMMON, *((*_USERNS, *_USERNS_PROXMOX) if userns else ()))
                found = tuple(
                    Setting(key, value, f"{key} = {value} (LXC's default)", own=False) for key, value in known
                )
            self._base[ostype, userns] = found
        return found

    def _share(self, ostype: str, name: str) -> str:
        own = f"{SHARE}/{ostype}.{name}"
        return own if re.fullmatch(r"[a-z0-9]+", ostype) and self._host.exists(own) else f"{SHARE}/{name}"

    # LXC ---------------------------------------------------------------------------

    def _lxc(self, data: bytes, within: tuple[str, ...]) -> tuple[Setting, ...]:
        found: list[Setting] = []
        for one in _settings(data, _LXC_LINE, place=within[-1] if within else ""):
            if one.key == "lxc.include":
                found += self._include(one.value, within)
            else:
                found.append(one)
        return tuple(found)

    def _include(self, path: str, within: tuple[str, ...]) -> tuple[Setting, ...]:
        """The settings of an included file, or of each *.conf of a directory (confile.c: do_includedir)."""
        if path in within or len(within) >= MAX_INCLUDES or not path.startswith("/"):
            return ()
        if path not in self._included:
            content = self._host.content(path)
            if isinstance(content, bytes):
                found = self._lxc(content, (*within, path))
            else:
                names = [name for name in sorted(content or ()) if name.endswith(".conf")]
                parts = [self._include(f"{path.rstrip('/')}/{name}", (*within, path)) for name in names]
                found = tuple(one for part in parts for one in part)
            self._included[path] = found
        return self._included[path]


def _settings(data: bytes, pattern: re.Pattern[bytes], *, place: str = "") -> Iterator[Setting]:
    for match in pattern.finditer(data):
        key, value = match[1].decode(), match[2].decode("utf-8", "surrogateescape")
        if key.startswith(_WANTED):
            line = match[0].decode("utf-8", "surrogateescape").strip()
            if pattern is _LXC_LINE:
                value = codec.unquoted(value)
            yield Setting(key, value, f"{line} ({place})" if place else line, own=not place)


def _of_proxmox(head: bytes) -> Iterator[Passed]:
    """What `devN` and `mpN` bring, by number; the last of two lines counts."""
    found: dict[bytes, tuple[bytes, bytes]] = {}
    for match in _DEVICE.finditer(head):
        found[match[1]] = (match[2], match[0])
    for key in sorted(found, key=lambda key: (key[:2], len(key), key)):
        value, line = (text.decode("utf-8", "surrogateescape").strip() for text in found[key])
        passed = None
        if key.startswith(b"dev"):
            passed = of_device(value, line)
        elif key.startswith(b"mp"):
            passed = of_mount_point(value, line)
        if passed is not None:
            yield passed
