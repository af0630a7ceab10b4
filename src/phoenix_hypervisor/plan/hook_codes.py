"""The codes of the hook that looks at a container before it starts.

Owns their rows, in the form of `plan.codes`.  Must hold no words for people beyond the meaning.
"""

from __future__ import annotations

from phoenix_hypervisor.plan.roles import Coded, Role
from phoenix_hypervisor.plan.roles import row as _row

R, W = Role.REFUSAL, Role.WARNING


class HookCode(Coded):
    """One code, equal to its name."""

    HELD_NOT_ASSIGNED = _row(
        "held-not-assigned",
        (R,),
        "The hook stops a start: the profile that is assigned is not the declared one.",
        "assigned declared",
    )
    HELD_UNLOADED = _row(
        "held-unloaded", (R,), "The hook stops a start: the profile is not in the kernel.", "name"
    )
    HELD_KERNEL_OFF = _row(
        "held-kernel-off", (R,), "The hook stops a start under a profile: AppArmor is off.", "name"
    )
    HOOK_UNDECLARED = _row(
        "hook-undeclared", (W,), "The container names the hook, and nothing is declared of it.", "assigned"
    )
