"""Questions about sockets.

Owns the kind, and what rules grant on sockets of a family and type.  Which class is asked, with which
string, is `sockets`'.  Source: security/apparmor/net.c, af_unix.c; af_inet.c of Ubuntu's trees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phoenix_hypervisor.policy import constants, perms, sockets
from phoenix_hypervisor.policy.answers import Answer, Reason
from phoenix_hypervisor.policy.fault import NotJudged, PolicyError
from phoenix_hypervisor.policy.perms import Perms
from phoenix_hypervisor.policy.profile import Database
from phoenix_hypervisor.policy.query import Fields, Form, Option, Query, RawQuery, show, words_of
from phoenix_hypervisor.values import dataclass, replace

if TYPE_CHECKING:
    from phoenix_hypervisor.policy.evaluate import Evaluator

_CREATE = constants.NETWORK_ACCESS["create"]
_EVERY = sum(constants.NETWORK_ACCESS.values())
_FREE = Perms(allow=_EVERY)
_INET = (sockets.AF_INET, sockets.AF_INET6)
_RAW_NEEDS = {("inet", 3), ("inet6", 3), ("appletalk", 3), ("ieee802154", 3), ("nfc", 3)}
_FAMILY_NEEDS = {"packet": "net_raw", "llc": "net_raw", "xdp": "net_raw", "key": "net_admin"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkQuery(Query):
    """Make a socket or use it; what stands behind `access` matters to some kernels only (sockets.Asks)."""

    family: int
    type: int
    access: int = _CREATE
    protocol: int = 0
    address: bytes | None = None
    """Of a unix socket, as the kernel has it: NUL and the abstract name."""
    peer_address: bytes | None = None
    peer: bytes | None = None
    """The profile at the other end; None: the same profile."""

    def __str__(self) -> str:
        types = {number: word for word, number in constants.SOCKET_TYPES.items()}
        words = ["network", _family(self.family), str(types.get(self.type, self.type))]
        if self.access != _CREATE:
            words += ["--access", words_of(self.access, constants.NETWORK_ACCESS)]
        if self.protocol:
            words += ["--protocol", str(self.protocol)]
        for option, value in (("--address", self.address), ("--peer-address", self.peer_address)):
            if value is not None:
                words += [option, show(b"@" + value[1:])]
        if self.peer is not None:
            words += ["--peer", show(self.peer)]
        return " ".join(words)

    def ask(self, judge: Evaluator) -> Answer:
        name = constants.FAMILIES[self.family] if self.family < len(constants.FAMILIES) else ""
        need = "net_raw" if (name, self.type) in _RAW_NEEDS else _FAMILY_NEEDS.get(name)
        return _decided(judge, self).needing(*((need,) if need else ()))


def _decided(judge: Evaluator, query: NetworkQuery) -> Answer:
    profile = judge.profile
    policy = profile.policy
    if judge.unconfined:
        return judge.free()
    inet = _by_address(judge, query.family)
    if inet is not None:
        return _of_all_addresses(judge, query, inet)
    start, fine = sockets.start(policy, query.family, judge.asks) if policy is not None else (0, False)
    if policy is not None and start and fine:
        found = sockets.unix(policy, start, query, profile.name)
        answers = [judge.by_check(granted, bit) for bit, granted in found]
        worst = min(answers, key=lambda answer: (answer.allowed, not answer.complain))
        return replace(worst, audited=any(a.audited for a in answers)) if worst.allowed else worst
    if policy is not None and start:
        return judge.by_check(sockets.by_type(policy, start, query, judge.asks), query.access)
    if profile.families is None:
        return judge.free()
    row = profile.families[query.family] if query.family < len(profile.families) else (0, 0, 0)
    allow, audit, quiet = (perms.ALL if mask >> query.type & 1 else 0 for mask in row)
    return judge.by_check(Perms(allow=allow, audit=audit, quiet=quiet), query.access)


def _by_address(judge: Evaluator, family: int) -> tuple[Database, int] | None:
    """The policy and its start where the kernel may ask it for addresses and ports of such a socket."""
    policy = judge.profile.policy
    if judge.unconfined or policy is None or judge.asks is not sockets.Asks.PROTOCOL or family not in _INET:
        return None
    start, _ = sockets.start(policy, family, judge.asks)
    return (policy, start) if start else None


def _of_all_addresses(judge: Evaluator, query: NetworkQuery, inet: tuple[Database, int]) -> Answer:
    """The answer that holds for every address and port.  Raises NotJudged where there is none."""
    certain: list[Answer] = []
    apart = 0
    for bit, found in sockets.inet(*inet, query):
        answers = [judge.by_check(one, bit) for one in found]
        if len({answer.allowed for answer in answers}) > 1:
            apart |= bit
            continue
        # Of several reasons to refuse, a deny rule is only told where it always is the one.
        one = max(answers, key=lambda answer: (answer.complain, answer.reason is Reason.NO_RULE))
        certain.append(replace(one, audited=any(answer.audited for answer in answers)))
    worst = min(certain, key=lambda answer: (answer.allowed, not answer.complain), default=None)
    if worst is None or (apart and worst.allowed):
        raise NotJudged(
            f"not judged: the answer to {words_of(apart, constants.NETWORK_ACCESS)} depends on addresses,"
            " ports or the protocol",
            hint="look up the profile's network rules with ip= or port=; --protocol N says the protocol",
        )
    return replace(worst, audited=any(one.audited for one in certain)) if worst.allowed else worst


def asked_apart(question: Query | RawQuery) -> bool:
    """Whether kernels ask this in different ways, so that an answer holds for some of them."""
    return isinstance(question, NetworkQuery) and question.family == sockets.AF_UNIX


def granted(judge: Evaluator, family: int, kind: int) -> int:
    """The bits of NETWORK_ACCESS that rules grant on such a socket, whatever the profile's mode."""
    return by_rules(judge, family, kind).allow & _EVERY


