"""The `devN` lines of a container whose `manage_gpus` is declared.

Owns what stands in its configuration now, what keeps the lines from being changed, and which raw lines are
named beside them.  Must not edit anything: the change is one of the lines that `containers.conf` writes.
"""

from __future__ import annotations

import re

from phoenix_hypervisor.containers import conf as codec
from phoenix_hypervisor.containers.gpu import device_values
from phoenix_hypervisor.containers.gpu_nodes import Nodes, hardware
from phoenix_hypervisor.gpu.assignment import changes
from phoenix_hypervisor.gpu.hardware import Hardware, assigned
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.plan.declared import ContainerSpec
from phoenix_hypervisor.plan.gpu_codes import GpuCode
from phoenix_hypervisor.plan.model import Managed, Note, container

_RAW = re.compile(
    rb"(?m)^(lxc\.(?:mount\.entry(?::|[ \t]*=)[ \t]*/dev/(?:nvidia|dri|kfd)[^\n]*?"
    rb"|cgroup2?\.devices\.allow(?::|[ \t]*=)[ \t]*(?:a|c[ \t]+(?:195|226|\*):)[^\n]*?))[ \t\r]*$"
)
_PENDING = re.compile(rb"(?m)^(?:dev[0-9]+:|delete:[^\n]*\bdev[0-9])")


class GpuLines:
    """Asks one host; its GPUs are read once."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._hardware: Hardware | None = None

    def of(self, spec: ContainerSpec, conf: codec.Conf, path: str) -> Managed:
        """What becomes of one container's lines."""
        target = container(spec.ctid)
        if conf.dialect is codec.Dialect.LXC:
            return Managed(warnings=(Note(GpuCode.NOT_MANAGED, target),))
        if self._hardware is None:
            self._hardware = hardware(self._host, Nodes(self._host))
        found = self._hardware
        meant = assigned(spec.gpus, found)
        lacking = [gpu.needs for gpu in meant.gpus if gpu.needs not in found.nodes]
        unknown = (*meant.unknown, *lacking)
        refusals = []
        if unknown:
            known = tuple(one.number for one in found.gpus)
            refusals.append(Note(GpuCode.UNKNOWN, target, {"words": unknown, "known": known}))
        if _pending(conf):
            refusals.append(Note(GpuCode.PENDING, target, {"path": path}))
        raw = tuple(line.decode("utf-8", "surrogateescape") for line in _RAW.findall(conf.data, 0, conf.head))
        warnings = (Note(GpuCode.RAW_KEPT, target, {"lines": raw}),) if raw else ()
        lines = () if refusals else changes(device_values(conf), meant, found)
        return Managed(lines=lines, refusals=tuple(refusals), warnings=warnings)


def _pending(conf: codec.Conf) -> bool:
    """Whether `[pve:pending]` has device lines: the next start puts them in the place of these."""
    if b"dev" not in conf.data[conf.head :]:
        return False
    headers = [m for m in codec.HEADER.finditer(b"\n" + conf.data) if m[1] is not None]
    for number, match in enumerate(headers):
        end = headers[number + 1].start() if number + 1 < len(headers) else len(conf.data)
        if match[1].lower() == b"pve:pending" and _PENDING.search(conf.data, match.end() - 1, end):
            return True
    return False
