"""The codes of what speaks against moving a container to another node.

Owns their rows, in the form of `plan.codes`.  Must hold no words for people beyond the meaning.
"""

from __future__ import annotations

from phoenix_hypervisor.plan.roles import Coded, Role
from phoenix_hypervisor.plan.roles import row as _row

A, W = Role.AGAINST, Role.WARNING


class MoveCode(Coded):
    """One code, equal to its name."""

    FACTS_OLD = _row(
        "migrate-facts-old",
        (A,),
        "The target's facts were gathered too long ago, or by a clock that is ahead.",
        "gathered age limit",
    )
    OTHER_RUNTIME = _row(
        "migrate-other-runtime", (A,), "Something else runs containers on the target.", "here there"
    )
    RUNTIME_OLDER = _row(
        "migrate-runtime-older",
        (A,),
        "A package that runs or confines containers is older on the target.",
        "package here there",
    )
    NO_APPARMOR = _row("migrate-no-apparmor", (A,), "AppArmor is off on the target.")
    NOT_MEDIATED = _row(
        "migrate-not-mediated",
        (A,),
        "The target's kernel, or what its profiles are written for, cannot refuse what is refused here.",
        "what",
    )
    PROFILE_MISSING = _row(
        "migrate-profile-missing",
        (A,),
        "The target's kernel has no profile of that name: LXC does not start the container.",
        "profile",
    )
    THERE_NOT_ENFORCED = _row(
        "migrate-not-enforced", (A,), "The profile refuses nothing on the target.", "profile mode"
    )
    THERE_POLICY_DIFFERS = _row(
        "migrate-policy-differs", (A,), "The target has another policy of that name.", "profile"
    )
    THERE_POLICY_UNKNOWN = _row(
        "migrate-policy-unknown",
        (A,),
        "Nothing says whether both nodes have the same policy of that name.",
        "profile",
    )
    COMPILED_OTHERWISE = _row(
        "migrate-compiled-otherwise",
        (W,),
        "The same source is compiled there by another parser or for another kernel.",
        "profile",
    )
    GPU_MISSING = _row("migrate-gpu-missing", (A,), "The target has no such device node.", "path line")
    GPU_NUMBER = _row(
        "migrate-gpu-number",
        (A,),
        "The node has another device number on the target, which no rule of the container lets through.",
        "path here there",
    )
    THERE_SECCOMP_MISSING = _row(
        "migrate-seccomp-missing",
        (A,),
        "The target lacks the seccomp file that the container's configuration names: LXC does not start it.",
        "path",
    )
    SECCOMP_DIFFERS = _row(
        "migrate-seccomp-differs", (A,), "The seccomp file has other rules on the target.", "path"
    )
