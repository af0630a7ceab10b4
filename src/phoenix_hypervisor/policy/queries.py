"""Questions about a profile, as data.

Owns the kinds of query, their words, and reading them from a JSON object or a table of a
test file.  Must not answer any.  Paths and peers are bytes; directories end in `/`, as
the kernel writes them.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from phoenix_hypervisor.policy import constants
from phoenix_hypervisor.policy.errors import PolicyError


@dataclass(frozen=True, slots=True)
class FileQuery:
    """Open, read, write, execute, map, lock or otherwise use a path."""

    path: bytes
    access: int
    other: bool = False
    """Asked by a process whose fsuid does not own the file."""

    def __str__(self) -> str:
        who = " --other" if self.other else ""
        return f"file {show(self.path)} --access {constants.file_letters(self.access)}{who}"


@dataclass(frozen=True, slots=True)
class LinkQuery:
    """Make `path` a hard link to the existing file `target`."""

    path: bytes
    target: bytes
    other: bool = False

    def __str__(self) -> str:
        return f"link {show(self.path)} --target {show(self.target)}" + (" --other" if self.other else "")


@dataclass(frozen=True, slots=True)
class MountQuery:
    """mount(2) with `flags` as the caller gives them; the kernel's rewriting comes later."""

    source: bytes | None
    target: bytes
    fstype: bytes | None
    flags: int
    data: bytes | None = None

    def __str__(self) -> str:
        words = ["mount"]
        if self.source is not None:
            words += ["--source", show(self.source)]
        words += ["--target", show(self.target)]
        if self.fstype is not None:
            words += ["--fstype", show(self.fstype)]
        if self.flags:
            words += ["--flags", ",".join(constants.mount_words(self.flags))]
        if self.data is not None:
            words += ["--data", show(self.data)]
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class UmountQuery:
    target: bytes

    def __str__(self) -> str:
        return f"umount --target {show(self.target)}"


@dataclass(frozen=True, slots=True)
class PivotRootQuery:
    new_root: bytes
    put_old: bytes

    def __str__(self) -> str:
        return f"pivot-root --new-root {show(self.new_root)} --put-old {show(self.put_old)}"


@dataclass(frozen=True, slots=True)
class CapabilityQuery:
    number: int

    def __str__(self) -> str:
        return f"capability {constants.CAPABILITIES[self.number]}"


@dataclass(frozen=True, slots=True)
class NetworkQuery:
    """Make a socket or use it; what stands behind `access` matters to some kernels only (sockets.Asks)."""

    family: int
    type: int
    access: int = 0x10
    protocol: int = 0
    address: bytes | None = None
    """Of a unix socket, as the kernel has it: NUL and the abstract name."""
    peer_address: bytes | None = None
    peer: bytes | None = None
    """The profile at the other end; None: the same profile."""

    def __str__(self) -> str:
        types = {number: word for word, number in constants.SOCKET_TYPES.items()}
        words = ["network", _family(self.family), str(types.get(self.type, self.type))]
        access = [word for word, bit in constants.NETWORK_ACCESS.items() if self.access & bit]
        if access != ["create"]:
            words += ["--access", ",".join(access)]
        if self.protocol:
            words += ["--protocol", str(self.protocol)]
        for option, value in (("--address", self.address), ("--peer-address", self.peer_address)):
            if value is not None:
                words += [option, show(b"@" + value[1:])]
        if self.peer is not None:
            words += ["--peer", show(self.peer)]
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class SignalQuery:
    signal: int
    """AppArmor's byte for it, not the system's number."""
    access: int
    peer: bytes

    def __str__(self) -> str:
        access = _word(self.access, constants.SIGNAL_ACCESS)
        return f"signal {constants.signal_name(self.signal)} --access {access} --peer {show(self.peer)}"


@dataclass(frozen=True, slots=True)
class PtraceQuery:
    access: int
    peer: bytes

    def __str__(self) -> str:
        return f"ptrace --access {_word(self.access, constants.PTRACE_ACCESS)} --peer {show(self.peer)}"


@dataclass(frozen=True, slots=True)
class ChangeProfileQuery:
    """Write `changeprofile target` (or with `onexec`, `exec target`) to one's own attr."""

    target: bytes
    onexec: bool = False

    def __str__(self) -> str:
        return f"change-profile {show(self.target)}" + (" --onexec" if self.onexec else "")


@dataclass(frozen=True, slots=True)
class UsernsQuery:
    """Create a user namespace."""

    def __str__(self) -> str:
        return "userns"


@dataclass(frozen=True, slots=True)
class RawQuery:
    """What securityfs `.access` is asked: a class byte and what follows it."""

    number: int
    string: bytes
    uid: int = 0

    def __str__(self) -> str:
        return f"raw --class {self.number} --string {self.string.hex() or repr('')} --uid {self.uid}"


Query: TypeAlias = (
    FileQuery
    | LinkQuery
    | MountQuery
    | UmountQuery
    | PivotRootQuery
    | CapabilityQuery
    | NetworkQuery
    | SignalQuery
    | PtraceQuery
    | ChangeProfileQuery
    | UsernsQuery
)


def show(data: bytes) -> str:
    """Bytes for people, quoted where a shell needs it; `$'...'` where they are no printable text."""
    import shlex

    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if text.isprintable():
        return shlex.quote(text)
    plain = (chr(b) if 0x20 <= b < 0x7F and b not in b"'\\" else f"\\x{b:02x}" for b in data)
    return f"$'{''.join(plain)}'"


def _family(number: int) -> str:
    return constants.FAMILIES[number] if number < len(constants.FAMILIES) else str(number)


def _word(mask: int, table: Mapping[str, int]) -> str:
    return ",".join(word for word, bit in table.items() if mask & bit)


