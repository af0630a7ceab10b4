"""What a report says, as values.

Owns the facts that the page, the JSON document and the comparison with the last report are made of, and what
the document's fields are called: as here; `data/phoenix_report.schema.json` describes them.  Pure; must hold
no object of another room, so that what is kept on disk is what is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from phoenix_hypervisor.values import dataclass, fields

if TYPE_CHECKING:
    from phoenix_hypervisor.plan.entries import Entry
    from phoenix_hypervisor.plan.model import Note

COMPANION, OWN, DEFAULT = "companion", "own", "default"
CLOSED, OPEN, BROKEN = "closed", "open", "broken"
OPENS, MAKES, SHUT = "opens", "makes", "shut"


@dataclass(frozen=True, slots=True)
class Words:
    """Who says in words what codes and transactions mean: `cli` does."""

    note: Callable[[Note], tuple[str, str | None]]
    """What a note says, and the next step."""
    entry: Callable[[Entry], str]
    """What a transaction was about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A finding, in words."""

    code: str
    text: str
    next: str | None
    fault: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """What decides on a container's devices."""

    state: str
    """`closed`: only what rules allow; `open`: all, but for rules; `broken`: it does not start."""
    rules: int
    """How many rules count."""
    own: tuple[str, ...]
    """Those lines of its own configuration that count; of `broken`: the line that is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuCell:
    """One container and one GPU."""

    gpu: int
    access: str
    """`opens`, `makes` (no line brings the node, but it can make it), or `shut`."""
    by: tuple[str, ...]
    """The lines that let it in, or the names of the walls that stop it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One container and its walls."""

    ctid: str
    name: str
    unprivileged: bool
    """It has a user namespace."""
    template: bool
    exists: bool
    running: bool | None
    """None: not known."""
    confined: bool | None
    """None: it does not run, or its label is not known."""
    declared: str | None
    assigned: str | None
    """None: no profile line; then the report's `without_line` applies."""
    label: str
    """Of the running container's first process."""
    as_declared: bool
    seccomp: str
    """`companion` (Phoenix's), `own` (a file that its configuration names), or `default` (the runtime's)."""
    seccomp_file: str | None
    devices: Devices | None
    """None: its configuration cannot be read."""
    gpus: tuple[GpuCell, ...]
    findings: tuple[Said, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A directory below /proc or /sys, and what a profile lets be written there."""

    path: str
    known: int
    """Names there that kernels are known to have."""
    writable: int
    """Those of them that the profile lets be written."""
    names: tuple[str, ...]
    """Which, relative to `path`; empty where that is all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One profile: shipped, or assigned to a container."""

    name: str
    ours: bool
    installed: str
    """`same`, `differs`, `missing`, or `foreign`."""
    loaded: str
    """The kernel's mode, `no`, or `unknown`."""
    used_by: tuple[str, ...]
    findings: tuple[Said, ...]
    mode: str | None
    """Of its compiled policy: `enforce`, `complain`, ...; None: that is not known, nor are `places`, or no
    container uses it."""
    places: tuple[Place, ...]
    """Where it lets anything be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU of the host."""

    gpu: int
    called: str
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedNode:
    """A node that belongs to no single GPU."""

    path: str
    means: str
    tenants: bool
    """Containers may have it; False: no container should."""
    users: tuple[str, ...]
    """The containers that can open it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedRule:
    """One accepted rule with its evidence."""

    profile: str
    id: str
    """Of the denial; empty: written by hand."""
    rule: str
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """One transaction of the journal."""

    id: int
    time: str
    user: str
    command: str
    state: str
    """`committed`, `undone`, `unfinished`, or `rolled back by N`."""
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """One thing that AppArmor cannot mediate here."""

    code: str
    what: str
    by: str
    means: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that is not as it was."""

    of: str
    """`containers`, `profiles`, `accepted`, `kernel`, `host`."""
    what: str
    how: str
    """`new`, `gone` or `changed`."""
    details: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What differed between two reports."""

    since: str
    until: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The report beside those before it."""

    last: str | None
    """When the facts were kept that this report was compared with; None: there were none."""
    changed: bool
    found: tuple[Changes, ...]
    """The newest first; of this report where it `changed`."""
    not_kept: str | None
    """Why this report's facts were not kept; None: they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherContainer:
    """A container of another node, as its file says."""

    ctid: str
    name: str
    declared: str | None
    assigned: str | None
    line_as_declared: bool | None
    """None: it is not declared."""
    findings: tuple[Said, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherNode:
    """Another node of the cluster; nothing of it is verified there."""

    node: str
    containers: tuple[OtherContainer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything."""

    phoenix: str
    """The version of Phoenix."""
    time: str
    host: str
    kernel: str
    """Its release; empty where no kernel was asked."""
    configuration: str | None
    without_line: str
    """What applies to a container without a profile line."""
    as_declared: bool
    confined: int
    findings: tuple[Said, ...]
    """Of the host."""
    containers: tuple[Container, ...]
    profiles: tuple[Profile, ...]
    gpus: tuple[Gpu, ...]
    shared_nodes: tuple[SharedNode, ...]
    accepted: tuple[AcceptedRule, ...]
    history: tuple[Transaction, ...]
    unmediated: tuple[Gap, ...] | None
    """None: no kernel says."""
    not_read: tuple[str, ...]
    """What could not be looked at, and why."""
    compared: Compared
    other_nodes: tuple[OtherNode, ...] | None = None
    """None: they were not asked for."""


def document(value: object) -> Any:
    """A value as JSON has it: fields by their names."""
    if isinstance(value, tuple):
        return [document(one) for one in value]
    if value is None or isinstance(value, str | int | bool):
        return value
    return {one.name: document(getattr(value, one.name)) for one in fields(value)}  # type: ignore[arg-type]
