"""What looks at a host and tells others, as programs use it: `Phoenix.monitoring()`.

Owns those methods; each looks at the host anew.  Must not print.
"""

from __future__ import annotations

from collections.abc import Callable

from phoenix_hypervisor.engine import watching
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.values import TYPE_CHECKING, replace

if TYPE_CHECKING:
    from phoenix_hypervisor.engine.hooking import Hook
    from phoenix_hypervisor.report import report_facts
    from phoenix_hypervisor.report.metrics import Measured


class Monitoring:
    """Metrics, reports, timers and the hook of one host."""

    def __init__(self, session: Callable[[], Session]) -> None:
        """`session` looks at the host anew."""
        self._session = session

    def measure(self) -> Measured:
        """The state of the host; `report.metrics.exposition` makes text of it."""
        from phoenix_hypervisor import __version__
        from phoenix_hypervisor.engine.measuring import measure

        return measure(self._session(), __version__)

    def hook(self) -> Hook:
        """The script that containers may name, so that Phoenix is asked before they start."""
        from phoenix_hypervisor.engine.hooking import Hook

        return Hook(self._session)

    def report(
        self, words: report_facts.Words, *, keep: bool = False, all_nodes: bool = False
    ) -> report_facts.Report:
        """All that a report says; `report.page` and its neighbours make text of it.

        `words` says what codes and transactions mean.  With `keep` the next report is compared with this one.
        `all_nodes`: also what the files of the cluster's other nodes say.
        """
        from phoenix_hypervisor import __version__
        from phoenix_hypervisor.engine.reporting import look

        found = look(self._session(), __version__, words, keep=keep)
        if not all_nodes:
            return found
        from phoenix_hypervisor.engine.neighbours import reported

        return replace(found, other_nodes=reported(self._session(), words))

    def timers(self) -> tuple[watching.Timer, ...]:
        """The timers that look at this host by themselves, as systemd has them."""
        return watching.timers(self._session())

    def switch(self, on: bool) -> tuple[watching.Timer, ...]:
        """Switch those timers on or off."""
        return watching.switch(self._session(), on)
