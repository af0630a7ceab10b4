"""The shipped profiles as a parser takes them: with the files of if-parser-accepts, or without."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

from phoenix_hypervisor.host.process import find_program
from phoenix_hypervisor.profiles.sources import OPTIONAL

TOP = Path(__file__).parents[2]
ETC = TOP / "etc" / "apparmor"
PIN = "abi <abi/phoenix>,"
NAMES = sorted(path.name for path in ETC.iterdir() if path.is_file())


@cache
def takes_optional() -> bool:
    """Whether this machine's parser has rule priorities."""
    argv = [find_program("apparmor_parser") or "", "--version"]
    return b" 3." not in subprocess.run(argv, capture_output=True, check=True).stdout


def folders() -> tuple[Path, ...]:
    """Where sources are looked for, in this order, for this machine's parser."""
    return (ETC / OPTIONAL, ETC) if takes_optional() else (ETC,)


def text_of(name: str) -> str:
    return next(folder / name for folder in folders() if (folder / name).is_file()).read_text()


def compile_text(text: str, *, kernel: str, pins: str) -> bytes:
    """What this machine's parser makes of `text` for the feature file `kernel`, under parser.conf's `pins`."""
    argv = [find_program("apparmor_parser") or "", "-QSK", "--config-file", "/dev/null"]
    for folder in folders():
        argv += ["-I", str(folder)]
    argv += ["--policy-features", pins, "--kernel-features", kernel]
    done = subprocess.run(argv, input=text.encode(), capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout
