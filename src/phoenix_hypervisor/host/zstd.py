"""Zstandard frames to their content, with whatever this machine has for that.

Owns the choice: Python's own module (3.14), `zstandard` (Debian's python3-zstandard), the program
`zstd`.  Must not know what the content means.
"""

from __future__ import annotations

import importlib

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.process import Runner, find_program
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

_TIMEOUT = 60.0


def decompress(runner: Runner, frame: bytes, size: int) -> bytes:
    """The content of one frame whose header states `size` bytes.

    Raises PhoenixError where the frame is damaged, and where nothing here can read it.
    """
    own = _module("compression.zstd")
    if own is not None:
        return _checked(lambda: own.decompress(frame))
    packaged = _module("zstandard")
    if packaged is not None:
        return _checked(lambda: packaged.ZstdDecompressor().decompress(frame, max_output_size=size))
    program = find_program("zstd")
    if program is None:
        raise PhoenixError(
            "the compiled policy is compressed (Zstandard), and nothing here decompresses it",
            hint="apt-get install zstd",
        )
    done = runner.run([program, "--decompress", "--stdout", "--quiet"], input=frame, timeout=_TIMEOUT)
    if not done.ok:
        raise PhoenixError(f"the compiled policy does not decompress: {done.words()}")
    return done.stdout


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _checked(work: Any) -> bytes:
    # Each library has an error class of its own, and neither may be imported to name it.
    try:
        return bytes(work())
    except Exception as error:
        raise PhoenixError(f"the compiled policy does not decompress: {error}") from None
