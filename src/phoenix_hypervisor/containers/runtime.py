"""What every runtime offers.

Owns the interface between containers and the programs that run them; which runtimes there
are is in `containers.runtimes.registry`.  A runtime knows where configurations lie, how they are
locked, and the exact processes that create, start and restart a container; it must not
decide when.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from phoenix_hypervisor.containers.conf import Dialect
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.kernel import Process
from phoenix_hypervisor.plan.declared import ContainerSpec
from phoenix_hypervisor.plan.model import AtWork, Elsewhere, Manager, Note, ReadOnly
from phoenix_hypervisor.values import dataclass


class Runtime(Protocol):
    """One way to run containers, on one host."""

    name: str
    dialect: Dialect
    conf_dir: str
    """Host path of the directory below which all configurations lie."""

    def line_value(self, profile: str, explicit_unconfined: bool) -> str | None:
        """What `lxc.apparmor.profile` is set to for a declared profile; None: no line."""
        ...

    def without_line(self) -> str:
        """What applies to a container that has no line, in one sentence."""
        ...

    def own_profiles(self, ctid: str) -> tuple[str, ...]:
        """The profiles that it confines a container without a line by; `*` ends the beginning of a name."""
        ...

    def conf_path(self, ctid: str) -> str:
        """Host path of a container's configuration."""
        ...

    def require(self) -> None:
        """Raise PhoenixError where no configuration can be reached, so that none is taken for missing."""
        ...

    def ctids(self) -> list[str]:
        """Every container with a configuration on this node, in numeric order."""
        ...

    def names(self) -> list[str]:
        """Every container of this node, those too whose name is no CTID."""
        ...

    def read_conf(self, ctid: str) -> bytes | None:
        """A container's configuration, or None where it has none on this node."""
        ...

    def replace_conf(self, ctid: str, data: bytes, *, before: bytes) -> None:
        """Replace a configuration atomically while it still holds `before`."""
        ...

    def leftovers(self) -> list[str]:
        """Host paths of temporary files that a killed run left beside configurations."""
        ...

    def elsewhere(self) -> Mapping[str, Elsewhere]:
        """Ids that are taken by something that is not a container of this node."""
        ...

    def read_only(self) -> ReadOnly | None:
        """Why no configuration can be written now, where that is so."""
        ...

    def locked(self, ctid: str, reason: str) -> AtWork:
        """What it means that a container's configuration says that it is locked."""
        ...

    def manager(self, ctid: str) -> Manager | None:
        """Who starts and stops a container in the runtime's place, where somebody does."""
        ...

    def node(self) -> str | None:
        """What this node is called in its cluster, or this host; None where that is not known."""
        ...

    def lock(self, ctid: str) -> AbstractContextManager[None]:
        """The runtime's own lock of one configuration.  Never held while running `pct`."""
        ...

    def processes(self) -> dict[str, list[Process]] | None:
        """The processes of every running container, by its name; None where that is not known."""
        ...

    def unsettled(self) -> frozenset[str]:
        """The containers that are starting or stopping, and whose configuration may yet be written."""
        ...

    def creation_problems(self, spec: ContainerSpec) -> list[Note]:
        """What makes `create` fail for certain: missing device nodes, missing fields."""
        ...

    def create_argv(self, spec: ContainerSpec) -> tuple[str, ...]: ...

    def create_file(self, spec: ContainerSpec) -> tuple[str, bytes] | None:
        """A file that the creating process reads: host path and content, if any."""
        ...

    def start_argv(self, ctid: str) -> tuple[str, ...]: ...

    def restart_argv(self, ctid: str) -> tuple[tuple[str, ...], ...]:
        """The processes that stop it cleanly and start it again, in order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One configuration, where it was found."""

    name: str
    path: str
    """Its host path."""
    node: str | None
    """The node that it is on, where that was asked for."""
    here: bool
    """That is this node."""
    data: bytes | None
    """None: it went meanwhile, or cannot be read."""
    error: PhoenixError | None = None
    """Why it cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookPlace:
    """Where a script goes that containers may name, to be asked before they start."""

    folder: str
    """Host path of its directory."""
    file: str
    """Its name there."""
    key: str
    """The key by which a container's configuration names it."""
    value: str
    """What stands there."""
    shared: bool = False
    """Other nodes of the cluster see the same file."""
    name_it: str
    """What makes a container name it, `{ctid}` in the container's place."""
    forget_it: str
    """What takes that out again."""

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.file}"


@runtime_checkable
class Hooking(Protocol):
    """A runtime whose containers can name a script that is run before they start."""

    def hook_place(self, storage: str | None) -> HookPlace:
        """Where it goes; `storage` is the operator's choice.  Raises PhoenixError where there is none."""
        ...


@runtime_checkable
class Clustered(Protocol):
    """A runtime that sees the configurations of other nodes."""

    shared_dir: str
    """Host path of what the nodes have in common."""

    def node(self) -> str | None: ...

    def read_only(self) -> ReadOnly | None: ...

    def shared_lock(self) -> AbstractContextManager[None]:
        """A lock of the whole cluster, to be held for less than a minute."""
        ...

    def ctids(self) -> list[str]: ...

    def elsewhere(self) -> Mapping[str, Elsewhere]: ...

    def other_nodes(self) -> list[str]:
        """The names of the other nodes, sorted."""
        ...

    def on_node(self, node: str) -> Neighbouring:
        """Another node's containers, to read."""
        ...

    def on_other_nodes(self) -> Iterator[Found]:
        """Every configuration of the other nodes, node by node and in numeric order."""
        ...


class Neighbouring(Runtime, Protocol):
    """Another node's containers, to read; what runs there is not known."""

    def close(self) -> None:
        """Let go of what is held open."""
        ...
