"""Which profiles a compiled blob holds, without reading their rules.

Owns finding where each profile starts and ends, its names and the hash that the kernel
will show for it.  Must not look into a DFA: installing profiles needs this to be cheap.
Source: security/apparmor/policy_unpack.c (aa_unpack, verify_header), crypto.c
(aa_calc_profile_hash: le32 version, then the profile's bytes behind the header).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.stream import Code, Stream
from phoenix_hypervisor.values import dataclass

K_ABI_MASK = 0x3FF
FORCE_COMPLAIN = 0x800
SUPPORTED_ABI = (5, 6, 7, 8)
"""Kernel ABI words whose permission mapping is the one that was proved; 3.0.8 and 4.1 emit 5 to 7."""

_MAGIC = b"\x04\x08\x00version\x00\x02"
_PERMS_ENTRY = 14 * 5
_PERMS_CODES = b"\x02" * 14


@dataclass(frozen=True, slots=True)
class Extent:
    """One profile in a blob: `start` to `end` is what the kernel hashes."""

    name: bytes
    """As the kernel will call it: `parent//child` for hats and children."""
    namespace: bytes | None
    version: int
    """The whole version word, with the force-complain bit."""
    start: int
    end: int

    @property
    def abi(self) -> int:
        return self.version & K_ABI_MASK

    @property
    def full_name(self) -> bytes:
        """With its policy namespace, as `:ns:name`."""
        return b":%s:%s" % (self.namespace, self.name) if self.namespace else self.name


def looks_compiled(blob: bytes) -> bool:
    """Whether this is compiled policy, or the first bytes of one, rather than a profile source."""
    return bool(blob) and _MAGIC.startswith(blob[: len(_MAGIC)])


def split_namespace(name: bytes) -> tuple[bytes | None, bytes]:
    """`:ns:name` or `:ns://name` into its parts; source: aa_splitn_fqname in lib.c."""
    if not name.startswith(b":"):
        return None, name
    namespace, colon, rest = name[1:].partition(b":")
    if not colon:
        return namespace, b""
    return namespace, rest.removeprefix(b"//")


def read_header(stream: Stream, *, first: bool, version: int) -> tuple[int, bytes | None]:
    """The version word and namespace in front of a profile.  Raises PolicyError."""
    at = stream.pos
    word = stream.maybe_u32(b"version")
    if word is None:
        if first:
            stream.fail("it does not start with a version", at)
        word = version
    if word & K_ABI_MASK not in SUPPORTED_ABI:
        raise PolicyError(
            f"compiled policy of ABI v{word & K_ABI_MASK} is not supported (v5 to v8 are)",
            where=f"offset {at}",
            hint="compile with apparmor_parser 3.0 to 4.1, and give it the kernel's features",
        )
    namespace = stream.maybe_string(b"namespace")
    if namespace == b"":
        stream.fail("empty namespace", at)
    return word, namespace


def headers(stream: Stream) -> Iterator[tuple[int, bytes | None]]:
    """Version and namespace of each profile of a blob, with the stream at the profile.

    The caller takes the profile off the stream before the next.  Raises PolicyError where
    the blob is empty or a header is bad.
    """
    if stream.pos >= stream.end:
        stream.fail("it is empty")
    first, version = True, 0
    inherited: bytes | None = None
    while stream.pos < stream.end:
        version, namespace = read_header(stream, first=first, version=version)
        first, inherited = False, namespace or inherited
        yield version, inherited


def open_profile(stream: Stream) -> tuple[bytes | None, bytes]:
    """Step into the profile struct; its namespace and name.  Raises PolicyError."""
    stream.take(Code.STRUCT, "a profile", b"profile")
    name = stream.take_string("the profile's name")
    namespace, bare = split_namespace(name)
    if not bare or b"\0" in bare:
        stream.fail("bad profile name")
    return namespace, bare


def extents(blob: bytes) -> list[Extent]:
    """Every profile of a compiled blob, in order.

    Raises PolicyError where the blob is not one or is cut off; the rules are not checked.
    """
    stream = Stream(blob)
    found: list[Extent] = []
    for version, inherited in headers(stream):
        start = stream.pos
        own, name = open_profile(stream)
        depth = 1
        while depth:
            code = stream.skip_any()
            if code is Code.STRUCT:
                depth += 1
            elif code is Code.STRUCTEND:
                depth -= 1
            elif code is Code.ARRAY:
                _skip_permissions(stream)
        found.append(Extent(name, own or inherited, version, start, stream.pos))
    return found


def _skip_permissions(stream: Stream) -> None:
    """Step over the entries of a permission table quickly: thousands of plain numbers."""
    data, pos = stream.data, stream.pos
    (count,) = (data[pos - 2] | data[pos - 1] << 8,)
    stop = pos + count * _PERMS_ENTRY
    if stop <= stream.end and data[pos:stop:5] == _PERMS_CODES * count:
        stream.pos = stop


def profile_names(blob: bytes) -> list[str]:
    """The names of all profiles in a compiled blob, duplicates too, in order.

    Hats and children appear as `parent//child`, profiles of a policy namespace as
    `:ns:name`.  Raises PolicyError for anything that is not a whole compiled blob.
    """
    return [extent.full_name.decode("utf-8", "surrogateescape") for extent in extents(blob)]


def profile_hash(blob: bytes, name: str, algorithm: str = "sha256") -> str:
    """The hexadecimal digest that the kernel shows for the loaded profile `name`.

    It is the file `sha256` (6.8 and later) or `sha1` (earlier kernels) of the profile's
    folder in securityfs.  Where a blob names a profile twice, the last one counts.
    Raises PolicyError for an unknown name, and for an algorithm no kernel uses.
    """
    if algorithm not in ("sha1", "sha256"):
        raise PolicyError(f"no kernel hashes profiles with {algorithm}")
    wanted = name.encode("utf-8", "surrogateescape")
    for extent in reversed(extents(blob)):
        if wanted in (extent.name, extent.full_name):
            digest = hashlib.new(algorithm, extent.version.to_bytes(4, "little"), usedforsecurity=False)
            digest.update(memoryview(blob)[extent.start : extent.end])
            return digest.hexdigest()
    raise PolicyError(f"the compiled policy holds no profile {name}")
