"""What a plan can do: one frozen type for each kind of step, with its own fields and no others.

Owns the types and their families.  A family says what else follows from being one: `Stays` is
never taken back, `Kernel` is taken back after all files.  Pure data; must not decide anything
nor know how a step is done.

A new type joins the union of the room that performs it.  Wherever a step's type matters the code
matches on it and ends with `assert_never`, so a type that one place forgets does not type-check.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from phoenix_hypervisor.values import dataclass, field

PROFILE_KEY = "lxc.apparmor.profile"
NESTING_KEY = "lxc.apparmor.allow_nesting"
SECCOMP_KEY = "lxc.seccomp.profile"
MANAGED_KEYS = (PROFILE_KEY, NESTING_KEY, SECCOMP_KEY)
"""The raw lines of a container's configuration that Phoenix may write; of others only `devN`."""


def is_device_key(key: str) -> bool:
    """Whether it is one of Proxmox's dev0 to dev255; they follow `gpu_assignment` on request."""
    return key[:3] == "dev" and key[3:].isdecimal() and len(key) <= len("dev255")


UNRECORDED = {"recorded": False}
"""Metadata of a field that no journal holds: it is on disk elsewhere."""


class Stays:
    """Never taken back: a container may hold data from its first second."""

    __slots__ = ()


class Kernel:
    """Changes the kernel's policy; taken back last, when the files are as they were."""

    __slots__ = ()


class LoadWhy(Enum):
    """Why the kernel needs a profile."""

    MISSING = "missing"
    CHANGED = "changed"
    NEW = "new"
    """Phoenix has not loaded it yet."""
    DIFFERS = "differs"
    """The kernel has another policy of that name."""
    INCLUDE = "include"
    """A file that it includes goes back."""
    TRIAL = "trial"
    """A trial begins: it lets through, and logs, what its profile merely does not allow."""
    TRIAL_OVER = "trial-over"
    """It ends: the copy refuses what its profile refuses."""


class SweepWhy(Enum):
    """What a file that is removed for good was."""

    LEFTOVER = "leftover"
    """A killed run's temporary file."""
    CACHE = "cache"
    """A boot-time cache entry that was not made from the files as they are now."""


