"""Comparing what can be asked one by one: capabilities, sockets, user namespaces.

Owns the classes of few questions.  The old table of sockets and the new automaton answer the same
questions, so they are compared by their answers.  Must not search automata.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from phoenix_hypervisor.policy import constants, perms, sockets
from phoenix_hypervisor.policy.differences import Difference, Key, Pair
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.grants import Grant
from phoenix_hypervisor.policy.kinds import network, userns
from phoenix_hypervisor.policy.perms import Perms
from phoenix_hypervisor.policy.profile import Mode, Profile
from phoenix_hypervisor.policy.queries import CapabilityQuery, NetworkQuery, Query, UsernsQuery
from phoenix_hypervisor.policy.query import words_of

KNOWN = (1 << len(constants.CAPABILITIES)) - 1
"""The capabilities that have a name here."""
_NETWORK = sum(constants.NETWORK_ACCESS.values())
_CREATE = constants.NETWORK_ACCESS["create"]


def enumerated(pair: Pair) -> Iterator[Difference]:
    """The differences in all three classes."""
    yield from _capabilities(pair)
    yield from _networks(pair)
    yield from _userns(pair)


def _told(
    pair: Pair, kind: str, key: Key, only: tuple[str, str], queries: Iterable[Query]
) -> Iterator[Difference]:
    """The difference with the first of `queries` that tells the two apart; nothing where none does."""
    asked = list(queries)
    query = next((one for one in asked if pair.apart(one, key)), None)
    if query is not None:
        yield Difference(
            profile=pair.name,
            kind=kind,
            only_a=key.aspect.words(only[0]),
            only_b=key.aspect.words(only[1]),
            witness=str(query),
            query=query,
            count=len(asked),
            logging=key.aspect.logging,
        )


def _capabilities(pair: Pair) -> Iterator[Difference]:
    one, two = _held(pair.a), _held(pair.b)
    for key in pair.keys(one, two, KNOWN):
        for number, word in enumerate(constants.CAPABILITIES):
            in_a, in_b = bool(key.only_a >> number & 1), bool(key.only_b >> number & 1)
            if in_a or in_b:
                only = (word * in_a, word * in_b)
                yield from _told(pair, "capability", key, only, [CapabilityQuery(number)])


def _held(profile: Profile) -> Grant:
    """The capabilities as a mask of permissions; an unconfined profile holds all."""
    if profile.mode is Mode.UNCONFINED:
        return Grant(KNOWN)
    found = profile.capabilities
    return Grant(found.allow, audit=found.audit, quiet=found.quiet)


def _networks(pair: Pair) -> Iterator[Difference]:
    """Family by family and type by type; unix sockets only where kernels do not look at addresses."""
    judge_a, judge_b = pair.judges
    found: dict[Key, list[NetworkQuery]] = {}
    fine = _fine(judge_a) or _fine(judge_b)
    for family in range(len(constants.FAMILIES)):
        if family == sockets.AF_UNIX and fine:
            continue
        for kind in constants.SOCKET_TYPES.values():
            one, two = (_granted(network.by_rules(judge, family, kind)) for judge in (judge_a, judge_b))
            if one == two:
                continue
            for key in pair.keys(one, two, _NETWORK):
                access = _CREATE if key.bits & _CREATE else key.bits & -key.bits
                found.setdefault(key, []).append(NetworkQuery(family=family, type=kind, access=access))
    for key, queries in found.items():
        yield from _told(pair, "network", key, (_access(key.only_a), _access(key.only_b)), queries)


def _fine(judge: Evaluator) -> bool:
    policy = judge.profile.policy
    return policy is not None and sockets.start(policy, sockets.AF_UNIX, judge.asks)[1]


def _granted(found: Perms) -> Grant:
    """Only what is known to be asked of sockets and namespaces: encodings differ in the rest."""
    return Grant(
        found.allow & ~found.deny & _NETWORK,
        audit=found.audit & _NETWORK,
        quiet=found.quiet & _NETWORK,
        complain=found.complain & _NETWORK,
        kill=found.kill & _NETWORK,
    )


def _access(mask: int) -> str:
    return words_of(mask, constants.NETWORK_ACCESS)


def _userns(pair: Pair) -> Iterator[Difference]:
    one, two = (userns.by_rules(judge) for judge in pair.judges)
    if one == two:
        return
    for key in pair.keys(_create(one), _create(two), perms.USERNS_CREATE):
        only = ("create" * bool(key.only_a), "create" * bool(key.only_b))
        yield from _told(pair, "userns", key, only, [UsernsQuery()])


def _create(found: Perms) -> Grant:
    return Grant(
        found.allow & ~found.deny,
        audit=found.audit,
        quiet=found.quiet,
        complain=found.complain,
        kill=found.kill,
    )
