"""`phoenix_orchestrator`, the documents' name for the same program.

Owns the translation of their two forms, `--setup-hypervisor` and `CTID`, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

import click

from phoenix_hypervisor.cli.apply import run_apply
from phoenix_hypervisor.cli.complete import complete_ctids
from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.main import run
from phoenix_hypervisor.cli.options import global_options
from phoenix_hypervisor.engine.requests import ApplyRequest, SetupRequest
from phoenix_hypervisor.errors import UsageError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("ctids", nargs=-1, metavar="[CTID]...", shell_complete=complete_ctids)
@click.option("--setup-hypervisor", is_flag=True, help="Prove, install and load the profiles: phoenix setup.")
@click.option("--dry-run", is_flag=True, help="Show what would be done and do nothing.")
@global_options
@click.pass_obj
def orchestrate(settings: Settings, ctids: tuple[str, ...], setup_hypervisor: bool, dry_run: bool) -> int:
    """Set up the hypervisor, or apply the configuration to containers (phoenix apply CTID)."""
    if setup_hypervisor == bool(ctids):
        raise UsageError("name containers, or use --setup-hypervisor", hint="phoenix_orchestrator 950")
    request = SetupRequest() if setup_hypervisor else ApplyRequest(ctids=ctids)
    return run_apply(settings, request, dry_run=dry_run)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is the caller's to use."""
    return run(orchestrate, "phoenix_orchestrator", arguments)
