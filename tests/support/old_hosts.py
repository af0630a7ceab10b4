"""Hosts of tests/data/journals: what an earlier version left, put below a fresh root."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from support.hosts import DirectoryHost

DATA = Path(__file__).parents[1] / "data/journals"


def recorded(state: str) -> dict[str, bytes]:
    """The bytes of every file of a recorded host, by path below its root."""
    files = json.loads((DATA / f"{state}.json").read_text())
    return {
        path: one.encode() if isinstance(one, str) else base64.b64decode(one["base64"])
        for path, one in files.items()
    }


def put(host: DirectoryHost, state: str) -> None:
    """Make `host` look as recorded; records of Phoenix are root's alone, as it writes them."""
    for path, data in recorded(state).items():
        place = host.root / path
        private = path.startswith("var/lib/phoenix/")
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if private else 0o755)
        place.write_bytes(data)
        place.chmod(0o600 if private else 0o644)


def below(files: dict[str, bytes], *places: str) -> dict[str, bytes]:
    """Those of `files` that lie below some directories."""
    return {path: data for path, data in files.items() if path.startswith(places)}
