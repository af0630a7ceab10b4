"""The registry of question kinds, and reading one from a JSON object or a table of a test file.

Owns which modules of `policy/kinds/` there are.  Must not know any kind's fields, nor answer.
Paths and peers are bytes; directories end in `/`, as the kernel writes them.
"""

from __future__ import annotations

from collections.abc import Mapping

from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.kinds import (
    attachment,
    capability,
    change_profile,
    dbus,
    file,
    io_uring,
    ipc,
    mount,
    mqueue,
    network,
    raw,
    userns,
)
from phoenix_hypervisor.policy.kinds.capability import CapabilityQuery
from phoenix_hypervisor.policy.kinds.change_profile import ChangeProfileQuery
from phoenix_hypervisor.policy.kinds.file import EachAccess, FileQuery, LinkQuery
from phoenix_hypervisor.policy.kinds.ipc import PtraceQuery, SignalQuery
from phoenix_hypervisor.policy.kinds.mount import MountQuery, PivotRootQuery, UmountQuery
from phoenix_hypervisor.policy.kinds.network import NetworkQuery
from phoenix_hypervisor.policy.kinds.userns import UsernsQuery
from phoenix_hypervisor.policy.query import Fields, Form, Query, RawQuery, show

__all__ = [
    "FORMS",
    "CapabilityQuery",
    "ChangeProfileQuery",
    "EachAccess",
    "FileQuery",
    "LinkQuery",
    "MountQuery",
    "NetworkQuery",
    "PivotRootQuery",
    "PtraceQuery",
    "Query",
    "RawQuery",
    "SignalQuery",
    "UmountQuery",
    "UsernsQuery",
    "parse_query",
    "show",
]

MODULES = (
    *(file, mount, capability, network, ipc, change_profile, userns, mqueue, io_uring, dbus),
    *(attachment, raw),
)
FORMS: Mapping[str, Form] = {form.name: form for module in MODULES for form in module.FORMS}


def parse_query(source: Mapping[str, object]) -> Query | RawQuery:
    """The query in `source`, which holds `kind` and that kind's fields and nothing else.

    Raises PolicyError that names the field at fault.
    """
    fields = Fields(source)
    kind = fields.text("kind").replace("-", "_")
    if kind not in FORMS:
        raise PolicyError(f"unknown kind {kind!r}")
    query = FORMS[kind].parse(fields)
    fields.done()
    return query
