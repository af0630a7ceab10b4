"""`phoenix status` and `phoenix verify`.

Owns what they print; the verdicts are `plan.verify`'s.
"""

from __future__ import annotations

from typing import Any

import click

from phoenix_hypervisor.cli.apply import check_ctids
from phoenix_hypervisor.cli.options import Settings, global_options
from phoenix_hypervisor.cli.output import emit, say, table
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.engine.status import gather, host_findings, unmediated
from phoenix_hypervisor.errors import EXIT_NO
from phoenix_hypervisor.plan.verify import ContainerVerdict, Finding, ProfileVerdict


def headline(verdicts: list[ContainerVerdict]) -> str:
    """`N of M containers confined`, counting what runs and not what is declared."""
    confined = sum(1 for v in verdicts if v.confined)
    text = f"{confined} of {len(verdicts)} containers confined"
    stopped = sum(1 for v in verdicts if v.running is False)
    unknown = sum(1 for v in verdicts if v.running is None or (v.running and v.confined is None))
    more = [f"{n} {word}" for n, word in ((stopped, "not running"), (unknown, "label unknown")) if n]
    return text + (f" ({', '.join(more)})" if more else "")


def _finding(finding: Finding) -> dict[str, str | bool]:
    return {"code": finding.code, "cause": finding.cause, "hint": finding.hint, "fault": finding.fault}


def document(
    session: Session, verdicts: list[ContainerVerdict], profiles: list[ProfileVerdict]
) -> dict[str, Any]:
    """What `--json` prints; stable, for monitoring."""
    host = host_findings(session)
    return {
        "confined": sum(1 for v in verdicts if v.confined),
        "containers_total": len(verdicts),
        "as_declared": all(v.as_declared for v in verdicts)
        and not any(f.fault for p in profiles for f in p.findings)
        and not any(f.fault for f in host),
        "host": {"findings": [_finding(f) for f in host], "unmediated": _gaps(session)},
        "containers": [
            {
                "ctid": v.ctid,
                "name": v.name,
                "declared": v.declared,
                "wanted_line": v.wanted,
                "assigned": v.assigned,
                "exists": v.exists,
                "running": v.running,
                "label": v.label or None,
                "pid": v.pid,
                "confined": v.confined,
                "as_declared": v.as_declared,
                "effect": _effect(session, v),
                "findings": [_finding(f) for f in v.findings],
                "notes": list(v.notes),
            }
            for v in verdicts
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
            for p in profiles
        ],
    }


def _gaps(session: Session) -> list[dict[str, str]] | None:
    found = unmediated(session)
    if found is None:
        return None
    return [{"code": g.code, "what": g.what, "by": g.by, "means": g.means} for g in found]


def _effect(session: Session, verdict: ContainerVerdict) -> str | None:
    """What applies to a container without a line."""
    if verdict.exists and verdict.assigned is None:
        return session.runtime.without_line()
    return None


def _verdict_text(verdict: ContainerVerdict) -> str:
    if verdict.findings:
        return "; ".join(f"{f.code}: {f.cause}" for f in verdict.findings)
    if verdict.declared is None:
        return "not declared"
    if not verdict.exists:
        return "; ".join(verdict.notes)
    return "as declared"


def show(
    settings: Settings, session: Session, verdicts: list[ContainerVerdict], profiles: list[ProfileVerdict]
) -> None:
    say(settings, headline(verdicts), bold=True)
    for finding in host_findings(session):
        say(settings, f"{finding.code}: {finding.cause} ({finding.hint})", fg="red")
    for gap in unmediated(session) or ():
        say(settings, f"not mediated ({gap.by}): {gap.what}: {gap.means}")
    rows = []
    for v in verdicts:
        label = v.label or ("stopped" if v.running is False else "unknown")
        if v.pid is not None:
            label = f"{label}  PID {v.pid}"
        explicit = v.assigned == "unconfined"
        color = "red" if not v.as_declared or explicit else "cyan" if v.declared is None else "green"
        rows.append(
            ((v.ctid, v.name, v.declared or "-", v.assigned or "no line", label, _verdict_text(v)), color)
        )
    table(settings, "Containers", ("CTID", "name", "declared", "assigned", "running label", "verdict"), rows)
    for v in verdicts:
        effect = _effect(session, v)
        if effect is not None and v.declared is not None:
            say(settings, f"container {v.ctid}: no profile line: {effect}")
        if v.declared == "unconfined" and v.assigned == "unconfined":
            say(settings, f"container {v.ctid}: explicitly unconfined: AppArmor refuses nothing", fg="red")
        for note in v.notes if v.declared is not None else ():
            say(settings, f"container {v.ctid}: {note}", fg="magenta")
        for finding in v.findings:
            say(settings, f"container {v.ctid}: next: {finding.hint}")
    profile_rows = [
        (
            (
                p.name,
                p.installed,
                p.loaded,
                ", ".join(p.used_by) or "-",
                "; ".join(f"{f.code}: {f.cause} ({f.hint})" for f in p.findings) or "as declared",
            ),
            "red" if p.findings else "green",
        )
        for p in profiles
    ]
    table(settings, "Profiles", ("profile", "installed", "loaded", "used by", "verdict"), profile_rows)


def _run(settings: Settings, ctids: tuple[str, ...]) -> bool:
    session = Session(settings)
    verdicts, profiles = gather(session, check_ctids(ctids))
    result = document(session, verdicts, profiles)
    if settings.json:
        emit(result)
    else:
        show(settings, session, verdicts, profiles)
    return bool(result["as_declared"])


@click.command()
@click.argument("ctids", nargs=-1, metavar="[CTID]...")
@global_options
@click.pass_obj
def status(settings: Settings, ctids: tuple[str, ...]) -> int:
    """Show what is declared, assigned and running, container by container."""
    _run(settings, ctids)
    return 0


@click.command()
@click.argument("ctids", nargs=-1, metavar="[CTID]...")
@global_options
@click.pass_obj
def verify(settings: Settings, ctids: tuple[str, ...]) -> int:
    """As status, and exit 3 where anything is not as declared."""
    return 0 if _run(settings, ctids) else EXIT_NO
