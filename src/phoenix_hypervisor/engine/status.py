"""What is declared, assigned and running: the facts of `status` and `verify`.

Owns gathering them once and having them judged; the verdicts are `plan.verify`'s.
"""

from __future__ import annotations

from phoenix_hypervisor.engine.recovery import judge_journal
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.plan.mediation import Gap, gaps, read_dump
from phoenix_hypervisor.plan.verify import (
    ContainerVerdict,
    Finding,
    ProfileVerdict,
    judge_cache,
    judge_container,
    judge_host,
    judge_profiles,
    judge_switch,
)


def gather(session: Session, ctids: tuple[str, ...]) -> tuple[list[ContainerVerdict], list[ProfileVerdict]]:
    """Verdicts on the named containers, or on all of this host, and on every shipped profile."""
    desired, store, containers = session.desired, session.store, session.containers
    present = containers.runtime.ctids()
    unknown = [c for c in ctids if c not in desired.containers and c not in set(present)]
    if unknown:
        raise PhoenixError(f"container {', '.join(unknown)} is neither declared nor on this host")
    chosen = ctids or tuple(sorted({*desired.containers, *present}, key=int))
    specs = [desired.containers[c] for c in chosen if c in desired.containers]
    states = {s.ctid: s for s in containers.declared(specs, desired)}
    states.update({s.ctid: s for s in containers.found(c for c in chosen if c not in desired.containers)})
    live = session.host.is_live
    node = containers.runtime.node()
    verdicts = [judge_container(desired.containers.get(c), states[c], live=live, node=node) for c in chosen]
    users: dict[str, list[str]] = {}
    assigned = containers.assignments().values if ctids else {c: s.assigned for c, s in states.items()}
    for ctid, value in assigned.items():
        for name in (value or "").split("//&"):
            users.setdefault(name, []).append(ctid)
    boot: dict[str, list[Finding]] = {}
    for cache in store.caches():
        boot.setdefault(cache.profile, []).append(judge_cache(cache.path, cache.newer))
    for name, path in store.switched_off():
        boot.setdefault(name, []).append(judge_switch(path))
    return verdicts, judge_profiles(store.files(), store.profiles(), users, boot)


def host_findings(session: Session) -> list[Finding]:
    """What is wrong with the host, not with one container or profile."""
    return [
        *judge_host(session.host.is_live, session.host.kernel.has_apparmor()),
        *judge_journal(session),
    ]


def unmediated(session: Session) -> list[Gap] | None:
    """What AppArmor cannot mediate here; None where no kernel says (no securityfs below the root)."""
    from phoenix_hypervisor.profiles.features import pinned

    kernel = session.host.kernel.features()
    if kernel is None:
        return None
    data = pinned(session.host)
    try:
        return gaps(kernel, read_dump(data) if data is not None else None)
    except ValueError:
        return gaps(kernel, None)
