"""Compressed policy, as apparmor_parser 5 writes it for a kernel with `policy/compressed_load`.

Owns telling it from plain policy, where each part of it ends, and the bound on what it becomes.
Must not decompress: whoever may use a library or a program hands that in.
Each profile is a part of its own: eight bytes {version 1, level, six zeros} and one Zstandard frame
(measured on 5.0.2 with features of a 7.0 kernel).  Source of the frame's layout: RFC 8878, 3.1.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct

from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NoReturn

Decompress = Callable[[bytes, int], bytes]
"""One Zstandard frame, and the size that its header states, to its content."""

MAX_PLAIN = 64 * 1024 * 1024
"""Bytes that a compressed policy may become; the largest profiles known are of one or two million."""

_MAGIC = b"\x28\xb5\x2f\xfd"
_PREFIX = 8
_VERSION = 1
_SIZES = {1: Struct("<H"), 2: Struct("<I"), 3: Struct("<Q")}
_RLE, _RESERVED = 1, 3


def is_packed(blob: bytes) -> bool:
    """Whether this is compressed policy."""
    return _starts_part(blob, 0)


def plain(blob: bytes, decompress: Decompress) -> bytes:
    """`blob`, decompressed where it is compressed policy and as it is otherwise.

    Raises PolicyError where it is damaged or becomes more than MAX_PLAIN bytes.
    """
    if not is_packed(blob):
        return blob
    out: list[bytes] = []
    left = MAX_PLAIN
    for frame, size in _frames(blob):
        left -= size
        if left < 0:
            _fail(f"it becomes more than {MAX_PLAIN} bytes", 0)
        content = decompress(frame, size)
        if len(content) != size:
            _fail(f"a part of {size} bytes became {len(content)}", 0)
        out.append(content)
    return b"".join(out)


def _frames(blob: bytes) -> Iterator[tuple[bytes, int]]:
    """Each frame and the size of its content."""
    pos = 0
    while pos < len(blob):
        if not _starts_part(blob, pos):
            _fail("not the start of a part", pos)
        start = pos + _PREFIX
        pos, size, checked = _header(blob, start)
        last = False
        while not last:
            word = int.from_bytes(_take(blob, pos, 3), "little")
            last, kind, length = bool(word & 1), word >> 1 & 3, word >> 3
            if kind == _RESERVED:
                _fail("a block of an unknown kind", pos)
            pos += 3 + (1 if kind == _RLE else length)
        pos += 4 * checked
        _take(blob, pos, 0)
        yield blob[start:pos], size


def _header(blob: bytes, start: int) -> tuple[int, int, bool]:
    """Where a frame's blocks start, the size of its content, and whether a checksum ends it."""
    pos = start + len(_MAGIC)
    (descriptor,) = _take(blob, pos, 1)
    single, checked, dictionary = descriptor >> 5 & 1, bool(descriptor >> 2 & 1), descriptor & 3
    pos += 1 + (not single) + (0, 1, 2, 4)[dictionary]
    kind = descriptor >> 6
    if not kind:
        if not single:
            _fail("it does not state its size", start)
        return pos + 1, _take(blob, pos, 1)[0], checked
    layout = _SIZES[kind]
    (size,) = layout.unpack(_take(blob, pos, layout.size))
    return pos + layout.size, size + (256 if kind == 1 else 0), checked


def _starts_part(blob: bytes, pos: int) -> bool:
    prefix = blob[pos : pos + _PREFIX]
    zeros = bytes(_PREFIX - 2)
    magic = blob[pos + _PREFIX : pos + _PREFIX + len(_MAGIC)]
    return prefix[:1] == bytes((_VERSION,)) and prefix[2:] == zeros and magic == _MAGIC


def _take(blob: bytes, pos: int, size: int) -> bytes:
    if pos + size > len(blob):
        _fail("cut off", len(blob))
    return blob[pos : pos + size]


def _fail(message: str, at: int) -> NoReturn:
    raise PolicyError(f"malformed compressed policy: {message}", where=f"offset {at}")
