"""The values that current state and plan are made of.

Owns plain data: what is there, and what follows from it (what is declared: `plan.declared`; what
would be done: `plan.actions`).  Pure and frozen; must not read anything nor decide anything.
`profiles` and `containers` fill in the current side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum

from phoenix_hypervisor.plan.actions import (
    PROFILE_KEY,
    Action,
    AssignLines,
    LineChange,
    LoadWhy,
    is_device_key,
)
from phoenix_hypervisor.plan.declared import is_ctid
from phoenix_hypervisor.plan.roles import Coded
from phoenix_hypervisor.values import TYPE_CHECKING, dataclass, field, fields

if TYPE_CHECKING:
    from typing import Any


@dataclass(frozen=True, slots=True)
class ProcessLabel:
    """One process of a container and the label it runs under."""

    pid: int
    label: str


@dataclass(frozen=True, slots=True)
class AtWork:
    """The runtime is at work on a container: the data of `locked` and its like."""

    by: str
    """What the runtime is called; empty where that says nothing."""
    reason: str
    """The runtime's own word: `backup`, `snapshot`."""
    command: str | None = None
    """What ends that state by hand."""


@dataclass(frozen=True, slots=True)
class ReadOnly:
    """No configuration can be written now: the data of `read-only`."""

    cause: str
    """`no-quorum`, or as the runtime says it."""
    command: str | None = None
    """What shows more."""


@dataclass(frozen=True, slots=True)
class Manager:
    """Who starts and stops a container in the runtime's place: the data of `ha-stopped` and its like."""

    by: str
    """What it is called: `HA`."""
    service: str
    """What it calls the container: `ct:950`."""
    state: str
    """What it is told to bring about: `started`, `stopped`, `disabled`."""
    command: str
    """What tells it to start the container."""

    @property
    def starts(self) -> bool:
        """It starts the container when it is asked to; else it was told to keep it stopped."""
        return self.state == "started"


@dataclass(frozen=True, slots=True)
class NextStart:
    """The next start replaces the raw lines of a configuration: the data of `pending-raw`."""

    path: str
    profile: str | None
    """The profile line that counts then; None: no line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfFault:
    """A configuration that cannot be edited safely: the data of `conf-unusable`."""

    path: str
    reason: str
    """What the codec calls it, or `unreadable`."""
    why: str
    next: str | None


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What an id is used for that is no container of this node: a `VM` on a node; None: this one."""

    kind: str
    node: str | None
    is_container: bool


Cause = AtWork | ReadOnly | Manager | NextStart | ConfFault


def because(code: Coded, target: str, cause: Cause) -> Note:
    """The note that says `cause`."""
    return Note(code, target, cause_data(cause))


def cause_data(cause: Cause) -> dict[str, Any]:
    return {one.name: getattr(cause, one.name) for one in fields(cause)}


