"""Programs and files of the host, and where the suite keeps its own."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess

STATE = "/var/lib/phoenix-efficacy"
MARKER = "/run/phoenix-efficacy-marker"
SECRET = "phoenix-the-hosts-secret"
TRACING = "/sys/kernel/tracing"


def sh(*argv: str, check: bool = True, limit: float = 60, input: bytes | None = None) -> str:
    """A program's output; RuntimeError where it fails and `check` is set."""
    done = subprocess.run(argv, capture_output=True, timeout=limit, check=False, input=input)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.decode('latin-1')[-300:]}")
    return done.stdout.decode("latin-1")


def read(path: str) -> str:
    with open(path, "rb") as file:
        return file.read().decode("latin-1")


def value_of(path: str) -> str | None:
    """A file's content; None where it cannot be read."""
    try:
        return read(path)
    except OSError:
        return None


def write(path: str, data: str | bytes) -> None:
    with open(path, "wb", buffering=0) as file:
        file.write(data.encode("latin-1") if isinstance(data, str) else data)


def restore(path: str, before: str) -> None:
    """Write back what was read; of a list of choices, the chosen one."""
    chosen = re.search(r"\[(.+?)\]", before)
    with contextlib.suppress(OSError):
        write(path, chosen[1] if chosen else before)


def unlink(*paths: str) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            os.unlink(path)


def mounted(path: str, *mount: str) -> None:
    """Mount there, where nothing is mounted yet."""
    if not os.path.ismount(path):
        os.makedirs(path, exist_ok=True)
        sh("mount", *mount, path, check=False)
