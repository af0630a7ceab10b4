"""All codes, from all registries.

Owns their list, and finding one by its name.  Must not name a code: `plan.codes` and its neighbours do.
"""

from __future__ import annotations

from collections.abc import Iterator

from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.fault_codes import Fault
from phoenix_hypervisor.plan.gpu_codes import GpuCode
from phoenix_hypervisor.plan.hook_codes import HookCode
from phoenix_hypervisor.plan.migration_codes import MoveCode
from phoenix_hypervisor.plan.roles import Coded
from phoenix_hypervisor.plan.trial_codes import TrialCode

REGISTRIES: tuple[type[Coded], ...] = (Code, Fault, GpuCode, HookCode, TrialCode, MoveCode)


def every() -> Iterator[Coded]:
    """Every code, registry by registry."""
    for registry in REGISTRIES:
        yield from registry


def named(text: str) -> Coded:
    """The code of that name; raises ValueError where none is called so."""
    for code in every():
        if code == text:
            return code
    raise ValueError(f"{text!r:.60} is not a code")
