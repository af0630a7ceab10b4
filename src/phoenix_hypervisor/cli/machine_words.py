"""What `phoenix doctor` says of the machine.

Owns the words and the JSON of `engine.diagnosis`' facts.  Must import nothing outside the standard
library: the bare doctor prints them.
"""

from __future__ import annotations

from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from phoenix_hypervisor.engine.diagnosis import Machine

SHOWN = 8
"""GPU nodes that are named; a host with eight GPUs has dozens."""


def document(machine: Machine) -> dict[str, Any]:
    """The facts, for programs."""
    holes = None
    if machine.holes is not None:
        holes = [
            {"code": one.hole.code, "names": one.hole.names, "fixed": one.fixed} for one in machine.holes
        ]
    unmediated = None
    if machine.unmediated is not None:
        unmediated = [{"code": g.code, "what": g.what, "by": g.by} for g in machine.unmediated]
    return {
        "system": machine.system,
        "packages": dict(machine.packages),
        "runtime": machine.runtime,
        "release": machine.release,
        "holes": holes,
        "unmediated": unmediated,
        "gpu_nodes": [
            {"path": n.path, "major": n.major, "minor": n.minor, "driver_major": n.expected}
            for n in machine.nodes
        ],
        "nvidia_driver": machine.driver,
        "subids": dict(machine.subids),
        "read_only": machine.read_only,
        "unfinished": machine.unfinished,
        "journal_unseen": machine.unseen,
        "configuration": machine.configuration,
        "configuration_fault": machine.choice,
    }


def lines(machine: Machine) -> Iterator[tuple[str, str]]:
    """Each fact in a line, with `ok`, `note`, or `WARN` where something is to be done."""
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    yield "ok", ": ".join(filter(None, (machine.system or "unknown system", packages)))
    if machine.runtime is not None:
        yield "ok", f"containers: {machine.runtime}"
    yield from _kernel(machine)
    yield from _gpus(machine)
    lacking = [path for path, there in machine.subids.items() if not there]
    if lacking and machine.runtime is not None:
        text = (
            f"root has no range of 65536 ids in {' and '.join(lacking)}: no unprivileged container can start"
        )
        yield "WARN", f"{text}; add `root:100000:65536`"
    elif not lacking:
        yield "ok", "root has ids for unprivileged containers (/etc/subuid, /etc/subgid)"
    if machine.read_only == "no-quorum":
        yield (
            "WARN",
            "the cluster has no quorum, so /etc/pve is read-only; `pvecm status` shows who is missing",
        )
    elif machine.read_only is not None:
        yield "WARN", machine.read_only
    if machine.unfinished is not None:
        text = f"{machine.unfinished} was interrupted"
        yield "WARN", f"{text}; the next phoenix setup, apply or rollback rolls it back first"
    if machine.unseen is not None:
        yield "note", f"whether a transaction was interrupted cannot be seen: {machine.unseen}"
    yield from _configuration(machine)


def _kernel(machine: Machine) -> Iterator[tuple[str, str]]:
    if machine.holes is None:
        yield (
            "note",
            f"kernel {machine.release}: neither Debian's nor Proxmox's, so which fixes it has is not known",
        )
    elif not machine.holes:
        yield "ok", f"kernel {machine.release}: no known hole in AppArmor"
    for one in machine.holes or ():
        fixed = f"fixed in {one.fixed}" if one.fixed is not None else "no fix is known for this series"
        text = f"kernel {machine.release}: {one.hole.code}: {one.hole.names}: {one.hole.means}"
        yield "WARN", f"{text}; {fixed}: upgrade the kernel and boot it"
    for gap in machine.unmediated or ():
        yield "note", f"not mediated ({gap.by}): {gap.what}: {gap.means}"


def _gpus(machine: Machine) -> Iterator[tuple[str, str]]:
    nodes = machine.nodes
    if nodes:
        named = ", ".join(f"{n.path} {n.major}:{n.minor}" for n in nodes[:SHOWN])
        more = f" and {len(nodes) - SHOWN} more" if len(nodes) > SHOWN else ""
        yield "ok", f"GPU nodes: {named}{more}"
    else:
        yield "absent", "GPU nodes: none below /dev"
    for node in nodes:
        if node.expected is not None and node.major != node.expected:
            text = f"{node.path} has major {node.major}, its driver has {node.expected} now"
            yield "WARN", f"{text}: remove the node and run `nvidia-modprobe -u -c=0`"
    if machine.driver is not None and not any(n.path == "/dev/nvidia-uvm" for n in nodes):
        text = f"NVIDIA's driver {machine.driver} is loaded, but /dev/nvidia-uvm is missing: CUDA will fail"
        yield "WARN", f"{text}; `nvidia-modprobe -u -c=0` makes it"


def _configuration(machine: Machine) -> Iterator[tuple[str, str]]:
    if machine.choice is not None:
        yield "WARN", machine.choice
    elif machine.configuration is not None:
        yield "ok", f"configuration: {machine.configuration}"
    else:
        yield "note", "no configuration yet: `phoenix import` writes one"
