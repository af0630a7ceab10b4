"""Trials: beginning one, ending one, listing them.

Owns reading what each needs and performing it as one transaction; what is to be done is decided in
`plan.trials`, and copies are made by `engine.trial_copy`.
"""

from __future__ import annotations

import os

from phoenix_hypervisor.containers import conf as codec
from phoenix_hypervisor.containers.current import conf_fault
from phoenix_hypervisor.engine.gather import Request, container_facts
from phoenix_hypervisor.engine.on_trial import boot_id, desired_for, newest, spec_of, stage_of
from phoenix_hypervisor.engine.perform import confirm, locked, run, who
from phoenix_hypervisor.engine.places import program
from phoenix_hypervisor.engine.recovery import recover, recover_first
from phoenix_hypervisor.engine.requests import DenialsRequest, EndTrialRequest, TrialRequest
from phoenix_hypervisor.engine.results import Applied, Refused, TrialEnded
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.engine.trial_copy import (
    Copies,
    closure_of,
    copied_text,
    copies,
    installed_copy,
    require_ready,
)
from phoenix_hypervisor.errors import PhoenixError, UsageError
from phoenix_hypervisor.plan.actions import MANAGED_KEYS
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.containers import decide_containers
from phoenix_hypervisor.plan.facts import Processes
from phoenix_hypervisor.plan.labels import carriers
from phoenix_hypervisor.plan.lines import variant
from phoenix_hypervisor.plan.model import Plan, because, container
from phoenix_hypervisor.plan.trials import (
    BeginFacts,
    EndFacts,
    Trial,
    back_lines,
    begin_loads,
    decide_begin,
    decide_end,
    on_trial,
    stamp,
)
from phoenix_hypervisor.profiles.drift import differing, known_policy
from phoenix_hypervisor.profiles.records import compiled, digest
from phoenix_hypervisor.values import TYPE_CHECKING, dataclass, replace

if TYPE_CHECKING:
    from phoenix_hypervisor.engine.denials import Denials
    from phoenix_hypervisor.engine.results import Progress

LONGEST = 30 * 24 * 3600
"""Seconds; a trial that nobody ends for longer is no trial."""
SYSTEMD = "/run/systemd/system"
Known = dict[bytes, Copies]
"""Copies by the plain one's source: what need not be compiled twice, between planning and applying."""


def one_of(session: Session, word: str) -> str:
    """The one container that `word` names.  Raises UsageError for several."""
    found = session.chosen((word,))
    if len(found) != 1:
        raise UsageError(f"{word} names {len(found)} containers, and a trial is of one")
    return found[0]


def _require_kernel(session: Session) -> None:
    if not session.host.is_live:
        raise PhoenixError("a trial needs a running system: with --root no kernel is touched")
    if not session.host.kernel.has_apparmor():
        raise PhoenixError(
            "AppArmor is off in this kernel, so nothing can be tried", hint="boot with apparmor=1"
        )


# Beginning --------------------------------------------------------------------------


def begin(session: Session, request: TrialRequest, progress: Progress) -> Applied:
    """Begin a trial as one transaction.  Raises PhoenixError."""
    session.refuse_if_writable()
    recovered = recover_first(session, progress)
    if recovered is not None:
        progress(recovered)
    known: Known = {}
    prepare(session, request, known)
    with locked(session):
        fresh = session.again()
        if recover(fresh) is not None:
            raise PhoenixError(
                "another run was interrupted meanwhile; it has been rolled back", hint="run it again"
            )
        plan = prepare(fresh, request, known)
        run(fresh, plan, progress)
    return Applied(plan=plan, recovered=recovered, unconfirmed=confirm(fresh, plan))


