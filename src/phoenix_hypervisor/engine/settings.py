"""On which host, and with what, the application works.

Owns the values that a caller gives once.  Must not act on them.
"""

from __future__ import annotations

from phoenix_hypervisor.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """The host, the configuration and the tools; None asks for the default of each."""

    root: str = "/"
    config: str | None = None
    runtime: str | None = None
    parser: str | None = None
    features: str | None = None
    require_signed: str | None = None
    """A keyring: what is installed must be signed by a key in it; None: as the host's own says."""
    command: tuple[str, ...] = ()
    """What is run, in words, for the journal."""