def by_rules(judge: Evaluator, family: int, kind: int) -> Perms:
    """What rules say of such a socket, whatever the profile's mode.

    Of a unix socket, an unnamed one; of an inet socket, with every address and port.
    """
    profile = judge.profile
    policy = profile.policy
    if judge.unconfined:
        return _FREE
    query = NetworkQuery(family=family, type=kind, access=_EVERY)
    inet = _by_address(judge, family)
    if inet is not None:
        every = [(bit, found) for bit, found in sockets.inet(*inet, query)]
        return Perms(
            allow=sum(bit for bit, found in every if all(one.allow & bit for one in found)),
            audit=sum(bit for bit, found in every if all(one.audit & bit for one in found)),
            quiet=sum(bit for bit, found in every if all(one.quiet & bit for one in found)),
        )
    start, fine = sockets.start(policy, family, judge.asks) if policy is not None else (0, False)
    if policy is not None and start and (fine or judge.asks is not sockets.Asks.TYPE):
        if fine:
            found = list(sockets.unix(policy, start, query, profile.name))
        else:  # whether the protocol is looked at depends on the bit that is asked for
            singly = [(bit, replace(query, access=bit)) for bit in constants.NETWORK_ACCESS.values()]
            found = [(bit, sockets.by_type(policy, start, one, judge.asks)) for bit, one in singly]
        return Perms(
            allow=sum(bit for bit, one in found if one.allow & bit),
            audit=sum(bit for bit, one in found if one.audit & bit),
            quiet=sum(bit for bit, one in found if one.quiet & bit),
        )
    if policy is not None and start:
        return sockets.by_type(policy, start, query, judge.asks)
    if profile.families is None:
        return _FREE
    row = profile.families[family] if family < len(profile.families) else (0, 0, 0)
    allow, audit, quiet = (_EVERY if mask >> kind & 1 else 0 for mask in row)
    return Perms(allow=allow, audit=audit, quiet=quiet)


def _family(number: int) -> str:
    return constants.FAMILIES[number] if number < len(constants.FAMILIES) else str(number)


def _network(fields: Fields) -> NetworkQuery:
    if fields.is_number("family"):
        family = fields.number("family", 0xFFFF)
    else:
        family = constants.family(fields.text("family"))
    return _socket(fields, family)


def _socket(fields: Fields, family: int) -> NetworkQuery:
    if fields.is_number("type"):
        kind = fields.number("type", 0xFFFF)
    else:
        kind = constants.socket_type(fields.text("type"))
    access = 0
    for word in fields.words("access"):
        access |= constants.from_table(word, "network access", constants.NETWORK_ACCESS)
    return NetworkQuery(
        family=family,
        type=kind,
        access=access or _CREATE,
        protocol=fields.number("protocol", 0xFFFF, 0),
        address=_abstract(fields, "address"),
        peer_address=_abstract(fields, "peer_address"),
        peer=fields.maybe_path("peer"),
    )


def _abstract(fields: Fields, name: str) -> bytes | None:
    """`@name` as the kernel has it; a socket with a path is a file to AppArmor."""
    value = fields.maybe_path(name)
    if value is not None and not value.startswith(b"@"):
        hint = "a socket with a path is asked for as a file: `file PATH --access rw`"
        raise PolicyError(f"{name!r} must be an abstract name, @NAME", hint=hint)
    return value if value is None else b"\0" + value[1:]


_OPTIONS = (
    Option("access", "words, with commas between"),
    Option("protocol", "the protocol's number", int),
    Option("address", "a unix socket's abstract name", metavar="@NAME"),
    Option("peer_address", "the other's abstract name", metavar="@NAME"),
    Option("peer", "the other's profile"),
)

FORMS = (
    Form(name="network", parse=_network, words=("family", "type"), options=_OPTIONS),
    Form(
        name="unix",
        parse=lambda fields: _socket(fields, sockets.AF_UNIX),
        words=("type",),
        options=_OPTIONS,
    ),
)
