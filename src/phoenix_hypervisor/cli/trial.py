"""`phoenix try`: beginning a trial, ending it, listing trials.

Owns its arguments and what it prints; the engine does the work.
"""

from __future__ import annotations

import re

import click

from phoenix_hypervisor.cli.apply import show_event, show_plan
from phoenix_hypervisor.cli.complete import complete_present, complete_sources
from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.options import global_options
from phoenix_hypervisor.cli.output import (
    emit,
    notes,
    plan_document,
    recap,
    refused_text,
    say,
    show_notes,
    warn,
)
from phoenix_hypervisor.cli.progress import Busy
from phoenix_hypervisor.cli.tables import Form, Row, table
from phoenix_hypervisor.engine.requests import EndTrialRequest, TrialRequest
from phoenix_hypervisor.errors import EXIT_FAILED, EXIT_NO, EXIT_OK, UsageError
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from phoenix_hypervisor.engine.results import Applied, Event
    from phoenix_hypervisor.plan.model import Plan

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> int:
    """`2h`, `90m`, `1d`, `30s` in seconds.  Raises UsageError."""
    match = re.fullmatch(r"([1-9][0-9]{0,6})([smhd])", text)
    if match is None:
        raise UsageError(f"--for {text!r} is not a time", hint="for example 30m, 2h or 1d")
    return int(match[1]) * _UNITS[match[2]]


@click.command("try")
@click.argument("container", required=False, metavar="[CONTAINER]", shell_complete=complete_present)
@click.argument("profile", required=False, metavar="[PROFILE]", shell_complete=complete_sources)
@click.option("--for", "how_long", default="2h", show_default=True, metavar="TIME", help="30m, 2h, 1d.")
@click.option("--restart", is_flag=True, help="Restart the container, so that the change takes effect now.")
@click.option("--dry-run", is_flag=True, help="Show what would be done and do nothing.")
@click.option("--end", "ends", is_flag=True, help="End the container's trial now.")
@click.option("--report", "reports", is_flag=True, help="Tell what its trial let through, with proposals.")
@click.option("--list", "lists", is_flag=True, help="List the trials.")
@global_options
@click.pass_obj
def try_(
    settings: Settings,
    container: str | None,
    profile: str | None,
    how_long: str,
    restart: bool,
    dry_run: bool,
    ends: bool,
    reports: bool,
    lists: bool,
) -> int:
    """Run CONTAINER for a while under a copy of PROFILE that lets more through, and logs it.

    What PROFILE merely does not allow is let through and logged. What reaches past the container stays
    refused: nothing that its deny rules or the policy tests forbid comes through. The trial ends by itself,
    and also when the host boots. --report exits 3 where the trial met anything.
    """
    if lists:
        if container is not None or ends or reports:
            raise UsageError("--list takes no container", hint="phoenix try --list")
        return _list(settings)
    if container is None:
        raise UsageError("name a container", hint="phoenix try 950 lxc-base, or phoenix try --list")
    if reports:
        if profile is not None or dry_run or ends or restart:
            raise UsageError("--report takes a container and nothing else", hint="phoenix try 950 --report")
        return _report(settings, container)
    if ends:
        if profile is not None or dry_run:
            raise UsageError("--end takes a container and nothing else", hint="phoenix try 950 --end")
        return _end(settings, EndTrialRequest(container=container, restart=restart))
    if profile is None:
        raise UsageError("name a profile", hint=f"phoenix try {container} lxc-base")
    request = TrialRequest(container=container, profile=profile, seconds=seconds(how_long), restart=restart)
    return _plan(settings, request) if dry_run else _begin(settings, request)


def _plan(settings: Settings, request: TrialRequest) -> int:
    with Busy(settings, "planning"):
        plan = settings.phoenix().trials().plan(request)
    show_plan(settings, plan)
    if settings.json:
        emit({"dry_run": True, **plan_document(plan)})
    return _finish(settings, plan)


def _begin(settings: Settings, request: TrialRequest) -> int:
    settings.begin_writing()
    with Busy(settings, "working") as busy:

        def progress(event: Event) -> None:
            with busy.aside():
                show_event(settings, event)

        applied = settings.phoenix().trials().begin(request, progress)
    return _told(settings, applied)


def _end(settings: Settings, request: EndTrialRequest) -> int:
    settings.begin_writing()
    with Busy(settings, "working") as busy:

        def progress(event: Event) -> None:
            with busy.aside():
                show_event(settings, event)

        ended = settings.phoenix().trials().end(request, progress)
    if ended.trial is None:
        say(settings, f"container {request.container} is not on trial")
    code = _told(settings, ended)
    if ended.refusals:
        warn(
            settings, refused_text("the kernel refuses again; this is left", ended.refusals, skippable=False)
        )
        return EXIT_FAILED
    return code


def _told(settings: Settings, applied: Applied) -> int:
    plan = applied.plan
    show_notes(settings, "skipped", plan.skipped, "cyan")
    show_notes(settings, "warning", plan.warnings, "magenta")
    show_notes(settings, "applied, but", applied.unconfirmed, "red")
    if settings.json:
        unconfirmed = notes(applied.unconfirmed)
        emit({"dry_run": False, **plan_document(plan), "unconfirmed": unconfirmed})
    return _finish(settings, plan, failed=len(applied.unconfirmed))


def _finish(settings: Settings, plan: Plan, failed: int = 0) -> int:
    changed, refused = len(plan.actions), len(plan.refused)
    recap(settings, ok=plan.ok, changed=changed, skipped=len(plan.skipped), failed=failed, refused=refused)
    return EXIT_FAILED if failed else EXIT_OK


def _report(settings: Settings, container: str) -> int:
    from phoenix_hypervisor.cli import denial_words

    with Busy(settings, "reading logs"):
        found = settings.phoenix().trials().report(container)
    if settings.json:
        emit(denial_words.document(found))
    else:
        denial_words.show(settings, found, (container,), files=False)
        # A guest full of services needs dozens of rules; several denials are offered the same.
        ids = {d.judged.proposal.rule: d.group.id for d in found.denials if d.judged.proposal is not None}
        if len(ids) > 1:
            say(settings, f"all that is offered: phoenix accept {' '.join(ids.values())}")
    return EXIT_NO if found.denials else EXIT_OK


def _list(settings: Settings) -> int:
    found = settings.phoenix().trials().list()
    rows: list[Row] = [
        ((one.trial.ctid, one.trial.profile, one.stage, one.begun, one.until, one.trial.by), None)
        for one in found
    ]
    if settings.json:
        emit(
            {
                "trials": [
                    {
                        "ctid": one.trial.ctid,
                        "profile": one.trial.profile,
                        "stage": one.stage,
                        "begun": one.begun,
                        "until": one.until,
                        "by": one.trial.by,
                        "lets": list(one.trial.lets),
                    }
                    for one in found
                ]
            }
        )
    elif not found:
        say(settings, "no container is on trial")
    else:
        table(settings, "Trials", Form(("CTID", "profile", "stage", "begun", "until", "by"), rows))
    return EXIT_OK
