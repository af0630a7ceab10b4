"""From a compiled blob to its profiles.

Owns the layout of a profile in the stream, as apparmor_parser 3.0.8, 4.1 and 5.0 write it and
kernels 6.12 and 7.2 read it.  Must not judge what a policy allows.  A blob that a kernel would
refuse is one `PolicyError`; time and memory are bounded by a small multiple of its size.
Source: security/apparmor/policy_unpack.c (unpack_profile, unpack_pdb, verify_profile).
"""

from __future__ import annotations

import sys
from array import array

from phoenix_hypervisor.policy.dfa import START, Dfa, unpack_dfa
from phoenix_hypervisor.policy.names import (
    FORCE_COMPLAIN,
    Extent,
    extents,
    headers,
    looks_compiled,
    open_profile,
    profile_hash,
    profile_names,
)
from phoenix_hypervisor.policy.perms import X_INDEX_MASK, X_TABLE, X_TYPE_MASK, PermsTable, map_xindex
from phoenix_hypervisor.policy.profile import (
    LAST_CLASS,
    Capabilities,
    Class,
    Database,
    Family,
    Mode,
    PathFlag,
    Policy,
    Profile,
)
from phoenix_hypervisor.policy.stream import Code, Stream

__all__ = ["extents", "looks_compiled", "profile_hash", "profile_names", "read_policy"]

_BIG = sys.byteorder == "big"
_RLIMITS = 16
_ENTRY = 14 * 5
_UNFLAGGED = 2
"""Permission tables (`permsv`) above this version come with a second accept word of flags."""


def read_policy(blob: bytes) -> Policy:
    """Read every profile of a compiled blob.

    Raises PolicyError where it is cut off, damaged, hostile or of another version.
    """
    stream = Stream(blob)
    return Policy(tuple(_profile(stream, version, inherited) for version, inherited in headers(stream)))


def _profile(stream: Stream, version: int, inherited: bytes | None) -> Profile:
    start = stream.pos
    own, name = open_profile(stream)
    rename = stream.maybe_string(b"rename")
    attach = stream.maybe_string(b"attach")
    xmatch = _database(stream, is_file=True, is_xmatch=True)
    if xmatch is not None:
        stream.take_u32("the attachment's length")
    disconnected = stream.maybe_string(b"disconnected")
    stream.maybe_string(b"disconnected_ipc")  # of message queues, which are never asked about
    kill_signal = stream.maybe_u32(b"kill")
    error = stream.maybe_u32(b"error")
    stream.take(Code.STRUCT, "the profile's flags", b"flags")
    hat = bool(stream.take_u32("the hat flag") & 1)
    mode = stream.take_u32("the mode")
    if mode not in (0, 1, 2, 3, 4):
        stream.fail(f"unknown profile mode {mode}")
    if version & FORCE_COMPLAIN:
        mode = Mode.COMPLAIN
    audit = bool(stream.take_u32("the audit flag"))
    stream.take(Code.STRUCTEND, "the end of the flags")
    path_flags = stream.maybe_u32(b"path_flags")
    capabilities = _capabilities(stream)
    xattrs = _strings(stream, b"xattrs")
    rlimits = _rlimits(stream)
    families = _families(stream)
    secmark = _secmark(stream)
    policy = None
    if stream.skip(Code.STRUCT, b"policydb"):
        policy = _database(stream, is_file=False)
        if policy is None:
            stream.fail("policydb without an automaton")
        stream.take(Code.STRUCTEND, "the end of policydb")
    own_file = _database(stream, is_file=True)
    data = _data(stream)
    stream.take(Code.STRUCTEND, "the end of the profile")
    return Profile(
        extent=Extent(name, own or inherited, version, start, stream.pos),
        mode=Mode(mode),
        hat=hat,
        audit=audit,
        path_flags=PathFlag.MEDIATE_DELETED if path_flags is None else path_flags,
        capabilities=capabilities,
        rlimits=rlimits,
        families=families,
        policy=policy,
        own_file=own_file,
        xmatch=xmatch,
        attach=attach,
        disconnected=disconnected,
        rename=rename,
        kill_signal=kill_signal,
        error=error,
        xattrs=xattrs,
        secmark=secmark,
        data=data,
    )


def _capabilities(stream: Stream) -> Capabilities:
    allow, audit, quiet, _ = (stream.take_u32("the capabilities") for _ in range(4))
    if stream.skip(Code.STRUCT, b"caps64"):
        high = [stream.take_u32("the upper capabilities") << 32 for _ in range(4)]
        stream.take(Code.STRUCTEND, "the end of the upper capabilities")
        allow, audit, quiet = allow | high[0], audit | high[1], quiet | high[2]
    extended = 0
    if stream.skip(Code.STRUCT, b"capsx"):
        extended = stream.take_u32("extended capabilities") | stream.take_u32("extended capabilities") << 32
        stream.take(Code.STRUCTEND, "the end of extended capabilities")
    return Capabilities(allow, audit, quiet, extended)


def _strings(stream: Stream, name: bytes) -> tuple[bytes, ...]:
    if not stream.skip(Code.STRUCT, name):
        return ()
    label = name.decode()
    found = tuple(stream.take_string(label) for _ in range(stream.take_array(label)))
    stream.take(Code.ARRAYEND, f"the end of {label}")
    stream.take(Code.STRUCTEND, f"the end of {label}")
    return found


def _rlimits(stream: Stream) -> dict[int, int]:
    if not stream.skip(Code.STRUCT, b"rlimits"):
        return {}
    mask = stream.take_u32("the rlimit mask")
    count = stream.take_array("rlimits")
    if count > _RLIMITS:
        stream.fail(f"{count} rlimits")
    values = [stream.take_u64("a limit") for _ in range(count)]
    stream.take(Code.ARRAYEND, "the end of rlimits")
    stream.take(Code.STRUCTEND, "the end of rlimits")
    return {index: value for index, value in enumerate(values) if mask >> index & 1}


