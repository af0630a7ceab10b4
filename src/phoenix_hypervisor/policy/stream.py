"""The tagged stream that apparmor_parser emits and the kernel unpacks.

Owns bounds: every read is checked, and a short, misplaced or malformed element is one
`PolicyError` that names the offset.  Must not know what the elements mean.
Source: security/apparmor/policy_unpack.c (aa_unpack_*), parser/parser_interface.c
(`enum sd_code`).  Everything is little endian; an element may be preceded by its name.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import NoReturn

from phoenix_hypervisor.policy.fault import PolicyError

_U8 = Struct("<B")
_U16 = Struct("<H")
_U32 = Struct("<I")
_U64 = Struct("<Q")


class Code(IntEnum):
    """The byte that opens an element."""

    U8 = 0
    U16 = 1
    U32 = 2
    U64 = 3
    NAME = 4
    STRING = 5
    BLOB = 6
    STRUCT = 7
    STRUCTEND = 8
    LIST = 9
    LISTEND = 10
    ARRAY = 11
    ARRAYEND = 12
    OFFSET = 13


_NAME = int(Code.NAME)
_FIXED = {Code.U8: 1, Code.U16: 2, Code.U32: 4, Code.U64: 8}


class Stream:
    """A read position in a blob.  `take_*` raise, `maybe_*` return None and stay put."""

    __slots__ = ("_short", "data", "end", "pos")

    def __init__(self, data: bytes, pos: int = 0) -> None:
        self.data = data
        self.pos = pos
        self.end = len(data)
        self._short = False
        """An element was looked for whose bytes are not all there."""

    def fail(self, message: str, at: int | None = None) -> NoReturn:
        """Raise the one error of the format, at `at` or the present position."""
        offset = self.pos if at is None else at
        if self._short and "cut off" not in message:
            message = f"it is cut off, it ends after {self.end} bytes ({message})"
        raise PolicyError(f"malformed compiled policy: {message}", where=f"offset {offset}")

    def _missing(self) -> int:
        self._short = True
        return -1

    def _open(self, code: int, name: bytes | None) -> int:
        """The offset behind the element's head, or -1 where it is another element."""
        data, pos = self.data, self.pos
        if pos >= self.end:
            return self._missing()
        if data[pos] == _NAME:
            if pos + 3 > self.end:
                return self._missing()
            size = data[pos + 1] | data[pos + 2] << 8
            stop = pos + 3 + size
            if stop > self.end:
                return self._missing()
            if name is not None and data[pos + 3 : stop] != name + b"\0":
                return -1
            pos = stop
        elif name is not None:
            return -1
        if pos >= self.end:
            return self._missing()
        return pos + 1 if data[pos] == code else -1

    def _within(self, pos: int, size: int) -> bool:
        """Whether `size` bytes from `pos` are there."""
        self._short = self._short or pos + size > self.end
        return pos + size <= self.end

    def skip(self, code: Code, name: bytes | None = None) -> bool:
        """Step over an element without a payload, if it comes next."""
        pos = self._open(code, name)
        if pos < 0:
            return False
        self.pos = pos
        return True

    def take(self, code: Code, what: str, name: bytes | None = None) -> None:
        """Step over an element without a payload, which must come next."""
        if not self.skip(code, name):
            self.fail(f"{what} expected")

    def _number(self, code: Code, layout: Struct, name: bytes | None) -> int | None:
        pos = self._open(code, name)
        if pos < 0 or not self._within(pos, layout.size):
            return None
        self.pos = pos + layout.size
        value: int = layout.unpack_from(self.data, pos)[0]
        return value

    def maybe_u32(self, name: bytes | None = None) -> int | None:
        return self._number(Code.U32, _U32, name)

    def take_u8(self, what: str) -> int:
        value = self._number(Code.U8, _U8, None)
        return self.fail(f"{what} expected") if value is None else value

    def take_u16(self, what: str) -> int:
        value = self._number(Code.U16, _U16, None)
        return self.fail(f"{what} expected") if value is None else value

    def take_u32(self, what: str, name: bytes | None = None) -> int:
        value = self._number(Code.U32, _U32, name)
        return self.fail(f"{what} expected") if value is None else value

    def take_u64(self, what: str) -> int:
        value = self._number(Code.U64, _U64, None)
        return self.fail(f"{what} expected") if value is None else value

    def maybe_array(self, name: bytes | None = None) -> int | None:
        """The number of elements of the array that opens here."""
        return self._number(Code.ARRAY, _U16, name)

    def take_array(self, what: str) -> int:
        count = self.maybe_array()
        return self.fail(f"{what} expected") if count is None else count

    def maybe_string(self, name: bytes | None = None) -> bytes | None:
        """A string without its closing NUL; inner NULs are the caller's."""
        pos = self._open(Code.STRING, name)
        if pos < 0 or not self._within(pos, 2):
            return None
        (size,) = _U16.unpack_from(self.data, pos)
        stop = pos + 2 + size
        if size == 0 or not self._within(pos + 2, size) or self.data[stop - 1] != 0:
            return None
        self.pos = stop
        return self.data[pos + 2 : stop - 1]

    def take_string(self, what: str) -> bytes:
        value = self.maybe_string()
        return self.fail(f"{what} expected") if value is None else value

    def maybe_blob(self, name: bytes | None = None) -> tuple[int, int] | None:
        """Where the payload of a blob starts and ends."""
        pos = self._open(Code.BLOB, name)
        if pos < 0 or not self._within(pos, 4):
            return None
        (size,) = _U32.unpack_from(self.data, pos)
        start: int = pos + 4
        if not self._within(start, size):
            return None
        self.pos = start + size
        return start, start + size

    def skip_any(self) -> Code:
        """Step over one element, whatever it is, and return its code (the name is not one)."""
        data, pos = self.data, self.pos
        at = pos
        if pos < self.end and data[pos] == _NAME:
            if pos + 3 > self.end:
                self.fail("cut off within a name")
            pos += 3 + (data[pos + 1] | data[pos + 2] << 8)
        if pos >= self.end:
            self.fail("cut off", at)
        try:
            code = Code(data[pos])
        except ValueError:
            self.fail(f"unknown element code {data[pos]}", pos)
        pos += 1
        if code is Code.STRING or code is Code.ARRAY:
            if pos + 2 > self.end:
                self.fail("cut off", at)
            size = 2 + (data[pos] | data[pos + 1] << 8 if code is Code.STRING else 0)
        elif code is Code.BLOB:
            if pos + 4 > self.end:
                self.fail("cut off", at)
            size = 4 + _U32.unpack_from(data, pos)[0]
        else:
            size = _FIXED.get(code, 0)
        if pos + size > self.end:
            self.fail("cut off", at)
        self.pos = pos + size
        return code
