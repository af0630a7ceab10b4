"""Proxmox's storages: what a container that is to be created names, and this node does not have; snippets.

Owns reading /etc/pve/storage.cfg (PVE::SectionConfig, PVE::Storage::Plugin of libpve-storage-perl 8 and 9)
for these.  `pct create` would say the same, after profiles are installed and other containers created.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from phoenix_hypervisor.errors import PhoenixError
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
_OWN, _MOUNTED = ("dir", "btrfs"), ("nfs", "cifs", "cephfs", "glusterfs")
"""Kinds of storages with a directory: on the host's own disks, and mounted by Proxmox."""


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


_LOCAL = Storage("dir", {"path": "/var/lib/vz"})


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
    known = {_ALWAYS: _LOCAL, **read_storages(data)}
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


@dataclass(frozen=True, slots=True)
class Snippets:
    """Where a storage has its snippets on this node."""

    storage: str
    folder: str
    """Host path."""
    shared: bool


def snippets(host: Host, chosen: str | None, node: str | None) -> Snippets:
    """The snippets of the storage that was chosen; else of the first that is meant for them, else of `local`.

    Proxmox runs a hook from any storage with a directory, whatever `content` says (PVE::GuestHelpers,
    check_hookscript).  Raises PhoenixError where that storage has none on this node.
    """
    data = host.content(STORAGES)
    known = {_ALWAYS: _LOCAL, **(read_storages(data) if isinstance(data, bytes) else {})}
    if chosen is not None and chosen not in known:
        raise PhoenixError(f"storage {chosen!r:.60} is not known", hint="known: " + ", ".join(sorted(known)))
    ready = [
        name
        for name, storage in known.items()
        if "snippets" in _words(storage.settings.get("content", ""))
        and storage.lacks(node, "snippets") is None
        and storage.kind in (*_OWN, *_MOUNTED)
    ]
    name = chosen or (_ALWAYS if _ALWAYS in ready or not ready else ready[0])
    storage = known[name]
    if storage.kind not in (*_OWN, *_MOUNTED) or storage.lacks(node, None) is not None:
        text = f"storage {name} has no directory on this node"
        raise PhoenixError(text, where=STORAGES, hint="choose another one with --storage NAME")
    top = storage.settings.get("path", f"/mnt/pve/{name}").rstrip("/")
    folders = dict(word.partition("=")[::2] for word in _words(storage.settings.get("content-dirs", "")))
    folder = f"{top}/{folders.get('snippets', 'snippets').strip('/')}"
    # Beneath a mount that is away it would land on the host's own disk.
    if not host.exists(folder if storage.kind in _MOUNTED else top):
        raise PhoenixError(
            "is not there", where=host.root.shown(folder), hint=f"pvesm status --storage {name}"
        )
    shared = storage.kind in _MOUNTED or storage.settings.get("shared", "0") != "0"
    return Snippets(name, folder, shared)


def _words(text: str) -> list[str]:
    """Proxmox's lists: by commas, semicolons or blanks."""
    return [word for word in re.split(r"[,;\s]+", text) if word]
