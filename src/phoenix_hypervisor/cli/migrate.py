"""`phoenix migrate-check`: what speaks against moving a container to another node.

Owns its arguments and output; the engine gathers, `plan.migration` judges.
"""

from __future__ import annotations

import click

from phoenix_hypervisor.cli.complete import complete_nodes, complete_present
from phoenix_hypervisor.cli.denied import seconds
from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.options import global_options
from phoenix_hypervisor.cli.output import emit, notes, recap, say, show_notes
from phoenix_hypervisor.engine.requests import MoveRequest
from phoenix_hypervisor.errors import EXIT_NO, EXIT_OK


@click.command("migrate-check")
@click.argument("container", shell_complete=complete_present)
@click.argument("node", shell_complete=complete_nodes)
@click.option(
    "--facts",
    metavar="FILE",
    type=click.Path(),
    help="What `phoenix facts --json` printed on NODE. Default: what it published to the cluster.",
)
@click.option(
    "--max-age", default="24h", show_default=True, metavar="TIME", help="Facts older than that are a reason."
)
@global_options
@click.pass_obj
def migrate_check(settings: Settings, container: str, node: str, facts: str | None, max_age: str) -> int:
    """Say what speaks against moving CONTAINER to NODE; exit 3 with each reason.

    Asked are: whether its profile is loaded there as the same policy, whether the kernel there mediates what
    this one does, whether the GPUs that it names are there, and whether what runs containers is older there.
    Nothing is changed, and no connection is made: the other node's facts are read from a file.
    """
    request = MoveRequest(container=container, node=node, facts=facts, max_age=seconds(max_age, "--max-age"))
    found = settings.phoenix().fleet().migrate_check(request)
    if settings.json:
        emit(
            {
                "ctid": found.ctid,
                "from": found.here.node,
                "to": found.there.node,
                "facts": found.facts,
                "ok": not found.reasons,
                "reasons": notes(found.reasons),
                "warnings": notes(found.warnings),
            }
        )
    show_notes(settings, "against", found.reasons, "red")
    show_notes(settings, "note   ", found.warnings, "yellow")
    if not found.reasons:
        say(settings, f"nothing speaks against moving container {found.ctid} to {found.there.node}", "green")
    recap(settings, ok=int(not found.reasons), changed=0, failed=len(found.reasons))
    return EXIT_NO if found.reasons else EXIT_OK
