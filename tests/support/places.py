"""What tests of files and directories share.

Owns reading a mode, and a call that fails as the file system would.  Must not be a test.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def broken(number: int) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return call
