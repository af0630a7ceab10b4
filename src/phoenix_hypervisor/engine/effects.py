"""What an edit of a profile would open and close.

Owns comparing what is proven with what is installed now, by the policy engine.  Must not
decide anything: a plan that opens more is still the operator's to apply.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.profiles.includes import APPARMOR_D
from phoenix_hypervisor.values import dataclass

if TYPE_CHECKING:
    from phoenix_hypervisor.engine.session import Session
    from phoenix_hypervisor.policy.diff import Difference


@dataclass(frozen=True, slots=True)
class Effect:
    """What only the installed (A) or only the proven (B) policy of a profile allows."""

    differences: tuple[Difference, ...] = ()
    fault: str | None = None
    """Why the two cannot be compared."""


def effects(session: Session, blobs: Mapping[str, bytes]) -> dict[str, Effect]:
    """The effect of each edit, by profile; new profiles are left out."""
    if not blobs:
        return {}
    from phoenix_hypervisor.policy.diff import diff_policies
    from phoenix_hypervisor.policy.reader import read_policy

    host, installed = session.host, session.parser_of_installed()
    found: dict[str, Effect] = {}
    for name, blob in blobs.items():
        path = f"{APPARMOR_D}/{name}"
        text = host.read(path)
        if text is None:
            continue
        try:
            old = read_policy(installed.compile_text(text, host.root.locate(path), optional=False))
            found[name] = Effect(tuple(diff_policies(old, read_policy(blob), asks=installed.asks)))
        except PhoenixError as error:
            found[name] = Effect(fault=error.message)
    return found