class _Fields:
    """Typed access to the fields of one query; what is left over is a mistake."""

    def __init__(self, fields: Mapping[str, object]) -> None:
        self._fields = dict(fields)

    def take(self, name: str) -> object:
        if self._fields.get(name) is None:
            raise PolicyError(f"{name!r} is missing")
        return self._fields.pop(name)

    def text(self, name: str) -> str:
        value = self.take(name)
        if not isinstance(value, str):
            raise PolicyError(f"{name!r} must be a string")
        return value

    def path(self, name: str) -> bytes:
        try:
            value = self.text(name).encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise PolicyError(f"{name!r} is not valid text") from None
        if b"\0" in value:
            raise PolicyError(f"{name!r} holds a NUL, which no kernel string can")
        return value

    def maybe_path(self, name: str) -> bytes | None:
        if self._fields.get(name) is None:
            self._fields.pop(name, None)
            return None
        return self.path(name)

    def flag(self, name: str) -> bool:
        value = self._fields.pop(name, False)
        if not isinstance(value, bool):
            raise PolicyError(f"{name!r} must be true or false")
        return value

    def number(self, name: str, limit: int, default: int | None = None) -> int:
        if default is not None and name not in self._fields:
            return default
        value = self.take(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
            raise PolicyError(f"{name!r} must be a number from 0 to {limit}")
        return value

    def words(self, name: str) -> Iterable[str]:
        value = self._fields.pop(name, None)
        if value is None:
            return ()
        if isinstance(value, str):
            return [word for word in value.split(",") if word]
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise PolicyError(f"{name!r} must be a list of words")
        return value

    def is_number(self, name: str) -> bool:
        value = self._fields.get(name)
        return isinstance(value, int) and not isinstance(value, bool)

    def done(self) -> None:
        if self._fields:
            raise PolicyError(f"unknown field {sorted(self._fields)[0]!r}")


def _mount(fields: _Fields) -> MountQuery:
    if fields.is_number("flags"):
        flags = fields.number("flags", 0xFFFFFFFF)
    else:
        flags = constants.mount_flags(fields.words("flags"))
    return MountQuery(
        source=fields.maybe_path("source"),
        target=fields.path("target"),
        fstype=fields.maybe_path("fstype"),
        flags=flags,
        data=fields.maybe_path("data"),
    )


def _network(fields: _Fields) -> NetworkQuery:
    if fields.is_number("family"):
        family = fields.number("family", 0xFFFF)
    else:
        family = constants.family(fields.text("family"))
    if fields.is_number("type"):
        kind = fields.number("type", 0xFFFF)
    else:
        kind = constants.socket_type(fields.text("type"))
    return _socket(fields, family, kind)


def _socket(fields: _Fields, family: int, kind: int) -> NetworkQuery:
    access = 0
    for word in fields.words("access"):
        access |= constants.from_table(word, "network access", constants.NETWORK_ACCESS)
    return NetworkQuery(
        family,
        kind,
        access or constants.NETWORK_ACCESS["create"],
        protocol=fields.number("protocol", 0xFFFF, 0),
        address=_abstract(fields, "address"),
        peer_address=_abstract(fields, "peer_address"),
        peer=fields.maybe_path("peer"),
    )


def _abstract(fields: _Fields, name: str) -> bytes | None:
    """`@name` as the kernel has it; a socket with a path is a file to AppArmor."""
    value = fields.maybe_path(name)
    if value is not None and not value.startswith(b"@"):
        hint = "a socket with a path is asked for as a file: `file PATH --access rw`"
        raise PolicyError(f"{name!r} must be an abstract name, @NAME", hint=hint)
    return value if value is None else b"\0" + value[1:]


def parse_query(source: Mapping[str, object]) -> Query | RawQuery:
    """The query in `source`, which holds `kind` and that kind's fields and nothing else.

    Raises PolicyError that names the field at fault.
    """
    fields = _Fields(source)
    kind = fields.text("kind").replace("-", "_")
    query: Query | RawQuery
    if kind == "file":
        access = constants.file_access(fields.text("access"))
        query = FileQuery(fields.path("path"), access, fields.flag("other"))
    elif kind == "link":
        query = LinkQuery(fields.path("path"), fields.path("target"), fields.flag("other"))
    elif kind == "mount":
        query = _mount(fields)
    elif kind == "umount":
        query = UmountQuery(fields.path("target"))
    elif kind == "pivot_root":
        query = PivotRootQuery(fields.path("new_root"), fields.path("put_old"))
    elif kind == "capability":
        query = CapabilityQuery(constants.capability(fields.text("name")))
    elif kind == "network":
        query = _network(fields)
    elif kind == "unix":
        query = _socket(fields, 1, constants.socket_type(fields.text("type")))
    elif kind == "signal":
        number = constants.signal(fields.text("signal"))
        access = constants.from_table(fields.text("access"), "signal access", constants.SIGNAL_ACCESS)
        query = SignalQuery(number, access, fields.path("peer"))
    elif kind == "ptrace":
        access = constants.from_table(fields.text("access"), "ptrace access", constants.PTRACE_ACCESS)
        query = PtraceQuery(access, fields.path("peer"))
    elif kind == "change_profile":
        query = ChangeProfileQuery(fields.path("target"), fields.flag("onexec"))
    elif kind == "userns":
        query = UsernsQuery()
    elif kind == "raw":
        number = fields.number("class", 255)
        text = fields.text("string")
        try:
            string = binascii.unhexlify(text)  # bytes.fromhex would skip blanks
        except ValueError:
            raise PolicyError("'string' must be hexadecimal, two digits for each byte") from None
        query = RawQuery(number, string, fields.number("uid", 0xFFFFFFFF, 0))
    else:
        raise PolicyError(f"unknown kind {kind!r}")
    fields.done()
    return query
