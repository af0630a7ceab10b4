"""What is not as assigned of the GPUs of declared containers.

Owns gathering it for `status`, `verify` and `plan`; the findings are `gpu.findings`'.  Nothing is
looked at on a host without GPUs.
"""

from __future__ import annotations

from collections.abc import Sequence

from phoenix_hypervisor.containers.conf import Dialect
from phoenix_hypervisor.containers.device_lines import Guests
from phoenix_hypervisor.containers.gpu_nodes import Nodes, hardware
from phoenix_hypervisor.engine.opening import Policies
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.gpu.access import Judge
from phoenix_hypervisor.gpu.findings import Case, findings
from phoenix_hypervisor.gpu.hardware import assigned
from phoenix_hypervisor.plan.declared import ContainerSpec
from phoenix_hypervisor.plan.model import ContainerState, Finding


def gpu_faults(
    session: Session, pairs: Sequence[tuple[ContainerSpec, ContainerState]], *, after: bool
) -> dict[str, list[Finding]]:
    """By CTID, all of them; `after`: of the configuration as it would be, else as it is."""
    nodes = Nodes(session.host)
    found = hardware(session.host, nodes)
    guests = Guests(session.host, session.runtime, nodes)
    judge = Judge(found, nodes.at, Policies(session))
    result: dict[str, list[Finding]] = {}
    for spec, state in pairs:
        data = state.after if after else state.data
        if data is None or state.fault is not None:
            continue
        guest = guests.of_data(spec.ctid, data)
        if guest.fault is not None:
            continue
        case = Case(
            guest=guest,
            gpus=judge.judge(guest),
            shared=judge.shared(guest),
            meant=assigned(spec.gpus, found),
            named=spec.gpus_named,
            proxmox=session.runtime.dialect is Dialect.PVE,
            managed=spec.manage_gpus,
        )
        result[spec.ctid] = findings(case, found, nodes.at)
    return result
