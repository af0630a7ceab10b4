"""`phoenix setup`, `phoenix plan` and `phoenix apply`.

Owns their arguments and what they print; `cli.workflow` does the work.
"""

from __future__ import annotations

import re

import click

from phoenix_hypervisor.cli.options import Settings, global_options
from phoenix_hypervisor.cli.output import (
    describe,
    emit,
    notes,
    plan_document,
    recap,
    say,
    show_action,
    show_notes,
)
from phoenix_hypervisor.engine.recovery import Recovered, judge_journal, recover_first
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.engine.workflow import Request, execute, prepare
from phoenix_hypervisor.errors import EXIT_FAILED, EXIT_NO, EXIT_OK, UsageError
from phoenix_hypervisor.plan.model import Plan

_CTID = re.compile(r"[1-9][0-9]{2,8}")


def check_ctids(ctids: tuple[str, ...]) -> tuple[str, ...]:
    """The CTIDs as given; raises UsageError for one that is none (100 to 999999999)."""
    for ctid in ctids:
        if _CTID.fullmatch(ctid) is None:
            raise UsageError(f"{ctid!r} is not a CTID", hint="a number from 100 to 999999999")
    return tuple(dict.fromkeys(ctids))


def check_start(no_start: bool, restart: bool) -> None:
    """Raise UsageError where the words contradict each other."""
    if no_start and restart:
        raise UsageError("--no-start and --restart exclude each other", hint="a restart starts, too")


def show_plan(settings: Settings, plan: Plan) -> None:
    for action in plan.actions:
        show_action(settings, action)
    show_notes(settings, "skipped", plan.skipped, "cyan")
    show_notes(settings, "warning", plan.warnings, "magenta")


def show_effects(settings: Settings, session: Session) -> dict[str, list[str]]:
    """What the changed profiles would allow otherwise than now; printed, and returned for JSON."""
    blobs = {name: blob for (name, _), (blob, _) in session.proven.items()}
    if not blobs:
        return {}
    from phoenix_hypervisor.engine.effects import effects

    found = effects(session, blobs)
    for name, lines in found.items():
        for line in lines:
            say(settings, f"  {name} {line}", fg="red" if line.startswith("opens") else None)
    return found


def show_unfinished(settings: Settings, session: Session) -> None:
    """Say that a killed run left something; a command that only reads changes nothing about it."""
    for finding in judge_journal(session):
        say(settings, f"{finding.code}: {finding.cause} ({finding.hint})", fg="red")


def show_recovered(settings: Settings, recovered: Recovered | None) -> None:
    """Say what a killed run had left, and that it is undone."""
    if recovered is not None:
        say(settings, f"recovered: {recovered}", fg="yellow")


def run_apply(settings: Settings, request: Request, *, dry_run: bool) -> int:
    """Apply, or with `dry_run` show the plan; prints, returns the exit code."""
    session = Session(settings)
    recovered = None
    if dry_run:
        show_unfinished(settings, session)
    else:
        recovered = recover_first(session)
        show_recovered(settings, recovered)
    prepared = prepare(session, request)
    if dry_run:
        show_plan(settings, prepared.plan)
        changed = len(prepared.plan.actions)
        effect = show_effects(settings, session)
        document = {"dry_run": True, **plan_document(prepared.plan), "effects": effect}
    else:
        prepared = execute(session, request, prepared, lambda action: say(settings, describe(action)))
        if prepared.recovered is not None:
            recovered = prepared.recovered
            show_recovered(settings, recovered)
        show_notes(settings, "skipped", prepared.plan.skipped, "cyan")
        show_notes(settings, "warning", prepared.plan.warnings, "magenta")
        changed = len(prepared.plan.actions)
        document = {"dry_run": False, **plan_document(prepared.plan)}
    not_so = prepared.unconfirmed
    show_notes(settings, "applied, but", not_so, "red")
    if settings.json:
        undone = recovered.document() if recovered is not None else None
        emit(
            {
                **document,
                "changed": changed,
                "failed": len(not_so),
                "recovered": undone,
                "unconfirmed": notes(not_so),
            }
        )
    recap(
        settings, ok=prepared.plan.ok, changed=changed, skipped=len(prepared.plan.skipped), failed=len(not_so)
    )
    return EXIT_FAILED if not_so else EXIT_OK


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what would be done and do nothing.")
@click.option(
    "--adopt", multiple=True, metavar="NAME", help="Take over a profile that Phoenix did not install."
)
@global_options
@click.pass_obj
def setup(settings: Settings, dry_run: bool, adopt: tuple[str, ...]) -> int:
    """Prove, install and load the profiles; retire deprecated ones that nobody uses."""
    return run_apply(settings, Request((), adopt=frozenset(adopt)), dry_run=dry_run)


@click.command()
@click.argument("ctids", nargs=-1, metavar="[CTID]...")
@click.option("--all", "everything", is_flag=True, help="All declared containers.")
@click.option("--dry-run", is_flag=True, help="Show what would be done and do nothing.")
@click.option("--no-start", is_flag=True, help="Start nothing.")
@click.option("--restart", is_flag=True, help="Restart containers that run under another label.")
@global_options
@click.pass_obj
def apply(
    settings: Settings, ctids: tuple[str, ...], everything: bool, dry_run: bool, no_start: bool, restart: bool
) -> int:
    """Setup, then create missing containers, assign profiles and start, as one transaction."""
    if everything == bool(ctids):
        raise UsageError("name containers, or use --all", hint="phoenix apply 950, or phoenix apply --all")
    check_start(no_start, restart)
    request = Request(None if everything else check_ctids(ctids), not no_start, restart)
    return run_apply(settings, request, dry_run=dry_run)


@click.command()
@click.argument("ctids", nargs=-1, metavar="[CTID]...")
@click.option("--no-start", is_flag=True, help="As apply --no-start would do.")
@click.option("--restart", is_flag=True, help="As apply --restart would do.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 3 where something would change.")
@global_options
@click.pass_obj
def plan(
    settings: Settings, ctids: tuple[str, ...], no_start: bool, restart: bool, detailed_exitcode: bool
) -> int:
    """Show exactly what apply with the same words would do; without CTID: --all."""
    check_start(no_start, restart)
    request = Request(check_ctids(ctids) or None, not no_start, restart)
    session = Session(settings)
    show_unfinished(settings, session)
    prepared = prepare(session, request)
    show_plan(settings, prepared.plan)
    effect = show_effects(settings, session)
    changes = len(prepared.plan.actions)
    if settings.json:
        emit({**plan_document(prepared.plan), "effects": effect})
    say(settings, f"{changes} to change" if changes else "nothing to change: the host is as declared")
    return EXIT_NO if detailed_exitcode and changes else 0
