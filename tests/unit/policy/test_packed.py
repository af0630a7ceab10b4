"""Compressed policy: real frames of the format, cut, damaged and oversized ones, and this machine's decoders."""

from __future__ import annotations

import builtins
import importlib
import shutil
from collections.abc import Callable
from functools import partial
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host import zstd
from phoenix_hypervisor.host.process import ProcessRunner
from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.packed import MAX_PLAIN, is_packed, plain

PREFIX = b"\x01\x03\0\0\0\0\0\0"
MAGIC = b"\x28\xb5\x2f\xfd"


def raw_blocks(content: bytes, size: int = 1 << 16) -> bytes:
    """Blocks that are stored, which every decoder takes."""
    pieces = [content[at : at + size] for at in range(0, len(content), size)] or [b""]
    out = b""
    for number, piece in enumerate(pieces, start=1):
        out += (len(piece) << 3 | (number == len(pieces))).to_bytes(3, "little") + piece
    return out


def frame(content: bytes, *, block: int = 1 << 16) -> bytes:
    """One part with a frame of a single segment, four bytes of size."""
    return PREFIX + MAGIC + b"\xa0" + len(content).to_bytes(4, "little") + raw_blocks(content, block)


def stored(data: bytes, size: int) -> bytes:
    """A decoder of what `frame` makes: stored blocks only."""
    at, out, last = len(MAGIC) + 5, b"", False
    while not last:
        word = int.from_bytes(data[at : at + 3], "little")
        last = bool(word & 1)
        out += data[at + 3 : at + 3 + (word >> 3)]
        at += 3 + (word >> 3)
    return out


def test_plain_policy_stays_as_it_is() -> None:
    def never(data: bytes, size: int) -> bytes:
        raise AssertionError

    for data in (
        b"",
        b"profile x { }\n",
        b"\x04\x08\x00version\x00\x02\x05\0\0\0",
        PREFIX,
        b"\x02" + PREFIX[1:] + MAGIC,
    ):
        assert not is_packed(data)
        assert plain(data, never) is data


@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=5), st.integers(1, 1000))
def test_parts_are_found_and_joined(contents: list[bytes], block: int) -> None:
    packed = b"".join(frame(content, block=block) for content in contents)
    assert is_packed(packed)
    assert plain(packed, stored) == b"".join(contents)


def test_sizes_in_each_form() -> None:
    for head, size in (
        (b"\x20\x05", 5),
        (b"\x60\x01\0", 257),
        (b"\xa0\x07\0\0\0", 7),
        (b"\xe0\x07\0\0\0\0\0\0\0", 7),
        (b"\x80\x58\x07\0\0\0", 7),  # With a window instead of a single segment.
        (b"\xa1\x09\x07\0\0\0", 7),  # With a dictionary's number.
    ):
        said: list[int] = []

        def note(data: bytes, size: int, said: list[int] = said) -> bytes:
            said.append(size)
            return bytes(size)

        plain(PREFIX + MAGIC + head + raw_blocks(b"x" * size), note)
        assert said == [size], head


def test_run_length_blocks_and_checksums_are_stepped_over() -> None:
    run = (300 << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"a"
    packed = PREFIX + MAGIC + b"\xa4\x2c\x01\0\0" + run + b"SUMS"
    assert plain(packed + frame(b"b"), lambda data, size: bytes(size)) == bytes(301)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (frame(b"abc")[:-1], "cut off"),
        (frame(b"abc")[:13], "cut off"),
        (frame(b"abc") + b"x", "not the start of a part"),
        (PREFIX + MAGIC + b"\x00\x58\x01\0\0", "does not state its size"),
        (PREFIX + MAGIC + b"\x20\x00\x07\0\0", "unknown kind"),
        (PREFIX + MAGIC + b"\xa0" + (MAX_PLAIN + 1).to_bytes(4, "little") + b"\x01\0\0", "more than"),
    ],
)
def test_bad_ones_are_one_error(data: bytes, words: str) -> None:
    with pytest.raises(PolicyError, match=words):
        plain(data, lambda data, size: bytes(size))


def test_a_part_that_becomes_another_size_is_refused() -> None:
    with pytest.raises(PolicyError, match="became 2"):
        plain(frame(b"abc"), lambda data, size: b"ab")


def without(monkeypatch: pytest.MonkeyPatch, *modules: str, program: bool) -> None:
    """A machine that lacks these modules, and perhaps the program."""
    real = importlib.import_module

    def fake(name: str, package: str | None = None) -> ModuleType:
        if name in modules:
            raise ImportError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", fake)
    if not program:
        monkeypatch.setattr(zstd, "find_program", lambda name: None)


def decoders() -> list[tuple[str, tuple[str, ...]]]:
    """What this machine has: the name, and the modules to hide so that it is taken."""
    both = ("compression.zstd", "zstandard")
    found = [(name, both[:number]) for number, name in enumerate(both) if _has(name)]
    return [*found, ("zstd", both)] if shutil.which("zstd") else found


def _has(name: str) -> bool:
    try:
        builtins.__import__(name)
    except ImportError:
        return False
    return True


def test_this_machines_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"profile" * 1000
    work: Callable[[bytes, int], bytes] = partial(zstd.decompress, ProcessRunner())
    assert decoders(), "apt-get install zstd"
    for _, hidden in decoders():
        with monkeypatch.context() as patch:
            without(patch, *hidden, program=True)
            assert plain(frame(content) + frame(b""), work) == content
            with pytest.raises(PhoenixError, match="does not decompress"):
                zstd.decompress(ProcessRunner(), MAGIC + b"\xa0\x03\0\0\0" + b"\x05\0\0x", 3)


def test_without_any_decoder_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "compression.zstd", "zstandard", program=False)
    with pytest.raises(PhoenixError, match="compressed") as caught:
        plain(frame(b"x"), partial(zstd.decompress, ProcessRunner()))
    assert caught.value.hint == "apt-get install zstd"
