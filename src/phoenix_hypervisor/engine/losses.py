"""Which file systems a compiled profile refuses to mount: asked where a container's features allow them.

Owns the question and who is asked.  Must not decide what becomes of the container: `plan.containers` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.plan.containers import features_lost
from phoenix_hypervisor.plan.model import ContainerState
from phoenix_hypervisor.values import replace

ANYWHERE = b"/mnt/any/"
"""Stands for any place: Proxmox's rules name no target."""


def refused(
    session: Session, asked: Iterable[tuple[str, Sequence[str]]]
) -> Mapping[str, frozenset[str] | None]:
    """By profile, what it refuses of the file systems asked for; None where it is not ours to compile."""
    return {name: _refused(session, name, kinds) for name, kinds in asked}


def with_losses(session: Session, states: Sequence[ContainerState]) -> list[ContainerState]:
    """The states, each with a warning of what its profile takes away from its features."""
    asked: dict[str, dict[str, None]] = {}
    for state in states:
        if state.asks and state.wanted is not None:
            asked.setdefault(state.wanted, {}).update(dict.fromkeys(state.asks))
    answers = refused(session, [(name, tuple(kinds)) for name, kinds in asked.items()])
    return [replace(s, warnings=(*s.warnings, *features_lost(s, answers))) if s.asks else s for s in states]


def _refused(session: Session, name: str, kinds: Sequence[str]) -> frozenset[str] | None:
    if name not in session.sources.profiles:
        return None
    from phoenix_hypervisor.policy.evaluate import Evaluator
    from phoenix_hypervisor.policy.queries import MountQuery
    from phoenix_hypervisor.policy.reader import read_policy
    from phoenix_hypervisor.profiles.prove import prove

    found = next(profile for profile in session.store.profiles() if profile.name == name)
    blob = session.store.compiled(name) if found.loaded_closure == found.closure else None
    if blob is None:
        blob = prove(session.store, [found], (), session.proven).blobs[name]
    wanted = name.encode("utf-8", "surrogateescape")
    judge = next(Evaluator(p) for p in read_policy(blob).profiles if p.name == wanted)
    return frozenset(
        kind
        for kind in kinds
        if not judge.ask(MountQuery(b"source", ANYWHERE, kind.encode("utf-8", "replace"), 0)).allowed
    )
