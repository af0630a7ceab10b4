"""What a state of a profile's automata grants, class by class.

Owns the automaton that a class of questions walks in a profile, and what its states mean.  Must not
know which strings are asked, nor report.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from phoenix_hypervisor.policy import perms, sockets
from phoenix_hypervisor.policy.kinds.attachment import ANY, attached_name
from phoenix_hypervisor.policy.perms import Perms
from phoenix_hypervisor.policy.product import Side
from phoenix_hypervisor.policy.profile import Class, Database, Mode, Profile
from phoenix_hypervisor.policy.sockets import Asks
from phoenix_hypervisor.policy.strings import transition
from phoenix_hypervisor.values import dataclass


class Grant(NamedTuple):
    """What a state grants, as far as it matters when a string ends there."""

    allow: int
    transition: str = ""
    """How an execution goes on; empty where none is allowed."""
    audit: int = 0
    quiet: int = 0
    unsafe: bool = False
    """The environment survives the execution that is allowed."""
    complain: int = 0
    """What is only complained about, whatever the profile's mode."""
    kill: int = 0


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


def _constant(alive: bool) -> Space:
    return Space(Side.constant(alive=alive), lambda _: FREE if alive else NOTHING, alive)


def _grant(database: Database, found: Perms) -> Grant:
    words = transition(database, found.xindex) if found.allow & perms.EXEC else ""
    unsafe = bool(found.allow & (perms.EXEC | perms.ONEXEC) and found.xindex & perms.X_UNSAFE)
    return Grant(
        found.allow & ~found.deny, words, found.audit, found.quiet, unsafe, found.complain, found.kill
    )


def _known(database: Database, *, owner: bool | None = None) -> Callable[[int], Grant]:
    """What each state grants, computed once; `owner` where files are asked about."""
    found: dict[int, Grant] = {}
    alike: dict[Perms, Grant] = {}

    def grants(state: int) -> Grant:
        grant = found.get(state)
        if grant is None:
            meant = database.perms(state) if owner is None else database.file_perms(state, owner=owner)
            grant = alike.get(meant)
            if grant is None:
                grant = alike[meant] = _grant(database, meant)
            found[state] = grant
        return grant

    return grants


def file_space(profile: Profile, other: bool) -> Space:
    """Everything that the file automaton is asked."""
    if profile.mode is Mode.UNCONFINED:
        return _constant(True)
    database = profile.file
    if database is None:
        return _constant(False)
    side = Side.of(database.dfa, profile.file_start)
    return Space(side, _known(database, owner=not other), False, database)


def pair_space(bit: int, kept: int = 0) -> Callable[[Profile, bool], Space]:
    """Pairs behind a NUL: without `bit` on the first there is no second, and without it no `kept`."""

    def space(profile: Profile, other: bool) -> Space:
        single = file_space(profile, other)
        if single.database is None:
            return single

        def closed(state: int) -> bool:
            return not single.grants(state).allow & bit

        def grants(state: int) -> Grant:
            # What a link must not exceed matters only where there may be one.
            found = single.grants(state)
            return found if found.allow & bit else found._replace(allow=found.allow & ~kept)

        return Space(single.side.gated(closed), grants, False, single.database)

    return space


def class_space(number: int, *, behind: bytes = b"") -> Callable[[Profile, bool], Space]:
    """Everything that the automaton of one class is asked, `behind` some bytes."""

    def space(profile: Profile, other: bool) -> Space:
        policy = profile.policy
        mediated = Class.PTRACE if number == Class.LABEL else number
        if profile.mode is Mode.UNCONFINED or policy is None or not policy.mediates(mediated):
            return _constant(True)
        start = policy.dfa.walk(policy.mediates(number), behind)
        return Space(Side.of(policy.dfa, start), _known(policy), False, policy)

    return space


def unix_space(asks: Asks) -> Callable[[Profile, bool], Space]:
    """Unix sockets where the kernel looks at addresses; free where it does not, or asks nothing."""

    def space(profile: Profile, other: bool) -> Space:
        policy = profile.policy
        if profile.mode is Mode.UNCONFINED or policy is None:
            return _constant(True)
        start, fine = sockets.start(policy, sockets.AF_UNIX, asks)
        if not start or not fine:
            return _constant(True)
        return Space(Side.of(policy.dfa, start), _known(policy), False, policy)

    return space


_ATTACHED, _NOT_ATTACHED = Grant(perms.EXEC), Grant(0)


def attach_space(profile: Profile, other: bool) -> Space:
    """The paths that a profile attaches to, whatever its mode."""
    database = profile.xmatch
    if database is None:
        if not attached_name(profile).startswith(b"/"):
            return _constant(False)
        side = Side.literal(attached_name(profile))
        return Space(side, lambda state: _ATTACHED if state == side.size - 1 else _NOT_ATTACHED)
    side = Side.of(database.dfa, database.starts[Class.FILE])
    return Space(side, lambda state: _ATTACHED if database.perms(state).allow & ANY else _NOT_ATTACHED)
