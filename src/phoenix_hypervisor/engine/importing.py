"""From a host to its configuration: what stands there, declared.

Owns the order: every container is read once, described (`containers.described`), declared so that
a plan finds nothing to do (`plan.lines`), and written into one file.  Nothing else is written.
Must not decide what a plan does: whether one would write is asked of what it asks itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from phoenix_hypervisor.config import written
from phoenix_hypervisor.config.devices import faults
from phoenix_hypervisor.config.document import MAX_CONFIG
from phoenix_hypervisor.config.document import parse as parse_document
from phoenix_hypervisor.config.imported import can_be_declared, entry
from phoenix_hypervisor.config.load import SPECIAL, load_config
from phoenix_hypervisor.config.schema import SCHEMA_NAME
from phoenix_hypervisor.containers import conf as codec
from phoenix_hypervisor.containers.current import Containers, conf_fault
from phoenix_hypervisor.containers.described import describe
from phoenix_hypervisor.containers.runtime import Clustered, Found
from phoenix_hypervisor.containers.seccomp import COMMON, COMPANION
from phoenix_hypervisor.engine.places import beside, default_place
from phoenix_hypervisor.engine.requests import ImportRequest
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.engine.shared import writing
from phoenix_hypervisor.errors import PhoenixError, UsageError
from phoenix_hypervisor.host.files import Directory
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.declared import ContainerSpec, Desired, is_ctid
from phoenix_hypervisor.plan.lines import UNPRIVILEGED, variant
from phoenix_hypervisor.plan.model import Note, because, container
from phoenix_hypervisor.profiles import records
from phoenix_hypervisor.values import TYPE_CHECKING, dataclass, field

if TYPE_CHECKING:
    from typing import Any

    from phoenix_hypervisor.config.devices import Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedContainer:
    """One container as it is declared now."""

    ctid: str
    entry: Mapping[str, Any]
    """Its entry in the configuration."""
    not_written: tuple[str, ...]
    """The runtime's keys, and keys of ours, whose values stand there and are not declared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import found, and the configuration that says it."""

    path: str
    before: bytes | None
    """The configuration as it was; None where there was none."""
    data: bytes
    """The whole configuration."""
    written: bool
    """False where nothing was to be added, or only the text was asked for."""
    containers: tuple[ImportedContainer, ...]
    """What was added, in CTID order."""
    declared: int
    """How many containers of this host the file had already."""
    left_out: tuple[Note, ...]
    """Containers that could not be declared, and why."""


@dataclass(slots=True, kw_only=True)
class _Work:
    """What an import is made with."""

    session: Session
    desired: Desired
    """What the file declares already; `explicit_unconfined` is as it will be."""
    containers: Containers
    known: frozenset[str]
    """The profiles that can be declared without `lines`."""
    seen: Seen
    added: dict[str, ImportedContainer] = field(default_factory=dict)
    left_out: list[Note] = field(default_factory=list)
    here: set[str] = field(default_factory=set)
    """Every CTID that was found."""


def run(session: Session, request: ImportRequest) -> Imported:
    """Read the host, and write what stands there.

    Raises PhoenixError where the file is there and is not to be merged, or cannot be used as it is.
    """
    target = place(session, request.output)
    before = _read(target) if request.merge else None
    if os.path.lexists(target) and not request.merge and request.write:
        hint = "--merge adds the containers that it lacks; --output FILE writes another file"
        raise PhoenixError("is there already, and nothing was written", where=target, hint=hint)
    session.put_configuration_at(target)
    document: dict[str, Any] = {}
    shipped = frozenset(session.sources.profiles)
    desired = Desired(containers={}, explicit_unconfined=True, shipped=shipped)
    if before is not None:
        document, desired = parse_document(before, target)[0], session.desired
    work = _work(session, desired, document)
    for found in _found(session, request):
        _import(work, found)
    added = dict(sorted(work.added.items(), key=lambda item: int(item[0])))
    entries = {ctid: one.entry for ctid, one in added.items()}
    unconfined = any(one.entry["apparmor_profile"] == "unconfined" for one in added.values())
    if before is not None:
        explicit = unconfined and work.desired.explicit_unconfined and not desired.explicit_unconfined
        data = written.merged(before.decode(), entries, explicit=explicit).encode()
    else:
        schema = os.path.isfile(beside(target, SCHEMA_NAME))
        data = written.new(entries, schema=schema, explicit=unconfined).encode()
    changed = request.write and data != before
    if changed:
        _check(session, target, data, shipped)
    if changed and not request.dry_run:
        with writing(session, target):
            _write(session, request, target, data, before)
    return Imported(
        path=target,
        before=before,
        data=data,
        written=changed and not request.dry_run,
        containers=tuple(added.values()),
        declared=len(work.here & desired.containers.keys()),
        left_out=tuple(work.left_out),
    )


