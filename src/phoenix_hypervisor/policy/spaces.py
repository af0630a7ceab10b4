"""The questions of each class as a space to search: grammar, automaton, permissions.

Owns the table of classes: which strings are asked, in which automaton, and the question that a string
stands for.  Must not report.
"""

from __future__ import annotations

from collections.abc import Callable

from phoenix_hypervisor.policy import constants, grammar, grammar_sockets, perms
from phoenix_hypervisor.policy.grammar import Grammar
from phoenix_hypervisor.policy.grants import (
    Space,
    attach_space,
    class_space,
    file_space,
    pair_space,
    unix_space,
)
from phoenix_hypervisor.policy.kinds import dbus, io_uring, mqueue
from phoenix_hypervisor.policy.kinds.attachment import AttachmentQuery
from phoenix_hypervisor.policy.kinds.dbus import DbusQuery
from phoenix_hypervisor.policy.kinds.io_uring import IoUringQuery
from phoenix_hypervisor.policy.kinds.mqueue import MqueueQuery
from phoenix_hypervisor.policy.profile import Class, Profile
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
from phoenix_hypervisor.policy.sockets import Asks
from phoenix_hypervisor.values import dataclass


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
    logged: int = perms.ALL
    """The bits that a rule can have logged or kept quiet."""
    by_owner: bool = False
    """Whether owner and others can differ."""
    plain: Callable[[], Grammar] | None = None
    """A narrower grammar of questions that are easily tried out, to take examples from."""
    whole: bool = False
    """What may be asked is not known here: report being unmediated, not each string."""


def _pair(string: bytes) -> tuple[bytes, bytes]:
    first, _, second = string.partition(b"\0")
    return first, second


def _mount_query(string: bytes, access: int, other: bool) -> MountQuery:
    target, source, fstype, codes, *data = string.split(b"\0", 4)
    flags = 0
    for code in codes:
        flags |= 1 << code - 1
    return MountQuery(source or None, target, fstype or None, flags, data[0] if data else None)


def _change_query(string: bytes, access: int, other: bool) -> ChangeProfileQuery:
    return ChangeProfileQuery(string, onexec=not access & perms.CHANGE_PROFILE)


def _on_exec_query(string: bytes, access: int, other: bool) -> ChangeProfileQuery:
    program, target = _pair(string)
    return ChangeProfileQuery(target, onexec=True, program=program)


def _mqueue_query(string: bytes, access: int, other: bool) -> MqueueQuery:
    name, nul, peer = string.partition(b"\0")
    return MqueueQuery(name, access, peer if nul else None)


def _io_uring_query(string: bytes, access: int, other: bool) -> IoUringQuery:
    return IoUringQuery(access & -access, string or None)


def _dbus_query(string: bytes, access: int, other: bool) -> DbusQuery:
    bus, *details = string.split(b"\0")
    return DbusQuery(access & -access, bus, tuple(details))


def _table_words(table: dict[str, int]) -> Callable[[int], str]:
    return lambda mask: ",".join(word for word, bit in table.items() if mask & bit)


def _fixed(word: str) -> Callable[[int], str]:
    return lambda mask: word


_SIGNAL = constants.SIGNAL_ACCESS["send"] | constants.SIGNAL_ACCESS["receive"]
_TRACER = constants.PTRACE_ACCESS["trace"] | constants.PTRACE_ACCESS["read"]
_PTRACE = sum(constants.PTRACE_ACCESS.values())
_MESSAGE = dbus.ACCESS["send"] | dbus.ACCESS["receive"]
_DBUS_PARTS = (
    (dbus.ACCESS["eavesdrop"], False),
    (dbus.ACCESS["bind"], False),
    (0, False),
    *((0, True), (0, True)),
    (_MESSAGE, True),
)
_QUEUE = sum(mqueue.ACCESS.values())

