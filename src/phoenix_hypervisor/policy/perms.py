"""Permissions: the kernel's masks, and how both encodings in a blob become them.

Owns the bits of `struct aa_perms` and the mapping of old accept words.  Must not walk
an automaton.  Source: security/apparmor/include/perms.h, policy_compat.c, policy_unpack.c.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from phoenix_hypervisor.values import dataclass

EXEC, WRITE, READ, APPEND = 0x1, 0x2, 0x4, 0x8
CREATE, DELETE, OPEN, RENAME = 0x10, 0x20, 0x40, 0x80
USERNS_CREATE = 0x08
SETATTR, GETATTR = 0x100, 0x200
CHMOD, CHOWN = 0x1000, 0x2000
LOCK = LINK_SUBSET = 0x8000
MMAP_EXEC = 0x10000
LINK = 0x40000
ONEXEC = 0x20000000
CHANGE_PROFILE = 0x40000000
CONTINUES = 0x08000000
"""A longer string may grant more (AA_CONT_MATCH)."""
MAY_PIVOT_ROOT, MAY_MOUNT, MAY_UMOUNT, MOUNT_CONTINUES = 0x1, 0x2, 0x4, 0x40
ALL = 0xFFFFFFFF

AUDIT_FILE_MASK = (READ | WRITE | EXEC | APPEND | CREATE | DELETE | GETATTR | SETATTR) | (
    CHMOD | CHOWN | LOCK | MMAP_EXEC | LINK
)

X_INDEX_MASK = 0x00FFFFFF
X_TYPE_MASK = 0x0C000000
X_NAME, X_TABLE = 0x04000000, 0x08000000
X_UNSAFE, X_CHILD, X_INHERIT, X_UNCONFINED = 0x10000000, 0x20000000, 0x40000000, 0x80000000


_KEPT = 4096
"""How many mapped words are kept: many states have the same."""


class Perms(NamedTuple):
    """What one state grants.  A bit in `quiet` that is not in `allow` was denied by a rule."""

    allow: int = 0
    deny: int = 0
    audit: int = 0
    quiet: int = 0
    kill: int = 0
    complain: int = 0
    hide: int = 0
    xindex: int = 0


NULL = Perms()
EVERYTHING = Perms(allow=ALL, quiet=ALL, hide=ALL)


class Masks(NamedTuple):
    """The four numbers that securityfs `.access` answers."""

    allow: int
    deny: int
    audit: int
    quiet: int


def accumulate(accum: Perms, addend: Perms) -> Perms:
    """How a further component of a stacked label narrows permissions (aa_perms_accum)."""
    deny = accum.deny | addend.deny
    allow = accum.allow & addend.allow & ~deny
    return Perms(
        allow=allow,
        deny=deny,
        audit=accum.audit | (addend.audit & allow),
        quiet=accum.quiet & addend.quiet & ~allow,
        kill=accum.kill | (addend.kill & ~allow),
        complain=accum.complain | (addend.complain & ~allow & ~deny),
        hide=accum.hide & addend.hide & ~allow,
        xindex=accum.xindex or addend.xindex,
    )


def map_xindex(mask: int) -> int:
    """The 14 owner or other bits of an old accept word as an exec transition (dfa_map_xindex)."""
    old = mask >> 10 & 0xF
    index = (
        (X_UNSAFE if mask & 0x100 else 0)
        | (X_INHERIT if mask & 0x200 else 0)
        | (X_UNCONFINED if mask & 0x80 else 0)
    )
    if old == 1:
        return index | X_UNCONFINED
    if old == 2:
        return index | X_NAME
    if old == 3:
        return index | X_NAME | X_CHILD
    return index | X_TABLE | (old - 4) if old else index


def map_file(old: int) -> int:
    """Seven old file permission bits as the kernel's (map_old_perms)."""
    new = old & 0xF
    if old & READ:
        new |= GETATTR | OPEN
    if old & WRITE:
        new |= SETATTR | CREATE | DELETE | CHMOD | CHOWN | OPEN
    if old & 0x10:
        new |= LINK
    if old & 0x20:
        new |= LOCK
    if old & 0x40:
        new |= MMAP_EXEC
    return new


@lru_cache(_KEPT)
def file_entry(accept: int, accept2: int, *, other: bool) -> Perms:
    """What a state of a file automaton grants the owner or others (compute_fperms_*)."""
    shift = 14 if other else 0
    allow = map_file(accept >> shift & 0x7F) | GETATTR
    if accept & 0x80000000:
        allow |= CHANGE_PROFILE
    if accept & 0x40000000:
        allow |= ONEXEC
    return Perms(
        allow=allow,
        audit=map_file(accept2 >> shift & 0x7F),
        quiet=map_file(accept2 >> shift + 7 & 0x7F),
        xindex=map_xindex(accept >> shift & 0x3FFF),
    )


def _map_other(bits: int) -> int:
    return (bits & 0x3) << 8 | (bits & 0x1C) << 18 | (bits & 0x60) << 19


@lru_cache(_KEPT)
def policy_entry(accept: int, accept2: int) -> Perms:
    """What a state of the other classes' automaton grants, ABI v5 to v8 (compute_perms_entry)."""
    return Perms(
        allow=accept & 0x8000007F | _map_other(accept >> 14 & 0x7F) | LOCK,
        audit=accept2 & 0x7F | _map_other(accept2 >> 14 & 0x7F),
        quiet=accept2 >> 7 & 0x7F | _map_other(accept2 >> 21 & 0x7F),
    )


def _map_xbits(bits: int) -> int:
    return (bits & 0x1) << 7 | (bits & 0x7E) << 9


def old_policy_entry(accept: int, accept2: int) -> Perms:
    """The same on kernels before 6.2 (aa_compute_perms): without LOCK, with the exec bits."""
    return Perms(
        allow=accept & 0x8000007F | _map_other(accept >> 14 & 0x7F) | _map_xbits(accept >> 7 & 0x7F),
        audit=accept2 & 0x7F | _map_other(accept2 >> 14 & 0x7F),
        quiet=accept2 >> 7 & 0x7F | _map_other(accept2 >> 21 & 0x7F) | _map_xbits(accept >> 21 & 0x7F),
    )


@dataclass(frozen=True, slots=True, eq=False)
class PermsTable:
    """The explicit permission table that parser 4 emits for newer feature sets."""

    words: array[int]
    """14 words an entry: reserved, allow, deny, subtree, cond, kill, complain, prompt, audit,
    quiet, hide, xindex, tag, label."""

    def __len__(self) -> int:
        return len(self.words) // 14

    def entry(self, index: int) -> Perms:
        _, allow, deny, _, _, kill, complain, _, audit, quiet, hide, xindex, _, _ = self.words[
            index * 14 : index * 14 + 14
        ]
        return Perms(allow, deny, audit, quiet, kill, complain, hide, xindex)

    def column(self, number: int) -> array[int]:
        return self.words[number::14]

    def contradictions(self) -> Iterator[int]:
        """Indexes of entries that a kernel refuses (verify_perm)."""
        if not any(any(self.column(number)) for number in (2, 3, 4, 5, 6, 7, 10)):
            return
        for index in range(len(self)):
            _, allow, deny, subtree, cond, kill, complain, prompt, _, _, hide = self.words[
                index * 14 : index * 14 + 11
            ]
            either = allow | deny
            if (
                allow & (deny | kill | hide)
                or subtree & ~allow
                or (cond | complain | prompt) & either
                or complain & prompt
            ):
                yield index
