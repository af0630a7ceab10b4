"""Trials, as programs use them: `Phoenix.trials()`.

Owns those methods; each looks at the host anew and does its work in `engine.trying`.  Must not print.
"""

from __future__ import annotations

from collections.abc import Callable

from phoenix_hypervisor.engine import requests, results
from phoenix_hypervisor.engine.phoenix import silent, told
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.engine.trying import Seen, begin, end, listed, prepare, report
from phoenix_hypervisor.plan.model import Plan
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from phoenix_hypervisor.engine.denials import Denials
    from phoenix_hypervisor.engine.results import Progress


class Trials:
    """Trials of one host."""

    def __init__(self, session: Callable[[], Session]) -> None:
        """`session` looks at the host anew."""
        self._session = session

    def begin(self, request: requests.TrialRequest, progress: Progress = silent) -> results.Applied:
        """Run a container for a while under a copy of a profile that lets more through, and logs it."""
        session = self._session()
        with told(session, progress):
            return begin(session, request, progress)

    def plan(self, request: requests.TrialRequest) -> Plan:
        """What `begin` would do; nothing is written."""
        return prepare(self._session(), request)

    def end(self, request: requests.EndTrialRequest, progress: Progress = silent) -> results.TrialEnded:
        """End a container's trial: the kernel refuses at once what the profile refuses."""
        session = self._session()
        with told(session, progress):
            return end(session, request, progress)

    def report(self, container: str) -> Denials:
        """What a container's trial let through and refused, as `Phoenix.denials` tells it."""
        return report(self._session(), container)

    def list(self) -> tuple[Seen, ...]:
        """The trials on record, and how far each is."""
        return listed(self._session())
