"""`phoenix status` and `phoenix verify`.

Owns their arguments and what `--json` prints; the engine gathers the facts, the verdicts are
`plan.verify`'s, and `cli.status_words` shows them to people.
"""

from __future__ import annotations

import click

from phoenix_hypervisor.cli.complete import complete_present
from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.notes import words
from phoenix_hypervisor.cli.options import global_options
from phoenix_hypervisor.cli.output import emit
from phoenix_hypervisor.cli.status_words import effect, show
from phoenix_hypervisor.engine.requests import StatusRequest
from phoenix_hypervisor.errors import EXIT_NO, EXIT_OK
from phoenix_hypervisor.plan.model import cause_data
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from phoenix_hypervisor.engine.condition import Status
    from phoenix_hypervisor.plan.model import Finding

_WIDE = click.option("--wide", is_flag=True, help="Every column, and every profile, however wide that gets.")


def _finding(finding: Finding) -> dict[str, Any]:
    text, hint = words(finding)
    return {
        "code": str(finding.code),
        "target": finding.target,
        "data": dict(finding.data),
        "cause": text,
        "hint": hint,
        "fault": finding.fault,
        "blocked_by": [str(note.code) for note in finding.blocked_by],
    }


def document(found: Status) -> dict[str, Any]:
    """What `--json` prints; stable, for monitoring."""
    unmediated = None
    if found.unmediated is not None:
        unmediated = [
            {"code": g.code, "what": g.what, "by": g.by, "means": g.means} for g in found.unmediated
        ]
    return {
        "configuration": found.configuration,
        "confined": found.confined,
        "containers_total": len(found.containers),
        "as_declared": found.as_declared,
        "host": {"findings": [_finding(f) for f in found.host], "unmediated": unmediated},
        "containers": [
            {
                "ctid": v.ctid,
                "name": v.name,
                "declared": v.declared,
                "unprivileged": v.unprivileged,
                "template": v.is_template,
                "features": v.features,
                "gpu_nodes": list(v.details.gpu_nodes),
                "lock": None if v.lock is None else cause_data(v.lock),
                "snapshots": [{"name": n, "profile": p} for n, p in v.details.snapshots],
                "wanted_line": v.wanted,
                "assigned": v.assigned,
                "exists": v.exists,
                "running": v.running,
                "label": v.label or None,
                "pid": v.pid,
                "confined": v.confined,
                "as_declared": v.as_declared,
                "effect": effect(found, v),
                "findings": [_finding(f) for f in v.findings],
                "notes": [words(note)[0] for note in v.notes],
            }
            for v in found.containers
        ],
        "profiles": [
            {
                "name": p.name,
                "source": p.source,
                "installed": p.installed,
                "loaded": p.loaded,
                "used_by": list(p.used_by),
                "findings": [_finding(f) for f in p.findings],
            }
            for p in found.profiles
        ],
    }


def _run(
    settings: Settings, ctids: tuple[str, ...], wide: bool, *, strict: bool = False, all_nodes: bool = False
) -> bool:
    found = settings.phoenix().status(StatusRequest(ctids=ctids, strict=strict))
    told: dict[str, Any] = {}
    if settings.json:
        told = document(found)
    else:
        show(settings, found, named=bool(ctids), wide=wide)
    if all_nodes:
        from phoenix_hypervisor.cli.nodes_words import show_nodes, status_document

        nodes = settings.phoenix().fleet().nodes(ctids)
        told["nodes"] = status_document(nodes)
        show_nodes(settings, nodes, whole=wide or bool(ctids))
    if settings.json:
        emit(told)
    return found.as_declared


@click.command()
@click.argument("ctids", nargs=-1, metavar="[CONTAINER]...", shell_complete=complete_present)
@_WIDE
@click.option("--all-nodes", is_flag=True, help="Also what the files of the cluster's other nodes say.")
@global_options
@click.pass_obj
def status(settings: Settings, ctids: tuple[str, ...], wide: bool, all_nodes: bool) -> int:
    """Show what is declared, assigned and running, container by container.

    CONTAINER is a CTID, a name, a list (103,104) or a range (103-110); of each that is named, all is shown.
    """
    _run(settings, ctids, wide, all_nodes=all_nodes)
    return EXIT_OK


@click.command()
@click.argument("ctids", nargs=-1, metavar="[CONTAINER]...", shell_complete=complete_present)
@_WIDE
@global_options
@click.pass_obj
def verify(settings: Settings, ctids: tuple[str, ...], wide: bool) -> int:
    """Like status; exit 3 if anything is not as declared.

    CONTAINER is a CTID, a name, a list (103,104) or a range (103-110).
    """
    return EXIT_OK if _run(settings, ctids, wide, strict=True) else EXIT_NO
