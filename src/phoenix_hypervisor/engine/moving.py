"""Before a container moves: what it needs, this node's facts beside the target's.

Owns gathering that; what speaks against it is `plan.migration`'s.  Writes nothing, and reaches no other node:
the target's facts are in a file.
"""

from __future__ import annotations

import os

from phoenix_hypervisor.containers import conf as codec
from phoenix_hypervisor.containers.device_lines import Guests
from phoenix_hypervisor.containers.gpu_nodes import Nodes
from phoenix_hypervisor.containers.seccomp import COMPANION
from phoenix_hypervisor.engine.bundling import bundle, node_name, place
from phoenix_hypervisor.engine.requests import MoveRequest
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.errors import PhoenixError, UsageError
from phoenix_hypervisor.gpu.guest import Guest
from phoenix_hypervisor.plan.actions import SECCOMP_KEY
from phoenix_hypervisor.plan.bundle import MAX_BUNDLE, Bundle, Number, read
from phoenix_hypervisor.plan.chosen import read as words
from phoenix_hypervisor.plan.migration import Needs, Passed, is_against, judge
from phoenix_hypervisor.plan.model import Note
from phoenix_hypervisor.values import dataclass

NODES = "/etc/pve/nodes"
_GPUS = ("/dev/nvidia", "/dev/dri", "/dev/kfd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What speaks against a move, and what is worth knowing."""

    ctid: str
    here: Bundle
    there: Bundle
    facts: str
    """The file with the target's facts."""
    notes: tuple[Note, ...]

    @property
    def reasons(self) -> tuple[Note, ...]:
        """What speaks against it; empty: nothing does."""
        return tuple(note for note in self.notes if is_against(note))

    @property
    def warnings(self) -> tuple[Note, ...]:
        """What is worth knowing, and speaks not against it."""
        return tuple(note for note in self.notes if not is_against(note))


def check(session: Session, request: MoveRequest) -> Checked:
    """Judge the move of one container.

    Raises UsageError for a node or a file that makes no sense, PhoenixError for a container that is not on
    this node, and for facts that are missing or cannot be read.
    """
    ctids = session.chosen(words((request.container,)))
    if len(ctids) != 1:
        raise UsageError("name one container", hint="phoenix migrate-check 101 pve2")
    (ctid,) = ctids
    here = node_name(session)
    if request.node == here:
        raise UsageError(f"{request.node} is this node", hint="name the node that the container is to go to")
    path, there = _facts(session, request)
    data = session.runtime.read_conf(ctid)
    if data is None:
        other = session.runtime.elsewhere().get(ctid)
        hint = None if other is None else f"it is a {other.kind} on node {other.node}; run phoenix there"
        raise PhoenixError(f"container {ctid} is not on this node", hint=hint)
    mine = bundle(session)
    needs = _needs(session, ctid, data)
    notes = judge(needs, mine, there, now=session.host.now(), max_age=request.max_age)
    return Checked(ctid=ctid, here=mine, there=there, facts=path, notes=tuple(notes))


def _facts(session: Session, request: MoveRequest) -> tuple[str, Bundle]:
    host, node = session.host, request.node
    known = host.content(NODES)
    if isinstance(known, list) and known and node not in known:
        raise UsageError(f"the cluster has no node {node!r:.60}", hint=f"nodes: {', '.join(sorted(known))}")
    if request.facts is not None:
        path = os.path.abspath(request.facts)
        try:
            with open(path, "rb") as file:
                data = file.read(MAX_BUNDLE + 1)
        except OSError as error:
            raise UsageError(f"--facts cannot be read: {error.strerror}", where=request.facts) from error
    else:
        if "/" in node or node.startswith("."):
            raise UsageError(f"{node!r:.60} is not the name of a node")
        inside = place(session, node)
        path = host.root.shown(inside)
        found = host.read(inside, MAX_BUNDLE)
        if found is None:
            hint = f"run `phoenix facts --publish` on {node}, or name a file with --facts"
            raise PhoenixError(f"nothing is known of node {node}: no such file", where=path, hint=hint)
        data = found
    one = read(data, path)
    if one.node != node:
        raise UsageError(f"these are the facts of node {one.node}, not of {node}", where=path)
    return path, one


def _needs(session: Session, ctid: str, data: bytes) -> Needs:
    conf = codec.parse(data, session.runtime.dialect)
    guest = Guests(session.host, session.runtime, Nodes(session.host)).of_data(ctid, data)
    seccomp = conf.beside.get(SECCOMP_KEY)
    return Needs(
        ctid=ctid,
        profile=guest.profile,
        nodes=tuple(_passed(guest)),
        seccomp=seccomp if seccomp == COMPANION else None,
    )


def _passed(guest: Guest) -> list[Passed]:
    def lets(number: Number) -> bool:
        return guest.program.access(number) != ""

    return [
        Passed(path=one.source, line=one.line, by_name=one.is_dev, lets=lets)
        for one in guest.passed
        if one.source.startswith(_GPUS)
    ]
