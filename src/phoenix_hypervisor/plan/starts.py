"""May this container start?

Owns that one decision, for the hook that asks before a start.  Pure: facts in, a verdict out.  Only what
would run otherwise than declared, or not at all, is stopped; what cannot be judged is nobody's to stop.
"""

from __future__ import annotations

from collections.abc import Collection

from phoenix_hypervisor.plan.hook_codes import HookCode
from phoenix_hypervisor.plan.labels import parse
from phoenix_hypervisor.plan.lines import means, names_a_profile
from phoenix_hypervisor.plan.model import Note, container
from phoenix_hypervisor.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFacts:
    """What decides over one start."""

    name: str
    """The container, as its runtime calls it."""
    assigned: str | None
    """The profile line that counts at this start, as LXC takes it; None: no line."""
    declared: str | None = None
    """The profile by its declared name; None: the container is not declared."""
    wanted: str | None = None
    """The value that Phoenix would write for that; None: no line."""
    exact: bool = False
    """Only that value will do: a variant of its own refuses other containers' GPUs."""
    trial: str | None = None
    """The profile of the trial that is on record."""
    loaded: Collection[str]
    """The profiles in the kernel."""
    kernel_on: bool
    """AppArmor is on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The verdict; `note` says why not, or what is to be told."""

    allowed: bool
    note: Note | None = None


def judge_start(facts: StartFacts) -> Start:
    """Whether that start is let through."""
    target = container(facts.name)
    if facts.declared is not None and not _as_declared(facts):
        data = {"assigned": facts.assigned, "declared": facts.wanted}
        return Start(allowed=False, note=Note(HookCode.HELD_NOT_ASSIGNED, target, data))
    for name in _profiles(facts.assigned):
        if not facts.kernel_on:
            return Start(allowed=False, note=Note(HookCode.HELD_KERNEL_OFF, target, {"name": name}))
        if name not in facts.loaded:
            return Start(allowed=False, note=Note(HookCode.HELD_UNLOADED, target, {"name": name}))
    if facts.declared is None:
        return Start(allowed=True, note=Note(HookCode.HOOK_UNDECLARED, target, {"assigned": facts.assigned}))
    return Start(allowed=True)


def _as_declared(facts: StartFacts) -> bool:
    """By the exact line, by one that means the same, or because the container is on trial.

    A name may stand where its variant would be written: a variant that a later Phoenix brings stops no start.
    """
    if facts.assigned == facts.wanted or (facts.trial is not None and facts.assigned == facts.trial):
        return True
    return not facts.exact and means(facts.assigned, facts.declared or "", facts.wanted)


def _profiles(assigned: str | None) -> list[str]:
    """The host's own profiles that a line names, each of a stack."""
    if assigned is None or not names_a_profile(assigned):
        return []
    parts = parse(assigned).components
    return [part.name for part in parts if not part.namespace and part.name != "unconfined"]
