"""One container that is as declared, for tests of decisions; each changes of it what it is about."""

from __future__ import annotations

from phoenix_hypervisor.plan.declared import ContainerSpec
from phoenix_hypervisor.plan.facts import ContainerFacts, Creation, Wish
from phoenix_hypervisor.plan.model import ContainerState

SPEC = ContainerSpec(ctid="950", name="a", profile="lxc-a", start=True, unprivileged=True)
DATA = b"lxc.apparmor.profile: lxc-a\n"
STATE = ContainerState(
    ctid="950",
    path="/etc/pve/lxc/950.conf",
    data=DATA,
    after=DATA,
    wanted="lxc-a",
    assigned="lxc-a",
    running=False,
)
LIVE = ContainerFacts(
    wish=Wish(),
    live=True,
    node="pve1",
    pairs=((SPEC, STATE),),
    creations={"950": Creation(process=("create", "950"))},
    starts={"950": (("start", "950"),)},
    restarts={"950": (("stop", "950"), ("start", "950"))},
    loaded={"lxc-a": "enforce"},
)
