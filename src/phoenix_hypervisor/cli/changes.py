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
@global_options
@click.pass_obj
def apply(
    settings: Settings, ctids: tuple[str, ...], everything: bool, dry_run: bool, no_start: bool, restart: bool
) -> int:
    """Setup, then create missing containers, assign profiles and start, as one transaction.

    CONTAINER is a CTID, a name, a list (103,104) or a range (103-110).
    """
    return commands.apply(
        settings, ctids=ctids, everything=everything, dry_run=dry_run, no_start=no_start, restart=restart
    )


@click.command()
@click.argument("ctids", nargs=-1, metavar="[CONTAINER]...", shell_complete=complete_ctids)
@click.option("--no-start", is_flag=True, help="Plan `apply --no-start`.")
@click.option("--restart", is_flag=True, help="Plan `apply --restart`.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 3 if something would change.")
@global_options
@click.pass_obj
def plan(
    settings: Settings, ctids: tuple[str, ...], no_start: bool, restart: bool, detailed_exitcode: bool
) -> int:
    """Show exactly what apply with the same arguments would do; without CONTAINER, for all.

    CONTAINER is a CTID, a name, a list (103,104) or a range (103-110).
    """
    return commands.plan(
        settings, ctids=ctids, no_start=no_start, restart=restart, detailed_exitcode=detailed_exitcode
    )
