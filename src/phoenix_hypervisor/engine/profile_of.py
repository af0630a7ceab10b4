"""The profile of a container, for questions about policy.

Owns the way from a CTID or a container's name to the profile that its line names, or is to name.
Must not ask anything of that profile.
"""

from __future__ import annotations

from contextlib import suppress

from phoenix_hypervisor.containers.conf import unquoted
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.errors import PhoenixError, UsageError
from phoenix_hypervisor.plan.declared import is_ctid
from phoenix_hypervisor.plan.lines import names_a_profile
from phoenix_hypervisor.plan.model import ContainerState, container


def profile_of(session: Session, word: str) -> str | None:
    """The profile of the container that `word` names, by CTID or by name; None: no container is called so.

    Where its configuration has a profile line, that counts, else what is declared.  Raises
    UsageError for a container without a profile of its own.
    """
    if is_ctid(word):
        return _profile(session, word)
    with suppress(PhoenixError):
        # Without a configuration there are no names, and several of one name mean none.
        (ctid,) = session.chosen((word,))
        return _profile(session, ctid)
    return None


def _state(session: Session, ctid: str) -> ContainerState:
    """As it is, and where a configuration declares it, as it is to be."""
    desired = session.declared
    if ctid in desired.containers:
        return session.containers.declared([desired.containers[ctid]], desired)[0]
    return session.containers.found([ctid])[0]


def _profile(session: Session, ctid: str) -> str:
    state, where = _state(session, ctid), container(ctid)
    if state.fault is not None:
        raise PhoenixError(state.fault.why, where=state.fault.path, hint=state.fault.next)
    if state.data is None and state.wanted is None:
        raise UsageError("is neither declared nor on this host", where=where, hint="`phoenix status`")
    name = state.wanted if state.assigned is None else unquoted(state.assigned)
    if name is not None and "//&" in name:
        raise UsageError(f"runs under a stack: {name}", where=where, hint="ask each profile by its name")
    if name is not None and names_a_profile(name):
        return name
    text = "is unconfined: AppArmor refuses it nothing"
    if name != "unconfined":
        text = f"has no profile of its own: {session.runtime.without_line()}"
    raise UsageError(text, where=where, hint="name a profile; `phoenix policy query --help`")
