"""The Proxmox VE runtime: /etc/pve and `pct`.

Owns Proxmox's paths, locks, quorum test and `pct` argument vectors (measured against
pve-container 5.3 and 6.1; docs/guide/proxmox.md).  Must not edit a configuration: the codec
and `containers.steps` do.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext

from phoenix_hypervisor.containers.conf import MAX_CONF, Dialect
from phoenix_hypervisor.containers.runtimes.liblxc import LibLxc
from phoenix_hypervisor.containers.runtimes.registry import RuntimeKind
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.files import TEMPORARY, Directory
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.declared import ContainerSpec, Mount, Network, is_ctid
from phoenix_hypervisor.plan.model import AtWork, Elsewhere, Manager, Note, ReadOnly
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from phoenix_hypervisor.containers.runtime import Found, HookPlace, Neighbouring

CONF_DIR = "/etc/pve/lxc"
NODES = "/etc/pve/nodes"
LOCK_DIR = "/run/lock/lxc"
SIGNS = ("/etc/pve", "/usr/sbin/pct", "/usr/bin/pct", "/usr/share/perl5/PVE/LXC.pm")
"""Any of these says Proxmox: /etc/pve/lxc is there only while pve-cluster runs."""
HA_RESOURCES = "/etc/pve/ha/resources.cfg"
SHARED_LOCKS = "/etc/pve/priv/lock"
LOCK_TIMEOUT = 10.0
"""Seconds; what PVE::Tools::lock_file waits."""

_CONF_NAME = r"([1-9][0-9]*)\.conf"


class Proxmox(LibLxc):
    """`pct` and the files it works on."""

    name = "proxmox"
    dialect = Dialect.PVE
    conf_dir = CONF_DIR
    shared_dir = "/etc/pve"

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._directory: Directory | None = None
        self._opened = False
        self._ha: Mapping[str, str] | None = None

    def _conf_dir(self) -> Directory | None:
        # /etc/pve/lxc is a link to nodes/NAME/lxc; it is resolved once and held open.
        if not self._opened:
            self._directory, self._opened = self._host.directory(CONF_DIR), True
        return self._directory

    def line_value(self, profile: str, explicit_unconfined: bool) -> str | None:
        if profile == "unconfined":
            return "unconfined" if explicit_unconfined else None
        return None if profile == "generated" else profile

    def without_line(self) -> str:
        return "Proxmox generates a profile for it at every start (lxc-CTID_</var/lib/lxc>)"

    def conf_path(self, ctid: str) -> str:
        return f"{CONF_DIR}/{ctid}.conf"

    def require(self) -> None:
        if self._host.directory(CONF_DIR) is None:
            hint = "`systemctl status pve-cluster`: pmxcfs mounts /etc/pve"
            raise PhoenixError(
                "does not exist, so Phoenix cannot see any container", where=CONF_DIR, hint=hint
            )

    def ctids(self) -> list[str]:
        return [name for name in self.names() if is_ctid(name)]

    def names(self) -> list[str]:
        """What pmxcfs takes for a guest, which `pct` need not (memdb.c, name_is_vm_config)."""
        directory = self._conf_dir()
        if directory is None:
            return []
        matches = (re.fullmatch(_CONF_NAME, name) for name in directory.names())
        return sorted((m[1] for m in matches if m is not None), key=int)

    def read_conf(self, ctid: str) -> bytes | None:
        directory = self._conf_dir()
        return None if directory is None else directory.read(f"{ctid}.conf", MAX_CONF)

    def replace_conf(self, ctid: str, data: bytes, *, before: bytes) -> None:
        directory = self._conf_dir()
        if directory is None:
            raise PhoenixError("is gone", where=CONF_DIR, hint="is pve-cluster running?")
        try:
            directory.replace(f"{ctid}.conf", data, before=before)
        except PhoenixError as error:
            if isinstance(error.__cause__, PermissionError) and self.read_only() is not None:
                hint = "the cluster lost its quorum meanwhile: `pvecm status`"
                raise PhoenixError(error.message, where=error.where, hint=hint) from error
            raise

    def leftovers(self) -> list[str]:
        directory = self._conf_dir()
        names = directory.names() if directory is not None else []
        # Most names are no temporary file's, which tells its first letter.
        return [f"{CONF_DIR}/{name}" for name in sorted(names) if name[0] == "." and TEMPORARY.match(name)]

    def elsewhere(self) -> Mapping[str, Elsewhere]:
        """From /etc/pve/.vmlist where pmxcfs offers it, else from the nodes' directories."""
        here = set(self.ctids())
        found = {k: v for k, v in self._from_vmlist().items() if k not in here}
        return found or {k: v for k, v in self._from_nodes().items() if k not in here}

    def _from_vmlist(self) -> dict[str, Elsewhere]:
        data = self._host.read("/etc/pve/.vmlist")
        if data is None:
            return {}
        try:
            ids = json.loads(data)["ids"]
            return {str(k): _elsewhere(str(v["type"]), str(v["node"])) for k, v in ids.items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            return {}

    def _from_nodes(self) -> dict[str, Elsewhere]:
        found: dict[str, Elsewhere] = {}
        nodes = self._host.directory(NODES)
        names: list[str] = []
        if nodes is not None:
            with nodes:
                names = sorted(nodes.names())
        places: list[tuple[str, str, str | None]] = [("/etc/pve/qemu-server", "qemu", None)]
        places += [(f"{NODES}/{n}/{d}", t, n) for n in names for d, t in _GUESTS.items()]
        for path, kind, node in places:
            directory = self._host.directory(path)
            if directory is None:
                continue
            with directory:
                for name in directory.names():
                    match = re.fullmatch(_CONF_NAME, name)
                    if match is not None:
                        found.setdefault(match[1], _elsewhere(kind, node))
        return found

    def other_nodes(self) -> list[str]:
        nodes = self._host.directory(NODES)
        if nodes is None:
            return []
        with nodes:
            return sorted(set(nodes.names()) - {self.node()})

    def on_node(self, node: str) -> Neighbouring:
        from phoenix_hypervisor.containers.runtimes.neighbour import Neighbour

        return Neighbour(self._host, node)

    def on_other_nodes(self) -> Iterator[Found]:
        """From the nodes' directories; this node's own is the one that /etc/pve/lxc is a link to."""
        from phoenix_hypervisor.containers.runtime import Found

        for node in self.other_nodes():
            directory = self._host.directory(f"{NODES}/{node}/lxc")
            if directory is None:
                continue
            with directory:
                matches = (re.fullmatch(_CONF_NAME, name) for name in directory.names())
                for name in sorted((m[1] for m in matches if m is not None), key=int):
                    data, error = None, None
                    try:
                        data = directory.read(f"{name}.conf", MAX_CONF)
                    except PhoenixError as fault:
                        error = fault
                    path = f"{NODES}/{node}/lxc/{name}.conf"
                    yield Found(name=name, path=path, node=node, here=False, data=data, error=error)

    def read_only(self) -> ReadOnly | None:
        """As PVE::Cluster::check_cfs_quorum: without quorum /etc/pve/local lacks its write bit.

        `os.access` says yes even then.  No such path counts as quorate.
        """
        directory = self._host.directory("/etc/pve")
        if directory is None:
            return None
        with directory:
            info = directory.lstat("local")
        if info is None or stat.S_IMODE(info.st_mode) & 0o200:
            return None
        return ReadOnly("no-quorum", "pvecm status")

    def locked(self, ctid: str, reason: str) -> AtWork:
        # Unlocked, a container that was made in part would be taken for a whole one.
        return AtWork("Proxmox", reason, f"pct {'destroy' if reason == 'create' else 'unlock'} {ctid}")

    def manager(self, ctid: str) -> Manager | None:
        """HA, where the container is one of its resources.

        `pct start` of such a container tells HA to bring about `started`, whatever it was told before
        (PVE::API2::LXC::Status).  One that HA is to ignore counts as none of its own (PVE::HA::Config).
        """
        if self._ha is None:
            data = self._host.content(HA_RESOURCES)
            self._ha = _ha_states(data) if isinstance(data, bytes) else {}
        state = self._ha.get(ctid)
        if state is None or state == "ignored":
            return None
        service = f"ct:{ctid}"
        return Manager("HA", service, state, f"ha-manager set {service} --state started")

    def node(self) -> str | None:
        """/etc/pve/lxc is a link to nodes/NAME/lxc."""
        parts = self._host.root.locate(CONF_DIR).split("/")
        return parts[-2] if parts[-3:-2] == ["nodes"] else None

    def lock(self, ctid: str) -> AbstractContextManager[None]:
        path = f"{LOCK_DIR}/pve-config-{ctid}.lock"
        return self._host.lock(path, timeout=LOCK_TIMEOUT, what=f"the configuration lock of container {ctid}")

    def shared_lock(self) -> AbstractContextManager[None]:
        """As PVE::Cluster cfs_lock; a directory that holds a host's files has no cluster."""
        if not (self._host.is_live and self._host.exists(os.path.dirname(SHARED_LOCKS))):
            return nullcontext()
        return self._host.cluster_lock(f"{SHARED_LOCKS}/phoenix", what="the cluster's lock of Phoenix")

    def creation_problems(self, spec: ContainerSpec) -> list[Note]:
        from phoenix_hypervisor.containers.gpu import device_nodes
        from phoenix_hypervisor.containers.runtimes.storages import storage_problems

        place = f"/lxc_configs/{spec.ctid}"
        needed = {
            "name": spec.name,
            "template": spec.template,
            "storage_pool": spec.storage_pool,
            "storage_size_gb": spec.storage_size_gb,
        }
        problems = [Note(Code.KEY_NEEDED, place, {"key": key}) for key, value in needed.items() if not value]
        if spec.address_is_lost():
            problems.append(Note(Code.ADDRESS_LOST, f"{place}/mac_address"))
        problems += [
            Note(Code.NO_GPU_NODE, f"{place}/gpu_assignment", {"path": path})
            for path in device_nodes(self._host, spec.gpus)[1]
        ]
        paths = {f"{place}/template": spec.template}
        paths |= {f"{place}/mount_points/mp{n}/volume": mount.volume for n, mount in spec.mounts().items()}
        problems += [
            Note(Code.NOT_ON_HOST, where, {"path": path})
            for where, path in paths.items()
            if path.startswith("/") and not self._host.exists(path)
        ]
        return [*problems, *storage_problems(self._host, spec, self.node(), place)]

    def create_argv(self, spec: ContainerSpec) -> tuple[str, ...]:
        """`--unprivileged` is always explicit: its default is 0 on Proxmox VE 8 and 1 on 9."""
        from phoenix_hypervisor.containers.gpu import device_nodes

        argv = ["pct", "create", spec.ctid, spec.template]
        for argument, text in spec.passed_on(self.name):
            argv += [word.replace("{}", text) for word in argument.split()]
        argv += ["--rootfs", f"{spec.storage_pool}:{spec.storage_size_gb}"]
        for number, network in spec.networks().items():
            argv += [f"--net{number}", _network(network)]
        for number, mount in spec.mounts().items():
            argv += [f"--mp{number}", _mount(mount)]
        tags = spec.values.get("tags")
        if isinstance(tags, list) and tags:
            argv += ["--tags", ";".join(map(str, tags))]
        for index, node in enumerate(device_nodes(self._host, spec.gpus)[0]):
            # The driver makes its nodes 0666, pct 0660 root; capability nodes stay closed.
            mode = "" if node.startswith("/dev/nvidia-caps/") else ",mode=0666"
            argv += [f"--dev{index}", node + mode]
        return tuple(argv)

    def create_file(self, spec: ContainerSpec) -> tuple[str, bytes] | None:
        return None

    def start_argv(self, ctid: str) -> tuple[str, ...]:
        return ("pct", "start", ctid)

    def hook_place(self, storage: str | None) -> HookPlace:
        """A snippet: Proxmox runs a container's `hookscript` from a storage (PVE::GuestHelpers)."""
        from phoenix_hypervisor.containers.runtime import HookPlace
        from phoenix_hypervisor.containers.runtimes.storages import snippets

        found = snippets(self._host, storage, self.node())
        value = f"{found.storage}:snippets/phoenix"
        return HookPlace(
            folder=found.folder,
            file="phoenix",
            key="hookscript",
            value=value,
            shared=found.shared,
            name_it=f"pct set {{ctid}} --hookscript {value}",
            forget_it="pct set {ctid} --delete hookscript",
        )

    def restart_argv(self, ctid: str) -> tuple[tuple[str, ...], ...]:
        # `pct restart` does not exist; reboot is stop and start, with a new configuration.
        return (("pct", "reboot", ctid),)


def _network(network: Network) -> str:
    """One interface, as `pct` takes it (PVE::LXC::Config, net\\d+)."""
    given = (
        ("name", network.name),
        ("bridge", network.bridge),
        ("ip", network.ip),
        ("gw", network.gw),
        ("ip6", network.ip6),
        ("gw6", network.gw6),
        ("hwaddr", network.mac_address),
        ("tag", network.tag),
        ("firewall", network.firewall),
        ("mtu", network.mtu),
    )
    return ",".join(_word(key, value) for key, value in given if value is not None)


def _mount(mount: Mount) -> str:
    """One mount point, as `pct` takes it (PVE::LXC::Config, mp\\d+)."""
    volume = mount.volume if mount.size_gb is None else f"{mount.volume}:{mount.size_gb}"
    given = (("mp", mount.path), ("ro", mount.read_only), ("backup", mount.backup))
    return ",".join([volume, *(_word(key, value) for key, value in given if value is not None)])


def _word(key: str, value: object) -> str:
    return f"{key}={int(value) if isinstance(value, bool) else value}"


def _ha_states(data: bytes) -> dict[str, str]:
    """By CTID, the state that HA is told to bring about; the format is PVE::SectionConfig's."""
    found: dict[str, str] = {}
    ctid: str | None = None
    for line in data.decode("utf-8", "replace").splitlines():
        words = line.split()
        if not words:
            ctid = None
        elif not line[0].isspace():
            service = "".join(words)
            ctid = service.removeprefix("ct:") if service.startswith("ct:") else None
            if ctid is not None:
                found[ctid] = "started"
        elif ctid is not None and words[0] == "state":
            # `enabled` is what `started` was called once.
            found[ctid] = "started" if words[1:2] in ([], ["enabled"]) else words[1]
    return found


_GUESTS = {"qemu-server": "qemu", "lxc": "lxc"}


def _elsewhere(kind: str, node: str | None) -> Elsewhere:
    return Elsewhere("VM", node, False) if kind == "qemu" else Elsewhere("container", node, True)


def _build(host: Host) -> Proxmox:
    """Raises PhoenixError where Proxmox's file system is away: then no container can be seen, and
    what is below /var/lib/lxc is Proxmox's own."""
    if not host.exists(CONF_DIR):
        folder = host.directory("/etc/pve")
        if folder is not None:
            # It may be looked into: else that was said.
            folder.close()
        filled = host.content("/etc/pve")
        raise PhoenixError(
            f"pve-cluster is not running: /etc/pve {'holds no lxc' if filled else 'is empty'}",
            where=host.root.shown(CONF_DIR),
            hint="`systemctl status pve-cluster`; `--runtime lxc` where there is no Proxmox",
        )
    return Proxmox(host)


PROXMOX = RuntimeKind(
    name=Proxmox.name,
    title="Proxmox VE",
    program="pct",
    package="pve-container",
    found=lambda host: any(map(host.exists, SIGNS)),
    build=_build,
)
