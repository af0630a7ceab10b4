"""Several nodes, as programs use them: `Phoenix.fleet()`.

Owns those methods; each looks at the host anew.  Must not print, and must not reach another node: what is
known of one is in files.
"""

from __future__ import annotations

from collections.abc import Callable

from phoenix_hypervisor.engine import bundling
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.plan.bundle import Bundle
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phoenix_hypervisor.engine.moving import Checked
    from phoenix_hypervisor.engine.neighbours import NodeView
    from phoenix_hypervisor.engine.requests import MoveRequest


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

    def migrate_check(self, request: MoveRequest) -> Checked:
        """What speaks against moving a container to another node; writes nothing."""
        from phoenix_hypervisor.engine.moving import check

        return check(self._session(), request)

    def nodes(self, ctids: Sequence[str] = ()) -> tuple[NodeView, ...]:
        """What the files of the cluster's other nodes say of their containers; nothing is verified there.

        `ctids` as in `ApplyRequest`; empty: all.  Raises UsageError where there is no cluster.
        """
        from phoenix_hypervisor.engine.neighbours import see
        from phoenix_hypervisor.plan.chosen import read

        return see(self._session(), read(ctids))

    def known_nodes(self) -> dict[str, str]:
        """The nodes of this cluster, for the completion of words."""
        from phoenix_hypervisor.engine.known import nodes

        return nodes(self._session().host)
