"""The plain LXC runtime: /var/lib/lxc and the `lxc-*` programs.

Owns their paths and argument vectors (lxc-create(1), lxc.container.conf(5)).  A container
is named by its CTID.  Must not edit a configuration: the codec and `containers.steps` do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager

from phoenix_hypervisor.containers.conf import MAX_CONF, Dialect
from phoenix_hypervisor.containers.gpu import device_nodes
from phoenix_hypervisor.containers.gpu_nodes import Nodes
from phoenix_hypervisor.containers.runtimes.liblxc import LXC_DIR, LibLxc
from phoenix_hypervisor.containers.runtimes.lxc_devices import device_problems, mount_lines, network_lines
from phoenix_hypervisor.containers.runtimes.registry import RuntimeKind
from phoenix_hypervisor.errors import PhoenixError, UsageError
from phoenix_hypervisor.host.files import Directory, temporary_name
from phoenix_hypervisor.host.trust import writable_by_others
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.declared import ContainerSpec, is_ctid
from phoenix_hypervisor.plan.model import AtWork, Elsewhere, Note, ReadOnly
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from phoenix_hypervisor.containers.runtime import HookPlace

CREATE_DIR = "/var/lib/phoenix/create"
HOOK_DIR = "/etc/lxc"
_SUBID = re.compile(rb"^root:(\d+):(\d+)", re.M)


class PlainLxc(LibLxc):
    """`lxc-create`, `lxc-start`, `lxc-stop` and the files they work on."""

    name = "lxc"
    dialect = Dialect.LXC
    conf_dir = LXC_DIR

    def line_value(self, profile: str, explicit_unconfined: bool) -> str | None:
        if profile == "unconfined":
            return "unconfined" if explicit_unconfined else None
        return profile

    def without_line(self) -> str:
        return "LXC uses its default profile (lxc-container-default-cgns if it is loaded)"

    def conf_path(self, ctid: str) -> str:
        return f"{LXC_DIR}/{ctid}/config"

    def require(self) -> None:
        """Its files are on the host's own file system; none is there before the first container."""

    def ctids(self) -> list[str]:
        return sorted((name for name in self.names() if is_ctid(name)), key=int)

    def names(self) -> list[str]:
        directory = self._host.directory(LXC_DIR)
        if directory is None:
            return []
        with directory:
            found = directory.names()
        return [name for name in found if self._host.exists(self.conf_path(name))]

    def _container_dir(self, ctid: str) -> Directory | None:
        return self._host.directory(f"{LXC_DIR}/{ctid}")

    def read_conf(self, ctid: str) -> bytes | None:
        directory = self._container_dir(ctid)
        if directory is None:
            return None
        with directory:
            return directory.read("config", MAX_CONF)

    def replace_conf(self, ctid: str, data: bytes, *, before: bytes) -> None:
        directory = self._container_dir(ctid)
        if directory is None:
            raise PhoenixError("is gone", where=f"{LXC_DIR}/{ctid}")
        with directory:
            writable = writable_by_others(self._host.root, directory.path)
            if writable is not None:
                raise PhoenixError(
                    writable, where=directory.shown, hint="chmod o-w it, then check what others put there"
                )
            directory.replace("config", data, before=before)

    def leftovers(self) -> list[str]:
        paths = (f"{LXC_DIR}/{ctid}/{temporary_name('config')}" for ctid in self.ctids())
        return [path for path in paths if self._host.exists(path)]

    def elsewhere(self) -> Mapping[str, Elsewhere]:
        return {}

    def read_only(self) -> ReadOnly | None:
        return None

    def locked(self, ctid: str, reason: str) -> AtWork:
        return AtWork("", reason)

    def node(self) -> str | None:
        data = self._host.read("/etc/hostname")
        lines = data.decode("utf-8", "replace").split("\n") if data is not None else []
        names = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        return names[0].partition(".")[0] if names else None

    def lock(self, ctid: str) -> AbstractContextManager[None]:
        """LXC has no lock of a configuration; two runs of Phoenix keep out of each other's way."""
        path, what = f"/run/phoenix/config-{ctid}.lock", f"the configuration lock of container {ctid}"
        return self._host.lock(path, timeout=10.0, what=what, private=True)

    def creation_problems(self, spec: ContainerSpec) -> list[Note]:
        place = f"/lxc_configs/{spec.ctid}"
        problems = [
            Note(Code.KEY_NEEDED, place, {"key": key})
            for key, value in (("name", spec.name), ("template", spec.template))
            if not value
        ]
        if spec.address_is_lost():
            problems.append(Note(Code.ADDRESS_LOST, f"{place}/mac_address"))
        if spec.template.startswith("/") and not self._host.exists(spec.template):
            problems.append(Note(Code.NOT_ON_HOST, f"{place}/template", {"path": spec.template}))
        elif spec.template and not re.fullmatch(r"/.*|[a-z0-9_-]+", spec.template, re.DOTALL):
            problems.append(Note(Code.NO_TEMPLATE, f"{place}/template", {"template": spec.template}))
        problems += [
            Note(Code.NO_GPU_NODE, f"{place}/gpu_assignment", {"path": path})
            for path in device_nodes(self._host, spec.gpus)[1]
        ]
        problems += device_problems(self._host, spec, place)
        if spec.unprivileged and self._idmap() is None:
            problems.append(Note(Code.NO_SUBORDINATE_IDS, f"{place}/unprivileged"))
        return problems

    def create_argv(self, spec: ContainerSpec) -> tuple[str, ...]:
        argv = ["lxc-create", "-n", spec.ctid, "-f", self._create_path(spec)]
        if not spec.template.startswith("/"):
            return (*argv, "-t", spec.template)
        if self._is_tree(spec):
            return (*argv, "-t", "none")
        return (*argv, "-t", "local", "--", "--fstree", spec.template)

    def _create_path(self, spec: ContainerSpec) -> str:
        return f"{CREATE_DIR}/{spec.ctid}.config"

    def _is_tree(self, spec: ContainerSpec) -> bool:
        return self._host.directory(spec.template) is not None

    def create_file(self, spec: ContainerSpec) -> tuple[str, bytes] | None:
        """The configuration that lxc-create starts from."""
        share = "/usr/share/lxc/config"
        lines = [f"lxc.include = {share}/common.conf"]
        idmap = self._idmap() if spec.unprivileged else None
        if idmap is not None:
            lines += [f"lxc.include = {share}/userns.conf"]
            lines += [f"lxc.idmap = {kind} 0 {start} {count}" for kind, (start, count) in idmap.items()]
        if "nesting=1" in spec.features.split(","):
            lines.append(f"lxc.include = {share}/nesting.conf")
        if spec.template.startswith("/") and self._is_tree(spec):
            lines.append(f"lxc.rootfs.path = dir:{spec.template}")
        lines += [argument.replace("{}", text) for argument, text in spec.passed_on(self.name)]
        lines += network_lines(spec)
        lines += mount_lines(self._host, spec)
        for node in device_nodes(self._host, spec.gpus)[0]:
            lines.append(f"lxc.mount.entry = {node} {node[1:]} none bind,optional,create=file")
        found = Nodes(self._host)
        for path in device_nodes(self._host, spec.gpus)[0]:
            there = found.at(path)
            if there is not None and there.number[1]:
                kind, major, minor = there.number
                lines.append(f"lxc.cgroup2.devices.allow = {kind} {major}:{minor} rwm")
        return self._create_path(spec), ("\n".join(lines) + "\n").encode()

    def _idmap(self) -> dict[str, tuple[int, int]] | None:
        found: dict[str, tuple[int, int]] = {}
        for kind, path in (("u", "/etc/subuid"), ("g", "/etc/subgid")):
            match = _SUBID.search(self._host.read(path) or b"")
            if match is None:
                return None
            found[kind] = (int(match[1]), int(match[2]))
        return found

    def start_argv(self, ctid: str) -> tuple[str, ...]:
        return ("lxc-start", "-n", ctid, "-o", f"/var/log/lxc/{ctid}.log", "-l", "INFO")

    def hook_place(self, storage: str | None) -> HookPlace:
        """LXC runs `lxc.hook.pre-start` on the host, before anything of the container is there."""
        from phoenix_hypervisor.containers.runtime import HookPlace

        if storage is not None:
            raise UsageError("plain LXC has no storages", where="--storage")
        line = f"lxc.hook.pre-start = {HOOK_DIR}/phoenix-hook"
        return HookPlace(
            folder=HOOK_DIR,
            file="phoenix-hook",
            key="lxc.hook.pre-start",
            value=f"{HOOK_DIR}/phoenix-hook",
            name_it=f"put the line `{line}` into {LXC_DIR}/{{ctid}}/config",
            forget_it=f"take the line `{line}` out of {LXC_DIR}/{{ctid}}/config",
        )

    def restart_argv(self, ctid: str) -> tuple[tuple[str, ...], ...]:
        return (("lxc-stop", "-n", ctid, "-t", "60"), self.start_argv(ctid))


LXC = RuntimeKind(
    name=PlainLxc.name,
    title="plain LXC",
    program="lxc-start",
    package="lxc",
    found=lambda host: host.exists(LXC_DIR) or host.exists("/usr/bin/lxc-start"),
    build=PlainLxc,
)
