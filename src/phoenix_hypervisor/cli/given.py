"""What the operator asked for in general.

Owns the settings that the global options fill, and starting the application with them.  Must not
know how they were spelt.
"""

from __future__ import annotations

import os

from phoenix_hypervisor.engine.phoenix import Phoenix
from phoenix_hypervisor.errors import UsageError
from phoenix_hypervisor.values import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from phoenix_hypervisor.cli.stdout import Output
    from phoenix_hypervisor.host.machine import Host


@dataclass(slots=True, kw_only=True)
class Settings:
    """What the operator asked for in general."""

    root: str = "/"
    config: str | None = None
    runtime: str | None = None
    parser: str | None = None
    features: str | None = None
    require_signed: str | None = None
    json: bool = False
    no_color: bool = False
    verbose: bool = False
    quiet: bool = False
    command: tuple[str, ...] = ()
    """The command line itself, for the journal."""
    host: Host | None = None
    """A machine to work on instead of the one at `root`."""
    told: bool = False
    """What --verbose tells of the machine is told."""
    output: Output | None = None
    """The process's own standard output."""
    writes: bool = False
    """The command changes the host: see `begin_writing`."""

    def begin_writing(self) -> None:
        """From here on the host may change: nothing that is printed may end that half-way."""
        self.writes = True
        if self.output is not None:
            self.output.must_go_on = True

    def phoenix(self) -> Phoenix:
        """The application, as these settings ask for it.  Raises UsageError."""
        config = self.config if self.config is not None else _from_environment()
        if self.verbose and not self.told:
            from phoenix_hypervisor.cli.verbose import tell_everything
            from phoenix_hypervisor.host.machine import Host

            self.host = tell_everything(self.host or Host(self.root), config, self.runtime)
            self.told = True
        return Phoenix(
            self.root,
            config,
            self.runtime,
            self.parser,
            self.features,
            require_signed=self.require_signed,
            command=self.command,
            host=self.host,
        )


VARIABLE = "PHOENIX_CONFIG"


def _from_environment() -> str | None:
    """The configuration that the environment names; `--config` comes before it."""
    path = os.environ.get(VARIABLE)
    if path and not os.path.isfile(path):
        raise UsageError(f"{VARIABLE} is not a file", where=path)
    return path or None
