"""The codes of GPUs: who has which, against who was assigned which.

Owns their rows, in the form of `plan.codes`.  Must hold no words for people beyond the meaning.
"""

from __future__ import annotations

from phoenix_hypervisor.plan.roles import Coded, Role
from phoenix_hypervisor.plan.roles import row as _row

R, S, W, F = Role.REFUSAL, Role.SKIP, Role.WARNING, Role.FINDING


class GpuCode(Coded):
    """One code, equal to its name."""

    NOT_OPEN = _row(
        "gpu-not-open",
        (F, W),
        "The container cannot use a GPU that is assigned to it; `write` is the line that would help.",
        "gpu walls write",
    )
    OPEN = _row(
        "gpu-open",
        (F, W),
        "The container can open GPUs that are not assigned to it; `made`: by a node that it makes itself.",
        "gpus made by",
    )
    UNKNOWN = _row(
        "gpu-unknown", (R, F, W), "The assignment names GPUs that this host does not have.", "words known"
    )
    NODE_MISSING = _row(
        "gpu-node-missing",
        (F, W),
        "A line names a GPU's node that is not on this host: the container does not start.",
        "path line",
    )
    STALE_NUMBER = _row(
        "gpu-number-stale",
        (F, W),
        "A device rule has a major number that no driver has any more, and a node of a GPU is shut for it.",
        "line node write",
    )
    ROOT_ONLY = _row(
        "gpu-root-only", (F,), "Users inside who are not root cannot open an assigned GPU.", "gpu line write"
    )
    ADMIN_NODE = _row(
        "gpu-admin-node",
        (F, W),
        "The container can open a node that administers GPUs for the whole host.",
        "path by",
    )
    RAW_KEPT = _row(
        "gpu-raw-kept",
        (W,),
        "Raw lines concern GPUs; Phoenix manages the container's devN lines, and never touches these.",
        "lines",
    )
    PENDING = _row(
        "gpu-pending", (R,), "Pending changes would replace device lines at the next start.", "path"
    )
    NEXT_START = _row(
        "gpu-next-start", (S,), "The container runs; its devices change with its next start.", "ctid"
    )
    NOT_SCOPED = _row(
        "gpu-not-scoped",
        (W,),
        "`scope_gpus` is declared, and there is no variant of the container's profile for it.",
        "profile",
    )
    NOT_MANAGED = _row(
        "gpu-not-managed", (W,), "`manage_gpus` is declared, and plain LXC has no devN lines.", ""
    )
