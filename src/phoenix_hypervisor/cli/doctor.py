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
    """Show what is missing on this machine, the apt command that installs it, and what the machine is.

    Exit 1 if something that is needed is missing, or AppArmor is off.
    """
    named = [] if settings.config is None else ["--config", settings.config]
    return run([*named, *(["--json"] if settings.json else [])])