def prepare(session: Session, request: TrialRequest, known: Known | None = None) -> Plan:
    """What begins that trial; nothing is written.  Raises Refused and other PhoenixErrors."""
    if not 0 < request.seconds <= LONGEST:
        raise UsageError("a trial lasts from a second to 30 days", where="--for")
    _require_kernel(session)
    ctid = one_of(session, request.container)
    if ctid in session.trials:
        raise Refused([on_trial(session.trials[ctid])])
    conf = _conf(session, ctid)
    profile = variant(request.profile, conf.unprivileged, session.sources.profiles)
    require_ready(session, profile)
    begun = int(session.host.now())
    trial = Trial(
        ctid=ctid,
        profile=profile,
        begun=begun,
        until=begun + request.seconds,
        by=who(),
        boot=boot_id(session),
    )
    text = copied_text(session, trial)
    known = {} if known is None else known
    if text not in known:
        known[text] = copies(session, trial, text)
    made = known[text]
    trial = replace(trial, lets=made.lets, policy=digest(made.open))
    loaded = session.store.loaded or {}
    facts = BeginFacts(
        trial=trial,
        text=text,
        closed=made.closed,
        open=made.open,
        closure=closure_of(session, text),
        installed=installed_copy(session, trial),
        loaded=trial.name in loaded,
        former=known_policy(session.host, trial.name, loaded.get(trial.name)),
        old_closure=session.store.manifest.loaded.get(trial.name),
        timer=_timer(session, trial),
        stays_closed=made.refused,
        argv=session.kernel_argv(),
    )
    plan = decide_begin(facts, _lines(session, ctid, facts, restart=request.restart))
    if plan.refusals or plan.refused:
        raise Refused((*plan.refusals, *plan.refused))
    return plan


def _conf(session: Session, ctid: str) -> codec.Conf:
    session.runtime.require()
    data = session.runtime.read_conf(ctid)
    if data is None:
        raise PhoenixError("does not exist on this host", where=container(ctid))
    return codec.parse(data, session.runtime.dialect)


def unit(ctid: str) -> str:
    """The systemd unit that ends a container's trial."""
    return f"phoenix-trial-{ctid}"


def _timer(session: Session, trial: Trial) -> Processes:
    """What makes systemd end the trial.  It tries again where that fails, as while a backup runs."""
    if not session.host.exists(SYSTEMD):
        return ()
    settings = session.settings
    config = session.configuration
    given = (("--config", config), ("--runtime", settings.runtime), ("--parser", settings.parser))
    words = [
        word
        for name, value in given
        if value
        # The unit has a working directory of its own.
        for word in (name, os.path.abspath(value) if "/" in value else value)
    ]
    start = (
        "systemd-run",
        f"--unit={unit(trial.ctid)}",
        f"--description=end of the trial of container {trial.ctid}",
        f"--on-active={trial.until - trial.begun}",
        "--timer-property=AccuracySec=1s",
        "--property=Restart=on-failure",
        "--property=RestartSec=60",
        "--",
        *program(),
        "try",
        trial.ctid,
        "--end",
        *words,
    )
    return (*_no_timer(trial.ctid), start)


def _no_timer(ctid: str) -> Processes:
    return (("systemctl", "stop", f"{unit(ctid)}.timer"),)


def _lines(session: Session, ctid: str, facts: BeginFacts, *, restart: bool) -> Plan:
    """What becomes of the container: decided as for any profile."""
    spec = replace(spec_of(session, ctid), start=False)
    state = session.containers.declared([spec], desired_for(session, ctid))[0]
    # What it asks for is what the trial is to show.
    state = replace(state, wishes=None)
    asked = Request((ctid,), start=False, restart=restart)
    found = container_facts(session, asked, [spec], [state])
    return decide_containers(replace(found, refused={}, trials={}), Plan(actions=begin_loads(facts)))


# Ending -----------------------------------------------------------------------------


def end(session: Session, request: EndTrialRequest, progress: Progress) -> TrialEnded:
    """End a trial as one transaction; nothing is done where there is none.  Raises PhoenixError.

    Where the configuration cannot be written now, the kernel's part is done all the same, and the result's
    `refusals` say what is left.
    """
    session.refuse_if_writable()
    recovered = recover_first(session, progress)
    if recovered is not None:
        progress(recovered)
    ctid = one_of(session, request.container)
    if ctid not in session.trials:
        return TrialEnded(plan=Plan(), recovered=recovered, trial=None)
    with locked(session):
        fresh = session.again()
        recover(fresh)
        trial = fresh.trials.get(ctid)
        if trial is None:
            return TrialEnded(plan=Plan(), recovered=recovered, trial=None)
        plan = prepare_end(fresh, trial, restart=request.restart)
        if plan.actions:
            run(fresh, plan, progress)
    return TrialEnded(plan=plan, recovered=recovered, unconfirmed=confirm(fresh, plan), trial=trial)


