"""Which profile fits a container that stands, and what keeps it privileged.

Owns that decision, from what is known of the container and what compiled policy refuses.  Pure; must not read
anything.  Words are made in `cli`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from phoenix_hypervisor.plan.lines import variant
from phoenix_hypervisor.plan.model import Ask, Wishes
from phoenix_hypervisor.values import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from phoenix_hypervisor.plan.facts import Answers

BASE, GPU = "lxc-base", "lxc-nvidia-gpu-base"
DOCKER, STORAGE, NESTING = "lxc-nvidia-gpu-docker", "lxc-gpu-docker-storage", "lxc-nesting-v1"

_BY_NESTING = ("docker", "lxc")
"""Asked for by nesting=1, which most containers have and few of them need."""
_NETWORK = ("mount nfs", "mount nfs4", "mount cifs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known of one container."""

    ctid: str
    name: str = ""
    unprivileged: bool
    assigned: str | None = None
    features: str = ""
    gpu_nodes: tuple[str, ...] = ()
    wishes: Wishes
    running: bool | None = None
    commands: tuple[str, ...] = ()
    """The names of its processes."""
    signs: tuple[tuple[str, str], ...] = ()
    """What shows a use (`docker`, `lxc`): a process, or a directory in its root."""
    seen: bool = False
    """Its root could be looked into."""
    special: tuple[tuple[str, str], ...] = ()
    """Lines that an unprivileged container could not use, each with the kind of it."""
    binds: tuple[str, ...] = ()
    """The host's directories that are bound into it."""
    storage: str | None = None
    """Where its root is; None: not known, or not a storage of Proxmox's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What fits one container."""

    standing: Standing
    profile: str | None
    """The `apparmor_profile` to declare; None: none of the profiles is there."""
    uses: tuple[str, ...] = ()
    """What it is used for, as far as seen: `docker`, `lxc`."""
    supposed: bool = False
    """That is only supposed from its features."""
    loses: tuple[tuple[Ask, str], ...] = ()
    """What it asks for, and the first question that the profile refuses."""
    keeps: tuple[tuple[str, str], ...] = ()
    """What keeps it privileged: the kind, and the line."""


def uses(standing: Standing) -> tuple[str, ...]:
    """What runs in it, or has its files there."""
    return tuple(dict.fromkeys(use for use, _ in standing.signs))


def supposed(standing: Standing, flags: Collection[str]) -> bool:
    """Whether Docker may be there, and nobody can see: its documents ask for these two."""
    return not standing.seen and not standing.commands and {"nesting", "keyctl"} <= set(flags)


def candidates(standing: Standing, found: Collection[str]) -> tuple[str, ...]:
    """The profiles that may fit, the strictest first."""
    if "lxc" in found and standing.unprivileged:
        return (NESTING,)
    if not standing.unprivileged and any(ask.what in _NETWORK for ask in standing.wishes.asks):
        # It is made for that; parsers before 4.1 hold it to the places of shared storage.
        return (STORAGE,)
    return (DOCKER, STORAGE) if found else (BASE, GPU, STORAGE)


def needs(standing: Standing, found: Collection[str]) -> tuple[Ask, ...]:
    """What its profile has to allow."""
    asks = [ask for ask in standing.wishes.asks if ask.what not in _BY_NESTING or ask.what in found]
    known = {ask.what for ask in asks}
    asks += [Ask(use, "what runs in it") for use in found if use not in known]
    asks += [Ask(f"device {node}", "its GPU") for node in standing.gpu_nodes if f"device {node}" not in known]
    return tuple(asks)


def asked_for(
    standings: Sequence[tuple[Standing, Collection[str]]], shipped: Collection[str]
) -> list[tuple[str, tuple[str, ...]]]:
    """What compiled policy must be asked: every profile that may fit, for all that somebody needs."""
    asked: dict[str, dict[str, None]] = {}
    for standing, found in standings:
        for name in candidates(standing, found):
            if name in shipped:
                line = variant(name, standing.unprivileged, shipped)
                whats = asked.setdefault(line, {})
                whats.update(dict.fromkeys(ask.what for ask in needs(standing, found)))
    return [(name, tuple(whats)) for name, whats in asked.items()]


def propose(
    standing: Standing, found: Collection[str], shipped: Collection[str], answers: Answers, *, guessed: bool
) -> Proposal:
    """The first profile that refuses nothing, else the one that refuses least; the strictest of equals."""
    best: Proposal | None = None
    asks = needs(standing, found)
    for name in candidates(standing, found):
        if name not in shipped:
            continue
        answered = answers[variant(name, standing.unprivileged, shipped)] or {}
        loses = tuple((ask, question) for ask in asks if (question := answered.get(ask.what)) is not None)
        if best is None or len(loses) < len(best.loses):
            best = Proposal(
                standing=standing,
                profile=name,
                uses=tuple(found),
                supposed=guessed,
                loses=loses,
                keeps=() if standing.unprivileged else keeps(standing),
            )
    if best is None:
        kept = () if standing.unprivileged else keeps(standing)
        return Proposal(standing=standing, profile=None, uses=tuple(found), supposed=guessed, keeps=kept)
    return best


def keeps(standing: Standing) -> tuple[tuple[str, str], ...]:
    """What an unprivileged container could not do, and this one asks for."""
    found = [("mount", ask.line) for ask in standing.wishes.asks if ask.what in _NETWORK]
    found += [("settings", ask.line) for ask in standing.wishes.asks if ask.what in ("proc:rw", "sys:rw")]
    if standing.wishes.all_devices is not None:
        found.append(("devices", standing.wishes.all_devices))
    found += [("raw", f"lxc.apparmor.raw: {rule}") for rule in standing.wishes.raw]
    return tuple(dict.fromkeys([*found, *standing.special]))
