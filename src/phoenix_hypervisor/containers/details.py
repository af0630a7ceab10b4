"""What a configuration says that no decision is made from: for people who look.

Owns reading a container's name, its GPU's device nodes and what its snapshots hold.  Pure; asked
only by what shows a container or looks for its name, never by a run that is at rest.
"""

from __future__ import annotations

import re

from phoenix_hypervisor.containers.conf import HEADER, Conf, Dialect, parse, unquoted
from phoenix_hypervisor.plan.model import Details

_PVE_NAME = re.compile(rb"(?m)^hostname:[ \t]*([^\s]+)[ \t\r]*$")
_LXC_NAME = re.compile(rb"(?m)^[ \t]*lxc\.(?:uts\.name|utsname)[ \t]*=[ \t]*[\"']?([^\s\"']+)")
_NODE = rb"/dev/(?:nvidia[^\s,:;]*|dri(?:/[^\s,:;]+)?|kfd)"
_PASSED = re.compile(
    rb"(?m)^(?:dev[0-9]+:[ \t]*(?:[^\n]*?path=)?|mp[0-9]+:[ \t]*"
    rb"|[ \t]*lxc\.mount\.entry[ \t]*[:=][ \t]*)(" + _NODE + rb")(?=[\s,]|$)"
)
"""Proxmox's `devN` and `mpN`, and LXC's bind mount, of a node that GPUs are used by."""


def hostname(data: bytes, dialect: Dialect) -> str:
    """The container's own name; empty where it has none, and then it is called by its CTID."""
    return _name(parse(data, dialect))


def _name(conf: Conf) -> str:
    pattern = _PVE_NAME if conf.dialect is Dialect.PVE else _LXC_NAME
    found = pattern.findall(conf.data, 0, conf.head)
    return found[-1].decode("utf-8", "surrogateescape") if found else ""


def details(data: bytes, dialect: Dialect) -> Details:
    """All of it, of one configuration; never raises."""
    conf = parse(data, dialect)
    return Details(
        hostname=_name(conf),
        gpu_nodes=gpu_nodes(conf),
        snapshots=other_snapshots(conf, conf.assigned) if dialect is Dialect.PVE else (),
    )


def gpu_nodes(conf: Conf) -> tuple[str, ...]:
    """The host's nodes that it passes on to the container, in order, each once."""
    if b"/dev/" not in conf.data:
        return ()
    found = _PASSED.findall(conf.data, 0, conf.head)
    return tuple(dict.fromkeys(node.decode("utf-8", "surrogateescape") for node in found))


def other_snapshots(conf: Conf, profile: str | None) -> tuple[tuple[str, str | None], ...]:
    """Snapshots that hold another profile than this one, or none: a rollback brings it back."""
    data = conf.data
    if b"[" not in data:
        return ()
    headers = [match for match in HEADER.finditer(b"\n" + data) if match[1] is not None]
    now = None if profile is None else unquoted(profile)
    found = []
    for index, match in enumerate(headers):
        end = headers[index + 1].start() if index + 1 < len(headers) else len(data)
        held = parse(data[match.end() - 1 : end]).assigned
        held = None if held is None else unquoted(held)
        if match[1].lower() != b"pve:pending" and held != now:
            found.append((match[1].decode(), held))
    return tuple(found)
