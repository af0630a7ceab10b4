"""What a container asked of Proxmox and a named profile switches off: asked of the compiled profile.

Owns the question and who is asked.  A named profile makes Proxmox's generated rules inert
(PVE::LXC::make_apparmor_config); where the profile itself allows the same, nothing is lost and
nothing is said.  Must not decide what becomes of the container.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from phoenix_hypervisor.containers.generated import lost_filesystems
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.lines import names_a_profile
from phoenix_hypervisor.plan.model import ContainerState, Note, container
from phoenix_hypervisor.values import replace

ANYWHERE = b"/mnt/any/"
"""Stands for any place: Proxmox's rules name no target."""


def with_losses(session: Session, states: Sequence[ContainerState]) -> list[ContainerState]:
    """The states, each with a warning of what its profile takes away from its features."""
    asking = {
        state.ctid: lost_filesystems(state.features)
        for state in states
        if state.features and names_a_profile(state.wanted)
    }
    profiles = {state.wanted for state in states if asking.get(state.ctid)}
    denied = {name: _denied(session, name, asking.values()) for name in profiles if name is not None}
    return [_told(state, asking.get(state.ctid, ()), denied) for state in states]


def _told(
    state: ContainerState, asked: Sequence[str], denied: dict[str, frozenset[str] | None]
) -> ContainerState:
    if not asked or state.wanted is None:
        return state
    refused = denied[state.wanted]
    lost = [kind for kind in asked if refused is None or kind in refused]
    if not lost:
        return state
    data = {"profile": state.wanted, "kinds": tuple(lost), "known": refused is not None}
    note = Note(Code.FEATURES_LOST, container(state.ctid), data)
    return replace(state, warnings=(*state.warnings, note))


def _denied(session: Session, name: str, asked: Iterable[Sequence[str]]) -> frozenset[str] | None:
    """The file systems that the compiled profile refuses; None where it is not ours to compile."""
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
    kinds = {kind for kinds in asked for kind in kinds}
    return frozenset(
        kind
        for kind in kinds
        if not judge.ask(MountQuery(b"source", ANYWHERE, kind.encode("utf-8", "replace"), 0)).allowed
    )
