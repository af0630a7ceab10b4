"""The questions of each class as a space to search: grammar, automaton, permissions.

Owns what a state means within a class, for searching one profile or two.  Must not report.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from phoenix_hypervisor.policy import constants, grammar, perms
from phoenix_hypervisor.policy.grammar import Grammar
from phoenix_hypervisor.policy.perms import Perms
from phoenix_hypervisor.policy.product import Side
from phoenix_hypervisor.policy.profile import Class, Database, Mode, Profile
from phoenix_hypervisor.policy.queries import (
    ChangeProfileQuery,
    FileQuery,
    LinkQuery,
    MountQuery,
    PivotRootQuery,
    PtraceQuery,
    Query,
    RawQuery,
    SignalQuery,
    UmountQuery,
)
from phoenix_hypervisor.policy.strings import transition
from phoenix_hypervisor.values import dataclass


class Grant(NamedTuple):
    """What a state grants, as far as it matters when a string ends there."""

    allow: int
    transition: str = ""
    """How an execution goes on; empty where none is allowed."""
    audit: int = 0
    quiet: int = 0


FREE = Grant(perms.ALL)
NOTHING = Grant(0)


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """One class of one profile."""

    side: Side
    grants: Callable[[int], Grant]
    """What a state of `side` grants."""
    free: bool = False
    """Nothing is mediated."""
    database: Database | None = None
    """What `grants` reads, where that is more than a constant."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Kind:
    """How one class of questions is asked."""

    name: str
    grammar: Callable[[], Grammar]
    space: Callable[[Profile, bool], Space]
    """The space of a profile, for the owner or for others."""
    query: Callable[[bytes, int, bool], Query | RawQuery]
    """The question that a string and the permission bits stand for; the flag is `other`."""
    words: Callable[[int], str]
    """The permission bits for people."""
    by_owner: bool = False
    """Whether owner and others can differ."""
    plain: Callable[[], Grammar] | None = None
    """A narrower grammar of questions that are easily tried out, to take examples from."""
    whole: bool = False
    """What may be asked is not known here: report being unmediated, not each string."""


def _constant(alive: bool) -> Space:
    return Space(Side.constant(alive=alive), lambda _: FREE if alive else NOTHING, alive)


def _grant(database: Database, found: Perms) -> Grant:
    words = transition(database, found.xindex) if found.allow & perms.EXEC else ""
    return Grant(found.allow & ~found.deny, words, found.audit, found.quiet)


def _file_space(profile: Profile, other: bool) -> Space:
    if profile.mode is Mode.UNCONFINED:
        return _constant(True)
    database = profile.file
    if database is None:
        return _constant(False)
    side = Side.of(database.dfa, profile.file_start)
    return Space(
        side, lambda state: _grant(database, database.file_perms(state, owner=not other)), False, database
    )


def _pair_space(bit: int) -> Callable[[Profile, bool], Space]:
    """Paths in pairs: without `bit` on the first there is no second."""

    def space(profile: Profile, other: bool) -> Space:
        single = _file_space(profile, other)
        database = profile.file
        if database is None or profile.mode is Mode.UNCONFINED:
            return single
        closed = [not single.grants(state).allow & bit for state in range(len(database.dfa))]

        def grants(state: int) -> Grant:
            # What a link must not exceed matters only where there may be one.
            found = single.grants(state)
            return found if found.allow & bit else found._replace(allow=found.allow & ~perms.LINK_SUBSET)

        return Space(single.side.gated(closed, 0), grants, False, database)

    return space


def _class_space(number: int, *, behind: bytes = b"") -> Callable[[Profile, bool], Space]:
    def space(profile: Profile, other: bool) -> Space:
        policy = profile.policy
        mediated = Class.PTRACE if number == Class.LABEL else number
        if profile.mode is Mode.UNCONFINED or policy is None or not policy.mediates(mediated):
            return _constant(True)
        start = policy.dfa.walk(policy.mediates(number), behind)
        side = Side.of(policy.dfa, start)
        return Space(side, lambda state: _grant(policy, policy.perms(state)), False, policy)

    return space


def _attach_space(profile: Profile, other: bool) -> Space:
    database = profile.xmatch
    if database is None:
        return _constant(False)
    side = Side.of(database.dfa, database.starts[Class.FILE])
    return Space(side, lambda state: Grant(perms.EXEC if database.perms(state).allow & 0x7F else 0))


