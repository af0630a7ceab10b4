"""Whether a container may start: what the hook asks.

Owns reading no more than that takes: one container's configuration, what is declared, the kernel's list of
profiles.  It takes no lock, writes nothing, and needs no records: it is asked while a start waits.  What
cannot be read is raised, and the hook lets the container start then.  Decided in `plan.starts`.
"""

from __future__ import annotations

from phoenix_hypervisor.containers import conf as codec
from phoenix_hypervisor.containers.current import Containers
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.errors import PhoenixError, UsageError
from phoenix_hypervisor.plan.declared import is_ctid
from phoenix_hypervisor.plan.model import container
from phoenix_hypervisor.plan.starts import Start, StartFacts, judge_start


def may_start(session: Session, name: str) -> Start:
    """The verdict on starting one container now, `name` as its runtime calls it.

    Raises PhoenixError for whatever cannot be known: then nothing is to be said against the start.
    """
    if not name or "/" in name or name in (".", ".."):
        raise UsageError(f"{name!r} is not a container's name")
    desired, runtime = session.desired, session.runtime
    runtime.require()
    data = runtime.read_conf(name)
    if data is None:
        raise PhoenixError("has no configuration on this host", where=container(name))
    conf = codec.parse(data, runtime.dialect)
    codec.check_editable(conf)
    loaded = session.host.kernel.loaded_profiles()
    kernel_on = loaded is not None or session.host.kernel.has_apparmor()
    if loaded is None and kernel_on:
        raise PhoenixError("the kernel's list of profiles cannot be read", hint="is securityfs mounted?")
    assigned = conf.next_assigned
    spec = desired.containers.get(name) if is_ctid(name) else None
    # Without records: they decide over the lines beside the profile line, and those stop no start.
    containers = Containers(session.host, runtime)
    return judge_start(
        StartFacts(
            name=name,
            assigned=None if assigned is None else codec.unquoted(assigned),
            declared=None if spec is None else spec.profile,
            wanted=None if spec is None else containers.profile_line(spec, desired, conf),
            exact=spec is not None and bool(spec.scope),
            trial=session.trials[name].name if name in session.trials else None,
            loaded=loaded or {},
            kernel_on=kernel_on,
        )
    )
