"""What can be asked about policy, as values.

Owns the requests that `Phoenix.query`, `denial`, `list`, `diff`, `test`, `lint`, `explain` and
`compile` take; a run on a host needs none of them.  Must not check them: the method that gets one does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phoenix_hypervisor.values import dataclass

if TYPE_CHECKING:
    from phoenix_hypervisor.policy.queries import EachAccess, Query, RawQuery


@dataclass(frozen=True, slots=True)
class Given:
    """A policy source or compiled policy that the caller has in memory."""

    name: str
    """What messages call it."""
    data: bytes


Operand = str | Given
EXPLAIN_WAIT = 10.0
"""A policy: a profile's name, a path, or the bytes themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRequest:
    """Ask one question of one profile."""

    question: Query | RawQuery | EachAccess
    profile: str | None = None
    policy: Operand | None = None
    """Where the profile is looked for; None: by its name alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DenialRequest:
    """Ask a profile for what a log says that AppArmor decided."""

    line: str
    """As dmesg, journalctl, auditd or a D-Bus daemon shows it."""
    profile: str | None = None
    """None: the one that the line names."""
    policy: Operand | None = None
    """Where the profile is looked for; None: by its name alone."""
    wait: float = EXPLAIN_WAIT
    """As in ExplainRequest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRequest:
    """List what a profile allows."""

    profile: str | None = None
    policy: Operand | None = None
    access: str = "w"
    under: str | None = None
    """A path or a glob; None: everywhere, and mounts, targets and capabilities too."""
    other: bool = False
    """Asked by a process whose user does not own the files."""
    limit: int = 20
    """How many patterns and examples of each kind."""
    only: bool = False
    """Lines for `access` alone; otherwise for whatever may be written, executed or read."""
    lines: int | None = None
    """About how many lines of files; None: as many as people read."""
    examples: bool = True
    """Also patterns and examples of files that allow all of `access`: people are shown the lines instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffRequest:
    """Compare what two policies allow."""

    a: Operand
    b: Operand
    logging: bool = False
    """Compare what they log, too."""
    policy: Operand | None = None
    """Where both are looked for, as names of profiles; None: each by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyTestRequest:
    """Run policy tests."""

    profiles: tuple[str, ...] = ()
    """Empty: all."""
    policy: Operand | None = None
    """None: the shipped profiles."""
    files: tuple[Operand, ...] = ()
    """Empty: the tests beside the configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LintRequest:
    """Look for bad habits in profile sources."""

    sources: tuple[Operand, ...] = ()
    """Empty: all shipped sources."""
    quick: bool = False
    """Compile each source only once: superfluous and widened rules are not found."""
    ignore: tuple[str, ...] = ()
    """Codes that are not looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainRequest:
    """Find the source rule that decides a question."""

    question: Query | RawQuery
    profile: str | None = None
    policy: Operand | None = None
    """The source; None: the shipped source of `profile`."""
    wait: float = EXPLAIN_WAIT
    """Seconds that one compile of the source may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileRequest:
    """Compile one source for the features in force."""

    source: Operand
    output: str | None = None
    """A file that gets the compiled policy."""
