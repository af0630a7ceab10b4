"""`phoenix gpu`: who can open whose GPU, and why.

Owns its arguments and what `--json` prints; the engine gathers, the verdicts are `gpu.access`'s, and
`cli.gpu_words` shows them to people.
"""

from __future__ import annotations

import click

from phoenix_hypervisor.cli.complete import complete_present
from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.gpu_words import explain, show
from phoenix_hypervisor.cli.options import global_options
from phoenix_hypervisor.cli.output import emit
from phoenix_hypervisor.cli.progress import Busy
from phoenix_hypervisor.engine.requests import GpuRequest
from phoenix_hypervisor.errors import EXIT_OK, UsageError
from phoenix_hypervisor.gpu.hardware import SHARED, Gpu, assigned
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from phoenix_hypervisor.engine.opening import GpuAccesses, Opening
    from phoenix_hypervisor.gpu.access import GpuAccess, NodeAccess


@click.command("gpu")
@click.argument("ctids", nargs=-1, metavar="[CONTAINER]...", shell_complete=complete_present)
@click.option(
    "--explain",
    nargs=2,
    metavar="CONTAINER GPU",
    help="One container and one GPU (its number or UUID): what lets it in, or each wall that stops it.",
)
@global_options
@click.pass_obj
def gpu(settings: Settings, ctids: tuple[str, ...], explain: tuple[str, str] | None) -> int:
    """Show who can open whose GPU, and why.

    CONTAINER is a CTID, a name, a list (103,104) or a range (103-110). What is shown is what the
    configurations say: a running container has what they said when it was started.
    """
    if explain is not None and ctids:
        raise UsageError("--explain names its container itself", hint="phoenix gpu --explain CONTAINER GPU")
    wanted = ctids if explain is None else explain[:1]
    with Busy(settings, "looking at containers"):
        found = settings.phoenix().gpu(GpuRequest(ctids=wanted))
    if explain is not None:
        return _explain(settings, found, explain)
    if settings.json:
        emit(document(found))
    else:
        show(settings, found)
    return EXIT_OK


def _explain(settings: Settings, found: GpuAccesses, words: tuple[str, str]) -> int:
    meant = assigned((words[1],), found.hardware).gpus
    if len(meant) != 1 or len(found.openings) != 1:
        known = ", ".join(str(one.number) for one in found.hardware.gpus) or "this host has none"
        raise UsageError(f"{words[1]!r:.60} is no GPU of this host", hint=f"GPUs: {known}")
    (opening,) = found.openings.values()
    access = next((one for one in opening.gpus if one.gpu is meant[0]), None)
    if settings.json:
        ctid = opening.guest.ctid
        emit({"container": ctid, **_guest(opening), "explained": None if access is None else _ways(access)})
    else:
        explain(settings, opening, meant[0], access)
    return EXIT_OK


def document(found: GpuAccesses) -> dict[str, Any]:
    """What `--json` prints; stable."""
    return {
        "gpus": [_gpu(one) for one in found.hardware.gpus],
        "shared": [
            {
                "path": one.path,
                "kind": one.kind,
                "means": SHARED.get(one.kind, ""),
                "containers": list(found.users(one.path)),
            }
            for one in found.hardware.shared
        ],
        "containers": {
            ctid: {**_guest(one), "gpus": [_access(access) for access in one.gpus]}
            for ctid, one in found.openings.items()
        },
    }


def _gpu(one: Gpu) -> dict[str, Any]:
    return {
        "gpu": one.number,
        "vendor": one.vendor,
        "model": one.model,
        "uuid": one.uuid,
        "bus": one.bus,
        "node": one.needs,
        "nodes": list(one.nodes),
        "slices": [{"slice": part.name, "nodes": list(part.nodes)} for part in one.slices],
    }


def _guest(one: Opening) -> dict[str, Any]:
    guest = one.guest
    return {
        "name": guest.name,
        "unprivileged": guest.unprivileged,
        "profile": guest.profile,
        "profile_known": one.profile_known,
        "unseen": list(guest.unseen),
        "inert": list(guest.inert),
        "error": guest.fault,
    }


def _access(one: GpuAccess) -> dict[str, Any]:
    node = one.deciding
    return {
        "gpu": one.gpu.number,
        "can_open": one.can_open,
        "can_make": one.can_make,
        "works": one.works,
        "by": list(node.by),
        "walls": list(node.walls),
        "slices": {part.name: usable for part, usable in one.slices},
    }


def _ways(one: GpuAccess) -> dict[str, Any]:
    return {**_access(one), "nodes": [_node(node) for node in one.nodes]}


def _node(node: NodeAccess) -> dict[str, Any]:
    return {
        "node": node.node,
        "can_open": node.can_open,
        "can_make": node.can_make,
        "by": list(node.by),
        "walls": dict(node.walls),
        "remaining": {wall: list(node.without(wall)) for wall in node.walls},
        "ways": [
            {
                "path": None if way.made else way.path,
                "by": list(way.by),
                "walls": dict(way.walls),
                "access": way.access,
                "made": way.made,
                "others": way.others,
            }
            for way in node.ways
        ],
    }