def _work(session: Session, desired: Desired, document: Mapping[str, Any]) -> _Work:
    declared = desired.containers
    explicit = desired.explicit_unconfined or (
        # Where nothing is said, and nobody relies on it, it can be said now.
        "unconfined_means" not in document
        and not any(spec.profile == "unconfined" for spec in declared.values())
    )
    manifest = records.read(session.host)[0]
    companion = COMPANION if session.host.exists(COMMON) else None
    seen: Seen = {}
    for ctid, one in document.get("lxc_configs", {}).items():
        faults(ctid, one, seen)
    return _Work(
        session=session,
        desired=Desired(
            containers=declared,
            deprecated=desired.deprecated,
            explicit_unconfined=explicit,
            shipped=desired.shipped,
        ),
        containers=Containers(session.host, session.runtime, manifest.assigned, manifest.lines, companion),
        known=frozenset([*desired.shipped, *SPECIAL, *session.installed_profiles()]),
        seen=seen,
    )


def _found(session: Session, request: ImportRequest) -> Iterator[Found]:
    """Every container of this node, and with `all_nodes` those of the others."""
    runtime = session.runtime
    if session.host.is_live:
        runtime.require()
    node = None
    if request.all_nodes:
        if not isinstance(runtime, Clustered):
            raise UsageError("--all-nodes needs a cluster", hint="plain LXC has none; leave it out")
        node = runtime.node()
    for name in runtime.names():
        try:
            data, error = runtime.read_conf(name), None
        except PhoenixError as fault:
            data, error = None, fault
        yield Found(name=name, path=runtime.conf_path(name), node=node, here=True, data=data, error=error)
    if request.all_nodes and isinstance(runtime, Clustered):
        yield from runtime.on_other_nodes()


def _import(work: _Work, found: Found) -> None:
    """Declare one container, or say why not."""
    target = container(found.name)
    if found.error is not None:
        fault = conf_fault(found.path, found.error)
        work.left_out.append(because(Code.CONF_UNUSABLE, target, fault))
        return
    if found.data is None:
        # It went while we looked.
        return
    if not is_ctid(found.name):
        work.left_out.append(Note(Code.FOREIGN_ID, target, {"path": found.path}))
        return
    if found.name in work.here:
        data = {"kind": "container", "node": found.node}
        work.left_out.append(Note(Code.ON_ANOTHER_NODE, target, data))
        return
    work.here.add(found.name)
    if found.name in work.desired.containers:
        return
    conf = codec.parse(found.data, work.session.runtime.dialect)
    try:
        codec.check_editable(conf)
        entry_of, left = _declared(work, found, conf)
    except codec.ConfError as error:
        fault = conf_fault(found.path, error)
        work.left_out.append(because(Code.CONF_UNUSABLE, target, fault))
        return
    except _Unsayable as error:
        data = {"why": error.message, "next": error.hint}
        work.left_out.append(Note(Code.LINE_UNUSABLE, target, data))
        return
    work.added[found.name] = ImportedContainer(ctid=found.name, entry=entry_of, not_written=left)


class _Unsayable(PhoenixError):
    """What the profile line says has no form in the configuration."""


