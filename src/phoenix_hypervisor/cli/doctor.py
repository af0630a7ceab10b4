"""`phoenix doctor`: what this machine lacks.

Owns the command; `cli.bare_doctor` answers, where click is missing too.
"""

from __future__ import annotations

from contextlib import suppress

import click

from phoenix_hypervisor.cli.bare_doctor import run
from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.options import global_options
from phoenix_hypervisor.errors import UsageError


@click.command()
@global_options
@click.pass_obj
def doctor(settings: Settings) -> int:
    """Show what is missing on this machine, the apt command that installs it, and what the machine is.

    Exit 1 if something that is needed is missing, or AppArmor is off.
    """
    if settings.root != "/":
        raise UsageError("doctor looks at the machine that it runs on", hint="leave out --root")
    if settings.verbose:
        # A configuration that is named and not there is told below, and ends nothing.
        with suppress(UsageError):
            settings.phoenix()
    named = [] if settings.config is None else ["--config", settings.config]
    return run([*named, *(["--json"] if settings.json else [])])