def _pair(string: bytes) -> tuple[bytes, bytes]:
    first, _, second = string.partition(b"\0")
    return first, second


def _mount_query(string: bytes, access: int, other: bool) -> MountQuery:
    target, source, fstype, codes = string.split(b"\0", 3)
    flags = 0
    for code in codes:
        flags |= 1 << code - 1
    return MountQuery(source or None, target, fstype or None, flags)


def _table_words(table: dict[str, int]) -> Callable[[int], str]:
    return lambda mask: ",".join(word for word, bit in table.items() if mask & bit)


def _fixed(word: str) -> Callable[[int], str]:
    return lambda mask: word


_SIGNAL = constants.SIGNAL_ACCESS["send"] | constants.SIGNAL_ACCESS["receive"]
_PTRACE = 0x2 | 0x4 | 0x8 | 0x10

KINDS: tuple[Kind, ...] = (
    Kind(
        name="file",
        grammar=lambda: grammar.path(grammar.FILE_BITS),
        space=_file_space,
        query=FileQuery,
        words=constants.file_letters,
        by_owner=True,
    ),
    Kind(
        name="link",
        grammar=lambda: grammar.two_paths(perms.LINK | perms.LINK_SUBSET),
        space=_pair_space(perms.LINK),
        query=lambda string, access, other: LinkQuery(*_pair(string), other),
        words=lambda mask: "link" if mask & perms.LINK else "subset",
        by_owner=True,
    ),
    Kind(
        name="change_profile",
        grammar=lambda: grammar.label(perms.CHANGE_PROFILE),
        space=_file_space,
        query=lambda string, access, other: ChangeProfileQuery(string),
        words=_fixed("change"),
    ),
    Kind(
        name="change_profile on exec",
        grammar=lambda: grammar.label(perms.ONEXEC, behind_path=True),
        space=_file_space,
        query=lambda string, access, other: RawQuery(Class.FILE, string),
        words=_fixed("change on exec"),
    ),
    Kind(
        name="mount",
        grammar=grammar.mount,
        space=_class_space(Class.MOUNT),
        query=_mount_query,
        words=_fixed("mount"),
        plain=lambda: grammar.mount(grammar.COMMON_TYPES),
    ),
    Kind(
        name="umount",
        grammar=lambda: grammar.path(perms.MAY_UMOUNT),
        space=_class_space(Class.MOUNT),
        query=lambda string, access, other: UmountQuery(string),
        words=_fixed("umount"),
    ),
    Kind(
        name="pivot_root",
        grammar=lambda: grammar.two_paths(perms.MAY_PIVOT_ROOT, directories=True),
        space=_class_space(Class.MOUNT),
        query=lambda string, access, other: PivotRootQuery(*_pair(string)),
        words=_fixed("pivot_root"),
    ),
    Kind(
        name="signal",
        grammar=lambda: grammar.label(_SIGNAL, heads=grammar.SIGNAL_BYTES),
        space=_class_space(Class.SIGNAL),
        query=lambda string, access, other: SignalQuery(string[0], access & -access, string[1:]),
        words=_table_words(dict(constants.SIGNAL_ACCESS)),
    ),
    Kind(
        name="ptrace",
        grammar=lambda: grammar.label(_PTRACE),
        space=_class_space(Class.LABEL, behind=bytes((Class.PTRACE,))),
        query=lambda string, access, other: PtraceQuery(access & -access, string),
        words=_table_words(dict(constants.PTRACE_ACCESS)),
    ),
    *(
        Kind(
            name=word,
            grammar=lambda: grammar.anything(perms.ALL & ~perms.LOCK),
            space=_class_space(number),
            query=lambda string, access, other, number=number: RawQuery(number, string),  # type: ignore[misc]
            words=lambda mask: f"{mask:#x}",
            whole=True,
        )
        for word, number in (
            ("mqueue", Class.MQUEUE),
            ("io_uring", Class.IO_URING),
            ("dbus", Class.DBUS),
        )
    ),
    Kind(
        name="attachment",
        grammar=lambda: grammar.path(perms.EXEC),
        space=_attach_space,
        query=lambda string, access, other: RawQuery(Class.XMATCH, string),
        words=_fixed("attach"),
    ),
)


def kind(name: str) -> Kind:
    """The class of questions called `name`."""
    return next(one for one in KINDS if one.name == name)
