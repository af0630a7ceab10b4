"""What `phoenix gpu` shows people.

Owns the matrix of containers and GPUs, the shared nodes, and the words of an explanation.  Must not judge.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping

from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.output import say
from phoenix_hypervisor.cli.tables import Form, Row, table
from phoenix_hypervisor.gpu.hardware import NO_TENANT, SHARED, Gpu
from phoenix_hypervisor.plan.chosen import shortest
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from phoenix_hypervisor.engine.opening import GpuAccesses, Opening
    from phoenix_hypervisor.gpu.access import GpuAccess, NodeAccess

OPEN, MAKE, SHUT = "X", "m", "."
_WIDTH = 100
"""Characters of a line of text."""
_NAME = 24
"""Characters of a name in the matrix."""


def show(settings: Settings, found: GpuAccesses) -> None:
    """The GPUs, the matrix, what stays shared, and what is not known."""
    gpus = found.hardware.gpus
    if not gpus:
        say(settings, "no GPU: neither a driver nor a device node is there")
        return
    for one in gpus:
        say(settings, f"GPU {one.number}: {called(one)}")
        if settings.verbose and one.uuid:
            say(settings, f"    {one.uuid}")
    say(settings)
    judged = {ctid: one for ctid, one in found.openings.items() if one.guest.fault is None}
    closed = [ctid for ctid, one in judged.items() if not any(g.can_open or g.can_make for g in one.gpus)]
    rows = [_row(one) for ctid, one in judged.items() if ctid not in set(closed)]
    if rows:
        columns = ("CTID", "name", "kind", *(str(one.number) for one in gpus))
        table(settings, "Who can open which GPU", Form(columns, rows))
        said = {cell for cells, _ in rows for cell in cells[3:]}
        means = {
            OPEN: "can open it",
            MAKE: "no line brings it, but it can make the node itself",
            SHUT: "cannot",
        }
        say(settings, "; ".join(f"{sign} {text}" for sign, text in means.items() if sign in said))
    if closed:
        _wrapped(settings, f"cannot open any GPU ({len(closed)}): {_spaced(shortest(closed))}")
    _shared(settings, found)
    _unknown(settings, found)


def called(gpu: Gpu) -> str:
    """A GPU with all that is known of it."""
    words = [gpu.model or gpu.vendor, gpu.bus, gpu.needs]
    text = ", ".join(word for word in words if word)
    if gpu.slices:
        text += f"; MIG slices {', '.join(one.name for one in gpu.slices)}"
    return text


def _row(one: Opening) -> Row:
    cells = [OPEN if gpu.can_open else MAKE if gpu.can_make else SHUT for gpu in one.gpus]
    name = one.guest.name if len(one.guest.name) <= _NAME else f"{one.guest.name[: _NAME - 1]}…"
    kind = "unpriv" if one.guest.unprivileged else "priv"
    return (one.guest.ctid, name, kind, *cells), "yellow" if MAKE in cells else None


def _spaced(ctids: str) -> str:
    return ctids.replace(",", ", ")


def _wrapped(settings: Settings, text: str, style: str | None = None) -> None:
    for line in textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False):
        say(settings, line, style)


def _shared(settings: Settings, found: GpuAccesses) -> None:
    """One line for each kind of node that somebody can open."""
    by_kind: dict[str, dict[str, None]] = {}
    for one in found.hardware.shared:
        users = by_kind.setdefault(one.kind, {})
        users.update(dict.fromkeys(found.users(one.path)))
    if any(by_kind.values()):
        say(settings)
        say(settings, "Shared among those who can open them")
    for kind, users in by_kind.items():
        if users:
            text = f"{kind}: {_spaced(shortest(users))}: {SHARED.get(kind, 'one node for all')}"
            _wrapped(settings, text, "red" if kind in NO_TENANT else None)


def _unknown(settings: Settings, found: GpuAccesses) -> None:
    lines: dict[str, list[str]] = {}
    for ctid, one in found.openings.items():
        guest = one.guest
        if guest.fault is not None:
            lines.setdefault(f"nothing is known: {guest.fault}", []).append(ctid)
        for line in guest.unseen:
            lines.setdefault(f"`{line}` may bring more; it is not looked into", []).append(ctid)
        for line in guest.inert:
            lines.setdefault(f"`{line}` does nothing", []).append(ctid)
        if not one.profile_known:
            text = f"what {guest.profile} refuses is not known: it counts as no wall"
            lines.setdefault(text, []).append(ctid)
    if lines:
        say(settings)
    for text, ctids in lines.items():
        _wrapped(settings, f"{_spaced(shortest(ctids))}: {text}", "magenta")


# One container and one GPU ----------------------------------------------------------


def explain(settings: Settings, one: Opening, gpu: Gpu, access: GpuAccess | None) -> None:
    """Each line that lets it in, or each wall; and what remains if one falls."""
    who = f"container {one.guest.ctid} {one.guest.name}".rstrip()
    if access is None:
        say(settings, f"{who}: nothing is known: {one.guest.fault}", "red")
        return
    verdict = (
        "can open it" if access.can_open else "can make its node" if access.can_make else "cannot open it"
    )
    style = None if access.can_open else "yellow" if access.can_make else "green"
    say(settings, f"{who}, GPU {gpu.number} ({called(gpu)}): {verdict}", style)
    for node in access.nodes:
        _explain_node(settings, node)
    for part, usable in access.slices:
        say(settings, f"  MIG slice {part.name}: {'can be used' if usable else 'cannot be used'}")
    for line in one.guest.inert:
        _pair(settings, "no effect", line)
    for line in one.guest.unseen:
        _pair(settings, "not seen", f"`{line}` may bring more")
    if not one.profile_known:
        _pair(settings, "profile", f"what {one.guest.profile} refuses is not known: it counts as no wall")


def _explain_node(settings: Settings, node: NodeAccess) -> None:
    say(settings, f"  {node.node}:")
    best = node.best
    if best.is_open:
        where = "made anew, under any name" if best.made else best.path
        _pair(
            settings, "opens", f"{where}, for {'reading and writing' if best.access == 'rw' else best.access}"
        )
        for line in best.by:
            _pair(settings, "by", line)
        if not best.made and not best.others:
            _pair(settings, "but", "users inside who are not root cannot: see mode and gid of its line")
        return
    _walls(settings, node.walls)
    for wall in node.walls:
        remaining = node.without(wall)
        text = ", ".join(remaining) if remaining else "nothing remains: it opens"
        _pair(settings, f"if {wall} falls", text)


def _walls(settings: Settings, walls: Mapping[str, str]) -> None:
    for wall, why in walls.items():
        _pair(settings, f"wall: {wall}", why)


def _pair(settings: Settings, name: str, text: str) -> None:
    lines: Iterable[str] = textwrap.wrap(
        text, _WIDTH - 30, break_long_words=False, break_on_hyphens=False
    ) or [""]
    for number, line in enumerate(lines):
        say(settings, f"    {name if number == 0 else '':<26}{line}")
