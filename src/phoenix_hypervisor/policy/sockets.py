"""How kernels ask about sockets.

Owns which class of a policy a kernel asks, and the string that a socket becomes.  Must not decide:
`kinds.network` does.  Source: security/apparmor (af_unix.c, net.c) of Linux 6.12,
6.17 and of Ubuntu's trees, from which Proxmox's kernels come; parser/af_unix.cc for the layout.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

from phoenix_hypervisor.policy import constants
from phoenix_hypervisor.policy.perms import CONTINUES, NULL, Perms
from phoenix_hypervisor.policy.profile import Class, Database

if TYPE_CHECKING:
    from phoenix_hypervisor.policy.kinds.network import NetworkQuery

AF_UNIX = 1
CMD_ADDRESS, CMD_LISTEN, CMD_OPTION = b"\x01", b"\x02", b"\x04"
UNNAMED = b"\x01"
"""How the kernel writes the address of a socket that has none."""
_BACKLOG = (128).to_bytes(2, "big")
_OPTION = (2).to_bytes(2, "big")
"""SO_REUSEADDR; the parser can write no rule about one option."""
_TO_PEER = sum(constants.NETWORK_ACCESS[word] for word in ("connect", "send", "receive"))
_OPTIONS = sum(constants.NETWORK_ACCESS[word] for word in ("setopt", "getopt"))
_CREATE, _BIND, _LISTEN = (constants.NETWORK_ACCESS[word] for word in ("create", "bind", "listen"))


class Asks(StrEnum):
    """How a kernel asks about a unix socket; other families are asked alike everywhere."""

    TYPE = "by family and type"
    """Linux before 6.17: Debian's 6.1 and 6.12."""
    PROTOCOL = "by family, type and protocol"
    """Ubuntu's kernels, Proxmox's among them, whichever network class the policy has."""
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


def _word(number: int) -> bytes:
    return number.to_bytes(2, "big")
