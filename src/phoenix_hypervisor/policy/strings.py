"""The strings that the kernel matches, and what the states they end in mean.

Owns the kernel's rewriting of mount flags, the matching of labels and the words for exec
transitions.  Must not decide: `evaluate` does, with the profile's mode.
Source: security/apparmor/mount.c, lsm.c (apparmor_sb_mount), label.c, domain.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phoenix_hypervisor.policy import constants, perms
from phoenix_hypervisor.policy.perms import EVERYTHING, NULL, Perms, accumulate
from phoenix_hypervisor.policy.profile import Database

if TYPE_CHECKING:
    from phoenix_hypervisor.policy.kinds.mount import MountQuery


def mount_question(query: MountQuery) -> tuple[bytes, bytes, bytes, int]:
    """Target, source, type and flags as the kernel matches them (apparmor_sb_mount)."""
    flags = query.flags
    if flags & 0xFFFF0000 == 0xC0ED0000:
        flags &= 0xFFFF
    flags &= ~constants.MS_IGNORED
    source, fstype = query.source or b"", query.fstype or b""
    if flags & constants.MS_REMOUNT:
        return query.target, b"", b"", flags
    if flags & constants.MS_BIND:
        return query.target, source, b"", flags & (constants.MS_BIND | constants.MS_REC)
    if flags & constants.MS_PROPAGATION:
        kept = constants.MS_PROPAGATION | constants.MS_REC | constants.MS_SILENT
        return query.target, b"", b"", flags & kept
    if flags & constants.MS_MOVE:
        return query.target, source, b"", constants.MS_MOVE
    return query.target, source, fstype, flags


def flag_bytes(flags: int) -> bytes:
    """One byte for each set flag, its number plus one, ascending (match_mnt_flags)."""
    return bytes(i + 1 for i in range(32) if flags >> i & 1)


def label_match(database: Database, start: int, label: bytes, request: int) -> Perms:
    """The permissions towards a peer: its whole label, else all its components (aa_label_match)."""
    state = database.dfa.walk(start, label)
    found = database.perms(state) if state else NULL
    if found.allow & request == request:
        return found
    found = EVERYTHING
    for component in label.split(b"//&"):
        state = database.dfa.walk(start, component)
        if not state:
            return NULL
        found = accumulate(found, database.perms(state))
    return found


def transition(database: Database | None, xindex: int) -> str:
    """An exec transition in the words of a profile: `ix`, `Px -> name`, `PUx`."""
    fallback = ("i" if xindex & perms.X_INHERIT else "") + ("u" if xindex & perms.X_UNCONFINED else "")
    kind = xindex & perms.X_TYPE_MASK
    head = ("c" if xindex & perms.X_CHILD else "p") if kind else ""
    if not xindex & perms.X_UNSAFE:
        head, fallback = head.upper(), fallback.replace("u", "U")
    words = head + fallback + "x"
    if kind == perms.X_TABLE and database is not None:
        index = xindex & perms.X_INDEX_MASK
        if index < len(database.transitions):
            words += " -> " + database.transitions[index].decode("utf-8", "backslashreplace")
    return words
