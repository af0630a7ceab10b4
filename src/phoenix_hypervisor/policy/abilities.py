"""What a profile allows besides files, in words that people know from rules.

Owns sockets, signals, ptrace, user namespaces, message queues, D-Bus, io_uring, unmounting and how
programs are executed.  Mounts and capabilities are `listing`'s.  Must not print.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from phoenix_hypervisor.policy import constants, grammar, perms
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.globs import glob_grammar, under
from phoenix_hypervisor.policy.grammar import Grammar
from phoenix_hypervisor.policy.kinds import dbus, io_uring, mqueue, network, userns
from phoenix_hypervisor.policy.paths import Paths
from phoenix_hypervisor.policy.patterns import patterns
from phoenix_hypervisor.policy.profile import Class, Mode, Profile
from phoenix_hypervisor.policy.reach import everywhere, graph
from phoenix_hypervisor.policy.sockets import Asks
from phoenix_hypervisor.policy.strings import transition
from phoenix_hypervisor.policy.summary import Line, Scale, summarise
from phoenix_hypervisor.values import dataclass

MANY = 12
"""Patterns of one thing that are told."""
_FEW = 3
"""The same where there are many things."""
_ROUNDS = 5
"""Searches for what a way for all programs leaves out: of some profiles that has no end."""
_SAMPLES = 500
"""Random paths of one way to execute."""
NOT_MEDIATED = "everything: this policy does not mediate it"


@dataclass(frozen=True, slots=True)
class Ability:
    """One thing that a profile allows."""

    kind: str
    text: str

    def as_json(self) -> dict[str, object]:
        return {"kind": self.kind, "text": self.text}


def grouped(found: Iterable[Ability]) -> list[tuple[str, list[str]]]:
    """As people are shown them: each kind with its texts; kinds of which the same is said together."""
    kinds: dict[str, list[str]] = {}
    for one in found:
        kinds.setdefault(one.kind, []).append(one.text)
    alike: dict[tuple[str, ...], list[str]] = {}
    for kind, texts in kinds.items():
        alike.setdefault(tuple(texts), []).append(kind)
    return [(", ".join(some), list(texts)) for texts, some in alike.items()]


def abilities(profile: Profile, asks: Asks) -> tuple[Ability, ...]:
    """Everything but files, mounts and capabilities.  Raises PolicyError where an automaton is too large."""
    if profile.mode is Mode.UNCONFINED:
        return (Ability("all", "everything: the profile's mode is unconfined"),)
    judge = Evaluator(profile, asks)
    found: list[Ability] = []
    parts: tuple[tuple[str, Callable[[Evaluator], Iterator[str]]], ...] = (
        ("network", _network),
        ("signal", _signals),
        ("ptrace", _ptrace),
        ("umount", _umount),
        ("userns", _userns),
        ("mqueue", _mqueue),
        ("dbus", _dbus),
        ("io_uring", _io_uring),
        ("exec", _exec),
    )
    for kind, tell in parts:
        found += [Ability(kind, text) for text in tell(judge)]
    return tuple(found)


def _network(judge: Evaluator) -> Iterator[str]:
    """Families with the types of sockets that may be made; for unix also the rest."""
    policy, create = judge.profile.policy, constants.NETWORK_ACCESS["create"]
    if judge.profile.families is None and (
        policy is None or not any(map(policy.mediates, (Class.NETWORK, Class.NETWORK_V9)))
    ):
        yield NOT_MEDIATED
        return
    groups: dict[str, list[str]] = {}
    for number, family in enumerate(constants.FAMILIES):
        types = [
            word
            for word, kind in constants.SOCKET_TYPES.items()
            if network.granted(judge, number, kind) & create
        ]
        if types:
            text = "every type" if len(types) == len(constants.SOCKET_TYPES) else ", ".join(types)
            groups.setdefault(text, []).append(family)
    for text, families in groups.items():
        yield f"{' '.join(families)} ({text})"


def _signals(judge: Evaluator) -> Iterator[str]:
    database, start = judge.mediated(Class.SIGNAL)
    if database is None:
        yield NOT_MEDIATED
        return
    for word, bit in constants.SIGNAL_ACCESS.items():
        states: dict[int, str] = {}
        groups: dict[str, list[int]] = {}
        for byte in grammar.SIGNAL_BYTES:
            state = database.dfa.step(start, byte)
            if state not in states:
                states[state] = _strings(judge, Class.SIGNAL, state, grammar.label(bit), bit)
            groups.setdefault(states[state], []).append(byte)
        for peers, found in groups.items():
            if peers:
                every = len(found) == len(grammar.SIGNAL_BYTES)
                names = "any signal" if every else ", ".join(map(_signal, found))
                yield f"{word} {names} {'to' if word == 'send' else 'from'} {peers}"


def _signal(byte: int) -> str:
    return (
        constants.SIGNALS[byte] if byte < len(constants.SIGNALS) else f"rt{byte - constants.SIGNAL_RT_BASE}"
    )


def _ptrace(judge: Evaluator) -> Iterator[str]:
    database, _ = judge.mediated(Class.PTRACE)
    if database is None:
        yield NOT_MEDIATED
        return
    state = database.dfa.walk(database.mediates(Class.LABEL), bytes((Class.PTRACE,)))
    groups: dict[str, list[str]] = {}
    for word, bit in constants.PTRACE_ACCESS.items():
        peers = _strings(judge, Class.PTRACE, state, grammar.label(bit), bit)
        if peers:
            groups.setdefault(peers, []).append(word)
    for peers, words in groups.items():
        yield f"{', '.join(words)}: {peers}"


def _strings(judge: Evaluator, number: int, start: int, asked: Grammar, mask: int) -> str:
    """Globs of the strings behind `start` that allow `mask`; empty for none."""
    database = judge.profile.policy
    assert database is not None
    if not start:
        return ""

    def wanted(state: int) -> bool:
        return database.perms(state).allow & mask == mask

    if everywhere(asked, database.dfa, start, wanted):
        return "anyone"
    found = graph(asked, database.dfa, start, wanted)
    globs = sorted(set(patterns(found, MANY)), key=lambda one: (len(one), one))
    return " ".join(glob.decode("utf-8", "backslashreplace") for glob in globs)


def _umount(judge: Evaluator) -> Iterator[str]:
    database, start = judge.mediated(Class.MOUNT)
    if database is None:
        yield NOT_MEDIATED
        return
    allows = [database.perms(state).allow for state in range(len(database.dfa))]
    paths = Paths(database.dfa, start, glob_grammar(under(b"/"), 1), allows)
    scale = Scale(perms.MAY_UMOUNT, lambda mask: "umount")
    yield from _told(summarise(paths, b"", (), (perms.MAY_UMOUNT,), MANY, scale), "")


def _told(lines: tuple[Line, ...], before: str) -> Iterator[str]:
    for line in lines:
        if line.access:
            but = f" except {' '.join(line.but)}" if line.but else ""
            yield f"{before}{line.pattern}{but}"


def _userns(judge: Evaluator) -> Iterator[str]:
    database, _ = judge.mediated(Class.NAMESPACE)
    if database is None:
        yield NOT_MEDIATED
    elif userns.granted(judge):
        yield "create user namespaces"


def _by_word(
    judge: Evaluator, number: Class, table: Mapping[str, int], asked: Callable[[int], Grammar]
) -> Iterator[str]:
    database, start = judge.mediated(number)
    if database is None:
        yield NOT_MEDIATED
        return
    groups: dict[str, list[str]] = {}
    for word, bit in table.items():
        found = _strings(judge, number, start, asked(bit), bit)
        if found:
            groups.setdefault(found, []).append(word)
    for found, words in groups.items():
        yield f"{', '.join(words)}: {found}"


def _mqueue(judge: Evaluator) -> Iterator[str]:
    return _by_word(judge, Class.MQUEUE, mqueue.ACCESS, grammar.path)


def _dbus(judge: Evaluator) -> Iterator[str]:
    database, start = judge.mediated(Class.DBUS)
    if database is None:
        yield NOT_MEDIATED
        return
    for word, bit in dbus.ACCESS.items():

        def wanted(state: int, bit: int = bit) -> bool:
            return bool(database.perms(state).allow & bit)

        reached = graph(grammar.anything(bit), database.dfa, start, wanted)
        globs = sorted(set(patterns(reached, MANY)), key=len)[:MANY]
        for glob in globs:
            parts = glob.replace(b"\\x00", b" ").decode("utf-8", "backslashreplace")
            yield f"{word}: {'anything' if parts in ('**', '*') else parts}"


def _io_uring(judge: Evaluator) -> Iterator[str]:
    database, start = judge.mediated(Class.IO_URING)
    if database is None:
        yield NOT_MEDIATED
        return
    if database.perms(start).allow & io_uring.OPERATIONS["sqpoll"]:
        yield "sqpoll"
    bit = io_uring.OPERATIONS["override_creds"]
    peers = _strings(judge, Class.IO_URING, start, grammar.label(bit), bit)
    if peers:
        yield f"override_creds of {peers}"


def _exec(judge: Evaluator) -> Iterator[str]:
    """How programs are executed: each way with the programs, the many last."""
    database = judge.profile.file
    if database is None:
        return
    ways: dict[str, int] = {}
    allows = []
    for state in range(len(database.dfa)):
        found = database.file_perms(state, owner=True)
        bit = 0
        if found.allow & ~found.deny & perms.EXEC:
            bit = ways.setdefault(transition(database, found.xindex), 1 << len(ways))
        allows.append(bit)
    paths = Paths(database.dfa, judge.profile.file_start, glob_grammar(under(b"/"), 1), allows)
    many = max(_FEW, min(MANY, 2 * MANY // max(len(ways), 1)))
    for way, bit in ways.items():
        scale = Scale(bit, lambda mask: "x", _SAMPLES, _ROUNDS)
        lines = summarise(paths, b"", (), (bit,), 10_000, scale)
        yield from _told(lines[:many], f"{way}: ")
        if len(lines) > many:
            yield f"{way}: and {len(lines) - many} more patterns"
