"""Who can open which GPU: gathered once, asked of compiled policy, judged.

Owns that order, and what compiled policy is asked; the verdicts are `gpu.access`'s.  Writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress

from phoenix_hypervisor.containers.device_lines import Guests
from phoenix_hypervisor.containers.gpu_nodes import Nodes, hardware
from phoenix_hypervisor.engine.losses import judge_of
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.gpu.access import MADE, GpuAccess, Judge, NodeAccess
from phoenix_hypervisor.gpu.guest import Guest
from phoenix_hypervisor.gpu.hardware import Hardware
from phoenix_hypervisor.plan.chosen import listed, shortest
from phoenix_hypervisor.plan.lines import names_a_profile
from phoenix_hypervisor.policy.constants import CAPABILITIES
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.queries import CapabilityQuery
from phoenix_hypervisor.values import dataclass

PLACES = (MADE, "/node", "/root/node", "/dev/node", "/var/tmp/node", "/run/node")
"""Where a container that makes a node might put it: a profile that lets it do so nowhere is a wall."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What one container can open."""

    guest: Guest
    gpus: tuple[GpuAccess, ...]
    """Empty where nothing can be said of it: `guest.fault` says why."""
    shared: tuple[NodeAccess, ...]
    profile_known: bool
    """Compiled policy was asked, or the container has no profile that refuses nodes; else its profile is not
    ours, and counts as no wall."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuAccesses:
    """A host's GPUs, and what each container can do with them."""

    hardware: Hardware
    openings: Mapping[str, Opening]
    """By CTID, in numeric order."""

    def users(self, path: str) -> tuple[str, ...]:
        """The containers that can open a shared node."""
        return tuple(
            ctid
            for ctid, one in self.openings.items()
            if any(node.node == path and node.can_open for node in one.shared)
        )


class Policies:
    """What profiles say of names: each is compiled or read once, each name asked once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._judges: dict[str, Evaluator | None] = {}
        self._opens: dict[tuple[str, str], str] = {}
        self._makes: dict[str, bool] = {}

    def known(self, profile: str | None) -> bool:
        """Whether everything about it can be asked."""
        return all(self._judge(part) is not None for part in _parts(profile))

    def opens(self, profile: str | None, path: str) -> str | None:
        """As `gpu.access.Names`: what all parts of a stack allow."""
        found: set[str] | None = None
        for part in _parts(profile):
            judge = self._judge(part)
            if judge is not None:
                if (part, path) not in self._opens:
                    self._opens[part, path] = self._asked(judge, path)
                allowed = set(self._opens[part, path])
                found = allowed if found is None else found & allowed
        return None if found is None else "".join(letter for letter in "rw" if letter in found)

    def makes(self, profile: str | None) -> bool | None:
        """As `gpu.access.Names`."""
        found: bool | None = None
        for part in _parts(profile):
            judge = self._judge(part)
            if judge is not None:
                if part not in self._makes:
                    self._makes[part] = judge.ask(CapabilityQuery(CAPABILITIES.index("mknod"))).allowed
                found = self._makes[part] and found is not False
        return found

    def _asked(self, judge: Evaluator, path: str) -> str:
        if path == MADE:
            # Creating it takes `w`; then it must open.
            allowed = [judge.file(one.encode(), "w").allowed for one in PLACES]
            return "rw" if any(allowed) else ""
        name = path.encode("utf-8", "surrogateescape")
        return "".join(letter for letter in "rw" if judge.file(name, letter).allowed)

    def _judge(self, profile: str) -> Evaluator | None:
        if profile not in self._judges:
            self._judges[profile] = None
            with suppress(PhoenixError):
                # A source that does not compile is told of elsewhere; here its policy is not known.
                self._judges[profile] = judge_of(self._session, profile)
        return self._judges[profile]


def _parts(profile: str | None) -> Iterable[str]:
    """The profiles of a line that may refuse a node; what a runtime generates allows all files."""
    if profile is None or not names_a_profile(profile):
        return ()
    return [part for part in profile.split("//&") if not part.startswith(":")]


def run(session: Session, words: tuple[str, ...]) -> GpuAccesses:
    """Look at the named containers, or at all of this host.

    Raises PhoenixError for a container that is not on this host, UsageError for words that name none.
    """
    runtime = session.runtime
    if session.host.is_live:
        runtime.require()
    present = runtime.ctids()
    chosen = session.chosen(words) or tuple(present)
    missing = [ctid for ctid in chosen if ctid not in set(present)]
    if missing:
        raise PhoenixError(f"container {shortest(missing)} is not on this host", hint=listed(present))
    nodes = Nodes(session.host)
    found = hardware(session.host, nodes)
    guests = Guests(session.host, runtime, nodes)
    policies = Policies(session)
    judge = Judge(found, nodes.at, policies)
    openings: dict[str, Opening] = {}
    for ctid in chosen:
        guest = guests.of(ctid)
        if guest is not None:
            openings[ctid] = opening(guest, judge, policies)
    return GpuAccesses(hardware=found, openings=openings)


def opening(guest: Guest, judge: Judge, policies: Policies) -> Opening:
    """What one container can open."""
    if guest.fault is not None:
        return Opening(guest=guest, gpus=(), shared=(), profile_known=True)
    return Opening(
        guest=guest,
        gpus=judge.judge(guest),
        shared=judge.shared(guest),
        profile_known=policies.known(guest.profile),
    )
