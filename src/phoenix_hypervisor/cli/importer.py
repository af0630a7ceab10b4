"""`phoenix import`: the configuration of what stands.

Owns its arguments and what it prints; the engine reads the host and writes the file.
"""

from __future__ import annotations

import json

import click

from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.options import global_options
from phoenix_hypervisor.cli.output import echo, emit, exact, notes, printable, recap, say, show_notes
from phoenix_hypervisor.cli.progress import Busy
from phoenix_hypervisor.engine.requests import ImportRequest
from phoenix_hypervisor.errors import EXIT_NO, EXIT_OK, UsageError
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from phoenix_hypervisor.engine.importing import Imported, ImportedContainer

MAX_LINES = 40
"""Containers that are listed without --verbose."""


@click.command("import")
@click.option(
    "--output",
    metavar="FILE|-",
    type=click.Path(),
    help="The file to write, or - to print it. Default: the configuration, or where it belongs.",
)
@click.option("--merge", is_flag=True, help="Add to a file that is there the containers that it lacks.")
@click.option("--all-nodes", is_flag=True, help="The containers of the cluster's other nodes too.")
@click.option("--dry-run", is_flag=True, help="Show what would be written, and write nothing.")
@click.option("--propose", is_flag=True, help="Show which profile fits each container, and write nothing.")
@global_options
@click.pass_obj
def import_(
    settings: Settings, output: str | None, merge: bool, all_nodes: bool, dry_run: bool, propose: bool
) -> int:
    """Write the configuration of the containers that stand; they stay as they are.

    Planning right after it finds nothing to do. A container that cannot be read is named and left
    out (exit 3).
    """
    if propose:
        if output is not None or merge or all_nodes or dry_run:
            raise UsageError("--propose writes nothing and looks at this node: it goes alone")
        from phoenix_hypervisor.cli.proposed import run_propose

        return run_propose(settings)
    prints = output == "-"
    request = ImportRequest(
        output=None if prints else output,
        merge=merge,
        all_nodes=all_nodes,
        write=not prints,
        dry_run=dry_run,
    )
    with Busy(settings, "reading containers"):
        found = settings.phoenix().import_(request)
    if settings.json:
        emit(_document(found, prints, dry_run=dry_run))
    elif prints:
        echo(found.data.decode().removesuffix("\n"))
        for one in notes(found.left_out):
            echo(printable(f"left out {one['target']}: {one['text']}"), err=True)
    else:
        _show(settings, found, dry_run=dry_run)
    return EXIT_NO if found.left_out else EXIT_OK


def _document(found: Imported, prints: bool, *, dry_run: bool) -> dict[str, Any]:
    containers = [
        {"ctid": one.ctid, "declared": dict(one.entry), "not_written": list(one.not_written)}
        for one in found.containers
    ]
    text: dict[str, object] = {"configuration": json.loads(found.data.decode("utf-8-sig"))} if prints else {}
    return {
        "dry_run": dry_run,
        "path": found.path,
        "before": exact(found.before),
        "after": exact(found.data),
        "written": found.written,
        "containers": containers,
        "declared_already": found.declared,
        "left_out": notes(found.left_out),
        **text,
    }


def _show(settings: Settings, found: Imported, *, dry_run: bool) -> None:
    shown = found.containers if settings.verbose else found.containers[:MAX_LINES]
    for one in shown:
        say(settings, _line(one, settings.verbose), "red" if _unconfined(one) else None)
    if len(shown) < len(found.containers):
        say(settings, f"... and {len(found.containers) - len(shown)} more (--verbose lists them)")
    show_notes(settings, "left out", found.left_out, "magenta")
    lacking = [one.ctid for one in found.containers if one.not_written]
    if lacking and not settings.verbose:
        say(
            settings,
            f"settings that Phoenix cannot create again, in {_listed(lacking)} (--verbose names them)",
        )
    unconfined = [one.ctid for one in found.containers if _unconfined(one)]
    if unconfined:
        say(settings, f"unconfined by a line of their own: {_listed(unconfined)}", "red")
    if dry_run and found.data != found.before:
        say(settings, f"{found.path}: nothing written; --dry-run only shows what would be")
    elif found.written:
        say(
            settings,
            f"{found.path}: containers added {len(found.containers)}, there already {found.declared}",
        )
        say(settings, "next: phoenix plan")
    else:
        say(settings, f"{found.path}: nothing to add, nothing written")
    recap(settings, ok=found.declared, changed=len(found.containers), skipped=len(found.left_out))


def _line(one: ImportedContainer, everything: bool) -> str:
    entry = one.entry
    called = f"{one.ctid} {entry.get('name', '')}".rstrip()
    text = f"{called}: {entry['apparmor_profile']}"
    if entry.get("lines") == "keep":
        text += ", its lines are kept"
    if everything and one.not_written:
        text += f"; not declared: {', '.join(one.not_written)}"
    return text


def _unconfined(one: ImportedContainer) -> bool:
    return bool(one.entry["apparmor_profile"] == "unconfined")


def _listed(ctids: list[str]) -> str:
    shown = ", ".join(ctids[:10])
    return shown if len(ctids) <= 10 else f"{shown} and {len(ctids) - 10} more"
