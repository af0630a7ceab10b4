"""setup, plan and apply: gather, decide, perform.

Owns that order, and the second return: under Phoenix's lock the plan is made anew, so that it is
never stale.  What is read is `engine.gather`'s, what is to be done is decided in `plan`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from phoenix_hypervisor.engine.gather import Request, gather
from phoenix_hypervisor.engine.results import Applied, Recovered, Refused
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.plan.actions import Action
from phoenix_hypervisor.plan.decide import decide
from phoenix_hypervisor.plan.model import Finding, Note, Plan
from phoenix_hypervisor.values import TYPE_CHECKING, dataclass, field, replace

if TYPE_CHECKING:
    # What proves and performs is imported where it is done: most runs change nothing.
    from phoenix_hypervisor.engine.effects import Effect
    from phoenix_hypervisor.plan.facts import Proof


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan, with the proven policy in the actions that load it."""

    plan: Plan
    effects: Mapping[str, Effect] = field(default_factory=dict)
    """What the policy of changed profiles would allow otherwise, by profile; where it was asked for."""
    recovered: Recovered | None = None
    """What a run that was killed meanwhile had left, and is undone now."""
    transaction: int | None = None
    """The number of what was applied."""
    unconfirmed: tuple[Finding, ...] = ()
    """What was applied and is not as declared nevertheless."""

    def applied(self, recovered: Recovered | None) -> Applied:
        """The answer to who asked for it; `recovered` is what was undone before or meanwhile."""
        return Applied(
            plan=self.plan,
            transaction=self.transaction,
            recovered=recovered,
            unconfirmed=self.unconfirmed,
        )


def prepare(session: Session, request: Request, *, compare: bool = False) -> Prepared:
    """Work out the whole plan; nothing is written.  `compare` asks for the effects, too.

    Raises Refused where anything refuses that the request does not leave out, and ProblemsError for a
    configuration or a proof that fails.
    """
    facts = gather(session, request)
    plan = decide(facts)
    changes: Mapping[str, Effect] = {}
    _require(plan, request)
    if plan.unproven or plan.asked:
        # The first return: what the plan would load is compiled and asked, and it is decided with that.
        proof, changes = _proof(session, plan, compare)
        plan = decide(facts.proven(proof))
        _require(plan, request)
    return Prepared(plan, changes)


def _require(plan: Plan, request: Request) -> None:
    """Raise Refused, with everything that is refused, where the plan must not be performed."""
    if plan.refusals or (plan.refused and not request.skip_refused):
        skippable = not plan.refusals and plan.others > 0
        raise Refused((*plan.refusals, *plan.refused), skippable=skippable)


def _proof(session: Session, plan: Plan, compare: bool) -> tuple[Proof, Mapping[str, Effect]]:
    """What the plan would load, compiled and tested; what it would change, and what is asked of it."""
    from phoenix_hypervisor.engine.effects import effects
    from phoenix_hypervisor.engine.losses import refused
    from phoenix_hypervisor.plan.facts import Proof
    from phoenix_hypervisor.profiles.prove import prove

    proof = Proof()
    if plan.unproven:
        tests = session.policy_tests(optional=session.store.optional_accepted()[0])
        proof = prove(session.store, plan.unproven, tests, session.proven)
    changes = effects(session, proof.blobs) if compare and plan.unproven else {}
    return replace(proof, refused=refused(session, plan.asked)), changes


def execute(
    session: Session, request: Request, prepared: Prepared, progress: Callable[[Action | Note], None]
) -> Prepared:
    """Apply under Phoenix's own lock; the plan is made anew there, so that it is never stale."""
    if not prepared.plan.actions:
        return prepared
    from phoenix_hypervisor.engine.perform import confirm, locked, run
    from phoenix_hypervisor.engine.recovery import recover

    with locked(session):
        fresh = session.again()
        recovered = recover(fresh)
        prepared = replace(prepare(fresh, request), recovered=recovered)
        if prepared.plan.actions:
            done = run(fresh, prepared.plan, progress)
            prepared = replace(prepared, plan=done.plan, transaction=done.number)
    # Not under the lock: it may wait.
    return replace(prepared, unconfirmed=confirm(fresh, prepared.plan))
