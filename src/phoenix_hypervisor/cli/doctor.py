"""`phoenix doctor`: what this machine lacks.

Owns the command; `cli.bare_doctor` answers, where click is missing too.
"""

from __future__ import annotations

import click

from phoenix_hypervisor.cli.bare_doctor import run
from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.options import global_options


@click.command()
@global_options
@click.pass_obj
def doctor(settings: Settings) -> int:
    """Show what is missing on this machine, and the apt command that installs it."""
    return run(["--json"] if settings.json else [])
