"""What an edit of a profile would open and close.

Owns comparing what is proven with what the kernel has, by the policy engine; where that is not known, with
what the installed file compiles to, which has new site rules and tunables already.  Must not decide anything:
a plan that opens more is still the operator's to apply.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.profiles.includes import APPARMOR_D
from phoenix_hypervisor.values import dataclass

if TYPE_CHECKING:
    from phoenix_hypervisor.engine.session import Session
    from phoenix_hypervisor.policy.differences import Difference, NotCompared


@dataclass(frozen=True, slots=True)
class Effect:
    """What only the loaded (A) or only the proven (B) policy of a profile allows."""

    differences: tuple[Difference, ...] = ()
    not_compared: tuple[NotCompared, ...] = ()
    """What they say differently about what some kernel may decide by, and what was not compared."""
    fault: str | None = None
    """Why the two cannot be compared."""


def effects(session: Session, blobs: Mapping[str, bytes]) -> dict[str, Effect]:
    """The effect of each edit, by profile; new profiles are left out."""
    if not blobs:
        return {}
    from phoenix_hypervisor.policy.diff import compare_policies
    from phoenix_hypervisor.policy.reader import read_policy

    host, installed = session.host, session.parser_of_installed()
    found: dict[str, Effect] = {}
    for name, blob in blobs.items():
        path = f"{APPARMOR_D}/{name}"
        text = host.read(path)
        if text is None:
            continue
        try:
            loaded = session.store.in_kernel(name)
            if loaded is None:
                loaded = installed.compile_text(text, host.root.locate(path), optional=False)
            compared = compare_policies(read_policy(loaded), read_policy(blob), asks=installed.asks)
            missing = tuple(one for one in compared.not_compared if one.asked and not one.logging)
            found[name] = Effect(compared.differences, missing)
        except PhoenixError as error:
            found[name] = Effect(fault=error.message)
    return found
