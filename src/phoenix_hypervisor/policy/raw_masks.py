"""What securityfs `.access` answers, bit for bit.

Owns the kernel's own query of a profile, which is how agreement with a kernel is measured.
Must not interpret the masks.  Source: security/apparmor/apparmorfs.c (profile_query_cb),
lib.c (aa_apply_modes_to_perms), perms.h (aa_perms_accum_raw); for kernels before 6.2
lib.c (aa_compute_perms) of 6.1.
"""

from __future__ import annotations

from phoenix_hypervisor.policy import perms
from phoenix_hypervisor.policy.perms import NULL, Masks, Perms, file_entry, old_policy_entry
from phoenix_hypervisor.policy.profile import Class, Database, Mode, Profile
from phoenix_hypervisor.policy.query import RawQuery

PROVED = (6, 12)
"""The kernel that the engine was first proved against."""
_REMAPPED = (6, 2)
"""Since then permissions are mapped when a profile is loaded, and a little differently."""

_FLAGGED = (6, 17)
"""Since then a flag beside the permissions says whether others have permissions of their own, and D-Bus
is asked about only where sockets are mediated the new way (class 15)."""
_NETWORK_V9 = 15

UNMEDIATED = Masks(perms.ALL, 0, 0, perms.ALL)
"""The answer where nothing is mediated."""


def raw_masks(profile: Profile, query: RawQuery, kernel: tuple[int, int] = PROVED) -> Masks:
    """The four masks for a class byte and a string, asked by `query.uid` (0 is the owner).

    `kernel` is the major and minor version; capabilities (class 3) are never in an
    automaton, so the kernel answers that everything is allowed.
    """
    if profile.mode is Mode.UNCONFINED:
        return UNMEDIATED
    if query.number == Class.FILE:
        found = _file(profile, query, kernel)
    else:
        policy = profile.policy
        if policy is None or not policy.mediates(query.number):
            return UNMEDIATED
        if query.number == Class.DBUS and kernel >= _FLAGGED and not policy.mediates(_NETWORK_V9):
            return UNMEDIATED
        state = policy.dfa.walk(policy.starts[0], bytes((query.number,)) + query.string)
        found = _general(policy, state, kernel)
    audit, quiet = (perms.ALL, 0) if profile.audit else (found.audit, found.quiet)
    return Masks(found.allow & ~found.deny, found.deny, audit & found.allow, quiet & ~found.allow)


def _file(profile: Profile, query: RawQuery, kernel: tuple[int, int]) -> Perms:
    database, owner = profile.file, query.uid == 0
    if database is None:
        return NULL
    if profile.own_file is not None or kernel >= _REMAPPED:
        state = database.dfa.walk(profile.file_start, query.string)
        owner = owner or (kernel >= _FLAGGED and not database.flagged)
        return database.file_perms(state, owner=owner) if state else NULL
    # 6.1 reads the general automaton as a file one, from class 2, and only where it has that.
    state = database.dfa.walk(database.dfa.step(database.starts[0], Class.FILE), query.string)
    words = _words(database, state)
    return file_entry(*words, other=not owner) if state and words else NULL


def _general(policy: Database, state: int, kernel: tuple[int, int]) -> Perms:
    if not state:
        return NULL
    words = _words(policy, state)
    return old_policy_entry(*words) if kernel < _REMAPPED and words else policy.perms(state)


def _words(database: Database, state: int) -> tuple[int, int] | None:
    """Both accept words, which a permission table (unknown to 6.1) replaces."""
    dfa = database.dfa
    if database.table is not None or dfa.accept2 is None:
        return None
    return dfa.accept[state], dfa.accept2[state]