FILE_KINDS: tuple[Kind, ...] = (
    Kind(
        name="file",
        grammar=lambda: grammar.path(grammar.FILE_BITS),
        space=file_space,
        query=FileQuery,
        words=constants.file_letters,
        by_owner=True,
    ),
    Kind(
        name="link",
        grammar=lambda: grammar.two_paths(perms.LINK | perms.LINK_SUBSET),
        space=pair_space(perms.LINK, perms.LINK_SUBSET),
        query=lambda string, access, other: LinkQuery(*_pair(string), other),
        words=lambda mask: "link" if mask & perms.LINK else "subset",
        logged=perms.LINK,
        by_owner=True,
    ),
    Kind(
        name="change_profile",
        grammar=lambda: grammar.label(perms.CHANGE_PROFILE | perms.ONEXEC),
        space=file_space,
        query=_change_query,
        words=lambda mask: "change" if mask & perms.CHANGE_PROFILE else "change on exec",
    ),
    Kind(
        name="change_profile on exec",
        grammar=lambda: grammar.label(perms.ONEXEC, behind_path=True),
        space=pair_space(perms.ONEXEC),
        query=_on_exec_query,
        words=_fixed("change on exec"),
    ),
)
MOUNT_KINDS: tuple[Kind, ...] = (
    Kind(
        name="mount",
        grammar=grammar.mount,
        space=class_space(Class.MOUNT),
        query=_mount_query,
        words=_fixed("mount"),
        plain=lambda: grammar.mount(grammar.COMMON_TYPES),
    ),
    Kind(
        name="umount",
        grammar=lambda: grammar.path(perms.MAY_UMOUNT),
        space=class_space(Class.MOUNT),
        query=lambda string, access, other: UmountQuery(string),
        words=_fixed("umount"),
    ),
    Kind(
        name="pivot_root",
        grammar=lambda: grammar.two_paths(perms.MAY_PIVOT_ROOT, directories=True),
        space=class_space(Class.MOUNT),
        query=lambda string, access, other: PivotRootQuery(*_pair(string)),
        words=_fixed("pivot_root"),
    ),
)
SIGNAL_KIND = Kind(
    name="signal",
    grammar=lambda: grammar.label(_SIGNAL, heads=grammar.SIGNAL_BYTES),
    space=class_space(Class.SIGNAL),
    query=lambda string, access, other: SignalQuery(string[0], access & -access, string[1:]),
    words=_table_words(dict(constants.SIGNAL_ACCESS)),
)
PTRACE_KIND = Kind(
    name="ptrace",
    # An unconfined tracer is never asked about (aa_may_ptrace).
    grammar=lambda: grammar.label(_PTRACE, apart=(b"unconfined", _TRACER)),
    space=class_space(Class.LABEL, behind=bytes((Class.PTRACE,))),
    query=lambda string, access, other: PtraceQuery(access & -access, string),
    words=_table_words(dict(constants.PTRACE_ACCESS)),
)
MQUEUE_KIND = Kind(
    name="mqueue",
    grammar=lambda: grammar.parts((_QUEUE, False), (_QUEUE, False), slash=True),
    space=class_space(Class.MQUEUE),
    query=_mqueue_query,
    words=_table_words(mqueue.ACCESS),
    whole=True,
)
IO_URING_KIND = Kind(
    name="io_uring",
    grammar=lambda: grammar.label(io_uring.OPERATIONS["override_creds"], empty=io_uring.OPERATIONS["sqpoll"]),
    space=class_space(Class.IO_URING),
    query=_io_uring_query,
    words=_table_words(io_uring.OPERATIONS),
    whole=True,
)
DBUS_KIND = Kind(
    name="dbus",
    grammar=lambda: grammar.parts(*_DBUS_PARTS),
    space=class_space(Class.DBUS),
    query=_dbus_query,
    words=_table_words(dbus.ACCESS),
    whole=True,
)
ATTACHMENT_KIND = Kind(
    name="attachment",
    grammar=lambda: grammar.path(perms.EXEC),
    space=attach_space,
    query=lambda string, access, other: AttachmentQuery(string),
    words=_fixed("attach"),
)

KINDS: tuple[Kind, ...] = (
    *FILE_KINDS,
    *MOUNT_KINDS,
    *(SIGNAL_KIND, PTRACE_KIND, MQUEUE_KIND, IO_URING_KIND, DBUS_KIND, ATTACHMENT_KIND),
)


def unix_kind(asks: Asks) -> Kind:
    """Unix sockets, for kernels that look at their addresses."""
    return Kind(
        name="unix",
        grammar=grammar_sockets.unix,
        space=unix_space(asks),
        query=lambda string, access, other: grammar_sockets.question(string, access),
        words=_table_words(dict(constants.NETWORK_ACCESS)),
    )


def kind(name: str) -> Kind:
    """The class of questions called `name`."""
    return next(one for one in KINDS if one.name == name)
