"""Comparing what automata decide, class by class.

Owns the search for differences and for an example of each.  Two automata are first walked side by side
with every string there is.  Only where that finds something are the strings searched that a kernel asks;
what then has no example is told as not compared.  Must not know settings, nor how policies are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from itertools import chain, islice
from operator import or_

from phoenix_hypervisor.policy import constants, grammar, perms, spaces
from phoenix_hypervisor.policy.differences import Aspect, Difference, Key, NotCompared, Pair
from phoenix_hypervisor.policy.grammar import DEAD, Grammar, anything, path
from phoenix_hypervisor.policy.grants import Grant, Space, class_space, file_space
from phoenix_hypervisor.policy.product import Budget, Search, Side
from phoenix_hypervisor.policy.profile import LAST_CLASS, Class, Profile
from phoenix_hypervisor.policy.queries import LinkQuery, Query, RawQuery
from phoenix_hypervisor.policy.spaces import Kind
from phoenix_hypervisor.values import dataclass, replace

TARGETS = 5000
"""How many states are tried for the target of a link."""
TRIES = 50
"""How many strings are tried as the example of one way to differ."""

Found = Difference | NotCompared


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Group:
    """Kinds of question that walk the same automaton."""

    name: str
    number: int
    """The class byte."""
    space: Callable[[Profile, bool], Space]
    """Everything that the automaton of the class could be asked."""
    kinds: tuple[Kind, ...]
    mask: int
    """The bits that some kernel reads."""
    by_owner: bool = False
    asked: bool = False
    """Whether kernels may ask more than the kinds and `enumerated` know."""


_FILE = grammar.FILE_BITS | perms.LINK | perms.LINK_SUBSET | perms.CHANGE_PROFILE | perms.ONEXEC
_MOUNT = perms.MAY_MOUNT | perms.MAY_UMOUNT | perms.MAY_PIVOT_ROOT
_ANY = perms.ALL & ~perms.LOCK
"""What may be read where it is not known: old encodings give LOCK everywhere."""
_NETWORK = sum(constants.NETWORK_ACCESS.values())

_GROUPS = (
    Group(name="file", number=2, space=file_space, kinds=spaces.FILE_KINDS, mask=_FILE, by_owner=True),
    Group(name="mount", number=7, space=class_space(Class.MOUNT), kinds=spaces.MOUNT_KINDS, mask=_MOUNT),
    *(
        Group(name=kind.name, number=number, space=kind.space, kinds=(kind,), mask=mask)
        for kind, number, mask in (
            (spaces.SIGNAL_KIND, Class.SIGNAL, 0x6),
            (spaces.PTRACE_KIND, Class.LABEL, 0x1E),
            (spaces.MQUEUE_KIND, Class.MQUEUE, _ANY),
            (spaces.IO_URING_KIND, Class.IO_URING, _ANY),
            (spaces.DBUS_KIND, Class.DBUS, _ANY),
        )
    ),
)
_NAMED = {Class.FILE, Class.MOUNT, Class.SIGNAL, Class.PTRACE, Class.LABEL, Class.MQUEUE, Class.IO_URING}
_NAMED |= {Class.DBUS, Class.NAMESPACE}
_SOCKETS = {Class.NETWORK_V7, Class.NETWORK, Class.NETWORK_V9}


def searched(pair: Pair, budget: Budget) -> Iterator[Found]:
    """The differences that automata make.  Raises PolicyError where they are too large."""
    for group in _GROUPS:
        yield from _group(pair, group, budget)
    unix = list(_kind(pair, spaces.unix_kind(pair.asks), budget))
    yield from unix
    yield from _group(pair, _ATTACHMENTS, budget)
    for group in _unnamed(pair):
        for one in _group(pair, group, budget):
            if not (unix and group.number in _SOCKETS):
                yield one


_ATTACHMENTS = Group(
    name="attachment",
    number=Class.XMATCH,
    space=spaces.ATTACHMENT_KIND.space,
    kinds=(spaces.ATTACHMENT_KIND,),
    mask=perms.EXEC,
)


def _unnamed(pair: Pair) -> Iterator[Group]:
    """Classes that no kind asks for whole: they are only walked side by side."""
    for number in range(1, 256):
        if number in _NAMED or not (pair.a.start(number) and pair.b.start(number)):
            continue
        if number in _SOCKETS:
            name = "network: protocols, addresses and ports"
        elif number <= LAST_CLASS and number in Class.__members__.values():
            name = f"{Class(number).name.lower()} (class {number})"
        else:
            name = f"class {number}"
        mask = _NETWORK if number in _SOCKETS else _ANY
        yield Group(name=name, number=number, space=class_space(number), kinds=(), mask=mask, asked=True)


def _group(pair: Pair, group: Group, budget: Budget) -> Iterator[Found]:
    variants = (False, True) if group.by_owner else (False,)
    both = [(group.space(pair.a, other), group.space(pair.b, other)) for other in variants]
    one, two = both[0]
    if (one.free and two.free) or _same(one, two):
        return
    example = None
    if not one.free and not two.free:
        example = _unlike(pair, both, group.mask, budget)
        if example is None:
            return
    told = False
    for kind in group.kinds:
        for found in _kind(pair, kind, budget):
            told = True
            yield found
    if example is not None and not told:
        what = group.name if group.asked else f"{group.name}: strings that no kernel asks"
        shown = str(RawQuery(group.number, example)) if group.number != Class.XMATCH else ""
        yield NotCompared(profile=pair.name, what=what, example=shown, asked=group.asked)


def _same(one: Space, two: Space) -> bool:
    a, b = one.database, two.database
    return a is not None and b is not None and one.side.start == two.side.start and (a is b or a.same(b))


def _sides(pair: Pair, one: Space, two: Space, mask: int) -> tuple[Side, Side]:
    """What to search: the state that leads nowhere, too, where the two grant different things there.

    Kernels that read the general automaton for want of file rules give others the neighbour's permissions.
    """
    if one.database is None or two.database is None:
        return one.side, two.side
    if pair.essence(one.grants(0), mask) == pair.essence(two.grants(0), mask):
        return one.side, two.side
    return one.side.to_the_end(), two.side.to_the_end()


def _unlike(pair: Pair, both: list[tuple[Space, Space]], mask: int, budget: Budget) -> bytes | None:
    """A shortest string of any bytes on which the two differ; None where there is none."""
    sides = [_sides(pair, one, two, mask) for one, two in both]
    search = Search(
        anything(1), *next((s for s in sides if DEAD in (s[0].dead, s[1].dead)), sides[0]), budget
    )
    for node in search:
        for one, two in both:
            first, second = one.grants(node[1]), two.grants(node[2])
            if first != second and pair.essence(first, mask) != pair.essence(second, mask):
                return search.string(node)
    return None


class _Way:
    """One way in which two profiles differ: how often, and a question that shows it."""

    __slots__ = ("count", "query", "tries")

    def __init__(self) -> None:
        self.count = self.tries = 0
        self.query: Query | RawQuery | None = None


Ways = dict[tuple[Key, str], _Way]


def _kind(pair: Pair, kind: Kind, budget: Budget) -> Iterator[Found]:
    known: dict[tuple[Key, str], int] = {}
    for other in (False, True) if kind.by_owner else (False,):
        one, two = kind.space(pair.a, other), kind.space(pair.b, other)
        if (one.free and two.free) or _same(one, two):
            continue
        if other and not (_by_owner(one) or _by_owner(two)):
            continue
        if kind.whole and one.free is not two.free:
            yield _unmediated(pair, kind, one)
            continue
        ways = _ways(pair, kind, kind.grammar(), (one, two), other, budget)
        plain = _ways(pair, kind, kind.plain(), (one, two), other, budget) if kind.plain and ways else {}
        for key, way in ways.items():
            easy = plain.get(key)
            query = easy.query if easy is not None and easy.query is not None else way.query
            if known.get(key) == way.count:
                continue  # others differ exactly as the owner does: said already
            known[key] = way.count
            yield _report(pair, kind, key, query, way.count)


def _by_owner(space: Space) -> bool:
    """Whether the owner of a file and others have different permissions somewhere."""
    database = space.database
    if database is None:
        return False
    found = database.file_perms
    return any(found(n, owner=True) != found(n, owner=False) for n in range(len(database.dfa)))


def _unmediated(pair: Pair, kind: Kind, one: Space) -> Difference:
    """A class that only one of them was compiled with."""
    query = RawQuery(_NUMBERS[kind.name], b"")
    return Difference(
        profile=pair.name,
        kind=kind.name,
        only_a="unmediated" if one.free else "",
        only_b="" if one.free else "unmediated",
        witness=str(query),
        query=query,
    )


_NUMBERS = {"mqueue": Class.MQUEUE, "io_uring": Class.IO_URING, "dbus": Class.DBUS}


def _ways(
    pair: Pair, kind: Kind, asked: Grammar, both: tuple[Space, Space], other: bool, budget: Budget
) -> Ways:
    """Each way in which the two differ, with a question that shows it and how often it occurs."""
    one, two = both
    search = Search(asked, *_sides(pair, one, two, reduce(or_, asked.reads)), budget)
    ways: Ways = {}
    keys: dict[tuple[Grant, Grant, int], list[Key]] = {}
    for node in search:
        mask = asked.reads[node[0]]
        if not mask:
            continue
        first, second = one.grants(node[1]), two.grants(node[2])
        if first == second:
            continue
        found = keys.get((first, second, mask))
        if found is None:
            found = keys[first, second, mask] = pair.keys(first, second, mask, kind.logged)
        for key in found:
            way = ways.setdefault((key, asked.tags[node[0]]), _Way())
            way.count += 1
            if way.query is None and way.tries < TRIES:
                way.tries += 1
                way.query = _telling(pair, kind, key, search.string(node), other, way.tries == 1)
    return ways


def _telling(
    pair: Pair, kind: Kind, key: Key, string: bytes, other: bool, first: bool
) -> Query | RawQuery | None:
    """The question that `string` stands for, where the two really answer it differently."""
    query = kind.query(string, key.bits, other)
    if pair.apart(query, key):
        return query
    return _with_target(pair, query, key, thorough=first) if isinstance(query, LinkQuery) else None


def _report(
    pair: Pair, kind: Kind, way: tuple[Key, str], query: Query | RawQuery | None, count: int
) -> Found:
    key, tag = way
    name = f"{kind.name} ({tag})" if tag else kind.name
    words = [key.words_a, key.words_b]
    if key.aspect is not Aspect.TRANSITION:
        words = [(kind.words(bits) or f"{bits:#x}") if bits else "" for bits in (key.only_a, key.only_b)]
    only_a, only_b = (key.aspect.words(word) for word in words)
    if query is None:
        sides = [f"{word} only in {side}" for side, word in (("A", only_a), ("B", only_b)) if word]
        what = f"{name}: no question shows it: {', '.join(sides)}"
        return NotCompared(profile=pair.name, what=what, asked=False)
    return Difference(
        profile=pair.name,
        kind=name,
        only_a=only_a,
        only_b=only_b,
        witness=str(query),
        query=query,
        count=count,
        logging=key.aspect.logging,
    )


def _with_target(pair: Pair, query: LinkQuery, key: Key, *, thorough: bool) -> Query | None:
    """The same with a target on which the two differ.

    A pair of paths may also ask for the target to have the permissions of the link, which no
    automaton of pairs knows; then what is behind a shortest pair is mostly a target without any.
    """
    more = chain(_targets(pair.a), _targets(pair.b)) if thorough else iter(())
    for target in chain((query.path,), more):
        found = replace(query, target=target)
        if pair.apart(found, key):
            return found
    return None


def _targets(profile: Profile) -> Iterator[bytes]:
    """A path for every state of the file automaton, as far as TARGETS goes."""
    if profile.file is not None:
        side = Side.of(profile.file.dfa, profile.file_start)
        asked = path(perms.ALL)
        search = Search(asked, side, Side.constant(alive=False))
        for node in islice(search, TARGETS):
            if asked.reads[node[0]]:
                yield search.string(node)
