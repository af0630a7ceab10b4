"""What a container loses or risks under the profile that it would get.

Owns what compiled policy must be asked for that, and what is told of the answers.  Pure.  It is told where
the profile line changes, and to those who look at one container; never of a container that is at rest.
"""

from __future__ import annotations

from collections.abc import Mapping

from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.facts import Answers
from phoenix_hypervisor.plan.model import Ask, ContainerState, Note, container

MKNOD = "mknod"
NO_WALL = "no wall"
"""Whether procfs can be mounted anywhere, and the host's settings be written there."""
SERVICES = "services"
"""Whether systemd can give a service a root of its own: with parsers before 4.1 only `-unprivileged` can."""


def asked_of(state: ContainerState) -> tuple[str, ...]:
    """What its profile must be asked."""
    if state.wishes is None or not state.wishes.named:
        return ()
    found = dict.fromkeys(ask.what for ask in state.wishes.asks)
    if not state.unprivileged:
        found[NO_WALL] = found[SERVICES] = None
        if state.wishes.all_devices is not None:
            found[MKNOD] = None
    return tuple(found)


def risks(state: ContainerState, answers: Answers) -> tuple[Note, ...]:
    """All of them; `answers` has what `asked_of` names."""
    if state.wishes is None:
        return ()
    target, wanted, wishes = container(state.ctid), state.wanted, state.wishes
    found: list[Note] = []
    if wanted is not None and wishes.named:
        answered = answers[wanted] if asked_of(state) else {}
        found += _lost(state, wanted, answered)
        if answered is not None and answered.get(NO_WALL, "") is None:
            found.append(Note(Code.MADE_FOR_UNPRIVILEGED, target, {"profile": wanted}))
        if answered is not None and SERVICES not in {ask.what for ask in wishes.asks}:
            question = answered.get(SERVICES)
            if question is not None:
                found.append(Note(Code.SANDBOXES_LOST, target, {"profile": wanted, "question": question}))
        if wishes.raw:
            found.append(Note(Code.RAW_RULES_INERT, target, {"profile": wanted, "rules": wishes.raw}))
        if wishes.all_devices is not None and not state.unprivileged:
            mknod = None if answered is None else answered[MKNOD] is None
            told = {"profile": wanted, "line": wishes.all_devices, "mknod": mknod}
            found.append(Note(Code.ALL_DEVICES, target, told))
    elif wanted is None and state.assigned == "unconfined":
        found.append(Note(Code.BECOMES_CONFINED, target))
    if wishes.snapshots:
        found.append(Note(Code.SNAPSHOT_DIFFERS, target, {"profile": wanted, "snapshots": wishes.snapshots}))
    return tuple(found)


def _lost(state: ContainerState, profile: str, answered: Mapping[str, str | None] | None) -> list[Note]:
    """What it asks for and its profile refuses.

    A named profile makes Proxmox's generated rules inert (PVE::LXC::make_apparmor_config); where the profile
    itself allows the same, nothing is lost and nothing is said.
    """
    asks = () if state.wishes is None else state.wishes.asks
    if answered is None:
        asked = [_told(ask, None) for ask in asks]
    else:
        asked = [_told(ask, answered[ask.what]) for ask in asks if answered[ask.what] is not None]
    if not asked:
        return []
    data = {"profile": profile, "asked": tuple(asked), "known": answered is not None}
    return [Note(Code.FEATURES_LOST, container(state.ctid), data)]


def _told(ask: Ask, question: str | None) -> dict[str, str | None]:
    return {"what": ask.what, "line": ask.line, "question": question}
