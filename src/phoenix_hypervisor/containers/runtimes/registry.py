"""The runtimes that Phoenix knows.

Owns their list and finding the one that a host has.  A runtime is a module of its own that
builds a `Runtime` and a `RuntimeKind`; nothing else names one.  Must not know how any works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.values import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from phoenix_hypervisor.containers.runtime import Runtime
    from phoenix_hypervisor.host.machine import Host


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeKind:
    """What is known of a runtime before there is a host."""

    name: str
    """As in `--runtime`, in journals, and in the schema's `x-becomes`."""
    title: str
    """`Proxmox VE`, in messages."""
    program: str
    """The program without which it can create and start nothing."""
    package: str
    """Debian's name of the package that has it."""
    found: Callable[[Host], bool]
    """Whether the host is one of this runtime, whatever state it is in."""
    build: Callable[[Host], Runtime]
    """The runtime on a host.  Raises PhoenixError where its containers cannot be seen."""


def _proxmox() -> RuntimeKind:
    from phoenix_hypervisor.containers.runtimes.proxmox import PROXMOX

    return PROXMOX


def _lxc() -> RuntimeKind:
    from phoenix_hypervisor.containers.runtimes.lxc import LXC

    return LXC


_KINDS: dict[str, Callable[[], RuntimeKind]] = {"proxmox": _proxmox, "lxc": _lxc}
"""Imported when asked for.  In the order in which a host is asked; the last is taken where none is found."""


def register(kind: RuntimeKind) -> None:
    """Add a runtime that is not part of Phoenix; it is asked for before all others."""
    known = dict(_KINDS)
    _KINDS.clear()
    _KINDS.update({kind.name: lambda: kind, **known})


def unregister(name: str) -> None:
    """Forget a runtime that was registered."""
    del _KINDS[name]


def names() -> tuple[str, ...]:
    """The names of all runtimes, in the order in which a host is asked."""
    return tuple(_KINDS)


def kinds() -> Iterator[RuntimeKind]:
    """All runtimes, in that order."""
    return (load() for load in list(_KINDS.values()))


def kind_named(name: str) -> RuntimeKind:
    """Raises PhoenixError for a name that no runtime has."""
    if name not in _KINDS:
        raise PhoenixError(f"runtime {name!r:.60} is not known", hint="known: " + ", ".join(_KINDS))
    return _KINDS[name]()


def kind_of(host: Host) -> RuntimeKind:
    """The runtime that `host` has: the first that finds itself there, else the last."""
    last = None
    for last in kinds():
        if last.found(host):
            break
    if last is None:
        raise PhoenixError("no runtime is registered")
    return last


def none_installed(host: Host) -> tuple[str, ...]:
    """What could run containers, where `host` runs and has none of it: neither a program nor a trace."""
    if not host.is_live or any(kind.found(host) or host.runner.find(kind.program) for kind in kinds()):
        return ()
    return tuple(f"{kind.title} ({kind.program})" for kind in kinds())
