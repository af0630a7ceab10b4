"""What one policy allows and another does not.

Owns which profiles are compared with which, and putting together what the comparisons of settings, of
what is asked one by one and of automata find.  Policies are compared by what they decide, never by how
they are encoded.  Every difference of rules comes with a question that a kernel can really be asked; the
two have answered it differently.  Must not read files.
"""

from __future__ import annotations

from collections.abc import Iterator

from phoenix_hypervisor.policy.differences import Comparison, Difference, NotCompared, Pair
from phoenix_hypervisor.policy.enumerated import KNOWN, enumerated
from phoenix_hypervisor.policy.product import Budget
from phoenix_hypervisor.policy.profile import Policy, Profile
from phoenix_hypervisor.policy.profile_settings import settings
from phoenix_hypervisor.policy.queries import show
from phoenix_hypervisor.policy.searched import Found, searched
from phoenix_hypervisor.policy.sockets import Asks

__all__ = [
    "Comparison",
    "Difference",
    "NotCompared",
    "compare_policies",
    "diff_policies",
    "diff_profiles",
    "equal",
]


def compare_policies(
    a: Policy,
    b: Policy,
    *,
    logging: bool = False,
    asks: Asks = Asks.TYPE,
    only: tuple[str | None, str | None] = (None, None),
) -> Comparison:
    """Everything that the profiles of A and B decide differently, and what was not compared.

    `only`: of A and of B this profile with its children; the two are compared whatever their names are,
    as are policies of one profile each.  Other profiles are compared by their names.  `logging` also
    reports what is only logged or kept quiet differently; without it that counts as not compared.
    Raises PolicyError where automata are too large to be compared.
    """
    found = list(_compared(a, b, logging, asks, only))
    return Comparison(
        differences=tuple(one for one in found if isinstance(one, Difference)),
        not_compared=tuple(one for one in found if isinstance(one, NotCompared)),
    )


def diff_policies(a: Policy, b: Policy, *, logging: bool = False, asks: Asks = Asks.TYPE) -> list[Difference]:
    """The differences that `compare_policies` finds."""
    return list(compare_policies(a, b, logging=logging, asks=asks).differences)


def equal(a: Policy, b: Policy, *, asks: Asks = Asks.TYPE) -> bool:
    """Whether the policies decide and log everything alike that a kernel is known to ask.

    False where something was not compared that some kernel may ask.  Stops at the first difference.
    """
    found = _compared(a, b, True, asks, (None, None))
    return all(isinstance(one, NotCompared) and not one.asked for one in found)


def diff_profiles(
    a: Profile, b: Profile, *, logging: bool = False, asks: Asks = Asks.TYPE
) -> Iterator[Difference]:
    """What the two profiles decide differently on a kernel that `asks` so; nothing where they are equal."""
    for one in _profiles(a, b, logging, asks, Budget()):
        if isinstance(one, Difference):
            yield one


def _compared(
    a: Policy, b: Policy, logging: bool, asks: Asks, only: tuple[str | None, str | None]
) -> Iterator[Found]:
    ours, theirs = _families(a, only[0]), _families(b, only[1])
    one_each = len(ours) == len(theirs) == 1
    if one_each or only != (None, None):
        ours, theirs = _by_place(ours), _by_place(theirs)
    budget = Budget()
    for name in dict.fromkeys([*ours, *theirs]):
        here, there = ours.get(name), theirs.get(name)
        if here is not None and there is not None:
            yield from _profiles(here, there, logging, asks, budget)
            continue
        label = (here or there or a.profiles[0]).label
        yield Difference(
            profile=label,
            kind="profile",
            only_a="defined" if here else "",
            only_b="defined" if there else "",
            witness="",
        )


def _families(policy: Policy, only: str | None) -> dict[bytes, Profile]:
    """Profiles by full name; with `only` that one and its children."""
    found = {profile.extent.full_name: profile for profile in policy.profiles}
    if only is None:
        return found
    top = policy.get(only).extent.full_name
    return {name: one for name, one in found.items() if name == top or name.startswith(top + b"//")}


def _by_place(family: dict[bytes, Profile]) -> dict[bytes, Profile]:
    """The same by what stands behind the name of the first."""
    top = next(iter(family), b"")
    return {name.removeprefix(top): profile for name, profile in family.items()}


def _profiles(a: Profile, b: Profile, logging: bool, asks: Asks, budget: Budget) -> Iterator[Found]:
    pair = Pair(a, b, asks)
    silent: list[Difference] = []
    for one in _everything(pair, budget):
        if isinstance(one, Difference) and one.logging and not logging:
            silent.append(one)
        else:
            yield one
    if silent:
        what = "what is logged and what is kept quiet (--logging compares it)"
        yield NotCompared(profile=pair.name, what=what, example=silent[0].witness, logging=True)


def _everything(pair: Pair, budget: Budget) -> Iterator[Found]:
    yield from settings(pair)
    yield from enumerated(pair)
    yield from searched(pair, budget)
    yield from _beyond(pair)


def _beyond(pair: Pair) -> Iterator[NotCompared]:
    """What no question of ours reaches."""
    a, b = pair.a, pair.b
    one, two = a.capabilities, b.capabilities
    rest = [(found.allow & ~KNOWN, found.quiet & ~KNOWN, found.audit & ~KNOWN) for found in (one, two)]
    if rest[0] != rest[1] or one.extended != two.extended:
        yield NotCompared(profile=pair.name, what="capabilities that have no name here")
    if a.xattrs and a.xattrs == b.xattrs and not _same_attachment(pair):
        names = ", ".join(map(show, a.xattrs))
        yield NotCompared(profile=pair.name, what=f"values of extended attributes: {names}")


def _same_attachment(pair: Pair) -> bool:
    one, two = pair.a.xmatch, pair.b.xmatch
    return one is two or (one is not None and two is not None and one.same(two))
