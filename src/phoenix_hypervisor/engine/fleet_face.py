"""Several nodes, as programs use them: `Phoenix.fleet()`.

Owns those methods; each looks at the host anew.  Must not print, and must not reach another node: what is
known of one is in files.
"""

from __future__ import annotations

from collections.abc import Callable

from phoenix_hypervisor.engine import bundling
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.plan.bundle import Bundle


class Fleet:
    """One node among others."""

    def __init__(self, session: Callable[[], Session]) -> None:
        """`session` looks at the host anew."""
        self._session = session

    def facts(self) -> Bundle:
        """What this node tells others of itself; `plan.bundle.text` makes a file of it."""
        return bundling.bundle(self._session())

    def publish_facts(self) -> tuple[Bundle, str]:
        """The same, written where the cluster keeps it; and that place.  Raises Refused without quorum."""
        return bundling.publish(self._session())
