"""Which strings a kernel asks about unix sockets where it looks at addresses.

Owns the automaton of `sockets.unix_string`, and the way back from a string to its question.
Must not look at a profile.  Source: security/apparmor/af_unix.c of Ubuntu's trees and of Linux 6.17.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache

from phoenix_hypervisor.policy import constants, sockets
from phoenix_hypervisor.policy.grammar import Grammar, build
from phoenix_hypervisor.policy.kinds.network import NetworkQuery

_BIND = constants.NETWORK_ACCESS["bind"]
_CREATE = constants.NETWORK_ACCESS["create"]
_LISTEN = constants.NETWORK_ACCESS["listen"]
_OPTIONS = constants.NETWORK_ACCESS["setopt"] | constants.NETWORK_ACCESS["getopt"]
_TO_PEER = sum(constants.NETWORK_ACCESS[word] for word in ("connect", "send", "receive"))
_LOCAL = sum(constants.NETWORK_ACCESS[word] for word in ("shutdown", "setattr", "getattr", "accept"))
_TYPES = frozenset(constants.SOCKET_TYPES.values())

_HEAD: tuple[frozenset[int], ...] = (
    frozenset({0}),
    frozenset({sockets.AF_UNIX}),
    frozenset({0}),
    _TYPES,
    frozenset({0}),
    frozenset({0, 1}),
)
_TAILS = {
    sockets.CMD_LISTEN[0]: (b"\x00\x80", _LISTEN),
    sockets.CMD_OPTION[0]: (b"\x00\x02", _OPTIONS),
}


@cache
def unix() -> Grammar:
    """Family, type and protocol; the socket's address; what is done, with a peer's address and label."""
    return build(("head", 0), _step, _reads)


def _step(state: Hashable, byte: int) -> Hashable | None:
    assert isinstance(state, tuple)
    where, at = state
    if where == "head":
        if at < len(_HEAD):
            return ("head", at + 1) if byte in _HEAD[at] else None
        return {1: ("own", "unnamed"), 0: ("own", "nul")}.get(byte)
    if where in ("own", "peer"):
        return _address(where, at, byte)
    if where == "local":
        if at == "empty":
            return None
        if byte == sockets.CMD_ADDRESS[0]:
            return ("peer", "")
        return ("tail", (byte, 0)) if byte in _TAILS else None
    if where == "tail":
        text = _TAILS[at[0]][0]
        return ("tail", (at[0], at[1] + 1)) if at[1] < len(text) and text[at[1]] == byte else None
    return ("label", True) if byte else None


def _address(where: str, at: str, byte: int) -> Hashable | None:
    """`unnamed`, or NUL and the abstract name; one's own ends in two NULs, a peer's in one."""
    if at == "":
        return {1: (where, "unnamed"), 0: (where, "nul")}.get(byte)
    if at in ("unnamed", "abstract") and byte == 0:
        return ("label", False) if where == "peer" else (where, f"{at} ends")
    if at == "nul":
        if byte == 0:
            return ("local", "empty") if where == "own" else None
        return (where, "abstract")
    if at.endswith(" ends"):
        return ("local", at.removesuffix(" ends")) if byte == 0 else None
    return (where, "abstract") if byte and at == "abstract" else None


def _reads(state: Hashable) -> int:
    assert isinstance(state, tuple)
    where, at = state
    if where == "head":
        return _CREATE if at == len(_HEAD) else 0
    if where == "local":
        return {"empty": _BIND, "unnamed": _LOCAL, "abstract": _LOCAL | _BIND}[at]
    if where == "tail":
        text, mask = _TAILS[at[0]]
        return mask if at[1] == len(text) else 0
    return _TO_PEER if state == ("label", True) else 0


def question(string: bytes, access: int) -> NetworkQuery:
    """The question that becomes `string`, for one bit of `access`."""
    kind, protocol, rest = string[3], string[5], string[6:]
    address, rest = _taken(rest, 2)
    peer_address: bytes | None = None
    peer: bytes | None = None
    if rest[:1] == sockets.CMD_ADDRESS:
        peer_address, peer = _taken(rest[1:], 1)
    return NetworkQuery(
        family=sockets.AF_UNIX,
        type=kind,
        access=access & -access,
        protocol=protocol,
        address=address,
        peer_address=peer_address,
        peer=peer,
    )


def _taken(rest: bytes, nuls: int) -> tuple[bytes | None, bytes]:
    """The address in front, None for an unnamed one, and what follows it and its NULs."""
    if rest[:1] == sockets.UNNAMED:
        return None, rest[1 + nuls :]
    if rest[:2] == b"\0\0" or not rest:
        return None, rest[nuls:]
    end = rest.index(b"\0", 1)
    return rest[:end], rest[end + nuls :]
