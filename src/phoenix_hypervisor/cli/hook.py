"""`phoenix hook`: a script that containers may name, so that Phoenix is asked before they start.

Owns its arguments and what it prints; the engine does the work.
"""

from __future__ import annotations

import click

from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.options import global_options
from phoenix_hypervisor.cli.output import emit, notes, say, told, warn
from phoenix_hypervisor.cli.suggest import SuggestingGroup
from phoenix_hypervisor.errors import EXIT_NO, EXIT_OK
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from phoenix_hypervisor.containers.hooked import Named
    from phoenix_hypervisor.engine.hooking import Hooked

_CONDITIONS = {
    "absent": "not installed (`phoenix hook install`)",
    "ready": "installed",
    "older": "installed by another Phoenix, or with other options (`phoenix hook install` renews it)",
    "not-executable": "cannot be run (`phoenix hook install` mends that)",
    "foreign": "not as Phoenix installed it",
}


@click.group(cls=SuggestingGroup)
def hook() -> None:
    """Ask Phoenix before a container starts; only containers that name the hook are asked about.

    `phoenix hook install` puts a script where containers can name it. Before such a container starts, the
    script stops the start if the declared profile is not loaded or not the assigned one, and says so in one
    line of the task's log. If Phoenix itself is broken it says that, and lets the container start.
    """


@hook.command()
@click.option("--storage", metavar="NAME", help="Proxmox: the storage whose snippets it belongs to.")
@global_options
@click.pass_obj
def install(settings: Settings, storage: str | None) -> int:
    """Put the script in its place, or renew it. No container names it by that."""
    settings.begin_writing()
    found = settings.phoenix().monitoring().hook().install(storage)
    say(settings, f"{found.place.path}: {'written' if found.changed else 'installed already'}")
    if not found.named:
        say(settings, f"next: {found.place.name_it.format(ctid='CTID')}")
    return _end(settings, found)


@hook.command()
@global_options
@click.pass_obj
def remove(settings: Settings) -> int:
    """Take the script away. Refused while a container names it: that container would not start."""
    settings.begin_writing()
    found = settings.phoenix().monitoring().hook().remove()
    say(settings, f"{found.place.path}: {'removed' if found.changed else 'not installed'}")
    for one in found.named:
        warn(
            settings, f"container {one.name}: a snapshot names the hook; after its rollback it does not start"
        )
    return _end(settings, found)


@hook.command()
@global_options
@click.pass_obj
def status(settings: Settings) -> int:
    """Show where the script is and which containers name it; exit 3 if it is missing and one names it."""
    found = settings.phoenix().monitoring().hook().status()
    say(settings, f"{found.place.path}: {_CONDITIONS[found.condition]}")
    counting = [one for one in found.named if not one.only_kept]
    say(settings, f"named by: {_listed(counting)}")
    kept = [one for one in found.named if one.only_kept]
    if kept:
        say(settings, f"named by snapshots of: {_listed(kept)}")
    if found.others:
        say(settings, f"name another hook, which is left alone: {_listed(found.others)}")
    if found.stranded:
        text = f"they do not start: {_listed(counting)} (`phoenix hook install`)"
        say(settings, text, style="red")
    return _end(settings, found)


@hook.command()
@click.argument("container", metavar="CONTAINER")
@global_options
@click.pass_obj
def judge(settings: Settings, container: str) -> int:
    """Say whether CONTAINER may start now; exit 3 if not. This is what the script runs."""
    verdict = settings.phoenix().monitoring().hook().judge(container)
    if verdict.note is not None and not settings.json:
        from phoenix_hypervisor.cli.notes import words

        _, hint = words(verdict.note)
        warn(settings, told([verdict.note])[0] + (f" (next: {hint})" if hint else ""))
    if settings.json:
        found = [] if verdict.note is None else notes([verdict.note])
        emit({"container": container, "may_start": verdict.allowed, "notes": found})
    return EXIT_OK if verdict.allowed else EXIT_NO


def _listed(found: list[Named] | tuple[Named, ...]) -> str:
    names = [f"{one.name} on {one.node}" if one.node else one.name for one in found]
    return ", ".join(names) or "no container"


def _end(settings: Settings, found: Hooked) -> int:
    if settings.json:
        emit(
            {
                "path": found.place.path,
                "names": {"key": found.place.key, "value": found.place.value},
                "condition": str(found.condition),
                "changed": found.changed,
                "containers": [
                    {"ctid": one.name, "node": one.node, "only_kept": one.only_kept} for one in found.named
                ],
                "others": [{"ctid": one.name, "node": one.node, "value": one.value} for one in found.others],
            }
        )
    return EXIT_NO if found.stranded else EXIT_OK
