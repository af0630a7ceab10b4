"""`phoenix setup`, `phoenix plan` and `phoenix apply`.

Owns what their arguments ask for and what they print; the engine does the work, and
`cli.changes` says how the arguments are spelt.  Must not load click: see `cli.plain`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.output import (
    describe,
    emit,
    notes,
    plan_document,
    recap,
    recovered_document,
    recovered_words,
    refused_text,
    say,
    show_action,
    show_findings,
    show_notes,
    tell,
    warn,
)
from phoenix_hypervisor.cli.progress import Busy
from phoenix_hypervisor.engine.requests import ApplyRequest, SetupRequest
from phoenix_hypervisor.engine.results import Recovered
from phoenix_hypervisor.errors import EXIT_FAILED, EXIT_NO, EXIT_OK, UsageError
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.model import Note
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from phoenix_hypervisor.engine.effects import Effect
    from phoenix_hypervisor.engine.results import Applied, Event, Planned
    from phoenix_hypervisor.plan.model import Plan

MAX_EFFECTS = 12
"""Lines that a plan shows of what one edit opens and closes."""


def check_start(no_start: bool, restart: bool) -> None:
    """Raise UsageError where the words contradict each other."""
    if no_start and restart:
        raise UsageError("--no-start and --restart exclude each other", hint="a restart includes a start")


def show_plan(settings: Settings, plan: Plan) -> None:
    """A plan as a diff."""
    for action in plan.actions:
        show_action(settings, action)
    _show_left_out(settings, plan)


def _show_left_out(settings: Settings, plan: Plan) -> None:
    if plan.skipped:
        from phoenix_hypervisor.cli.nodes_words import show_skipped

        show_skipped(settings, plan.skipped)
    show_notes(settings, "warning", plan.warnings, "magenta")


def effect_lines(effects: Mapping[str, Effect]) -> dict[str, list[str]]:
    """What each changed profile would allow otherwise than now, in lines."""
    found = {}
    for name, effect in effects.items():
        if effect.fault is not None:
            found[name] = [f"cannot be compared with what is installed: {effect.fault}"]
            continue
        lines = []
        for one in effect.differences:
            more = f" (and {one.count - 1} more)" if one.count > 1 else ""
            if one.only_b:
                lines.append(f"opens  {one.kind}: {one.only_b}: {one.witness}{more}")
            if one.only_a:
                lines.append(f"closes {one.kind}: {one.only_a}: {one.witness}{more}")
        lines += map(str, effect.not_compared)
        if len(lines) > MAX_EFFECTS:
            lines = [*lines[:MAX_EFFECTS], f"... and {len(lines) - MAX_EFFECTS} more"]
        found[name] = lines or ["allows exactly what it allowed"]
    return found


def show_planned(settings: Settings, planned: Planned) -> dict[str, list[str]]:
    """A plan, the findings before it and the effects after it; the latter returned for JSON."""
    show_findings(settings, planned.findings)
    show_plan(settings, planned.plan)
    lines = effect_lines(planned.effects)
    for name, line in ((name, line) for name, found in lines.items() for line in found):
        say(settings, f"  {name} {line}", style="red" if line.startswith("opens") else None)
    return lines


def show_event(settings: Settings, event: Event) -> None:
    """One event of a run that changes something, as it happens."""
    match event:
        case Recovered():
            say(settings, f"recovered: {recovered_words(event)}", style="yellow")
        case Note():
            tell(settings, event)
        case _:
            say(settings, describe(event))


def _tell_refused(settings: Settings, plan: Plan, *, skip: bool, done: bool = False) -> int:
    """Say which containers are refused and what becomes of the rest; returns the exit code."""
    if not plan.refused:
        return EXIT_OK
    message = f"apply {'has left' if done else 'leaves'} out what is refused"
    if not skip:
        message = "apply would change nothing, because this is refused"
    warn(settings, refused_text(message, plan.refused, skippable=plan.others > 0 and not skip))
    return EXIT_NO if skip else EXIT_FAILED


def run_apply(settings: Settings, request: ApplyRequest | SetupRequest, *, dry_run: bool) -> int:
    """Apply, or with `dry_run` show the plan; prints, returns the exit code."""
    skip = isinstance(request, ApplyRequest) and request.skip_refused
    if dry_run:
        with Busy(settings, "planning"):
            planned = settings.phoenix().plan(request)
        effects = show_planned(settings, planned)
        document = {"dry_run": True, **plan_document(planned.plan), "effects": effects}
        _finish(settings, planned.plan, document)
        return _tell_refused(settings, planned.plan, skip=skip)
    settings.begin_writing()
    phoenix = settings.phoenix()
    with Busy(settings, "working") as busy:

        def progress(event: Event) -> None:
            with busy.aside():
                show_event(settings, event)

        if isinstance(request, SetupRequest):
            applied = phoenix.setup(request, progress)
        else:
            applied = phoenix.apply(request, progress)
    _show_left_out(settings, applied.plan)
    document = {"dry_run": False, **plan_document(applied.plan)}
    code = _finish(settings, applied.plan, document, applied)
    refused = _tell_refused(settings, applied.plan, skip=skip, done=True)
    return code or refused


def _finish(
    settings: Settings, plan: Plan, document: Mapping[str, object], applied: Applied | None = None
) -> int:
    unconfirmed = () if applied is None else applied.unconfirmed
    recovered = None if applied is None else applied.recovered
    show_notes(settings, "applied, but", unconfirmed, "red")
    changed, failed = len(plan.actions), len(unconfirmed)
    if settings.json:
        emit(
            {
                **document,
                "changed": changed,
                "failed": failed,
                "transaction": None if applied is None else applied.transaction,
                "recovered": None if recovered is None else recovered_document(recovered),
                "unconfirmed": notes(unconfirmed),
            }
        )
    skipped, refused = len(plan.skipped), len(plan.refused)
    recap(settings, ok=plan.ok, changed=changed, skipped=skipped, failed=failed, refused=refused)
    return EXIT_FAILED if failed else EXIT_OK


def setup(settings: Settings, *, dry_run: bool, adopt: Sequence[str]) -> int:
    """Prove, install and load the profiles; retire deprecated ones that nobody uses."""
    return run_apply(settings, SetupRequest(adopt=frozenset(adopt)), dry_run=dry_run)


def apply(
    settings: Settings,
    *,
    ctids: Sequence[str],
    everything: bool,
    dry_run: bool,
    no_start: bool,
    restart: bool,
    skip_refused: bool,
) -> int:
    """Setup, then create missing containers, assign profiles and start, as one transaction."""
    if everything == bool(ctids):
        raise UsageError("name containers, or use --all", hint="phoenix apply 950, or phoenix apply --all")
    check_start(no_start, restart)
    chosen = None if everything else tuple(ctids)
    request = ApplyRequest(ctids=chosen, start=not no_start, restart=restart, skip_refused=skip_refused)
    return run_apply(settings, request, dry_run=dry_run)


def plan(
    settings: Settings,
    *,
    ctids: Sequence[str],
    no_start: bool,
    restart: bool,
    detailed_exitcode: bool,
    skip_refused: bool,
    all_nodes: bool = False,
) -> int:
    """Show exactly what apply with the same arguments would do; without CTID, for all."""
    check_start(no_start, restart)
    request = ApplyRequest(ctids=tuple(ctids) or None, start=not no_start, restart=restart)
    with Busy(settings, "planning"):
        planned = settings.phoenix().plan(request)
        nodes = settings.phoenix().fleet().nodes(ctids) if all_nodes else ()
    effects = show_planned(settings, planned)
    changes = len(planned.plan.actions)
    document = {**plan_document(planned.plan), "effects": effects}
    if all_nodes:
        from phoenix_hypervisor.cli.nodes_words import plan_nodes, show_changes

        document["nodes"] = plan_nodes(nodes)
        show_changes(settings, nodes)
    if settings.json:
        emit(document)
    text = f"{changes} to change" if changes else "nothing to change"
    if planned.refusals:
        text += f", {len(planned.refusals)} refused"
    elif not changes and not any(note.code is Code.PENDING_RAW for note in planned.plan.warnings):
        text += ": the host is as declared"
    say(settings, text)
    code = _tell_refused(settings, planned.plan, skip=skip_refused)
    return code or (EXIT_NO if detailed_exitcode and changes else EXIT_OK)
