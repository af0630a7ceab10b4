"""What `--verbose` tells: what a command works with, and each program that it runs.

Owns those lines, on standard error: what a command prints stays as it is.  Must not change what is done.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from contextlib import suppress
from copy import copy

from phoenix_hypervisor.cli.output import echo, printable
from phoenix_hypervisor.containers.runtimes.registry import kind_of
from phoenix_hypervisor.engine.places import belonging, find_config
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.host.process import DEFAULT_TIMEOUT, Completed
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from phoenix_hypervisor.host.process import Runner


class TellingRunner:
    """Runs programs by another runner, and tells each: its words, how it ended, what it complained of."""

    def __init__(self, inner: Runner) -> None:
        self._inner = inner

    def find(self, program: str) -> str | None:
        return self._inner.find(program)

    def run(
        self, argv: Sequence[str], *, input: bytes | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> Completed:
        begin = time.monotonic()
        done = self._inner.run(argv, input=input, timeout=timeout)
        _tell(f"$ {shlex.join(argv)}  (exit {done.returncode}, {time.monotonic() - begin:.1f} s)")
        for line in done.words().splitlines() if done.stderr.strip() else ():
            _tell(f"  {line}")
        return done


def tell_everything(host: Host, config: str | None, runtime: str | None) -> Host:
    """Tell what a command on `host` works with; returns the same host, which tells what it runs."""
    telling = copy(host)
    telling.runner = TellingRunner(host.runner)
    found = None
    # What cannot be found is told by the command itself.
    with suppress(PhoenixError):
        found = find_config(host, config)
        _tell(f"configuration: {found or 'none'}")
    with suppress(PhoenixError):
        _tell(f"profile sources: {belonging(host, found, 'apparmor') or 'none'}")
    with suppress(PhoenixError):
        _tell(f"containers of: {runtime or kind_of(host).name}")
    return telling


def _tell(text: str) -> None:
    echo(printable(text), err=True)
