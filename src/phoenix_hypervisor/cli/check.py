"""`phoenix check`: everything that needs no host.

Owns its output; the engine does the work.
"""

from __future__ import annotations

import click

from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.options import global_options
from phoenix_hypervisor.cli.output import emit, recap, say
from phoenix_hypervisor.cli.progress import Busy
from phoenix_hypervisor.errors import EXIT_OK


@click.command()
@click.option("--quick", is_flag=True, help="Prove for the kernel in use only, not for every packed one.")
@global_options
@click.pass_obj
def check(settings: Settings, quick: bool) -> int:
    """Check configuration, schema and profile sources; compile every profile."""
    with Busy(settings, "compiling") as busy:
        found = settings.phoenix().check(busy.step, quick=quick)
    for path, text in found.checked:
        say(settings, f"ok  {path}: {text}")
    if found.left_out:
        say(settings, f"left out on this parser: {', '.join(found.left_out)}")
        if settings.verbose:
            say(settings, found.refusal)
    say(settings, f"compiled by apparmor_parser {found.parser} for {found.features}")
    if found.kernels:
        say(settings, f"proven as well for the kernels {', '.join(found.kernels)}")
    if settings.json:
        emit(
            {
                "checked": [{"path": p, "result": t} for p, t in found.checked],
                "features": found.features,
                "parser": found.parser,
                "kernels": list(found.kernels),
            }
        )
    recap(settings, ok=len(found.checked), changed=0)
    return EXIT_OK