@dataclass(frozen=True, slots=True)
class Ask:
    """Something that a container's configuration asks for, and a profile may refuse."""

    what: str
    """`mount nfs`, `device /dev/net/tun`, or a use of which `engine.losses` has the questions."""
    line: str
    """The line that asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a configuration asks for: read of a container whose profile would change, or that is looked at."""

    named: bool
    """The wanted line names a profile: in its place the runtime would generate one."""
    asks: tuple[Ask, ...] = ()
    raw: tuple[str, ...] = ()
    """The values of `lxc.apparmor.raw`, which extend LXC's generated profile and no other."""
    all_devices: str | None = None
    """The line that opens every device node to it."""
    snapshots: tuple[tuple[str, str | None], ...] = ()
    """Snapshots that hold another profile line than the wanted one, each with its value; None: no line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Managed:
    """What becomes of a container's `devN` lines, where they follow its `gpu_assignment`."""

    lines: tuple[LineChange, ...] = ()
    refusals: tuple[Note, ...] = ()
    warnings: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerState:
    """One container as found; `data` is None where it has no configuration here."""

    ctid: str
    path: str = ""
    """Host path of its configuration."""
    data: bytes | None = None
    after: bytes | None = None
    """`data` with the declared profile assigned; the same object when equal."""
    wanted: str | None = None
    """The line's value as declared for this runtime; None means no line."""
    own_profiles: tuple[str, ...] = ()
    """What the runtime confines it by where there is no line; `*` at the end stands for anything."""
    assigned: str | None = None
    fault: ConfFault | None = None
    """Why the configuration cannot be edited."""
    lock: AtWork | None = None
    manager: Manager | None = None
    next_start: NextStart | None = None
    """Why its next start would not run it under the line's value, whatever that is made."""
    is_template: bool = False
    elsewhere: Elsewhere | None = None
    warnings: tuple[Note, ...] = ()
    running: bool | None = None
    """None: not known (a directory host without /proc)."""
    init: ProcessLabel | None = None
    processes: tuple[ProcessLabel, ...] = ()
    sections: tuple[str, ...] = ()
    """The snapshots and pending changes where the wanted line stands, while it does not count."""
    was_written: bool = False
    """Phoenix itself once made the line as declared."""
    unprivileged: bool = False
    features: str = ""
    """Proxmox's `features` of its configuration, or as declared where it has none."""
    wishes: Wishes | None = None
    """None: not read, because its profile line stays as it is."""
    several: bool = False
    """More than one profile line counts; they are to be one."""
    lines: tuple[LineChange, ...] = ()
    """What becomes of the lines beside the profile line."""
    kept_lines: tuple[str, ...] = ()
    """Keys beside the profile line where somebody else's value counts."""
    missing_file: str | None = None
    """The seccomp file that the configuration will name, where it is not there."""
    refusals: tuple[Note, ...] = ()
    """Why its lines cannot be made as declared."""

    @property
    def changes_devices(self) -> bool:
        """Its `devN` lines are not as declared."""
        return any(is_device_key(line.key) for line in self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What a configuration says that is only shown: read where somebody asks for it."""

    hostname: str = ""
    gpu_nodes: tuple[str, ...] = ()
    """The host's device nodes of GPUs that it passes on."""
    snapshots: tuple[tuple[str, str | None], ...] = ()
    """Snapshots that hold another profile than counts now, each with that profile; None: no line."""


@dataclass(frozen=True, slots=True)
class Assignments:
    """Which profile each container of a node is assigned."""

    values: Mapping[str, str | None]
    """By the container's name, mostly a CTID; None without a line."""
    unknown: tuple[str, ...] = ()
    """Containers whose configuration cannot be read: each may be assigned anything."""

    kept: tuple[tuple[str, str, str], ...] = ()
    """Container, section and profile of each line in a snapshot or in `[pve:pending]`: it may come back."""

    def keepers(self, profile: str) -> tuple[tuple[str, str], ...]:
        """Container and section of each line with `profile` that may come back."""
        return tuple((name, where) for name, where, value in self.kept if profile in value.split("//&"))

    def users(self, profile: str) -> tuple[str, ...]:
        """The containers that are assigned `profile`, alone or in a stack."""
        found = (name for name, value in self.values.items() if value and profile in value.split("//&"))
        return tuple(sorted(found, key=lambda name: (not is_ctid(name), len(name), name)))

    def after(self, actions: Iterable[Action]) -> Assignments:
        """As they are once some actions are done."""
        assigned = {
            action.target: line.value
            for action in actions
            if isinstance(action, AssignLines) and (line := action.change(PROFILE_KEY)) is not None
        }
        return Assignments({**self.values, **assigned}, self.unknown, self.kept)


class Ownership(Enum):
    """Whose an installed file is."""

    ABSENT = "absent"
    OURS = "ours"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """One file that Phoenix wants in /etc/apparmor.d."""

    path: str
    source: str
    wanted: bytes
    installed: bytes | None
    ownership: Ownership
    recorded: bool
    """The manifest already names it with these bytes and no other."""
    profile: str | None = None
    """The profile it defines; None for an include."""
    fault: str | None = None
    stat: str | None = None
    """Mode and owner, `MODE UID GID`, of a file that is not ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileState:
    """One shipped profile; `closure` hashes its source and everything it includes."""

    name: str
    source: str
    closure: str
    loaded_closure: str | None
    """Closure of what Phoenix last loaded."""
    mode: str | None
    """Mode in the kernel; None: not loaded."""
    kernel_known: bool
    includes: tuple[str, ...] = ()
    """Host paths of our own files that it includes."""
    differs: str | None = None
    """What the kernel has of it is not our compiled copy: itself, or a child's name."""

    @property
    def why(self) -> LoadWhy | None:
        """Why the kernel needs this profile, or None when it has it."""
        if self.mode is None and self.kernel_known:
            return LoadWhy.MISSING
        if self.loaded_closure != self.closure:
            return LoadWhy.CHANGED if self.loaded_closure is not None else LoadWhy.NEW
        return LoadWhy.DIFFERS if self.differs is not None else None


@dataclass(frozen=True, slots=True)
class Note:
    """Something that is refused or not done, or that somebody should know.

    The code says what, with the data that belong to it; words are made in `cli`.
    """

    code: Coded
    target: str
    """`container 950`, `profile lxc-a`, a file, or a place in the configuration."""
    data: Mapping[str, Any] = field(default_factory=dict)
    blocked_by: tuple[Note, ...] = ()
    """What `apply` of this container would be refused for now: then it is not advised."""

    def __post_init__(self) -> None:
        if self.data.keys() != set(self.code.data):
            raise TypeError(f"{self.code} comes with {self.code.data}, not with {tuple(self.data)}")


@dataclass(frozen=True, slots=True)
class Finding(Note):
    """One way in which something is not as declared, or is worth knowing nevertheless."""

    fault: bool = True
    """False: as declared all the same."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """A file that is no longer what a transaction left."""

    path: str
    then: bytes | None
    now: bytes | None
    becomes: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that a run would do, in order."""

    actions: tuple[Action, ...] = ()
    skipped: tuple[Note, ...] = ()
    warnings: tuple[Note, ...] = ()
    refusals: tuple[Note, ...] = ()
    """Any of these ends the run before the first write."""
    refused: tuple[Note, ...] = ()
    """Each is about one container, which has no action here: the rest can be done without it."""
    others: int = 0
    """Containers that the plan was asked for and that nothing refuses."""
    conflicts: tuple[Conflict, ...] = ()
    """So does any of these: what a rollback would overwrite."""
    ok: int = 0
    """Items that are already as declared."""
    proofs: tuple[tuple[str, ...], ...] = ()
    """Processes that prove the profiles; they change nothing."""
    unproven: tuple[ProfileState, ...] = ()
    """What must be compiled before this plan is complete."""
    asked: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Profiles whose compiled policy must be asked before it is, and what (`plan.risks`)."""

    def __add__(self, other: Plan) -> Plan:
        mine = {one.name: getattr(self, one.name) for one in fields(self)}
        return Plan(**{name: value + getattr(other, name) for name, value in mine.items()})


def profile(name: str) -> str:
    """A profile as the target of a note."""
    return f"profile {name}"


def container(ctid: str) -> str:
    """A container as the target of a note."""
    return f"container {ctid}"
