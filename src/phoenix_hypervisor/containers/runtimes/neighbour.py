"""The containers of another node of a Proxmox cluster, as its files say them.

Owns reading /etc/pve/nodes/NODE/lxc, which pmxcfs copies to every node.  Nothing else of that node is known
here: neither what runs nor what its kernel has.  Must not write: each node acts on its own containers.
"""

from __future__ import annotations

from phoenix_hypervisor.containers.runtimes.proxmox import NODES, Proxmox
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.files import Directory
from phoenix_hypervisor.host.kernel import Process
from phoenix_hypervisor.host.machine import Host


class Neighbour(Proxmox):
    """Another node's containers, to read."""

    def __init__(self, host: Host, node: str) -> None:
        super().__init__(host)
        self._node = node
        self.conf_dir = f"{NODES}/{node}/lxc"

    def _conf_dir(self) -> Directory | None:
        if not self._opened:
            self._directory, self._opened = self._host.directory(self.conf_dir), True
        return self._directory

    def conf_path(self, ctid: str) -> str:
        return f"{self.conf_dir}/{ctid}.conf"

    def replace_conf(self, ctid: str, data: bytes, *, before: bytes) -> None:
        hint = f"run phoenix on {self._node}"
        raise PhoenixError("is another node's: nothing was written", where=self.conf_path(ctid), hint=hint)

    def node(self) -> str:
        return self._node

    def processes(self) -> dict[str, list[Process]] | None:
        """What runs there is not known here."""
        return None

    def close(self) -> None:
        """A cluster may have more nodes than a process may hold directories open."""
        if self._directory is not None:
            self._directory.close()
            self._directory = None
