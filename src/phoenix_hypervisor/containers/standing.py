"""What is known of a container that stands: its configuration, its processes, what lies in its root.

Owns gathering that for a proposal.  Must not decide: `plan.propose` does.  A container's root is looked
at and never entered: no link of its own is followed.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterable, Mapping

from phoenix_hypervisor.containers import conf as codec
from phoenix_hypervisor.containers.current import conf_fault
from phoenix_hypervisor.containers.details import details
from phoenix_hypervisor.containers.wishes import wishes
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.plan.model import Ask, ConfFault, ContainerState
from phoenix_hypervisor.plan.propose import Standing
from phoenix_hypervisor.values import replace

_RUNTIMES = ("dockerd", "containerd", "containerd-shim", "podman", "conmon", "crio")
_KUBERNETES = ("k3s-server", "k3s-agent", "kubelet")
_COMMANDS: Mapping[str, Collection[str]] = {
    "docker": (*_RUNTIMES, *_KUBERNETES),
    "lxc": ("lxc-start", "incusd", "lxd"),
}
"""What runs where somebody uses containers in a container; the kernel keeps 15 characters of a name."""
_PLACES: Mapping[str, Collection[str]] = {
    "docker": ("/var/lib/docker", "/var/lib/containers/storage", "/var/lib/rancher"),
    "lxc": ("/var/lib/incus", "/var/lib/lxd"),
}
"""Where they keep theirs."""
_BIND = re.compile(rb"(?m)^mp[0-9]+:[ \t]*(/[^,\n]*)")
_ENTRY = re.compile(rb"(?m)^[ \t]*lxc\.mount\.entry[ \t]*[:=][ \t]*(/\S+)[ \t]+\S+[ \t]+none[ \t]+\S*bind")
_TARGET = re.compile(rb"(?m)^mp[0-9]+:[^\n]*?\bmp=([^,\n]+)")
_INTO = re.compile(rb"(?m)^[ \t]*lxc\.mount\.entry[ \t]*[:=][ \t]*\S+[ \t]+(\S+)")
_ROOT = re.compile(rb"(?m)^rootfs:[ \t]*([A-Za-z][A-Za-z0-9_.-]*):")
_SPECIAL = re.compile(
    rb"(?m)^[ \t]*(lxc\.cap\.(?:drop|keep)|lxc\.cgroup2?\.devices\.allow)[ \t]*[:=][ \t]*([^\n]*?)[ \t\r]*$"
)


def standing(host: Host, state: ContainerState, dialect: codec.Dialect) -> Standing:
    """All of one container; what cannot be read is not known."""
    conf = codec.parse(state.data or b"", dialect)
    shown, head = details(conf.data, dialect), conf.data[: conf.head]
    storage = _ROOT.search(head) if dialect is codec.Dialect.PVE else None
    binds = [*_BIND.findall(head), *(path for path in _ENTRY.findall(head) if not path.startswith(b"/dev/"))]
    root = _root(host, state)
    asked = wishes(conf, conf.assigned)
    if state.init is not None:
        mounted = tuple(_mounted(host, state.init.pid, head))
        asked = replace(asked, asks=tuple({ask.what: ask for ask in (*mounted, *asked.asks)}.values()))
    commands = sorted(host.kernel.commands(process.pid for process in state.processes))
    return Standing(
        ctid=state.ctid,
        name=shown.hostname,
        unprivileged=conf.unprivileged,
        assigned=conf.assigned,
        features=conf.features,
        gpu_nodes=shown.gpu_nodes,
        wishes=asked,
        running=state.running,
        commands=tuple(commands),
        signs=tuple(_signs(commands, root)),
        seen=root is not None,
        special=tuple(_special(head)),
        binds=tuple(dict.fromkeys(path.decode("utf-8", "surrogateescape") for path in binds)),
        storage=None if storage is None else storage[1].decode(),
    )


def unusable(state: ContainerState, dialect: codec.Dialect) -> ConfFault | None:
    """Why its configuration would not be edited: then no profile can be declared for it either."""
    if state.data is None:
        return None
    try:
        codec.check_editable(codec.parse(state.data, dialect))
    except codec.ConfError as error:
        return conf_fault(state.path, error)
    return None


def _special(head: bytes) -> Iterable[tuple[str, str]]:
    for key, value in _SPECIAL.findall(head):
        line = f"{key.decode()}: {value.decode('utf-8', 'surrogateescape')}".rstrip()
        if key.startswith(b"lxc.cap.keep") or (key == b"lxc.cap.drop" and not value):
            yield "capabilities", line
        elif value.startswith(b"b "):
            yield "devices", line


def _mounted(host: Host, pid: int, head: bytes) -> Iterable[Ask]:
    """The network's file systems that it mounted itself: not those that its configuration binds in."""
    given = [b"/" + path.strip(b"/") for path in (*_TARGET.findall(head), *_INTO.findall(head))]
    for target, fstype in host.kernel.mounts(pid):
        bound = any(target == path or target.startswith(path + b"/") for path in given)
        if fstype in (b"nfs", b"nfs4", b"cifs") and not bound:
            place = target.decode("utf-8", "surrogateescape")
            yield Ask(f"mount {fstype.decode()}", f"{fstype.decode()} is mounted at {place}")


def _root(host: Host, state: ContainerState) -> str | None:
    """Its root as the host sees it: of a process, or where LXC keeps or mounts it."""
    found = [f"/proc/{state.init.pid}/root"] if state.init is not None else []
    for path in (*found, f"/var/lib/lxc/{state.ctid}/rootfs"):
        real = host.root.locate(path)
        if _is_there(real, "/etc"):
            return real
    return None


def _signs(commands: Collection[str], root: str | None) -> Iterable[tuple[str, str]]:
    for use, names in _COMMANDS.items():
        yield from ((use, name) for name in commands if name in names)
        if root is not None:
            yield from ((use, path) for path in _PLACES[use] if _is_there(root, path))


def _is_there(root: str, path: str) -> bool:
    """Whether `path` is in that root; a link on the way counts as there, and is not followed."""
    at = root
    for name in path.strip("/").split("/"):
        at = f"{at}/{name}"
        try:
            mode = os.lstat(at).st_mode
        except OSError:
            return False
        if stat.S_ISLNK(mode):
            return True
        if not stat.S_ISDIR(mode):
            return False
    return True
