"""How kernels ask about sockets.

Owns which class of a policy a kernel asks, and the string that a socket becomes.  Must not decide:
`kinds.network` does.  Source: security/apparmor (af_unix.c, net.c) of Linux 6.12,
6.17 and of Ubuntu's trees (af_inet.c too), from which Proxmox's kernels come; parser/af_unix.cc and
network.cc for the layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import product
from typing import TYPE_CHECKING

from phoenix_hypervisor.policy import constants
from phoenix_hypervisor.policy.perms import CONTINUES, NULL, Perms
from phoenix_hypervisor.policy.profile import Class, Database

if TYPE_CHECKING:
    from phoenix_hypervisor.policy.kinds.network import NetworkQuery

AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10
CMD_ADDRESS, CMD_LISTEN, CMD_OPTION = b"\x01", b"\x02", b"\x04"
UNNAMED = b"\x01"
"""How the kernel writes the address of a socket that has none."""
_BACKLOG = (128).to_bytes(2, "big")
_OPTION = (2).to_bytes(2, "big")
"""SO_REUSEADDR; the parser can write no rule about one option."""
_TO_PEER = sum(constants.NETWORK_ACCESS[word] for word in ("connect", "send", "receive"))
_OPTIONS = sum(constants.NETWORK_ACCESS[word] for word in ("setopt", "getopt"))
_CREATE, _BIND, _LISTEN = (constants.NETWORK_ACCESS[word] for word in ("create", "bind", "listen"))
_CONNECT, _RECEIVE = (constants.NETWORK_ACCESS[word] for word in ("connect", "receive"))
_LOCAL, _PRIVILEGED, _REMOTE = b"\0", b"\1", b"\2"
"""What comes ahead of an inet socket's port; privileged: bound, and below ip_unprivileged_port_start."""
_NO_ADDRESS, _V4, _V6 = (b"\0", 0), (b"\1", 4), (b"\2", 16)
"""What stands for the size of an inet address, and its bytes."""
_OWN_PROTOCOL = {1: 6, 2: 17}
"""What a stream or datagram inet socket that was made with protocol 0 has from then on."""
_INET_OPTION = (1).to_bytes(2, "big") + _OPTION
"""SOL_SOCKET ahead of it: inet sockets are asked with the level, too."""


class Asks(StrEnum):
    """How a kernel asks about a unix socket; inet sockets are asked apart by PROTOCOL, others alike."""

    TYPE = "by family and type"
    """Linux before 6.17: Debian's 6.1 and 6.12."""
    PROTOCOL = "by family, type and protocol"
    """Ubuntu's kernels, Proxmox's among them, whichever network class the policy has.

    They ask inet sockets by address and port where the policy was compiled for that.
    """
    NINTH = "by family, type and protocol where the policy is of version 9"
    """Linux from 6.17."""


def asks(features: Mapping[str, frozenset[str]]) -> Asks:
    """How a kernel asks, from its features by path (`network/af_unix`)."""
    if "network/af_unix" in features or "network_v8/af_unix" in features:
        return Asks.PROTOCOL
    return Asks.NINTH if "network_v9/af_unix" in features else Asks.TYPE


def start(policy: Database, family: int, how: Asks) -> tuple[int, bool]:
    """Where the kernel starts (0: it asks nothing), and whether it asks with protocol and address."""
    if how is not Asks.TYPE:
        ninth = policy.mediates(Class.NETWORK_V9)
        if ninth:
            return ninth, family == AF_UNIX
    eighth = policy.mediates(Class.NETWORK)
    if how is not Asks.PROTOCOL or family != AF_UNIX:
        return eighth, False
    return eighth or policy.mediates(Class.NETWORK_V7), True


def by_type(policy: Database, state: int, query: NetworkQuery, how: Asks) -> Perms:
    """What rules grant where family and type are matched first (aa_match_to_prot)."""
    state = policy.dfa.walk(state, _word(query.family) + _word(query.type))
    found = policy.perms(state)
    insufficient = found.allow & query.access != query.access
    if how is not Asks.TYPE and state and insufficient and found.allow & CONTINUES:
        state = policy.dfa.walk(state, _word(query.protocol))
        found = policy.perms(state) if state else NULL
    return found


def unix(policy: Database, state: int, query: NetworkQuery, own: bytes) -> Iterator[tuple[int, Perms]]:
    """What rules grant, bit by bit of the access: each is asked with another string.

    `own` is the profile's name, which stands for the peer's where the query names none.
    """
    for bit in constants.NETWORK_ACCESS.values():
        if query.access & bit:
            found = policy.dfa.walk(state, unix_string(query, bit, own))
            yield bit, policy.perms(found) if found else NULL


