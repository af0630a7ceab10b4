"""What a compiled profile refuses of what containers ask for.

Owns the questions behind each thing that can be asked for, and who is asked.  Must not decide what becomes
of the container: `plan.risks` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.plan.facts import Answers
from phoenix_hypervisor.plan.model import ContainerState
from phoenix_hypervisor.plan.risks import MKNOD, NO_WALL, asked_of, risks
from phoenix_hypervisor.values import TYPE_CHECKING, replace

if TYPE_CHECKING:
    from phoenix_hypervisor.policy.evaluate import Evaluator

ANYWHERE = "/mnt/any/"
"""Stands for any place: Proxmox's rules name no target."""
_DOCKER = "/var/lib/docker/overlay2/x/merged/"
_LXC = "/usr/lib/x86_64-linux-gnu/lxc/rootfs/"
_SERVICE = "/run/systemd/mount-rootfs/"
_OWN = ["nosuid", "nodev", "noexec"]
SELF = "@{profile_name}"
"""Stands for the profile that is asked."""

USES: Mapping[str, Sequence[Mapping[str, object]]] = {
    "fuse": (
        {"kind": "mount", "source": "source", "target": ANYWHERE, "fstype": "fuse"},
        {"kind": "file", "path": "/dev/fuse", "access": "rw"},
    ),
    MKNOD: ({"kind": "capability", "name": "mknod"},),
    # What systemd 257 does for a service with a sandbox.
    "services": (
        {"kind": "mount", "source": "/", "target": _SERVICE, "flags": ["rbind"]},
        {
            "kind": "mount",
            "source": "proc",
            "target": "/run/systemd/namespace-Ab12Cd/",
            "fstype": "proc",
            "flags": _OWN,
        },
        {"kind": "pivot_root", "new_root": _SERVICE, "put_old": _SERVICE},
    ),
    # overlay2 and runc; and the layers, which an overlay opens in a mount of its own.
    "docker": (
        {"kind": "mount", "source": "overlay", "target": _DOCKER, "fstype": "overlay"},
        {"kind": "mount", "source": "proc", "target": f"{_DOCKER}proc/", "fstype": "proc", "flags": _OWN},
        {"kind": "mount", "source": "sysfs", "target": f"{_DOCKER}sys/", "fstype": "sysfs", "flags": _OWN},
        {"kind": "pivot_root", "new_root": _DOCKER, "put_old": _DOCKER},
        {"kind": "file", "path": "/.detached/docker/overlay2/x/diff/etc/hosts", "access": "w"},
    ),
    # LXC makes the root of a container there, and attaches under the label that it has.
    "lxc": (
        {"kind": "mount", "source": "proc", "target": f"{_LXC}proc/", "fstype": "proc", "flags": _OWN},
        {"kind": "mount", "source": "sysfs", "target": f"{_LXC}sys/", "fstype": "sysfs", "flags": _OWN},
        {"kind": "pivot_root", "new_root": _LXC, "put_old": _LXC},
        {"kind": "change_profile", "target": SELF},
    ),
    # What kubelet sets, and an example of the host's switches in sysfs.
    "proc:rw": ({"kind": "file", "path": "/proc/sys/vm/overcommit_memory", "access": "w"},),
    "sys:rw": ({"kind": "file", "path": "/sys/kernel/mm/transparent_hugepage/enabled", "access": "w"},),
    NO_WALL: (
        {"kind": "mount", "source": "proc", "target": ANYWHERE, "fstype": "proc", "flags": _OWN},
        {"kind": "file", "path": f"{ANYWHERE}sys/vm/panic_on_oom", "access": "w"},
    ),
}
"""The questions behind a use: it needs all of them."""


def questions(what: str) -> Sequence[Mapping[str, object]]:
    """What a profile must allow, as fields of questions."""
    kind, _, name = what.partition(" ")
    if kind == "mount" and name:
        return ({"kind": "mount", "source": "source", "target": ANYWHERE, "fstype": name},)
    if kind == "device" and name:
        return ({"kind": "file", "path": name, "access": "rw"},)
    return USES[what]


def refused(session: Session, asked: Iterable[tuple[str, Sequence[str]]]) -> Answers:
    """By profile and by what was asked of it, what it refuses; None where it is not ours to compile."""
    return {name: _refused(session, name, whats) for name, whats in asked}


def told(session: Session, states: Sequence[ContainerState]) -> list[ContainerState]:
    """The states, each with warnings of all that it risks under the profile that is wanted."""
    asked: dict[str, dict[str, None]] = {}
    for state in states:
        whats = asked_of(state)
        if whats and state.wanted is not None:
            asked.setdefault(state.wanted, {}).update(dict.fromkeys(whats))
    answers = refused(session, [(name, tuple(whats)) for name, whats in asked.items()])
    return [replace(s, warnings=(*s.warnings, *risks(s, answers))) for s in states]


def _refused(session: Session, name: str, whats: Sequence[str]) -> Mapping[str, str | None] | None:
    judge = judge_of(session, name)
    return None if judge is None else {what: _first_refused(judge, name, what) for what in whats}


def judge_of(session: Session, name: str) -> Evaluator | None:
    """The compiled policy of a profile: as it was loaded, else as its source compiles; None: not ours."""
    if name not in session.sources.profiles:
        return None
    if name not in session.judges:
        session.judges[name] = _judge_of(session, name)
    return session.judges[name]


def _judge_of(session: Session, name: str) -> Evaluator:
    from phoenix_hypervisor.policy.evaluate import Evaluator
    from phoenix_hypervisor.policy.reader import read_policy
    from phoenix_hypervisor.profiles.prove import prove

    found = next(profile for profile in session.store.profiles() if profile.name == name)
    blob = session.store.compiled(name) if found.loaded_closure == found.closure else None
    if blob is None:
        blob = prove(session.store, [found], (), session.proven).blobs[name]
    wanted = name.encode("utf-8", "surrogateescape")
    return next(Evaluator(p) for p in read_policy(blob).profiles if p.name == wanted)


def _first_refused(judge: Evaluator, name: str, what: str) -> str | None:
    """The first question that is refused, as the command line takes it."""
    from phoenix_hypervisor.policy.queries import parse_query
    from phoenix_hypervisor.policy.query import RawQuery

    for fields in questions(what):
        query = parse_query({key: name if value == SELF else value for key, value in fields.items()})
        if not isinstance(query, RawQuery) and not judge.ask(query).allowed:
            return str(query)
    return None
