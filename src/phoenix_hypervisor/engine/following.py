"""Denials as they happen.

Owns reading logs that grow, and telling each denial once when it is new and then how often it came.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack

from phoenix_hypervisor.engine.denials import Denial, Watch
from phoenix_hypervisor.errors import UsageError
from phoenix_hypervisor.host.streams import Growing, ProgramOutput, following
from phoenix_hypervisor.values import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from phoenix_hypervisor.audit.logs import Reader
    from phoenix_hypervisor.engine.policy_sources import PolicySources
    from phoenix_hypervisor.engine.requests import DenialsRequest
    from phoenix_hypervisor.engine.session import Session
    from phoenix_hypervisor.plan.model import Note

TELL = 5.0
"""Seconds in which a denial that comes again and again is told at most once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """A denial that just happened."""

    denial: Denial
    new: bool
    """The first of its group since the following began."""


def follow(
    session: Session,
    sources: PolicySources,
    request: DenialsRequest,
    *,
    seconds: float | None = None,
) -> Generator[Counted]:
    """Each denial as it happens; `seconds`: for so long.  Raises PhoenixError.

    What the logs hold already is told first where the request says since when.
    """
    # From here on: judging what there is may take a while.
    until = None if seconds is None else time.monotonic() + seconds
    watch = Watch(session, sources, request)
    places = watch.open()
    with ExitStack() as stack:
        programs: list[ProgramOutput] = []
        readers: list[Reader] = []
        files: list[Growing] = []
        growing = []
        # Opened before the old ones are read, so that nothing falls between.
        for place in places:
            if place.program is not None:
                programs.append(ProgramOutput(place.program))
                stack.callback(programs[-1].close)
                readers.append(watch.reader(place))
        for place in places:
            if place.grows is not None:
                if not os.path.exists(place.grows):
                    raise UsageError("is not a file", where=place.name)
                files.append(Growing(place.grows))
                stack.callback(files[-1].close)
                growing.append(watch.reader(place))
        if not programs and not files:
            raise UsageError(
                "none of these logs can be followed", where=places[0].name, hint="leave --follow out"
            )
        readers += growing
        told: dict[str, float] = {}
        if request.since is not None:
            for _ in watch.count(watch.events()):
                pass
            for denial in watch.denials():
                told[denial.group.id] = 0.0
                yield Counted(denial=denial, new=True)
        waiting: set[str] = set()
        for number, chunk in following(programs, files, until):
            if chunk:
                waiting.update(id for id, _ in watch.count_more(readers[number].feed(chunk)))
            yield from _due(watch, waiting, told)
        yield from _due(watch, waiting, told, at_once=True)


def listen(
    session: Session,
    sources: PolicySources,
    ctids: tuple[str, ...],
    seconds: float,
    tell: Callable[[Note], None],
) -> Generator[Counted]:
    """Each denial of some containers as it happens, with those of `deny` rules, for so long.

    Raises PhoenixError.  Where this generator is closed the kernel is put back.
    """
    from phoenix_hypervisor.engine.listening import listening
    from phoenix_hypervisor.engine.requests import DenialsRequest

    session.chosen(ctids)
    # All that is logged while the kernel speaks, also before the logs are open.
    request = DenialsRequest(ctids=ctids, since=time.time())
    with listening(session.host, tell):
        yield from follow(session, sources, request, seconds=seconds)


def _due(
    watch: Watch, waiting: set[str], told: dict[str, float], *, at_once: bool = False
) -> Generator[Counted]:
    """Those of the groups that came which are to be told now."""
    now = time.monotonic()
    due = frozenset(id for id in waiting if at_once or id not in told or now - told[id] >= TELL)
    if not due:
        return
    waiting -= due
    for denial in watch.denials(due):
        new = denial.group.id not in told
        yield Counted(denial=denial, new=new)
    for id in due:
        if len(told) < 100_000:
            told[id] = now