# Profiles ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptFile(Stays):
    """Count a file as ours that has the bytes of its source."""

    kind = "adopt"
    target: str
    """The profile that it defines, or an include's path below /etc/apparmor.d."""
    path: str
    after: bytes
    """The bytes that count as ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallFile:
    """Write one file."""

    kind = "install"
    target: str
    path: str
    before: bytes | None
    after: bytes
    profile: str | None
    """The profile that the file defines."""
    foreign: bool = False
    """`before` is somebody else's file."""
    returns: bool = False
    """`after` is somebody else's file, which comes back."""
    takes_back: bool = False
    """Made by `plan.inverse`: what is already as wanted stays."""
    before_stat: str | None = None
    """Mode (octal) and owner, `MODE UID GID`, of somebody else's file in `before`."""
    after_stat: str | None = None
    """What the file gets with `after`, where that is not what Phoenix gives its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveFile:
    """Remove one file; `before` None: it was not there any more."""

    kind = "remove"
    target: str
    path: str
    before: bytes | None
    profile: str | None
    successor: str | None = None
    """The profile to use instead of a deprecated one."""
    foreign: bool = False
    takes_back: bool = False
    before_stat: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepFile(Stays):
    """Remove a file that has no use any more."""

    kind = "sweep"
    target: str
    path: str
    why: SweepWhy | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadProfile(Kernel):
    """Load our compiled copy of a profile into the kernel."""

    kind = "load"
    target: str
    before: bytes | None
    """What the kernel has of it, where that is known."""
    after: bytes | None = field(metadata=UNRECORDED)
    """What is loaded; None: what the installed file compiles to."""
    processes: tuple[tuple[str, ...], ...]
    closure: str | None
    """Hash of the source and of all that it includes."""
    old_closure: str | None
    """Closure of what Phoenix last loaded, where there is one."""
    replaces: bool
    """The kernel already has a profile of that name."""
    takes_back: bool = False
    why: LoadWhy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnloadProfile(Kernel):
    """Take a profile out of the kernel."""

    kind = "unload"
    target: str
    before: bytes | None
    """What the kernel has of it, where that is known."""
    after: bytes | None = field(default=None, metadata=UNRECORDED)
    """The compiled copy that is kept on record all the same."""
    processes: tuple[tuple[str, ...], ...]
    old_closure: str | None
    takes_back: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadService(Kernel):
    """Let the service load all profiles from their files."""

    kind = "reload-service"
    target: str
    processes: tuple[tuple[str, ...], ...]
    closures: Mapping[str, str]
    """Closure by name of every profile that must be loaded afterwards."""
    old_closures: Mapping[str, str]
    """Closures of those that were loaded before."""
    names: tuple[str, ...] = ()
    """The profiles that it is done for."""
    takes_back: bool = False


# Containers -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateContainer(Stays):
    """Make a container that is declared and not there."""

    kind = "create"
    target: str
    name: str
    processes: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LineChange:
    """What one managed line becomes; None stands for no line."""

    key: str
    """One of MANAGED_KEYS, or a `devN`."""
    value: str | None
    old: str | None
    """The value that counted before, where that is known."""

    def swapped(self) -> LineChange:
        """What takes it back."""
        return LineChange(key=self.key, value=self.old, old=self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignLines:
    """Change managed lines of one container's configuration, all in one write.

    A line is kept where it stands; a new one goes beside the profile's.
    """

    kind = "assign"
    target: str
    path: str
    before: bytes | None
    """The configuration as planned from; None where the container is created in the same run."""
    after: bytes | None
    lines: tuple[LineChange, ...]
    takes_back: bool = False
    """Made by `plan.inverse`: of a configuration that others have changed meanwhile only the lines
    are put back."""
    alone: bool = False
    """Others have changed the file: `after` is theirs, with the lines put back."""

    def change(self, key: str) -> LineChange | None:
        """What becomes of the line `key`; None where it is not touched."""
        return next((line for line in self.lines if line.key == key), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartContainer(Stays):
    """Start a container that is stopped."""

    kind = "start"
    target: str
    profile: str | None
    """The profile line that it must have; None: no line."""
    processes: tuple[tuple[str, ...], ...]
    asks: str | None = field(default=None, metadata=UNRECORDED)
    """Who is asked to start it, and starts it then by itself: `HA`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartContainer(Stays):
    """Stop a container cleanly and start it again, so that its profile takes effect."""

    kind = "restart"
    target: str
    profile: str | None
    processes: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialTimer(Stays):
    """Let systemd end a container's trial at some time, or forget about that.

    Never taken back: a timer that finds no trial does nothing.
    """

    kind = "trial-timer"
    target: str
    until: str | None
    """When; None: not any more."""
    processes: tuple[tuple[str, ...], ...]
    """Only the last one that begins a timer must succeed: there may be none to stop."""


ProfileAction = AdoptFile | InstallFile | RemoveFile | SweepFile | LoadProfile | UnloadProfile | ReloadService
"""What `profiles.install` performs."""
ContainerAction = CreateContainer | AssignLines | StartContainer | RestartContainer | TrialTimer
"""What `containers.steps` performs."""
Action = ProfileAction | ContainerAction


def processes_of(action: Action) -> tuple[tuple[str, ...], ...]:
    """The argument vectors that an action runs, in order; none for work on files."""
    if isinstance(action, InstallFile | RemoveFile | AdoptFile | SweepFile | AssignLines):
        return ()
    return action.processes


def path_of(action: Action) -> str | None:
    """The host path that an action writes, where it is one file's."""
    if isinstance(action, InstallFile | RemoveFile | AdoptFile | SweepFile | AssignLines):
        return action.path
    return None
