"""What --all-nodes shows of the other nodes, and what is said of their containers otherwise.

Owns those lines and what `--json` prints of them.  Must not judge: `engine.neighbours` gathers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.notes import words
from phoenix_hypervisor.cli.output import difference, say, show_notes
from phoenix_hypervisor.plan.chosen import shortest
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.model import Note, container
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from phoenix_hypervisor.engine.neighbours import LineThere, NodeView
    from phoenix_hypervisor.plan.verify import ContainerVerdict

TITLE = "other nodes, as their files in /etc/pve say; not verified there"


# status -----------------------------------------------------------------------------


def show_nodes(settings: Settings, found: Sequence[NodeView], *, whole: bool) -> None:
    """Each node in a line, and below it what is not as declared; `whole`: every container."""
    say(settings)
    say(settings, TITLE, style="bold")
    if not found:
        say(settings, "there is no other node")
    for node in found:
        declared = sum(1 for one in node.containers if one.declared is not None)
        text = f"{node.node}: {len(node.containers)} containers, {declared} declared"
        text += f", {node.as_declared} with the declared line" if declared else ""
        say(settings, text, style="yellow" if node.as_declared < declared else None)
        for one in node.containers:
            if whole or one.findings:
                color = "red" if not one.as_declared else None
                say(settings, f"  container {_called(one)}: {_verdict(one)}", style=color)
        for ctid in node.creates:
            say(settings, f"  container {ctid}: does not exist; created by phoenix on {node.node}")


def _called(one: ContainerVerdict) -> str:
    return f"{one.ctid} {one.name}".rstrip()


def _verdict(one: ContainerVerdict) -> str:
    if one.findings:
        return "; ".join(f"{finding.code}: {words(finding)[0]}" for finding in one.findings)
    shown = one.assigned or "no line"
    return f"{shown}, as declared" if one.declared is not None else f"{shown}, not declared"


def status_document(found: Iterable[NodeView]) -> list[dict[str, Any]]:
    """What `status --all-nodes --json` adds as `nodes`."""
    return [
        {
            "node": node.node,
            "verified": False,
            "creates": list(node.creates),
            "containers": [
                {
                    "ctid": one.ctid,
                    "name": one.name,
                    "declared": one.declared,
                    "unprivileged": one.unprivileged,
                    "wanted_line": one.wanted,
                    "assigned": one.assigned,
                    "line_as_declared": one.as_declared if one.declared is not None else None,
                    "findings": [
                        {
                            "code": str(finding.code),
                            "data": dict(finding.data),
                            "cause": words(finding)[0],
                            "fault": finding.fault,
                        }
                        for finding in one.findings
                    ],
                }
                for one in node.containers
            ],
        }
        for node in found
    ]


# plan -------------------------------------------------------------------------------


def show_changes(settings: Settings, found: Sequence[NodeView]) -> None:
    """What `apply` would change on each other node."""
    say(settings, TITLE, style="bold")
    quiet = [node.node for node in found if not node.changes and not node.creates]
    for node in found:
        for one in node.changes:
            text = f"~ {node.node}: container {one.ctid}: {one.assigned or 'no line'} -> "
            say(settings, text + (one.declared or "no line"), style="yellow")
            for line in _diff(one):
                color = {"+": "green", "-": "red"}.get(line[:1])
                say(settings, f"    {line}", color)
        for ctid in node.creates:
            say(settings, f"+ {node.node}: container {ctid}: create", style="green")
    if quiet:
        say(settings, f"nothing to change on {', '.join(quiet)}")
    if len(quiet) < len(found):
        say(settings, "next: run `phoenix apply --all` on those nodes")


def plan_nodes(found: Iterable[NodeView]) -> list[dict[str, Any]]:
    """What `plan --all-nodes --json` adds as `nodes`."""
    return [
        {
            "node": node.node,
            "verified": False,
            "creates": list(node.creates),
            "changes": [
                {
                    "ctid": one.ctid,
                    "path": one.path,
                    "assigned": one.assigned,
                    "declared": one.declared,
                    "diff": _diff(one),
                }
                for one in node.changes
            ],
        }
        for node in found
    ]


def _diff(one: LineThere) -> list[str]:
    return difference(one.before, one.after, one.path, one.path)


# Without --all-nodes -----------------------------------------------------------------

_ALIKE = (Code.ON_ANOTHER_NODE, Code.MADE_ELSEWHERE)


def show_skipped(settings: Settings, skipped: Iterable[Note]) -> None:
    """What a plan leaves out; the containers of another node in one line."""
    alike: dict[str, list[Note]] = {}
    others = []
    for note in skipped:
        if note.code in _ALIKE:
            alike.setdefault(f"{note.code} {sorted(note.data.items())}", []).append(note)
        else:
            others.append(note)
    show_notes(settings, "skipped", others, "cyan")
    for some in alike.values():
        ctids = shortest(note.target.rpartition(" ")[2] for note in some)
        show_notes(settings, "skipped", [Note(some[0].code, container(ctids), some[0].data)], "cyan")
