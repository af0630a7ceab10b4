"""Containers whose profile refuses other containers' GPUs by name, and the proof that it does.

Owns which container gets which variant, and asking the compiled variants pairwise.  What a variant says is
`profiles.scoped`'s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

from phoenix_hypervisor.config.document import escape
from phoenix_hypervisor.containers.gpu_nodes import Nodes, hardware
from phoenix_hypervisor.errors import Problem
from phoenix_hypervisor.gpu.assignment import needed
from phoenix_hypervisor.gpu.hardware import ALL, Hardware, assigned
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.plan.declared import ContainerSpec, Desired
from phoenix_hypervisor.plan.fault_codes import Fault
from phoenix_hypervisor.plan.lines import variant
from phoenix_hypervisor.profiles.scoped import Scope, with_scoped
from phoenix_hypervisor.profiles.sources import Sources
from phoenix_hypervisor.values import TYPE_CHECKING, dataclass, replace

if TYPE_CHECKING:
    from phoenix_hypervisor.policy.evaluate import Evaluator

_CAP = re.compile(r"/dev/nvidia-caps/nvidia-cap([0-9]+)")
_OWN = re.compile(r"/(nvidia|nvidia-cap|card|renderD)[0-9]+$")
PLACES = ("/dev", "/mnt/any/dev")
"""Where a node may be inside: in its place, and bound anywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """What the proof of all pairs says."""

    proven: int
    """Ordered pairs of containers of which the first's policy opens no node of the second's."""
    problems: tuple[Problem, ...]
    cgroup_only: tuple[str, ...]
    """Containers that can make a node of any name: behind the profile stands the device cgroup alone."""


def scoped(host: Host, desired: Desired, sources: Sources) -> tuple[Desired, Sources]:
    """What is declared, each container with the end of its variant's name; and the variants' sources."""
    found = hardware(host, Nodes(host))
    containers: dict[str, ContainerSpec] = {}
    wanted: dict[tuple[str, str], Scope] = {}
    for ctid, spec in desired.containers.items():
        containers[ctid] = spec
        if not spec.scope_gpus or ALL in spec.gpus:
            continue
        scope = _scope(spec, found)
        containers[ctid] = replace(spec, scope=scope.suffix)
        for unprivileged in (False, True):
            # An existing container may be of the other kind than it is declared.
            base = variant(spec.profile, unprivileged, desired.shipped)
            wanted[base, scope.suffix] = scope
    more = with_scoped(sources, ((base, scope) for (base, _), scope in wanted.items()))
    shipped = desired.shipped | frozenset(more.made_of)
    return replace(desired, containers=containers, shipped=shipped), more


def _scope(spec: ContainerSpec, found: Hardware) -> Scope:
    meant = assigned(spec.gpus, found)
    # Without the host, a number is NVIDIA's.
    numbers = {int(word) for word in meant.unknown if word.isdecimal()}
    own = needed(meant, found)
    numbers |= {int(m[1]) for path in own if (m := re.fullmatch(r"/dev/nvidia([0-9]+)", path))}
    caps = [int(m[1]) for path in own if (m := _CAP.fullmatch(path))]
    others = tuple(
        path
        for gpu in found.gpus
        for path in gpu.nodes
        if gpu.number not in meant.numbers and path.startswith("/dev/dri/")
    )
    return Scope(gpus=frozenset(numbers), caps=frozenset(caps) if caps else None, others=others)


def prove_pairs(desired: Desired, host: Host, blobs: Mapping[str, bytes]) -> Pairs:
    """That no scoped container's policy opens a node of a GPU that only another one is assigned."""
    from phoenix_hypervisor.policy.constants import CAPABILITIES
    from phoenix_hypervisor.policy.evaluate import Evaluator
    from phoenix_hypervisor.policy.queries import CapabilityQuery
    from phoenix_hypervisor.policy.reader import read_policy

    found = hardware(host, Nodes(host))
    judges: dict[str, Evaluator] = {}
    nodes = {ctid: _nodes(spec, found) for ctid, spec in desired.containers.items() if spec.gpus}
    problems: list[Problem] = []
    makes: list[str] = []
    proven = 0
    for ctid, spec in desired.containers.items():
        name = _profile(spec, desired)
        if not spec.scope or name not in blobs:
            continue
        if name not in judges:
            (profile,) = [p for p in read_policy(blobs[name]).profiles if p.name == name.encode()]
            judges[name] = Evaluator(profile)
        judge = judges[name]
        mknod = judge.ask(CapabilityQuery(CAPABILITIES.index("mknod"))).allowed
        if mknod and not spec.unprivileged:
            makes.append(ctid)
        for other, theirs in nodes.items():
            if other == ctid:
                continue
            foreign = [path for path in theirs if path not in nodes.get(ctid, ())]
            opened = next(filter(partial(_opens, judge), foreign), None)
            if opened is not None:
                text = f"{name} lets it open {opened}, which is assigned to container {other}"
                problems.append(Problem(text, f"/lxc_configs/{escape(ctid)}", code=Fault.GPU_REACHED))
            else:
                proven += 1
    return Pairs(proven=proven, problems=tuple(problems), cgroup_only=tuple(makes))


def _nodes(spec: ContainerSpec, found: Hardware) -> tuple[str, ...]:
    """The nodes of GPUs and slices that are a container's own, without those that all share."""
    meant = assigned(spec.gpus, found)
    own = [
        path for path in needed(meant, found) if re.search(r"/(nvidia|nvidia-cap|card|renderD)[0-9]+$", path)
    ]
    return (*own, *(f"/dev/nvidia{word}" for word in meant.unknown if word.isdecimal()))


def _profile(spec: ContainerSpec, desired: Desired) -> str:
    name = f"{variant(spec.profile, spec.unprivileged, desired.shipped)}-{spec.scope}"
    return name if spec.scope and name in desired.shipped else spec.profile


def _opens(judge: Evaluator, path: str) -> bool:
    names = [path.replace("/dev", place, 1).encode() for place in PLACES]
    return any(judge.file(name, access).allowed for name in names for access in "rw")
