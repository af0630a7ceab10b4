"""What a decision is made from.

Owns the frozen facts about a host, read once by `engine.gather`, and what was asked.  Every
decision has one form: facts, and the plan so far, give what is to be added to that plan.
Must not read anything, nor decide anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from phoenix_hypervisor.plan.declared import ContainerSpec
from phoenix_hypervisor.plan.model import (
    Assignments,
    ContainerState,
    FileState,
    Note,
    Plan,
    ProfileState,
    ReadOnly,
)
from phoenix_hypervisor.values import TYPE_CHECKING, dataclass, field

Processes = tuple[tuple[str, ...], ...]
"""Argument vectors, in order."""

Answers = Mapping[str, Mapping[str, str | None] | None]
"""By profile and by what was asked of it, the first question that it refuses, or None; None: a profile that
is not ours to compile."""

if TYPE_CHECKING:
    from typing import TypeVar

    from phoenix_hypervisor.plan.trials import Trial

    Facts = TypeVar("Facts", contravariant=True)
    Decide = Callable[[Facts, Plan], Plan]
    """Facts and the plan so far; returns what is added to it.  Pure."""


@dataclass(frozen=True, slots=True)
class KernelArgv:
    """The processes that change the kernel's policy."""

    replace: tuple[str, ...]
    """Loads the compiled policy whose path follows."""
    directory: str
    """Where our compiled copies are, one file for each profile."""
    unload: tuple[str, ...]
    """Unloads the profile named on its standard input."""

    def load(self, name: str) -> tuple[str, ...]:
        """The process that loads our compiled copy of profile `name`."""
        return (*self.replace, f"{self.directory}/{name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was asked."""

    named: bool = False
    """Containers were named, not taken from all that are declared."""
    setup: bool = False
    """Only the profiles: no container is reassigned."""
    start: bool = True
    restart: bool = False
    adopt: frozenset[str] = frozenset()
    """Files and profiles of others that may be taken over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Compiled policy by profile, and what the parser warned of."""

    blobs: Mapping[str, bytes] = field(default_factory=dict)
    warnings: tuple[tuple[str, str], ...] = ()
    """Source and words."""
    complaining: tuple[str, ...] = ()
    """Sources of profiles in complain mode."""
    processes: tuple[tuple[str, ...], ...] = ()
    refused: Answers = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileFacts:
    """Sources on one side, /etc/apparmor.d and the kernel on the other."""

    wish: Wish
    live: bool
    """A running system, not a directory."""
    kernel: bool
    """It has AppArmor, and its policy may be changed."""
    service: bool
    """Policy is loaded by `systemctl reload apparmor.service`."""
    files: tuple[FileState, ...]
    """Includes first: a profile must never be installed before what it includes."""
    profiles: tuple[ProfileState, ...]
    no_longer_accepted: tuple[FileState, ...] = ()
    """Installed files of accepted rules that have no source any more."""
    loaded: Mapping[str, str] = field(default_factory=dict)
    """Mode by name of all that the kernel has."""
    recorded: Mapping[str, str] = field(default_factory=dict)
    """Closure by name of what Phoenix last loaded."""
    former: Mapping[str, bytes | None] = field(default_factory=dict)
    """What the kernel has of each profile that it needs anew, where that is known."""
    new: tuple[str, ...] = ()
    """The profiles that Phoenix would install for the first time."""
    defined: Mapping[str, str] = field(default_factory=dict)
    """Which file of others defines one of those already."""
    leftovers: tuple[str, ...] = ()
    """Temporary files of killed runs."""
    stale_caches: tuple[str, ...] = ()
    """Boot-time cache entries that the next boot would take for right."""
    not_shipped: tuple[str, ...] = ()
    """Files that Phoenix installed and that have no source any more."""
    blockers: tuple[Note, ...] = ()
    """Places that others can write, and profiles that are switched off."""
    left_out: tuple[str, ...] = ()
    """Optional includes that this parser does not know."""
    in_vain: tuple[tuple[str, str], ...] = ()
    """Sources that were edited, and what counts in their place on this parser."""
    argv: KernelArgv
    proof: Proof | None = None
    """Of what the plan loads; None: not compiled yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """How a missing container is made, and why that would fail."""

    process: tuple[str, ...]
    problems: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerFacts:
    """The declared containers that were asked for."""

    wish: Wish
    live: bool
    node: str | None = None
    """What this node is called; None: not known."""
    nodes: tuple[str, ...] | None = None
    """Every node of the cluster; None: there is none, or nothing asks for it."""
    refused: Answers | None = None
    """As in `Proof`; None: compiled policy has not been asked yet."""
    no_runtime: tuple[str, ...] = ()
    """What could run containers, where this host has none of it."""
    read_only: ReadOnly | None = None
    """Why no configuration can be written now."""
    pairs: tuple[tuple[ContainerSpec, ContainerState], ...] = ()
    creations: Mapping[str, Creation] = field(default_factory=dict)
    """By CTID, for those that do not exist."""
    starts: Mapping[str, Processes] = field(default_factory=dict)
    """By CTID, the processes that start what does not run."""
    restarts: Mapping[str, Processes] = field(default_factory=dict)
    """By CTID, those that restart what runs, where restarts were asked for."""
    loaded: Mapping[str, str] | None = None
    """Mode by name of all that the kernel has; None: AppArmor is off."""
    gpus: Mapping[str, tuple[Note, ...]] = field(default_factory=dict)
    """By CTID, what of its GPUs will not be as assigned."""
    trials: Mapping[str, Trial] = field(default_factory=dict)
    """By CTID, those that are on record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retirement:
    """A deprecated profile that is still installed or loaded."""

    name: str
    successor: str
    path: str | None
    """Host path of its file; None when only loaded."""
    data: bytes | None
    loaded: bool
    keep: tuple[str, str] | None
    """A reason never to remove it: `stock`, `package`, `defines` or `unreadable`; and by what."""
    processes: tuple[int, ...] = ()
    foreign: bool = False
    """Phoenix did not install that file."""
    compiled: bytes | None = None
    """What the kernel has of it, where that is known."""
    closure: str | None = None
    """What Phoenix last loaded of it."""
    stat: str | None = None
    """Mode and owner of its file, where that is not ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetirementFacts:
    """The deprecated profiles that are still there."""

    wish: Wish
    live: bool
    retirements: tuple[Retirement, ...] = ()
    assignments: Assignments = field(default_factory=lambda: Assignments({}))
    declared: frozenset[str] = frozenset()
    pids: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """The processes of each container that was asked for: a restart ends them."""
    argv: KernelArgv
