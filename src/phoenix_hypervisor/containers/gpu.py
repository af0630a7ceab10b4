"""NVIDIA device nodes of a container.

Owns which nodes an assignment means: one per GPU, plus the shared ones that exist.
Must not create nodes: the driver does (`nvidia-modprobe -u -c=0`).
"""

from __future__ import annotations

from phoenix_hypervisor.host.machine import Host

SHARED = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset")


def device_nodes(host: Host, gpus: tuple[int, ...]) -> tuple[list[str], list[str]]:
    """The nodes to pass through, and those assigned that are missing on this host."""
    if not gpus:
        return [], []
    assigned = [f"/dev/nvidia{index}" for index in gpus]
    missing = [path for path in assigned if not host.exists(path)]
    shared = [path for path in SHARED if host.exists(path)]
    caps = host.directory("/dev/nvidia-caps")
    if caps is not None:
        with caps:
            shared += [
                f"/dev/nvidia-caps/{name}" for name in sorted(caps.names()) if name.startswith("nvidia-cap")
            ]
    return assigned + shared, missing