def unix_string(query: NetworkQuery, bit: int, own: bytes) -> bytes:
    """What is matched behind the class for one bit of access to a unix socket.

    Without an address the socket is unnamed; a bind without one lets the kernel choose a name.
    """
    head = _word(AF_UNIX) + _word(query.type) + _word(query.protocol)
    if bit == _CREATE:
        return head
    unnamed = b"" if bit == _BIND else UNNAMED
    local = head + (unnamed if query.address is None else query.address) + b"\0\0"
    if bit == _LISTEN:
        return local + CMD_LISTEN + _BACKLOG
    if bit & _OPTIONS:
        return local + CMD_OPTION + _OPTION
    if bit & _TO_PEER:
        address = UNNAMED if query.peer_address is None else query.peer_address
        return local + CMD_ADDRESS + address + b"\0" + (own if query.peer is None else query.peer)
    return local


def inet(policy: Database, start: int, query: NetworkQuery) -> Iterator[tuple[int, set[Perms]]]:
    """What rules grant on an inet socket, bit by bit of the access: for every address and port.

    The set holds what is granted with one address or another; a kernel can really ask each.
    """
    way = _Inet(policy)
    for bit in constants.NETWORK_ACCESS.values():
        if query.access & bit:
            ends = way.asked(start, query, bit)
            yield bit, {policy.perms(abs(at)) if at else NULL for at in ends}


class _Inet:
    """The way of an inet socket's question through a policy, for every address at once.

    A state -N: the kernel took its decision at N.
    """

    def __init__(self, policy: Database) -> None:
        self._policy = policy

    def asked(self, start: int, query: NetworkQuery, bit: int) -> set[int]:
        """Where the kernel takes its decisions (profile_bind_perm, profile_remote_perm and the like)."""
        own = [_V6 if query.family == AF_INET6 else _V4]
        at = self._settled(self._walk({start}, _word(query.family) + _word(query.type)), bit)
        protocol = query.protocol or (0 if bit == _CREATE else _OWN_PROTOCOL.get(query.type))
        at = self._any(at, 2) if protocol is None else self._walk(at, _word(protocol))
        if bit == _CREATE:
            return at
        if bit & _TO_PEER:
            # An IPv6 socket may be sent to an IPv4 address; what is received is asked without any.
            other = [_V4, _V6] if query.family == AF_INET6 else own
            sizes = [_NO_ADDRESS] if bit == _RECEIVE else other if bit == _CONNECT else [_NO_ADDRESS, *other]
            at = self._walk(self._address(at, bit, (_REMOTE,), sizes), CMD_ADDRESS)
            return self._address(at, bit, (_LOCAL,), own)
        at = self._address(at, bit, (_LOCAL, _PRIVILEGED) if bit == _BIND else (_LOCAL,), own)
        if bit == _LISTEN:
            return self._walk(at, CMD_LISTEN + _BACKLOG)
        return self._walk(at, CMD_OPTION + _INET_OPTION) if bit & _OPTIONS else at

    def _address(
        self, at: set[int], bit: int, kinds: Iterable[bytes], sizes: Iterable[tuple[bytes, int]]
    ) -> set[int]:
        """Behind an address, and the label behind it, which no kernel fills in (match_addr_label)."""
        found: set[int] = set()
        for kind, (size, length) in product(kinds, sizes):
            ports = self._walk(at, kind)
            ports = self._any(ports, 2) if length else self._walk(ports, b"\0\0")
            found |= self._walk(self._any(self._walk(ports, size), length), b"\0")
        return self._walk(self._settled(found, bit), b"\0")

    def _settled(self, states: set[int], bit: int) -> set[int]:
        """The same, marked where the kernel reads no further (early_match)."""

        def ends(at: int) -> bool:
            allow = self._policy.perms(at).allow
            return bool(allow & bit) or not allow & CONTINUES

        return {-at if at > 0 and ends(at) else at for at in states}

    def _walk(self, states: set[int], data: bytes) -> set[int]:
        return {self._policy.dfa.walk(at, data) if at > 0 else at for at in states}

    def _any(self, states: set[int], length: int) -> set[int]:
        """Behind any `length` bytes."""
        for _ in range(length):
            states = {to for at in states for to in (self._policy.dfa.row(at) if at > 0 else (at,))}
        return states


def _word(number: int) -> bytes:
    return number.to_bytes(2, "big")
