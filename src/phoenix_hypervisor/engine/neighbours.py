"""What is declared of the containers of other nodes, beside what their files say.

Owns gathering that for `status` and `plan` with --all-nodes; the verdicts are `plan.verify`'s.  Nothing of it
is verified: what runs on another node, and what its kernel has, is known there alone.  Writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from phoenix_hypervisor.containers.current import Containers
from phoenix_hypervisor.containers.runtime import Clustered, Runtime
from phoenix_hypervisor.containers.seccomp import COMMON, COMPANION
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.errors import PhoenixError, UsageError
from phoenix_hypervisor.plan.declared import ContainerSpec
from phoenix_hypervisor.plan.lines import variant
from phoenix_hypervisor.plan.model import ContainerState
from phoenix_hypervisor.plan.verify import ContainerVerdict, judge_container
from phoenix_hypervisor.report import report_facts
from phoenix_hypervisor.values import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class LineThere:
    """A configuration of another node that its Phoenix would change, as far as can be told from here."""

    ctid: str
    path: str
    assigned: str | None
    declared: str | None
    before: bytes
    after: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """Another node's containers, as their files say; none of it is verified there."""

    node: str
    containers: tuple[ContainerVerdict, ...]
    """In numeric order."""
    changes: tuple[LineThere, ...] = ()
    """What `apply` would change there."""
    creates: tuple[str, ...] = ()
    """Declared containers that no node has, and that this one is to create."""

    @property
    def as_declared(self) -> int:
        """How many declared containers have the declared line."""
        return sum(1 for one in self.containers if one.declared is not None and one.as_declared)


def see(session: Session, words: Sequence[str]) -> tuple[NodeView, ...]:
    """Every other node, in the order of names; `words`: only these containers.

    Raises UsageError where the runtime has no cluster, and for words that name none.
    """
    return tuple(_views(session, words))


def _views(session: Session, words: Sequence[str]) -> Iterator[NodeView]:
    runtime = session.runtime
    if not isinstance(runtime, Clustered):
        raise UsageError("--all-nodes needs a cluster", hint="plain LXC has none; leave it out")
    chosen = set(session.chosen(tuple(words)))
    taken = {*runtime.ctids(), *runtime.elsewhere()}
    missing: dict[str, list[str]] = {}
    for ctid, spec in session.declared.containers.items():
        if spec.node is not None and ctid not in taken and (not chosen or ctid in chosen):
            missing.setdefault(spec.node, []).append(ctid)
    for node in runtime.other_nodes():
        there = runtime.on_node(node)
        try:
            ctids = [ctid for ctid in there.ctids() if not chosen or ctid in chosen]
            yield _view(session, there, ctids, node, missing.get(node, ()))
        finally:
            there.close()


def _view(
    session: Session, there: Runtime, ctids: Sequence[str], node: str, creates: Sequence[str]
) -> NodeView:
    desired = session.declared
    verdicts: list[ContainerVerdict] = []
    changes: list[LineThere] = []
    for ctid in ctids:
        spec = desired.containers.get(ctid)
        state, spec = _state(session, there, ctid, spec)
        details = Containers(session.host, there).details([state])
        verdicts.append(
            judge_container(
                spec, state, details.get(ctid), live=False, node=node, undeclared=desired.undeclared
            )
        )
        if spec is not None and state.data is not None and state.after not in (None, state.data):
            assert state.after is not None
            changes.append(
                LineThere(
                    ctid=ctid,
                    path=state.path,
                    assigned=state.assigned,
                    declared=state.wanted,
                    before=state.data,
                    after=state.after,
                )
            )
    return NodeView(node=node, containers=tuple(verdicts), changes=tuple(changes), creates=tuple(creates))


def _state(
    session: Session, there: Runtime, ctid: str, spec: ContainerSpec | None
) -> tuple[ContainerState, ContainerSpec | None]:
    """A container of another node, and what is declared of it as far as it can be judged from here."""
    try:
        conf = None if spec is None else there.read_conf(ctid)
    except PhoenixError:
        conf = None  # its state says why
    if spec is None or conf is None:
        return Containers(session.host, there).found([ctid])[0], spec
    from phoenix_hypervisor.containers import conf as codec

    parsed = codec.parse(conf, there.dialect)
    # GPUs are that node's: neither `devN` lines nor variants by GPU can be judged by this node's.
    spec = replace(spec, manage_gpus=False, scope="", scope_gpus=False)
    base = variant(spec.profile, parsed.unprivileged, session.declared.shipped)
    if session.declared.containers[ctid].scope_gpus and (parsed.assigned or "").startswith(f"{base}-"):
        standing = parsed.assigned or ""
        spec = replace(spec, profile=standing, values={**spec.values, "lines": "keep"})
    # What that node's Phoenix has written beside the line is not known here either.
    companion = COMPANION if session.host.exists(COMMON) else None
    containers = Containers(session.host, there, {}, {ctid: parsed.beside}, companion)
    return containers.declared([spec], session.declared)[0], spec


def reported(session: Session, words: report_facts.Words) -> tuple[report_facts.OtherNode, ...]:
    """Every other node as a report has it; `words` says what codes mean."""
    return tuple(
        report_facts.OtherNode(
            node=view.node,
            containers=tuple(
                report_facts.OtherContainer(
                    ctid=one.ctid,
                    name=one.name,
                    declared=one.declared,
                    assigned=one.assigned,
                    line_as_declared=None if one.declared is None else one.as_declared,
                    findings=tuple(
                        report_facts.Said(code=str(f.code), text=text, next=following, fault=f.fault)
                        for f in one.findings
                        for text, following in [words.note(f)]
                    ),
                )
                for one in view.containers
            ),
        )
        for view in _views(session, ())
    )
