"""Is the GPU that a container has the one that it was assigned?

Owns what is wrong between the two, each with the line that would put it right.  Pure: facts in, findings out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from phoenix_hypervisor.gpu.access import CGROUP, MODE, NO_NODE, GpuAccess, NodeAccess
from phoenix_hypervisor.gpu.assignment import line_for
from phoenix_hypervisor.gpu.guest import Guest
from phoenix_hypervisor.gpu.hardware import NO_TENANT, Assigned, Gpu, Hardware, Node
from phoenix_hypervisor.plan.gpu_codes import GpuCode
from phoenix_hypervisor.plan.model import Finding, container
from phoenix_hypervisor.values import dataclass

_OF_GPUS = re.compile(r"/dev/(nvidia\S*|dri/\S+|kfd)")
MOST = 4
"""Lines that one finding names."""
_DYNAMIC = range(200, 4096)
"""Major numbers that the kernel may give out to NVIDIA's drivers; 226 is DRM's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One container, and what it was assigned."""

    guest: Guest
    gpus: Sequence[GpuAccess]
    shared: Sequence[NodeAccess]
    meant: Assigned
    named: bool
    """The assignment was declared; else it is the default, and nothing of it is a fault."""
    proxmox: bool
    managed: bool = False
    """`apply` writes its `devN` lines, so that nobody need be told which."""


def findings(case: Case, hardware: Hardware, node_at: Callable[[str], Node | None]) -> list[Finding]:
    """All that is not as assigned."""
    target, named = container(case.guest.ctid), case.named

    def one(code: GpuCode, **data: object) -> Finding:
        return Finding(code, target, data, fault=named)

    found: list[Finding] = []
    if case.meant.unknown:
        known = tuple(gpu.number for gpu in hardware.gpus)
        found.append(one(GpuCode.UNKNOWN, words=case.meant.unknown, known=known))
    found += [one(GpuCode.NODE_MISSING, path=path, line=line) for path, line in _missing(case.guest, node_at)]
    found += [one(GpuCode.STALE_NUMBER, **data) for data in _stale(case, hardware)]
    for access in case.gpus:
        number, first = access.gpu.number, access.nodes[0]
        if number in case.meant.numbers and access.works:
            found += _root_only(case, access, target)
        elif number in case.meant.numbers:
            write = _write(case, access.gpu, first, hardware)
            found.append(one(GpuCode.NOT_OPEN, gpu=number, walls=tuple(first.shut), write=write))
    for made in (False, True):
        others = [a for a in case.gpus if a.gpu.number not in case.meant.numbers]
        others = [a for a in others if (a.can_make and not a.can_open if made else a.can_open)]
        if others:
            by = tuple(dict.fromkeys(line for access in others for line in access.deciding.by[:MOST]))
            gpus = tuple(access.gpu.number for access in others)
            found.append(one(GpuCode.OPEN, gpus=gpus, made=made, by=by[:MOST]))
    kinds = {shared.path: shared.kind for shared in hardware.shared}
    found += [
        one(GpuCode.ADMIN_NODE, path=node.node, by=node.by[:1])
        for node in case.shared
        if kinds.get(node.node) in NO_TENANT and node.can_open
    ]
    return found


def _missing(guest: Guest, node_at: Callable[[str], Node | None]) -> Iterator[tuple[str, str]]:
    """Nodes without which it does not start: those of `devN`."""
    for passed in guest.passed:
        if passed.is_dev and _OF_GPUS.fullmatch(passed.source) and node_at(passed.source) is None:
            yield passed.source, passed.line


def _stale(case: Case, hardware: Hardware) -> Iterator[dict[str, object]]:
    """Rules whose major number went to nobody, where a node that a line brings is shut."""
    known = {node.number[1] for node in hardware.nodes.values()} | set(hardware.majors.values())
    rules = [
        rule
        for rule in case.guest.program.rules
        if rule.allow and rule.own and rule.major is not None
        if rule.major in _DYNAMIC and rule.major not in known
    ]
    if not rules or not case.guest.program.blocks:
        return
    nodes = (*(node for access in case.gpus for node in access.nodes), *case.shared)
    for node in nodes:
        there = hardware.nodes.get(node.node)
        brought = any(not way.made for way in node.ways)
        if there is not None and brought and CGROUP in node.shut and there.number[1] in _DYNAMIC:
            write = f"{_ALLOW[case.proxmox]}c {there.number[1]}:* rwm"
            yield {"line": rules[0].line, "node": node.node, "write": write}
            return


_ALLOW = {True: "lxc.cgroup2.devices.allow: ", False: "lxc.cgroup2.devices.allow = "}


def _write(case: Case, gpu: Gpu, node: NodeAccess, hardware: Hardware) -> str | None:
    """The line that brings down the first wall, where a line can."""
    there = hardware.nodes.get(gpu.needs)
    if there is None or case.managed:
        return None
    if NO_NODE in node.shut or MODE in node.shut:
        if case.proxmox:
            return _device(case.guest, gpu.needs)
        return f"lxc.mount.entry = {gpu.needs} {gpu.needs[1:]} none bind,optional,create=file"
    if CGROUP in node.shut and case.guest.program.blocks:
        kind, major, minor = there.number
        return f"{_ALLOW[case.proxmox]}{kind} {major}:{minor} rw"
    return None


def _device(guest: Guest, path: str) -> str:
    """A `devN` line for a node: in place of the one that it has, or behind all others."""
    lines = {passed.line.partition(":")[0]: passed.source for passed in guest.passed if passed.is_dev}
    own = [key for key, source in lines.items() if source == path]
    free = (f"dev{number}" for number in range(256) if f"dev{number}" not in lines)
    return f"{own[0] if own else next(free, 'devN')}: {line_for(path)}"


def _root_only(case: Case, access: GpuAccess, target: str) -> Iterable[Finding]:
    """Mode and group that keep out everybody inside but root; a group of its own is somebody's intent."""
    ways = [way for way in access.nodes[0].ways if way.is_open and not way.made]
    if any(way.others for way in ways) or not ways:
        return
    passed = next((one for one in case.guest.passed if one.line == ways[0].by[0]), None)
    if passed is None or passed.own is None or passed.own[2] != 0:
        return
    data = {"gpu": access.gpu.number, "line": passed.line, "write": _device(case.guest, passed.source)}
    yield Finding(GpuCode.ROOT_ONLY, target, data, fault=False)
