"""Hand-built compiled policies of a few bytes, right ones and wrong ones."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

HEADER = b"\x04\x08\x00version\x00\x02\x07\x20\x20\x00"
ACCEPT, BASE, CHECK, DEFAULT, EC, ACCEPT2, NEXT = 1, 2, 3, 4, 5, 7, 8
WIDTHS = {ACCEPT: 4, BASE: 4, CHECK: 2, DEFAULT: 2, EC: 1, ACCEPT2: 4, NEXT: 2}
CODES = {1: "B", 2: "H", 4: "I"}


def table(number: int, values: Sequence[int], width: int | None = None) -> bytes:
    size = WIDTHS[number] if width is None else width
    data = struct.pack(f">{len(values)}{CODES.get(size, 'H')}", *values)
    whole = struct.pack(">HHII", number, size, 0, len(values)) + data
    return whole + b"\0" * (-len(whole) % 8)


def tables(**changes: Sequence[int]) -> dict[int, Sequence[int]]:
    """Three states: 1 goes to 2 on `/`, and 2 stays on everything; both accept `r`."""
    following, check = [0] * 512, [0] * 512
    following[0x2F], check[0x2F] = 2, 1
    found: dict[str, Sequence[int]] = {
        "accept": [0, 0, 0x4 | 0x4 << 14],
        "base": [0, 0, 256],
        "default": [0, 0, 2],
        "check": check,
        "next": following,
        "accept2": [0, 0, 0],
    }
    found |= changes
    numbers = {"accept": ACCEPT, "base": BASE, "check": CHECK, "default": DEFAULT, "ec": EC}
    numbers |= {"accept2": ACCEPT2, "next": NEXT}
    return {numbers[name]: values for name, values in found.items() if values}


def dfa(
    content: Mapping[int, Sequence[int]] | None = None,
    *,
    magic: int = 0x1B5E783D,
    flags: int = 0,
    header_size: int = 24,
    extra: bytes = b"",
) -> bytes:
    content = tables() if content is None else content
    head = struct.pack(">IIIH", magic, header_size, 0, flags) + b"notflex\0"
    head += b"\0" * (24 - len(head))
    return head + b"".join(table(number, values) for number, values in content.items()) + extra


def string(text: bytes) -> bytes:
    return b"\x05" + struct.pack("<H", len(text) + 1) + text + b"\0"


def name(text: bytes) -> bytes:
    return b"\x04" + struct.pack("<H", len(text) + 1) + text + b"\0"


def u32(value: int) -> bytes:
    return b"\x02" + struct.pack("<I", value)


def struct_of(label: bytes, *content: bytes) -> bytes:
    return name(label) + b"\x07" + b"".join(content) + b"\x08"


def array_of(*content: bytes) -> bytes:
    return b"\x0b" + struct.pack("<H", len(content)) + b"".join(content) + b"\x0c"


def blob_of(automaton: bytes, before: int) -> bytes:
    """An automaton as the compiler aligns it: to 8 bytes, `before` being what comes ahead."""
    head = name(b"aadfa")
    pad = -(before + len(head) + 5) % 8
    return head + b"\x06" + struct.pack("<I", pad + len(automaton)) + b"\0" * pad + automaton


def profile(
    file: bytes | None = None,
    *,
    mode: int = 0,
    middle: bytes = b"",
    tail: bytes = b"",
    title: bytes = b"lxc-tiny",
    head: bytes = HEADER,
) -> bytes:
    """A whole blob with one profile; `middle` follows the capabilities, `tail` the automaton."""
    out = head + name(b"profile") + b"\x07" + string(title)
    out += struct_of(b"flags", u32(0), u32(mode), u32(0))
    out += u32(0) * 4 + middle
    if file is not None:
        out += blob_of(file, len(out))
    return out + tail + b"\x08"


def chain(states: int, *, last: int) -> bytes:
    """A blob whose file automaton is one path of so many letters; `last` is what its end accepts."""
    following, check = [0] * (states + 512), [0] * (states + 512)
    base = [0] * states
    for state in range(1, states - 1):
        letter = 0x2F if state == 1 else 0x61 + state * 7 % 26
        at = 256 + state
        base[state], following[at], check[at] = at - letter, state + 1, state
    accept = [0, 0, *[0x4 | 0x4 << 14] * (states - 3), last]
    return profile(_wide(accept, base, [0] * states, check, following))


def default_chain(states: int, *, last: int) -> bytes:
    """A blob in whose file automaton each state is a difference from the one before."""
    following, check = [0] * 512, [0] * 512
    following[0x2F], check[0x2F] = states - 1, 1
    base = [0, 0, *[0x80000000] * (states - 2)]
    default = [0, 0, *range(1, states - 1)]
    return profile(_wide([0, 0, *[0x4] * (states - 3), last], base, default, check, following, flags=1))


def _wide(
    accept: Sequence[int],
    base: Sequence[int],
    default: Sequence[int],
    check: Sequence[int],
    following: Sequence[int],
    flags: int = 0,
) -> bytes:
    """An automaton whose tables are 32 bits wide."""
    content = {ACCEPT: accept, BASE: base, CHECK: check, DEFAULT: default}
    content |= {ACCEPT2: [0] * len(accept), NEXT: following}
    head = struct.pack(">IIIH", 0x1B5E783D, 24, 0, flags) + b"notflex\0"
    head += b"\0" * (24 - len(head))
    return head + b"".join(table(number, values, 4) for number, values in content.items())