def _families(stream: Stream) -> tuple[Family, ...] | None:
    count = stream.maybe_array(b"net_allowed_af")
    if count is None:
        return None
    found = tuple(Family(*(stream.take_u16("a network family") for _ in range(3))) for _ in range(count))
    stream.take(Code.ARRAYEND, "the end of the network families")
    return found


def _secmark(stream: Stream) -> tuple[tuple[int, int, bytes], ...]:
    if not stream.skip(Code.STRUCT, b"secmark"):
        return ()
    found = []
    for _ in range(stream.take_array("secmark")):
        audit, deny = (stream.take_u8("a secmark flag") for _ in range(2))
        found.append((audit, deny, stream.take_string("a secmark label")))
    stream.take(Code.ARRAYEND, "the end of secmark")
    stream.take(Code.STRUCTEND, "the end of secmark")
    return tuple(found)


def _data(stream: Stream) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    if not stream.skip(Code.STRUCT, b"data"):
        return found
    while (key := stream.maybe_string()) is not None:
        extent = stream.maybe_blob()
        if extent is None or key in found:
            stream.fail("bad profile data")
        found[key] = stream.data[extent[0] : extent[1]]
    stream.take(Code.STRUCTEND, "the end of profile data")
    return found


def _database(stream: Stream, *, is_file: bool, is_xmatch: bool = False) -> Database | None:
    """Permission table, automaton, start states and transition names, all optional."""
    where = f"offset {stream.pos}"
    _skip_tags(stream)
    table = _perms_table(stream)
    version = stream.maybe_u32(b"permsv") if table is not None else None
    flagged = version is not None and version > _UNFLAGGED
    extent = stream.maybe_blob(b"aadfa")
    if extent is None or extent[0] == extent[1]:
        if table is not None:
            stream.fail("permissions without an automaton")
        _transitions(stream)
        return None
    first, end = extent
    # Aligned to 8 in the buffer the compiler wrote it to, which began wherever this stream ends.
    first += ((end & 7) - first) & 7
    dfa = unpack_dfa(stream.data, first, end, accept2=table is None or flagged, where=where)
    start = stream.maybe_u32(b"start")
    file_start = stream.maybe_u32(b"dfa_start")
    start = START if start is None else start
    file_start = START if file_start is None else file_start
    if start >= len(dfa) or file_start >= len(dfa):
        stream.fail("start state does not exist")
    transitions = _transitions(stream)
    if table is not None:
        _verify_table(stream, dfa, table, len(transitions))
    elif is_file and not is_xmatch:
        _verify_accepts(stream, dfa, len(transitions))
    starts: tuple[int, ...]
    if is_file:
        starts = (start, 0, file_start)
    else:
        row = dfa.row(start)
        starts = (start, 0, row[Class.FILE] or file_start, *row[Class.FILE + 1 : LAST_CLASS + 1])
    return Database(
        dfa=dfa, starts=starts, table=table, is_file=is_file and not is_xmatch, transitions=transitions
    )


def _skip_tags(stream: Stream) -> None:
    """Step over the tags of permissions: they decide what is logged, and nothing else."""
    depth = int(stream.skip(Code.STRUCT, b"tags"))
    while depth:
        code = stream.skip_any()
        depth += (code is Code.STRUCT) - (code is Code.STRUCTEND)


def _perms_table(stream: Stream) -> PermsTable | None:
    if not stream.skip(Code.STRUCT, b"perms"):
        return None
    version = stream.take_u32("the version of the permissions", b"version")
    if version != 1:
        stream.fail(f"permission table of version {version}")
    count = stream.take_array("the permissions")
    stop = stream.pos + count * _ENTRY
    raw = bytearray(stream.data[stream.pos : stop])
    if stop > stream.end or raw[::5] != b"\x02" * (count * 14):
        stream.fail("permission table cut off")
    del raw[::5]
    words = array("I")
    words.frombytes(raw)
    if _BIG:
        words.byteswap()
    stream.pos = stop
    stream.take(Code.ARRAYEND, "the end of the permissions")
    stream.take(Code.STRUCTEND, "the end of the permissions")
    return PermsTable(words)


def _transitions(stream: Stream) -> tuple[bytes, ...]:
    found = []
    for name in _strings(stream, b"xtable"):
        inner = name.count(b"\0")
        if name[:1].isspace() or (inner and not (name.startswith(b":") and inner == 1)) or name == b":":
            stream.fail("bad transition name")
        found.append(name.replace(b"\0", b":"))
    return tuple(found)


def _verify_table(stream: Stream, dfa: Dfa, table: PermsTable, names: int) -> None:
    if max(dfa.accept) >= len(table):
        stream.fail("permission index out of range")
    for _ in table.contradictions():
        stream.fail("permissions contradict each other")
    for xindex in set(table.column(11)):
        if xindex & X_TYPE_MASK == X_TABLE and xindex & X_INDEX_MASK >= names:
            stream.fail("exec transition out of range")
    if max(table.column(12)) >= max(names, 1) or max(table.column(13)) >= max(names, 1):
        stream.fail("permission tag out of range")


def _verify_accepts(stream: Stream, dfa: Dfa, names: int) -> None:
    for accept in set(dfa.accept):
        for xindex in (map_xindex(accept & 0x3FFF), map_xindex(accept >> 14 & 0x3FFF)):
            if xindex & X_TYPE_MASK == X_TABLE and xindex & X_INDEX_MASK >= names:
                stream.fail("exec transition out of range")
