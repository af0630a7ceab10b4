"""What can be asked of a host, as values.

Owns the requests that the methods of `Phoenix` take which look at a host or change it.  Must not check
them against one: the method that gets one does.
"""

from __future__ import annotations

from collections.abc import Iterable

from phoenix_hypervisor.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupRequest:
    """Prove, install and load the profiles; retire deprecated ones."""

    adopt: frozenset[str] = frozenset()
    """Profiles and includes of others that Phoenix may take over, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyRequest:
    """Set up, then create, assign and start containers."""

    ctids: tuple[str, ...] | None = None
    """CTIDs, names, lists (`103,104`) and ranges (`103-110`); None: all declared containers."""
    start: bool = True
    restart: bool = False
    """Restart containers that run under another label than the declared one."""
    skip_refused: bool = False
    """Leave out the containers that are refused, and go on with the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackRequest:
    """Undo one transaction."""

    transaction: int | None = None
    """Its number; None: the newest setup or apply that is not undone."""
    restart: bool = False
    """Restart the containers that it had started or restarted and whose lines go back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveRequest:
    """Ask what speaks against moving a container to another node."""

    container: str
    """A CTID or a name."""
    node: str
    facts: str | None = None
    """The file with that node's facts; None: where the cluster keeps them."""
    max_age: float = 24 * 3600.0
    """Seconds; older facts are a reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRequest:
    """Look at containers and profiles."""

    ctids: tuple[str, ...] = ()
    """As in ApplyRequest; empty: all that are declared or on this host."""
    strict: bool = False
    """Raise NoConfiguration where there is no configuration; else nothing is declared then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRequest:
    """Ask who can open which GPU."""

    ctids: tuple[str, ...] = ()
    """As in ApplyRequest; empty: all that are on this host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest:
    """Declare the containers that stand."""

    output: str | None = None
    """The file to write; None: the configuration, or where it belongs."""
    merge: bool = False
    """Add to a file that is there what it lacks."""
    all_nodes: bool = False
    """Those of the cluster's other nodes too."""
    write: bool = True
    """False: only make the text."""
    dry_run: bool = False
    """Refuse what a run that writes refuses, and write nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DenialsRequest:
    """Look at what was denied."""

    ctids: tuple[str, ...] = ()
    """As in ApplyRequest; empty: of all, and of what is of no container."""
    since: float | None = None
    """Seconds since 1970; None: as far back as the logs go."""
    files: tuple[str, ...] = ()
    """Logs on this machine, packed by gzip or not; with neither these nor `piped`, the host's own."""
    piped: Iterable[bytes] | None = None
    """A log in pieces, read once."""
    trust: bool = False
    """Only the kernel's own lines came to these places; else nothing in `files` and `piped` is believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRequest:
    """Run a container for a while under a copy of a profile that lets more through, and logs it."""

    container: str
    """A CTID or a name."""
    profile: str
    """A profile that there is a source of; an unprivileged container gets its variant."""
    seconds: int = 7200
    """How long; 30 days at most."""
    restart: bool = False
    """Restart the container where it runs: else the trial begins with its next start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndTrialRequest:
    """End a container's trial."""

    container: str
    restart: bool = False
    """Restart the container where it runs: else its former profile counts from its next start on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptRequest:
    """Accept the rules that denials are offered."""

    ids: tuple[str, ...]
    """Of `Denials.denials`."""
    by: str
    """Who accepts them; written beside the rules."""
    denials: DenialsRequest = DenialsRequest()
    """Where the denials are looked for."""
