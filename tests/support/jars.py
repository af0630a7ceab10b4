"""A third runtime, which exists nowhere: its containers are jars in /srv/jars.

One module, registered by the tests that use it: what it shows is that nothing else of
Phoenix has to know a runtime.  The program is the double tests/doubles/jar.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager

from phoenix_hypervisor.containers.conf import MAX_CONF, Dialect
from phoenix_hypervisor.containers.runtimes.registry import RuntimeKind
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.kernel import Process
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.declared import ContainerSpec, is_ctid
from phoenix_hypervisor.plan.model import AtWork, Elsewhere, Note, ReadOnly

PLACE = "/srv/jars"
SEALED = f"{PLACE}/SEALED"
_CGROUP = re.compile(rb"^0::/jar/([0-9]+)$", re.M)


class Jars:
    """Jars of one host."""

    name = "jars"
    dialect = Dialect.LXC
    conf_dir = PLACE

    def __init__(self, host: Host) -> None:
        self._host = host

    def line_value(self, profile: str, explicit_unconfined: bool) -> str | None:
        return None if profile in ("unconfined", "generated") and not explicit_unconfined else profile

    def without_line(self) -> str:
        return "the jar is not confined"

    def own_profiles(self, ctid: str) -> tuple[str, ...]:
        return ("jar-lid",)

    def conf_path(self, ctid: str) -> str:
        return f"{PLACE}/{ctid}/settings"

    def require(self) -> None:
        if not self._host.exists(PLACE):
            raise PhoenixError("is gone", where=PLACE)

    def ctids(self) -> list[str]:
        return [name for name in self.names() if is_ctid(name)]

    def names(self) -> list[str]:
        directory = self._host.directory(PLACE)
        if directory is None:
            return []
        with directory:
            return [name for name in sorted(directory.names()) if self._host.exists(self.conf_path(name))]

    def read_conf(self, ctid: str) -> bytes | None:
        return self._host.read(self.conf_path(ctid), MAX_CONF)

    def replace_conf(self, ctid: str, data: bytes, *, before: bytes) -> None:
        directory = self._host.directory(f"{PLACE}/{ctid}")
        if directory is None:
            raise PhoenixError("is gone", where=f"{PLACE}/{ctid}")
        with directory:
            directory.replace("settings", data, before=before)

    def manager(self, ctid: str) -> None:
        return None

    def leftovers(self) -> list[str]:
        return []

    def elsewhere(self) -> Mapping[str, Elsewhere]:
        return {"999": Elsewhere("jar", "cellar", True)}

    def read_only(self) -> ReadOnly | None:
        return ReadOnly("the shelf is sealed", "jar unseal") if self._host.exists(SEALED) else None

    def locked(self, ctid: str, reason: str) -> AtWork:
        return AtWork("the cook", reason)

    def node(self) -> str | None:
        return "kitchen"

    def lock(self, ctid: str) -> AbstractContextManager[None]:
        return self._host.lock(f"/run/jars/{ctid}", timeout=1.0, what=f"jar {ctid}", private=True)

    def processes(self) -> dict[str, list[Process]] | None:
        def jar(cgroups: bytes) -> str | None:
            match = _CGROUP.search(cgroups)
            return match[1].decode() if match is not None else None

        return self._host.kernel.grouped_processes(jar)

    def unsettled(self) -> frozenset[str]:
        return frozenset()

    def creation_problems(self, spec: ContainerSpec) -> list[Note]:
        place = f"/lxc_configs/{spec.ctid}"
        return [] if spec.name else [Note(Code.KEY_NEEDED, place, {"key": "name"})]

    def create_argv(self, spec: ContainerSpec) -> tuple[str, ...]:
        return ("jar", "make", spec.ctid, f"litres = {spec.values['memory_mb']}")

    def create_file(self, spec: ContainerSpec) -> tuple[str, bytes] | None:
        return None

    def start_argv(self, ctid: str) -> tuple[str, ...]:
        return ("jar", "open", ctid)

    def restart_argv(self, ctid: str) -> tuple[tuple[str, ...], ...]:
        return (("jar", "shut", ctid), self.start_argv(ctid))


JARS = RuntimeKind(
    name=Jars.name,
    title="jars",
    program="jar",
    package="jars",
    found=lambda host: host.exists(PLACE),
    build=Jars,
)
