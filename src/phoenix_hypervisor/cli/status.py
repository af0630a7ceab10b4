"""`phoenix status` and `phoenix verify`.

Owns what they print; the engine gathers the facts, and the verdicts are `plan.verify`'s.
"""

from __future__ import annotations

from collections.abc import Iterable

import click

from phoenix_hypervisor.cli.complete import complete_present
from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.notes import words
from phoenix_hypervisor.cli.options import global_options
from phoenix_hypervisor.cli.output import emit, say, show_findings
from phoenix_hypervisor.cli.tables import Form, Row, table
from phoenix_hypervisor.engine.requests import StatusRequest
from phoenix_hypervisor.errors import EXIT_NO, EXIT_OK
from phoenix_hypervisor.plan.lines import UNPRIVILEGED
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from phoenix_hypervisor.engine.condition import Status
    from phoenix_hypervisor.plan.model import Finding
    from phoenix_hypervisor.plan.verify import ContainerVerdict


def headline(found: Status) -> str:
    """`N of M containers confined`, counting what runs and not what is declared."""
    verdicts = found.containers
    text = f"{found.confined} of {len(verdicts)} containers confined"
    stopped = sum(1 for v in verdicts if v.running is False)
    unknown = sum(1 for v in verdicts if v.running is None or (v.running and v.confined is None))
    more = [f"{n} {word}" for n, word in ((stopped, "not running"), (unknown, "label unknown")) if n]
    return text + (f" ({', '.join(more)})" if more else "")


def _finding(finding: Finding) -> dict[str, Any]:
    text, hint = words(finding)
    return {
        "code": str(finding.code),
        "target": finding.target,
        "data": dict(finding.data),
        "cause": text,
        "hint": hint,
        "fault": finding.fault,
    }


def _coded(findings: Iterable[Finding], *, hints: bool = False) -> str:
    found = [(finding.code, *words(finding)) for finding in findings]
    return "; ".join(f"{code}: {text}" + (f" ({hint})" if hints else "") for code, text, hint in found)


def document(found: Status) -> dict[str, Any]:
    """What `--json` prints; stable, for monitoring."""
    unmediated = None
    if found.unmediated is not None:
        unmediated = [
            {"code": g.code, "what": g.what, "by": g.by, "means": g.means} for g in found.unmediated
        ]
    return {
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
                "wanted_line": v.wanted,
                "assigned": v.assigned,
                "exists": v.exists,
                "running": v.running,
                "label": v.label or None,
                "pid": v.pid,
                "confined": v.confined,
                "as_declared": v.as_declared,
                "effect": _effect(found, v),
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


def _effect(found: Status, verdict: ContainerVerdict) -> str | None:
    """What applies to a container without a line."""
    if verdict.exists and verdict.assigned is None:
        return found.without_line
    return None


def _really(verdict: ContainerVerdict, label: str) -> str:
    """What is assigned and what runs, as short as it can be said beside what is declared."""
    parts = []
    if verdict.assigned != verdict.declared:
        parts.append(f"assigned {verdict.assigned}" if verdict.assigned is not None else "no line")
    if verdict.label:
        name = verdict.label.rpartition(" (")[0] or verdict.label
        parts.append("runs so" if name == verdict.declared else f"runs under {label}")
    else:
        parts.append(label)
    return ", ".join(parts)


def _verdict_text(verdict: ContainerVerdict) -> str:
    if verdict.findings:
        return _coded(verdict.findings)
    if verdict.declared is None:
        return "not declared"
    if not verdict.exists:
        return "; ".join(words(note)[0] for note in verdict.notes)
    if verdict.wanted == f"{verdict.declared}{UNPRIVILEGED}":
        return "as declared (variant: it is unprivileged)"
    return "as declared"


def show(settings: Settings, found: Status) -> None:
    """A host's status as tables."""
    verdicts = found.containers
    say(settings, headline(found), style="bold")
    show_findings(settings, found.host)
    for gap in found.unmediated or ():
        say(settings, f"not mediated ({gap.by}): {gap.what}: {gap.means}")
    wide: list[Row] = []
    narrow: list[Row] = []
    for v in verdicts:
        label = v.label or ("stopped" if v.running is False else "unknown")
        explicit = v.assigned == "unconfined"
        color = "red" if not v.as_declared or explicit else "cyan" if v.declared is None else "green"
        head, verdict = (v.ctid, v.name, v.declared or "-"), _verdict_text(v)
        process = label if v.pid is None else f"{label}  PID {v.pid}"
        wide.append(((*head, v.assigned or "no line", process, verdict), color))
        narrow.append(((*head, _really(v, label), verdict), color))
    table(
        settings,
        "Containers",
        Form(("CTID", "name", "declared", "assigned", "running label", "verdict"), wide),
        Form(("CTID", "name", "declared", "really", "verdict"), narrow),
    )
    for v in verdicts:
        effect = _effect(found, v)
        if effect is not None and v.declared is not None:
            say(settings, f"container {v.ctid}: no profile line: {effect}")
        if v.declared == "unconfined" and v.assigned == "unconfined":
            say(settings, f"container {v.ctid}: explicitly unconfined: AppArmor refuses nothing", style="red")
        for note in v.notes if v.declared is not None else ():
            say(settings, f"container {v.ctid}: {words(note)[0]}", style="magenta")
        for finding in v.findings:
            say(settings, f"container {v.ctid}: next: {words(finding)[1]}")
    profile_rows: list[Row] = [
        (
            (
                p.name,
                p.installed,
                p.loaded,
                ", ".join(p.used_by) or "-",
                _coded(p.findings, hints=True) or "as declared",
            ),
            "red" if p.findings else "green",
        )
        for p in found.profiles
    ]
    columns = ("profile", "installed", "loaded", "used by", "verdict")
    table(settings, "Profiles", Form(columns, profile_rows))


def _run(settings: Settings, ctids: tuple[str, ...]) -> bool:
    found = settings.phoenix().status(StatusRequest(ctids=ctids))
    if settings.json:
        emit(document(found))
    else:
        show(settings, found)
    return found.as_declared


@click.command()
@click.argument("ctids", nargs=-1, metavar="[CONTAINER]...", shell_complete=complete_present)
@global_options
@click.pass_obj
def status(settings: Settings, ctids: tuple[str, ...]) -> int:
    """Show what is declared, assigned and running, container by container.

    CONTAINER is a CTID, a name, a list (103,104) or a range (103-110); of each that is named, all is shown.
    """
    _run(settings, ctids)
    return EXIT_OK


@click.command()
@click.argument("ctids", nargs=-1, metavar="[CONTAINER]...", shell_complete=complete_present)
@global_options
@click.pass_obj
def verify(settings: Settings, ctids: tuple[str, ...]) -> int:
    """Like status; exit 3 if anything is not as declared.

    CONTAINER is a CTID, a name, a list (103,104) or a range (103-110).
    """
    return EXIT_OK if _run(settings, ctids) else EXIT_NO
