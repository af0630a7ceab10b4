"""When a deprecated profile goes, and why it stays.

Owns that decision; `profiles.retirement` finds what is still there.  Judged after the containers:
what they are assigned once the plan so far is done.  Pure: facts in, a plan out.
"""

from __future__ import annotations

from phoenix_hypervisor.plan.actions import Action, RemoveFile, RestartContainer, UnloadProfile
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.facts import Retirement, RetirementFacts
from phoenix_hypervisor.plan.model import Assignments, Note, Plan


def decide_retirement(facts: RetirementFacts, so_far: Plan) -> Plan:
    """Unload and remove what nobody uses.

    `setup` alone reassigns nothing, so there a declared container that names one is refused;
    otherwise users are reported and the profile is kept.
    """
    assigned = facts.assignments.after(so_far.actions)
    restarted = [action.target for action in so_far.actions if isinstance(action, RestartContainer)]
    ending = {pid for ctid in restarted for pid in facts.pids.get(ctid, ())}
    plan = Plan()
    for old in facts.retirements:
        plan += _one(old, facts, assigned, tuple(pid for pid in old.processes if pid not in ending))
    return plan


def _one(old: Retirement, facts: RetirementFacts, assigned: Assignments, pids: tuple[int, ...]) -> Plan:
    users = assigned.users(old.name)
    declared = tuple(ctid for ctid in users if ctid in facts.declared)
    if old.keep is not None:
        reason, by = old.keep
        return _kept(Note(Code.DEPRECATED_KEPT, old.name, {"reason": reason, "by": by}))
    if facts.wish.setup and declared:
        return Plan(refusals=(Note(Code.DEPRECATED_DECLARED, old.name, {"containers": declared}),))
    if users:
        return _kept(Note(Code.DEPRECATED_ASSIGNED, old.name, {"containers": users}))
    if places := assigned.keepers(old.name):
        return _kept(Note(Code.DEPRECATED_IN_SNAPSHOT, old.name, {"places": places}))
    if assigned.unknown:
        return _kept(Note(Code.DEPRECATED_UNKNOWN, old.name, {"containers": assigned.unknown}))
    if pids:
        return _kept(Note(Code.DEPRECATED_RUNNING, old.name, {"count": len(pids), "pids": pids[:5]}))
    return Plan(actions=tuple(_gone(old, facts)))


def _kept(note: Note) -> Plan:
    return Plan(skipped=(note,))


def _gone(old: Retirement, facts: RetirementFacts) -> list[Action]:
    actions: list[Action] = []
    if old.loaded and facts.live:
        actions.append(
            UnloadProfile(
                target=old.name,
                before=old.compiled,
                processes=(facts.argv.unload,),
                old_closure=old.closure,
            )
        )
    if old.path is not None:
        actions.append(
            RemoveFile(
                target=old.name,
                path=old.path,
                before=old.data,
                profile=old.name,
                successor=old.successor,
                foreign=old.foreign,
                before_stat=old.stat,
            )
        )
    return actions
