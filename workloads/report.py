"""docs/workloads.md out of what was measured, and what does not hold.

Owns the document's form and the bar. Pure: a document in, text or faults out.  Must not run anything.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from efficacy.prose import wrapped

from workloads.cell import REFERENCE
from workloads.checks import NESTING, OURS, Check

GATE = "trixie"
"""The release that has to hold; the others are measured."""
ALLOWED_FEWER = {"unprivileged": 0, "privileged": 2}
"""Checks that a profile may lose against the reference, beside those that it is there to forbid."""
WIDTH = 108
HEAD = Path(__file__).parent / "head.md"

Cell = dict[str, Any]


def reference_of(cell: Cell, cells: Sequence[Cell]) -> Cell | None:
    """The cell of Proxmox's own default, same release, kind and init."""
    same = ("release", "kind", "init")
    found = (one for one in cells if one["profile"] == REFERENCE and all(one[k] == cell[k] for k in same))
    return next(found, None)


def passed(cell: Cell) -> set[str]:
    return {name for name, verdict in cell["verdicts"].items() if verdict == "passed"}


def fewer(cell: Cell, cells: Sequence[Cell], checks: Sequence[Check]) -> list[str]:
    """Checks that the reference passes and this cell does not, without those that it is there to forbid."""
    reference = reference_of(cell, cells)
    if reference is None:
        return []
    missing = passed(reference) - passed(cell)
    return [c.name for c in checks if c.name in missing and not c.forbidden(cell["profile"], cell["kind"])]


def faults(document: dict[str, Any], checks: Sequence[Check]) -> list[str]:
    """What does not hold on the release that is the gate."""
    cells: list[Cell] = document["cells"]
    found = []
    for cell in cells:
        exempt = cell["profile"] == NESTING and cell["kind"] == "privileged"
        if cell["release"] != GATE or cell["profile"] not in OURS or exempt:
            continue
        where = f"{cell['release']} {cell['init']} {cell['kind']} {cell['profile']}"
        state = {"systemd": "running"}.get(cell["init"], "booted")
        if cell["state"] != state:
            found.append(f"{where}: state {cell['state']}")
        if cell["failed_units"]:
            found.append(f"{where}: failed units {', '.join(cell['failed_units'])}")
        if reference_of(cell, cells) is None:
            found.append(f"{where}: {REFERENCE} is not measured, so nothing is compared")
        lost = fewer(cell, cells, checks)
        if len(lost) > ALLOWED_FEWER[cell["kind"]]:
            found.append(f"{where}: {len(lost)} checks fewer than {REFERENCE}: {', '.join(lost)}")
    return found


def text(document: dict[str, Any], checks: Sequence[Check]) -> str:
    """The whole of docs/workloads.md."""
    cells: list[Cell] = document["cells"]
    lines = [HEAD.read_text().rstrip(), "", *_summary(cells, checks), "", "## What fails, and why", ""]
    lines += (part for line in _reasons(cells, checks) for part in _wrapped(line))
    lines += ["## Forbidden on purpose", ""]
    lines += (part for line in _purposes(checks) for part in _wrapped(line))
    lines += ["", "## The checks", ""]
    lines += (part for line in _listed(checks) for part in _wrapped(line))
    return wrapped("\n".join(lines).rstrip())


def _summary(cells: Sequence[Cell], checks: Sequence[Check]) -> Iterator[str]:
    yield "## In one table"
    yield ""
    yield "| release, init | kind | profile | state | failed units | checks passed | fewer than the reference | forbidden on purpose |"
    yield "|---|---|---|---|---|---|---|---|"
    order = {name: at for at, name in enumerate((REFERENCE, "generated", "unconfined", *OURS))}

    def key(cell: Cell) -> tuple[Any, ...]:
        return (cell["release"] != GATE, cell["release"], cell["init"] != "systemd", cell["init"],
                cell["kind"], order.get(cell["profile"], 99))  # fmt: skip

    for cell in sorted(cells, key=key):
        reference = reference_of(cell, cells)
        lost = fewer(cell, cells, checks)
        able = passed(reference) if reference is not None else set(cell["verdicts"])
        away = [
            c.name
            for c in checks
            if c.forbidden(cell["profile"], cell["kind"]) and c.name in able - passed(cell)
        ]
        mark = " + seccomp" if cell["seccomp"] else ""
        less = "" if reference is cell else "no reference" if reference is None else str(len(lost))
        yield (
            f"| {cell['release']}, {cell['init']} | {cell['kind']} | {cell['profile']}{mark} | {cell['state']} | "
            f"{len(cell['failed_units'])} | {len(passed(cell))} of {len(cell['verdicts'])} | {less} | "
            f"{', '.join(away)} |"
        )


def _reasons(cells: Sequence[Cell], checks: Sequence[Check]) -> Iterator[str]:
    for cell in cells:
        lines = list(_cell_reasons(cell, cells, checks))
        if lines:
            yield f"### {cell['release']}, {cell['init']}, {cell['kind']}, {cell['profile']}"
            yield ""
            yield from lines
            yield ""


def _cell_reasons(cell: Cell, cells: Sequence[Cell], checks: Sequence[Check]) -> Iterator[str]:
    if cell["jobs"]:
        yield f"- still waiting: {', '.join(cell['jobs'])}"
    reference = reference_of(cell, cells)
    shared = set(reference["verdicts"]) - passed(reference) if reference is not None else set()
    if reference is not None and reference is not cell:
        alike = sorted(name for name in cell["reasons"] if name in shared)
        if alike:
            yield f"- fail under the reference too: {', '.join(alike)}"
    names = [check.name for check in checks if check.name in cell["reasons"]]
    for name in [*(n for n in cell["reasons"] if n not in names), *names]:
        if name in shared and reference is not cell:
            continue
        reason = cell["reasons"][name]
        said = " ".join(reason["said"].split())[-200:].replace("`", "'")
        verdict = cell["verdicts"].get(name, "failed")
        yield f"- **{name}** {verdict}: {said or 'said nothing'}"
        for line in reason.get("denied", [])[:3]:
            yield f"  - `{_short(line)}`"


def _wrapped(line: str) -> list[str]:
    """A line of a list, broken where it is longer than a document's may be."""
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    parts = textwrap.wrap(
        line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return parts or [""]


def _short(line: str) -> str:
    """A line of the kernel without what is the same in all of them."""
    words = [
        w for w in line.split() if not w.startswith(("apparmor=", "profile=", "fsuid=", "ouid=", "error="))
    ]
    return " ".join(words).replace("`", "'")[:220]


def _purposes(checks: Sequence[Check]) -> Iterator[str]:
    """What a profile is there to forbid, and why."""
    for check in checks:
        if check.forbids:
            where = "all of ours" if check.forbids == OURS else ", ".join(check.forbids)
            yield f"- **{check.name}** ({where}): {check.purpose}"


def _listed(checks: Sequence[Check]) -> Iterator[str]:
    headings = list(dict.fromkeys(check.missed for check in checks))
    for heading in headings:
        names = [check.name for check in checks if check.missed == heading]
        yield f"- **{heading}** ({len(names)}): {', '.join(names)}"
