"""Performing a plan, as one transaction at a time.

Owns the lock, who is at work, and running a plan as a journaled transaction.  Must not decide what
a plan holds, nor know how a step is done.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from phoenix_hypervisor.containers.runtime import Runtime
from phoenix_hypervisor.containers.steps import ContainerSteps
from phoenix_hypervisor.engine.journal import Journal
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.plan.actions import Action, ContainerAction
from phoenix_hypervisor.plan.declared import Desired
from phoenix_hypervisor.plan.inverse import Step, inverse
from phoenix_hypervisor.plan.model import Finding, Note, Plan
from phoenix_hypervisor.plan.transaction import Performer, Transaction
from phoenix_hypervisor.profiles import records
from phoenix_hypervisor.profiles.install import ProfileSteps
from phoenix_hypervisor.values import dataclass, replace

LOCK = "/run/phoenix/lock"
"""Not in /run/lock, which is open to all: whoever may open a lock file may hold it."""
LOCK_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Performed:
    """A transaction that was committed."""

    number: int
    plan: Plan
    """The plan, with each action as it was really done."""


def locked(session: Session) -> AbstractContextManager[None]:
    return session.host.lock(LOCK, timeout=LOCK_TIMEOUT, what="Phoenix's lock", private=True)


def under_way(session: Session) -> bool:
    """Whether another Phoenix is at work now."""
    return session.host.is_locked(LOCK)


def who() -> str:
    """The operator, as sudo or the user id tells."""
    name = os.environ.get("SUDO_USER") or os.environ.get("LOGNAME") or ""
    return f"{name}({os.getuid()})" if name else f"uid {os.getuid()}"


def performer(
    session: Session, runtime: Runtime, desired: Desired, tell: Callable[[Note], None] | None = None
) -> Performer:
    """What does an action on this session's host; `tell` is told what is waited for."""
    profiles = ProfileSteps(session.host, session.parser_of_installed())
    containers = ContainerSteps(session.host, runtime, desired, tell)

    def perform(action: Action) -> Action:
        if isinstance(action, ContainerAction):
            return containers.perform(action)
        return profiles.perform(action)

    return perform


def confirm(session: Session, plan: Plan, runtime: Runtime | None = None) -> tuple[Finding, ...]:
    """What the starts of a plan that was performed have not brought about; waits for it for a while."""
    runtime = session.runtime if runtime is None else runtime
    return ContainerSteps(session.host, runtime, Desired(containers={})).unconfirmed(plan.actions)


def back(session: Session, actions: Sequence[Action]) -> list[Step]:
    """What takes `actions` back on this session's host."""
    return inverse(actions, session.kernel_argv())


def run(
    session: Session,
    plan: Plan,
    progress: Callable[[Action | Note], None],
    *,
    undoes: int | None = None,
    runtime: Runtime | None = None,
) -> Performed:
    """Apply a plan as one journaled transaction; Phoenix's lock must be held.  Raises PhoenixError."""
    if undoes is None:
        manifest, data = session.store.to_record(), session.store.manifest_bytes
    else:
        manifest, data = records.read(session.host)
    keeper = records.Keeper(session.host, manifest, data)
    desired = session.declared if undoes is None else Desired(containers={})
    runtime = session.runtime if runtime is None else runtime
    journal = Journal(session.host).record(
        plan.actions,
        manifest=data,
        user=who(),
        command=session.settings.command,
        runtime=runtime.name,
        undoes=undoes,
    )
    with journal as log:
        transaction = Transaction(
            perform=performer(session, runtime, desired, progress),
            back=lambda actions: back(session, actions),
            settle=keeper.settle,
            log=log,
            look=ContainerSteps(session.host, runtime, desired).left_behind,
        )
        transaction.execute(plan, progress, lambda: keeper.announce(plan.actions))
        return Performed(log.number, replace(plan, actions=tuple(transaction.done)))
