"""Compiled profiles as data.

Owns the shape of what the reader found.  Must not read blobs, and must not judge.
Names and paths are bytes, as the kernel sees them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

from phoenix_hypervisor.policy.dfa import NO_MATCH, Dfa
from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.names import Extent
from phoenix_hypervisor.policy.perms import NULL, Perms, PermsTable, file_entry, policy_entry
from phoenix_hypervisor.values import dataclass, field


class Mode(IntEnum):
    """How a profile treats what it does not allow."""

    ENFORCE = 0
    COMPLAIN = 1
    KILL = 2
    UNCONFINED = 3
    PROMPT = 4


class Class(IntEnum):
    """Mediation classes; a class whose start state is 0 is not mediated at all."""

    FILE = 2
    CAPABILITY = 3
    NETWORK_V7 = 4
    RLIMITS = 5
    DOMAIN = 6
    MOUNT = 7
    PTRACE = 9
    SIGNAL = 10
    XMATCH = 11
    NETWORK = 14
    NETWORK_V9 = 15
    LABEL = 16
    MQUEUE = 17
    MODULE = 19
    DISPLAY = 20
    NAMESPACE = 21
    IO_URING = 22
    EXEC = 31
    DBUS = 32


LAST_CLASS = 32
ACCEPT_FLAG_OWNER = 1
"""Beside a permission table, in the second accept word (enum dfa_accept_flags)."""


class PathFlag(IntEnum):
    """Bits of `Profile.path_flags`."""

    ATTACH_DISCONNECTED = 0x4
    CHROOT_RELATIVE = 0x8
    CHROOT_NS_ATTACH = 0x10
    MEDIATE_DELETED = 0x10000


class Capabilities(NamedTuple):
    """64-bit masks; the compiler has already taken denied ones out of `allow`."""

    allow: int
    audit: int
    quiet: int
    extended: int = 0


class Family(NamedTuple):
    """One row of the old network table: bit t of each mask is socket type t."""

    allow: int
    audit: int
    quiet: int


@dataclass(slots=True, eq=False, kw_only=True)
class Database:
    """An automaton with the meaning of its states (struct aa_policydb)."""

    dfa: Dfa
    starts: tuple[int, ...]
    """The start state of every class up to 32; [0] is where the class byte is read."""
    table: PermsTable | None
    is_file: bool
    """Its permissions come in pairs: owner, other."""
    transitions: tuple[bytes, ...] = ()
    """Named exec targets; `:ns:name` with its second colon, `&name` stacks."""
    _cache: dict[int, Perms] = field(default_factory=dict, init=False, repr=False)

    def index(self, state: int) -> int:
        """Where the permissions of `state` stand (ACCEPT_TABLE after remap_dfa_accept)."""
        if self.table is not None:
            return self.dfa.accept[state]
        return state * 2 if self.is_file else state

    def entry(self, index: int) -> Perms:
        """The permissions at `index`; behind the table's end there are none."""
        found = self._cache.get(index)
        if found is None:
            found = self._cache[index] = self._compute(index)
        return found

    def _compute(self, index: int) -> Perms:
        if self.table is not None:
            return self.table.entry(index) if index < len(self.table) else NULL
        state = index // 2 if self.is_file else index
        if state >= len(self.dfa):
            return NULL
        assert self.dfa.accept2 is not None  # the reader saw to it
        accept, accept2 = self.dfa.accept[state], self.dfa.accept2[state]
        if self.is_file:
            return file_entry(accept, accept2, other=bool(index & 1))
        return policy_entry(accept, accept2) if state else NULL

    def perms(self, state: int) -> Perms:
        """What `state` grants (aa_lookup_perms)."""
        return self.entry(self.index(state))

    def file_perms(self, state: int, *, owner: bool) -> Perms:
        """What `state` grants on a file (aa_lookup_fperms, aa_lookup_condperms).

        On the general database this reads the next entry for others, as kernels do that know no flags.
        """
        if owner or not self.tells_owner(state):
            return self.entry(self.index(state))
        return self.entry(self.index(state) + 1)

    @property
    def flagged(self) -> bool:
        """Whether it tells owner and others apart for kernels that ask the flag: those from 6.17 on.

        They give everybody the owner's permissions where parser 4.1.0 to 4.1.3 wrote a table without flags.
        """
        return self.is_file and self.dfa.accept2 is not None

    def tells_owner(self, state: int) -> bool:
        """Whether the entry behind that of `state` is the others' (ACCEPT_FLAG_OWNER)."""
        if self.table is None or self.dfa.accept2 is None:
            return True
        return bool(self.dfa.accept2[state] & ACCEPT_FLAG_OWNER)

    def same(self, other: Database) -> bool:
        """Whether the two are written the same; different ones may still mean the same."""
        one, two = self.dfa, other.dfa
        return (
            (self.starts, self.is_file, self.transitions) == (other.starts, other.is_file, other.transitions)
            and (one.base, one.default, one.next, one.check) == (two.base, two.default, two.next, two.check)
            and (one.ec, one.accept, one.accept2) == (two.ec, two.accept, two.accept2)
            and (self.table.words if self.table else None) == (other.table.words if other.table else None)
        )

    def mediates(self, number: int) -> int:
        """The start state of class `number` (0 to 255); 0 means unmediated (RULE_MEDIATES)."""
        if number <= LAST_CLASS:
            return self.starts[number]
        return self.dfa.walk(self.starts[0], bytes((number,)))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Profile:
    """One compiled profile."""

    extent: Extent
    mode: Mode
    hat: bool
    audit: bool
    """`flags=(audit)`: every access is logged, no denial is quiet."""
    path_flags: int
    capabilities: Capabilities
    rlimits: Mapping[int, int]
    """Limits by AppArmor's own order (names.h RLIMITS); 2**64-1 is infinity."""
    families: tuple[Family, ...] | None
    """The network table of kernels before network_v8; None where the blob has none."""
    policy: Database | None
    """Everything but files; None where the blob was compiled for a kernel without it."""
    own_file: Database | None
    """The blob's own file automaton; see `file`."""
    xmatch: Database | None = None
    attach: bytes | None = None
    disconnected: bytes | None = None
    rename: bytes | None = None
    kill_signal: int | None = None
    error: int | None = None
    xattrs: tuple[bytes, ...] = ()
    secmark: tuple[tuple[int, int, bytes], ...] = ()
    data: Mapping[bytes, bytes] = field(default_factory=dict)

    @property
    def name(self) -> bytes:
        return self.extent.name

    @property
    def label(self) -> str:
        """The name for people, undecodable bytes escaped."""
        return self.extent.full_name.decode("utf-8", "backslashreplace")

    @property
    def file(self) -> Database | None:
        """What the kernel asks about files: without a file automaton, the general one."""
        return self.own_file or self.policy

    @property
    def file_start(self) -> int:
        database = self.file
        return database.starts[Class.FILE] if database is not None else NO_MATCH

    def unmediated(self) -> tuple[str, ...]:
        """The classes among mount, ptrace, signal and network that this was compiled without.

        Any in a confined profile means that the compiler was told too little about the kernel.
        """
        if self.mode is Mode.UNCONFINED:
            return ()
        asked = (Class.MOUNT, Class.PTRACE, Class.SIGNAL, Class.NETWORK)
        legacy = self.families is not None
        return tuple(
            one.name.lower() for one in asked if not self.start(one) and not (one is Class.NETWORK and legacy)
        )

    def start(self, number: int) -> int:
        """Where class `number` starts in `policy`; 0 means that the class is not mediated."""
        return self.policy.mediates(number) if self.policy is not None else NO_MATCH


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """All profiles of one blob, in its order."""

    profiles: tuple[Profile, ...]

    def names(self) -> list[str]:
        return [profile.label for profile in self.profiles]

    def get(self, name: str | None) -> Profile:
        """The profile `name`, or the only one where no name is given.  Raises PolicyError."""
        if name is None:
            if len(self.profiles) == 1:
                return self.profiles[0]
            raise PolicyError(
                f"it holds {len(self.profiles)} profiles: {', '.join(self.names())}",
                hint="name one of them, and the file with --policy",
            )
        wanted = name.encode("utf-8", "surrogateescape")
        for profile in reversed(self.profiles):
            if wanted in (profile.name, profile.extent.full_name):
                return profile
        raise PolicyError(f"no profile {name} in it; it holds {', '.join(self.names())}")
