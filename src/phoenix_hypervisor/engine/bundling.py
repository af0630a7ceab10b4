"""What this node tells others of itself.

Owns gathering the facts bundle, and the place where a cluster keeps those of its nodes.  Must not judge:
`plan.migration` does, on the node that asks.
"""

from __future__ import annotations

import hashlib
import os

from phoenix_hypervisor.containers.gpu_nodes import Nodes, hardware
from phoenix_hypervisor.containers.seccomp import COMPANION
from phoenix_hypervisor.engine.condition import unmediated
from phoenix_hypervisor.engine.debian import packages
from phoenix_hypervisor.engine.places import CLUSTER, OWN
from phoenix_hypervisor.engine.results import Refused
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.files import Directory
from phoenix_hypervisor.host.policyfs import LoadedPolicy, all_hashes
from phoenix_hypervisor.plan.bundle import MAX_BUNDLE, Bundle, Features, GpuThere, LoadedThere, text
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.mediation import ASKED, read_dump
from phoenix_hypervisor.plan.mediation import Features as Exported
from phoenix_hypervisor.plan.model import because
from phoenix_hypervisor.profiles.features import PACKED, packed
from phoenix_hypervisor.profiles.records import digest

PACKAGES = (
    "pve-manager",
    "pve-container",
    "lxc-pve",
    "lxc",
    "liblxc1",
    "liblxc1t64",
    "lxcfs",
    "apparmor",
    "nvidia-container-toolkit",
)
"""What runs containers, and what of it decides how they are confined."""


def bundle(session: Session) -> Bundle:
    """One look at this node.  Raises PhoenixError where its containers' runtime cannot be seen."""
    from phoenix_hypervisor import __version__

    host, kernel = session.host, session.host.kernel
    nodes = Nodes(host)
    found = hardware(host, nodes)
    return Bundle(
        node=node_name(session),
        gathered=host.now(),
        phoenix=__version__,
        parser=_parser(session),
        release=kernel.release(),
        apparmor=kernel.has_apparmor() if host.is_live or kernel.features() is not None else None,
        features=_features(session),
        runtime=session.runtime.name,
        packages=packages(host, PACKAGES),
        profiles=_profiles(session),
        gpus=tuple(
            GpuThere(
                number=gpu.number, vendor=gpu.vendor, model=gpu.model, uuid=gpu.uuid, nodes=tuple(gpu.nodes)
            )
            for gpu in found.gpus
        ),
        devices={path: node.number for path, node in sorted(found.nodes.items())},
        files=_files(session),
    )


def node_name(session: Session) -> str:
    """What this node is called in its cluster, else as the host calls itself."""
    named = session.runtime.node()
    if named is None:
        data = session.host.content("/etc/hostname")
        named = data.decode("utf-8", "replace").strip().partition(".")[0] if isinstance(data, bytes) else ""
    return named or (os.uname().nodename.partition(".")[0] if session.host.is_live else "unknown")


def _parser(session: Session) -> str | None:
    try:
        return ".".join(map(str, session.parser_of_installed().version))
    except PhoenixError:
        return None


def _features(session: Session) -> Features | None:
    exported = session.host.kernel.features()
    if exported is None:
        return None
    missing = {gap.code for gap in unmediated(session) or ()}
    return Features(
        hash=features_hash(exported),
        same_as=tuple(name for name in PACKED if features_hash(_packed(name)) == features_hash(exported)),
        mediated=tuple(one.code for one in ASKED if one.code not in missing),
        unmediated=tuple(one.code for one in ASKED if one.code in missing),
    )


def features_hash(exported: Exported) -> str:
    """SHA-256 over all features: a line for each path that has words, both sorted."""
    lines = [f"{path} {' '.join(sorted(words))}\n" for path, words in sorted(exported.items()) if words]
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _packed(name: str) -> Exported:
    path = packed(name)
    assert path is not None
    with open(path, "rb") as file:
        return read_dump(file.read())


def _profiles(session: Session) -> dict[str, LoadedThere]:
    """What the kernel has; on a directory host what is installed as its source says."""
    store = session.store
    if store.loaded is None and not session.host.is_live:
        same = {one.profile for one in store.files() if one.installed == one.wanted}
        shipped = [one for one in store.profiles() if one.name in same]
        return {one.name: LoadedThere(mode="unknown", source=one.closure) for one in shipped}
    hashes = all_hashes(session.host.root)
    found = {}
    for name, mode in sorted((store.loaded or {}).items()):
        if "//" in name:
            continue  # its parent's hash is over it, too
        blob = store.compiled(name) if name in store.manifest.loaded else None
        # What the kernel has of a trial or after a hand's change is not our copy.
        ours = blob is not None and store.in_kernel(name) == blob
        found[name] = LoadedThere(
            mode=mode,
            kernel=_kernel(hashes.get(name, [])),
            compiled=digest(blob) if blob is not None and ours else None,
            source=store.manifest.loaded.get(name) if ours else None,
        )
    return found


def _kernel(found: list[LoadedPolicy]) -> str | None:
    """One digest over the hashes of a profile and its children, by the first algorithm that all have."""
    for algorithm in ("sha256", "sha1"):
        digests = {one.name: dict(one.hashes).get(algorithm) for one in found}
        if digests and None not in digests.values():
            lines = "".join(f"{name} {one}\n" for name, one in sorted(digests.items()))
            return f"{algorithm}:{hashlib.sha256(lines.encode('utf-8', 'surrogateescape')).hexdigest()}"
    return None


def _files(session: Session) -> dict[str, str]:
    data = session.host.content(COMPANION)
    return {COMPANION: digest(data)} if isinstance(data, bytes) else {}


# Where a cluster keeps them ----------------------------------------------------------


def place(session: Session, node: str) -> str:
    """The host path of a node's bundle: beside the cluster's configuration, else beside the host's own."""
    top = CLUSTER if session.host.exists("/etc/pve/lxc") else OWN
    return f"{top}/facts/{node}.json"


def publish(session: Session) -> tuple[Bundle, str]:
    """Put this node's bundle where the others look for it; the bundle, and its path on this machine.

    Raises Refused where the cluster's file system cannot be written, PhoenixError where a write fails.
    """
    read_only = session.runtime.read_only()
    if read_only is not None:
        raise Refused((because(Code.READ_ONLY, "the facts bundle", read_only),))
    one = bundle(session)
    parent, name = os.path.split(place(session, one.node))
    directory = session.host.directory(parent, create=True)
    assert directory is not None
    with directory:
        put(directory, name, text(one), free=not parent.startswith("/etc/pve/"))
    return one, directory.where(name)


def put(directory: Directory, name: str, data: bytes, *, free: bool) -> None:
    """Replace a file; `free` False: pmxcfs gives it a mode of its own and takes no other."""
    if len(data) > MAX_BUNDLE:
        raise PhoenixError(f"is over {MAX_BUNDLE} bytes", where=directory.where(name), hint="leave it out")
    directory.replace(name, data, before=directory.read(name), mode=0o644 if free else None)
