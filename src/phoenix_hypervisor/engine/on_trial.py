"""Containers on trial, as status, verify and the trial's own commands see them.

Owns reading how far a trial is, and what a container on trial is to be.  Nothing is decided here.
"""

from __future__ import annotations

from phoenix_hypervisor.engine.journal import Journal
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.plan.actions import InstallFile
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.declared import ContainerSpec, Desired
from phoenix_hypervisor.plan.entries import COMMITTED
from phoenix_hypervisor.plan.trials import (
    TRIALS_DIR,
    Stage,
    Trial,
    judge_trial,
    read_trial,
    stage,
    trial_name,
)
from phoenix_hypervisor.plan.verify import ContainerVerdict
from phoenix_hypervisor.profiles.drift import differing
from phoenix_hypervisor.profiles.records import compiled, digest
from phoenix_hypervisor.values import replace

BOOT_ID = "/proc/sys/kernel/random/boot_id"


def boot_id(session: Session) -> str:
    """Which boot this is; empty where the kernel does not say."""
    data = session.host.content(BOOT_ID)
    return data.decode("utf-8", "replace").strip() if isinstance(data, bytes) else ""


def stage_of(session: Session, trial: Trial) -> Stage:
    """How far a trial is.  A boot ended it, or a load of its file by somebody else."""
    host = session.host
    loaded = host.kernel.loaded_profiles()
    boot = boot_id(session)
    copy = compiled(host, trial.name)
    in_kernel = (
        loaded is not None
        and trial.name in loaded
        and (not trial.boot or trial.boot == boot)
        # What Phoenix loaded last, and nobody else has loaded the name's file since.
        and copy is not None
        and digest(copy) == trial.policy
        and differing(host, trial.name, copy) is None
    )
    return stage(trial, host.now(), in_kernel=in_kernel)


def newest(session: Session, ctid: str) -> Trial | None:
    """The trial of a container that is on record, or the last one that the journal tells of."""
    if ctid in session.trials:
        return session.trials[ctid]
    path = f"{TRIALS_DIR}/{ctid}.json"
    for entry in Journal(session.host).entries()[0]:
        for action in entry.actions:
            if isinstance(action, InstallFile) and action.path == path and entry.state == COMMITTED:
                return read_trial(action.after, path)
    return None


def spec_of(session: Session, ctid: str) -> ContainerSpec:
    """What a container on trial is to be: as declared, under the trial's name."""
    declared = session.declared.containers.get(ctid)
    if declared is None:
        spec = ContainerSpec(ctid=ctid, name="", profile=trial_name(ctid), start=False, unprivileged=False)
        return spec
    values = {key: value for key, value in declared.values.items() if key != "lines"}
    return replace(declared, profile=trial_name(ctid), unknown=False, values=values)


def desired_for(session: Session, ctid: str) -> Desired:
    """The configuration, with the trial's copy among our own profiles."""
    declared = session.declared
    return replace(declared, shipped=declared.shipped | {trial_name(ctid)})


_UNTIL_ITS_START = (Code.OLD_LABEL, Code.STRAY_PROCESS)


def on_trial(session: Session, verdict: ContainerVerdict) -> ContainerVerdict:
    """A verdict that was made with `spec_of`, as it is told: what is declared, and the trial."""
    trial = session.trials[verdict.ctid]
    declared = session.declared.containers.get(verdict.ctid)
    at = stage_of(session, trial)
    findings = verdict.findings
    if at is Stage.OPEN:
        # It begins with the next start where nobody asked for one.
        findings = tuple(one for one in findings if one.code not in _UNTIL_ITS_START)
    return replace(
        verdict,
        declared=None if declared is None else declared.profile,
        findings=(judge_trial(trial, at), *findings),
    )