def prepare_end(session: Session, trial: Trial, *, restart: bool = False) -> Plan:
    """What ends a trial; nothing is written."""
    _require_kernel(session)
    host, runtime = session.host, session.runtime
    runtime.require()
    file, record = host.read(trial.file), host.read(trial.path)
    loaded = trial.name in (session.store.loaded or {})
    closed, closure = None, None
    if loaded:
        text = copied_text(session, trial) if file is None else file
        closed = session.parser_of_installed().compile_text(
            text, host.root.locate(trial.file), optional=False
        )
        closure = closure_of(session, text)
    copy = compiled(host, trial.name)
    facts = EndFacts(
        trial=trial,
        closed=closed,
        is_closed=closed is not None and closed == copy and differing(host, trial.name, closed) is None,
        closure=closure,
        recorded=session.store.manifest.loaded.get(trial.name),
        record=record or b"",
        file=file,
        path=runtime.conf_path(trial.ctid),
        carried=bool(carriers(host.kernel.labels(), trial.name)),
        timer=_no_timer(trial.ctid) if host.exists(SYSTEMD) else (),
        restart=_restart(session, trial) if restart else (),
        argv=session.kernel_argv(),
    )
    return decide_end(_with_conf(session, facts))


def _with_conf(session: Session, facts: EndFacts) -> EndFacts:
    """The same, with the container's configuration, and why it cannot be written."""
    trial, runtime = facts.trial, session.runtime
    target = container(trial.ctid)
    try:
        data = runtime.read_conf(trial.ctid)
        if data is None:
            return facts
        conf = codec.parse(data, runtime.dialect)
        values = codec.counting(conf, MANAGED_KEYS)
        lines = {line.key: line.value for line in back_lines(trial, values)}
        after = codec.with_lines(data, lines, runtime.dialect) if lines else data
    except PhoenixError as error:
        fault = conf_fault(facts.path, error)
        return replace(facts, blocked=(because(Code.CONF_UNUSABLE, target, fault),))
    blocked = []
    read_only = runtime.read_only()
    if lines and conf.lock is not None:
        blocked.append(because(Code.LOCKED, target, runtime.locked(trial.ctid, conf.lock)))
    elif lines and read_only is not None:
        blocked.append(because(Code.READ_ONLY, target, read_only))
    return replace(facts, data=data, values=values, after=after, blocked=tuple(blocked))


def _restart(session: Session, trial: Trial) -> Processes:
    running = session.containers.is_running(trial.ctid)
    return session.runtime.restart_argv(trial.ctid) if running else ()


def report(session: Session, word: str) -> Denials:
    """What the container's trial let through and refused since it began, as `denials` tells it.

    Also of the last one that has ended, as long as journal and logs tell of it.  Raises PhoenixError.
    """
    from phoenix_hypervisor.engine.denials import denials
    from phoenix_hypervisor.engine.policy_sources import PolicySources

    ctid = one_of(session, word)
    trial = newest(session, ctid)
    if trial is None:
        hint = f"`phoenix try {ctid} PROFILE` begins one; `phoenix denials {ctid}` tells of what was refused"
        raise PhoenixError("no trial of it is on record", where=container(ctid), hint=hint)
    request = DenialsRequest(ctids=(ctid,), since=float(trial.begun))
    found = denials(session, PolicySources(session), request)
    return replace(found, denials=tuple(d for d in found.denials if d.group.subject.profile == trial.name))


# Looking ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One trial, and how far it is."""

    trial: Trial
    stage: str
    """`open`, `overdue` or `ended`."""
    begun: str
    until: str


def listed(session: Session) -> tuple[Seen, ...]:
    """The trials on record, by CTID."""
    found = sorted(session.trials.values(), key=lambda trial: int(trial.ctid))
    return tuple(
        Seen(trial=one, stage=stage_of(session, one).value, begun=stamp(one.begun), until=one.ends)
        for one in found
    )
