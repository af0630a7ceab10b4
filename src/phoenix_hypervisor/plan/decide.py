"""What a run would do, decided from facts.

Owns the order in which the parts are decided: profiles, containers, then what is deprecated,
each seeing the plan so far.  Pure.
"""

from __future__ import annotations

from phoenix_hypervisor.plan.containers import decide_containers
from phoenix_hypervisor.plan.facts import ContainerFacts, ProfileFacts, Proof, RetirementFacts
from phoenix_hypervisor.plan.model import Plan
from phoenix_hypervisor.plan.profiles import decide_profiles
from phoenix_hypervisor.plan.retire import decide_retirement
from phoenix_hypervisor.values import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """All that setup, plan and apply decide from."""

    profiles: ProfileFacts
    containers: ContainerFacts
    retirement: RetirementFacts

    def proven(self, proof: Proof) -> HostFacts:
        """The same facts, with the proof of what the plan would load."""
        return replace(
            self,
            profiles=replace(self.profiles, proof=proof),
            containers=replace(self.containers, refused=proof.refused),
        )


def decide(facts: HostFacts) -> Plan:
    """The whole plan.  It is complete where it has refusals, or nothing `unproven` and nothing `asked`."""
    plan = decide_profiles(facts.profiles, Plan())
    plan += decide_containers(facts.containers, plan)
    return plan + decide_retirement(facts.retirement, plan)
