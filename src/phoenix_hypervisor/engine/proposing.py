"""Which profile fits each container that stands: gathered once, asked of compiled policy, decided.

Owns that order; the decision is `plan.propose`'s.  Writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from phoenix_hypervisor.containers.generated import flag
from phoenix_hypervisor.containers.standing import standing, unusable
from phoenix_hypervisor.engine.importing import place
from phoenix_hypervisor.engine.losses import refused
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.model import Note, because, container
from phoenix_hypervisor.plan.propose import Proposal, Standing, asked_for, propose, supposed, uses
from phoenix_hypervisor.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """A proposal for every container of this node."""

    proposals: tuple[Proposal, ...]
    left_out: tuple[Note, ...]
    """Containers whose configuration cannot be read, or would not be edited, and why."""
    pct: bool
    """Its containers are Proxmox's, so `pct` can make one unprivileged."""


def run(session: Session) -> Proposed:
    """Look at every container of this node.  Raises PhoenixError for a host that cannot be read."""
    session.put_configuration_at(place(session))
    runtime = session.runtime
    if session.host.is_live:
        runtime.require()
    states = session.containers.found(runtime.ctids())
    left_out: list[Note] = []
    known: list[Standing] = []
    for state in states:
        fault = state.fault or unusable(state, runtime.dialect)
        if fault is not None:
            left_out.append(because(Code.CONF_UNUSABLE, container(state.ctid), fault))
        elif state.data is not None:
            known.append(standing(session.host, state, runtime.dialect))
    return Proposed(
        proposals=_decided(session, known), left_out=tuple(left_out), pct=runtime.dialect.value == "proxmox"
    )


def _decided(session: Session, known: Sequence[Standing]) -> tuple[Proposal, ...]:
    shipped = frozenset(session.sources.profiles)
    looked = []
    for one in known:
        found = uses(one)
        flags = [name for name in ("nesting", "keyctl") if flag(one.features, name)]
        guessed = not found and supposed(one, flags)
        looked.append((one, ("docker",) if guessed else found, guessed))
    answers = refused(session, asked_for([(one, found) for one, found, _ in looked], shipped))
    return tuple(propose(one, found, shipped, answers, guessed=guessed) for one, found, guessed in looked)
