"""The device nodes of a container's GPUs.

Owns which nodes of this host an assignment means, for a container that is created, and the `devN` lines that
an existing one has.  Must not create nodes: the driver does (`nvidia-modprobe -u -c=0`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from phoenix_hypervisor.containers.conf import Conf, Dialect
from phoenix_hypervisor.containers.gpu_nodes import Nodes, hardware
from phoenix_hypervisor.gpu.assignment import needed
from phoenix_hypervisor.gpu.hardware import assigned
from phoenix_hypervisor.host.machine import Host

_DEVICE = re.compile(rb"(?m)^(dev[0-9]{1,3}):[ \t]*([^\n]*?)[ \t\r]*$")


def device_nodes(host: Host, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The nodes to pass through, and those assigned that are missing on this host.

    A word that means no GPU here stands for itself among the missing; a number for NVIDIA's node.
    """
    if not words:
        return [], []
    found = hardware(host, Nodes(host))
    meant = assigned(words, found)
    unknown = [f"/dev/nvidia{word}" if word.isdecimal() else word for word in meant.unknown]
    nodes = needed(meant, found)
    lacking = [path for path in nodes if path not in found.nodes]
    return [*(path for path in nodes if path not in lacking)], [*lacking, *unknown]


def device_values(conf: Conf) -> Mapping[str, str]:
    """The value that counts of each `devN` line above the first section; none in plain LXC."""
    if conf.dialect is Dialect.LXC:
        return {}
    found = _DEVICE.findall(conf.data, 0, conf.head)
    return {key.decode(): value.decode("utf-8", "surrogateescape") for key, value in found}