def _declared(work: _Work, found: Found, conf: codec.Conf) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The entry of one container, and what of it is not declared."""
    profile = _profile(conf, work.desired)
    if profile in work.desired.deprecated:
        raise _Unsayable(
            f"its profile {profile} is deprecated in this configuration",
            hint=f"declare it by hand, with {work.desired.deprecated[profile]}",
        )
    described = describe(found.name, conf)
    values: dict[str, object] = {**described.values, "apparmor_profile": profile}
    if profile not in work.known or _differs(work, found, conf, profile):
        values["lines"] = "keep"
    if found.node is not None:
        values["node"] = found.node
    # Of another node's containers it is not known whether they run.
    if conf.is_template or not (found.here and work.containers.is_running(found.name)):
        values["start"] = False
    declared, refused = entry(found.name, values, work.seen)
    return declared, tuple(sorted({*described.left, *refused}))


def _profile(conf: codec.Conf, desired: Desired) -> str:
    """What to declare for the line that counts."""
    if conf.assigned is None:
        return "generated"
    standing = codec.unquoted(conf.assigned)
    if not can_be_declared(standing):
        raise _Unsayable(
            f"its profile line has the value {standing!r}, which cannot be declared",
            hint="correct that line, or declare the container by hand",
        )
    declared = standing.removesuffix(UNPRIVILEGED)
    if variant(declared, conf.unprivileged, desired.shipped) == standing:
        return declared
    return standing


def _differs(work: _Work, found: Found, conf: codec.Conf, profile: str) -> bool:
    """Whether Phoenix would write a container's lines otherwise, were it declared to have `profile`."""
    containers = work.containers
    if not found.here:
        # What its own node's Phoenix has written is not known here.
        written_there = {found.name: conf.beside}
        host, runtime = work.session.host, work.session.runtime
        containers = Containers(host, runtime, {}, written_there, COMPANION)
    spec = ContainerSpec(ctid=found.name, name="", profile=profile, start=False, unprivileged=True)
    return containers.differs(spec, work.desired, conf)


def _read(path: str) -> bytes | None:
    """The file at `path`; None where there is none."""
    if not os.path.lexists(path):
        return None
    if not os.path.isfile(path):
        raise PhoenixError("is not a regular file", where=path, hint="name another one with --output")
    try:
        with open(path, "rb") as file:
            return file.read(MAX_CONFIG + 1)
    except OSError as error:
        raise PhoenixError(f"cannot be read: {error.strerror}", where=path) from error


def place(session: Session, output: str | None = None) -> str:
    """The file to write on this machine: what was named, what is there, or where a new one belongs."""
    given = session.settings.config if output is None else output
    if given == "":
        raise UsageError("the name of the file is empty", hint="leave --output out, or name a file")
    if given is not None and os.path.isdir(given):
        raise UsageError("is a directory", where=given, hint="name the file in it")
    if given is not None:
        return os.path.abspath(given)
    return session.configuration or session.host.root.locate(default_place(session.host))


def _check(session: Session, target: str, data: bytes, shipped: frozenset[str]) -> None:
    """Raise ProblemsError where the result would not pass `phoenix check`."""
    load_config(
        data,
        session.schema,
        where=target,
        shipped=shipped,
        installed=session.installed_profiles,
    )


def _write(session: Session, request: ImportRequest, target: str, data: bytes, before: bytes | None) -> None:
    """Put the file there, as a whole or not at all."""
    real = os.path.realpath(target)
    parent, name = os.path.split(real)
    if not os.path.isdir(parent):
        if request.output is not None or session.settings.config is not None:
            raise UsageError("its directory does not exist", where=target, hint=f"mkdir -p {parent}")
        os.makedirs(parent, 0o755, exist_ok=True)
    # pmxcfs gives its files a mode of its own, and takes no other.
    free = before is None and not real.startswith(session.host.root.locate("/etc/pve") + "/")
    with Directory(parent, parent, parent) as directory:
        directory.replace(name, data, before=before, mode=0o644 if free else None)
