"""Proxmox's storages: what a container that is to be created names, and this node does not have.

Owns reading /etc/pve/storage.cfg (PVE::SectionConfig, PVE::Storage::Plugin of libpve-storage-perl 8 and 9)
for that.  `pct create` would say the same, after profiles are installed and other containers created.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.declared import ContainerSpec
from phoenix_hypervisor.plan.model import Note
from phoenix_hypervisor.values import dataclass, field

STORAGES = "/etc/pve/storage.cfg"

_HEADER = re.compile(r"([a-z][a-z0-9]*):\s*(\S+)\s*")
_VOLUME = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9]):(.*)")
_ALWAYS = "local"
"""Proxmox has it whether the file names it or not."""


@dataclass(frozen=True, slots=True)
class Storage:
    """One section: its kind, and its settings as they are written."""

    kind: str
    settings: Mapping[str, str] = field(default_factory=dict)

    def lacks(self, node: str | None, content: str | None) -> str | None:
        """Why this `node` cannot use it for `content` (None: for something that it has); None: it can."""
        if self.settings.get("disable", "0") != "0":
            return "disabled"
        nodes = _words(self.settings.get("nodes", ""))
        if nodes and node is not None and node not in nodes:
            return "elsewhere"
        # Without the key it depends on the kind of storage.
        if content is not None and "content" in self.settings:
            return None if content in _words(self.settings["content"]) else content
        return None


def read_storages(data: bytes) -> dict[str, Storage]:
    """Every storage by its name."""
    found: dict[str, Storage] = {}
    settings: dict[str, str] | None = None
    for line in data.decode("utf-8", "replace").splitlines():
        header = _HEADER.fullmatch(line)
        if not line.strip():
            settings = None
        elif header is not None:
            settings = {}
            found[header[2]] = Storage(header[1], settings)
        elif settings is not None and line[0].isspace():
            key, _, value = line.strip().partition(" ")
            # A flag may stand without a value.
            settings[key] = value.strip() or "1"
    return found


def storage_problems(host: Host, spec: ContainerSpec, node: str | None, place: str) -> list[Note]:
    """What this node lacks of what is named; nothing where the file cannot be read."""
    data = host.content(STORAGES)
    if not isinstance(data, bytes):
        return []
    known = {_ALWAYS: Storage("dir", {"path": "/var/lib/vz"}), **read_storages(data)}
    problems = []
    for where, name, content in _named(spec):
        storage = known.get(name)
        reason = "unknown" if storage is None else storage.lacks(node, content)
        if reason is not None:
            told = {"storage": name, "reason": reason, "known": tuple(sorted(known))}
            problems.append(Note(Code.STORAGE_UNUSABLE, f"{place}/{where}", told))
    template = _VOLUME.fullmatch(spec.template)
    path = None if template is None else _template(known.get(template[1]), template[2])
    if path is not None and not host.exists(path):
        problems.append(Note(Code.NOT_ON_HOST, f"{place}/template", {"path": path}))
    return problems


def _named(spec: ContainerSpec) -> Iterator[tuple[str, str, str | None]]:
    """Each storage that a creation needs: the key that names it, its name, and what it must hold."""
    if spec.storage_pool:
        yield "storage_pool", spec.storage_pool, "rootdir"
    template = _VOLUME.fullmatch(spec.template)
    if template is not None:
        yield "template", template[1], "vztmpl"
    for number, mount in spec.mounts().items():
        where = f"mount_points/mp{number}/volume"
        volume = _VOLUME.fullmatch(mount.volume)
        if mount.size_gb is not None:
            yield where, mount.volume, "rootdir"
        elif volume is not None:
            yield where, volume[1], None


def _template(storage: Storage | None, name: str) -> str | None:
    """Where a template of a directory's is on the host; None where that is not plain."""
    if storage is None or storage.kind != "dir" or "content-dirs" in storage.settings:
        return None
    kind, _, file = name.partition("/")
    plain = kind == "vztmpl" and file and "/" not in file and "path" in storage.settings
    return f"{storage.settings['path'].rstrip('/')}/template/cache/{file}" if plain else None


def _words(text: str) -> list[str]:
    """Proxmox's lists: by commas, semicolons or blanks."""
    return [word for word in re.split(r"[,;\s]+", text) if word]
