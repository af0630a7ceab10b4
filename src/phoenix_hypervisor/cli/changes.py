"""How `phoenix setup`, `phoenix plan` and `phoenix apply` are spelt.

Owns their arguments for click, with their help and their completion.  Must not act on them:
`cli.apply` does.  `cli.plain` reads the same words; a test compares the two.
"""

from __future__ import annotations

import click

from phoenix_hypervisor.cli import apply as commands
from phoenix_hypervisor.cli.complete import complete_ctids, complete_sources
from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.options import global_options
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what would be done and do nothing.")
@click.option(
    "--adopt",
    multiple=True,
    metavar="NAME",
    help="Take over a profile that Phoenix did not install.",
    shell_complete=complete_sources,
)
@global_options
@click.pass_obj
def setup(settings: Settings, dry_run: bool, adopt: tuple[str, ...]) -> int:
    """Prove, install and load the profiles; retire deprecated ones that nobody uses."""
    return commands.setup(settings, dry_run=dry_run, adopt=adopt)


@click.command()
@click.argument("ctids", nargs=-1, metavar="[CONTAINER]...", shell_complete=complete_ctids)
@click.option("--all", "everything", is_flag=True, help="All declared containers.")
@click.option("--dry-run", is_flag=True, help="Show what would be done and do nothing.")
@click.option("--no-start", is_flag=True, help="Start nothing.")
@click.option("--restart", is_flag=True, help="Restart containers that run under another label.")
@click.option("--skip-refused", is_flag=True, help="Leave out containers that are refused; exit 3 then.")
@global_options
@click.pass_obj
def apply(settings: Settings, /, **given: Any) -> int:
    """Setup, then create missing containers, assign profiles and start, as one transaction.

    CONTAINER is a CTID, a name, a list (103,104) or a range (103-110).
    """
    return commands.apply(settings, **given)


@click.command()
@click.argument("ctids", nargs=-1, metavar="[CONTAINER]...", shell_complete=complete_ctids)
@click.option("--no-start", is_flag=True, help="Plan `apply --no-start`.")
@click.option("--restart", is_flag=True, help="Plan `apply --restart`.")
@click.option("--skip-refused", is_flag=True, help="Plan `apply --skip-refused`.")
@click.option("--all-nodes", is_flag=True, help="Also what apply would change on the cluster's other nodes.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 3 if something would change.")
@global_options
@click.pass_obj
def plan(settings: Settings, /, **given: Any) -> int:
    """Show exactly what apply with the same arguments would do; without CONTAINER, for all.

    CONTAINER is a CTID, a name, a list (103,104) or a range (103-110).
    """
    return commands.plan(settings, **given)
