"""`phoenix recheck`: what an upgrade of the host changed in the installed profiles.

Owns its output; the engine does the work.
"""

from __future__ import annotations

import click

from phoenix_hypervisor.cli.apply import effect_lines
from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.options import global_options
from phoenix_hypervisor.cli.output import emit, recap, say
from phoenix_hypervisor.cli.progress import Busy
from phoenix_hypervisor.errors import EXIT_NO, EXIT_OK


@click.command()
@global_options
@click.pass_obj
def recheck(settings: Settings) -> int:
    """Prove the installed profiles anew, after an upgrade of what they are made with; exit 3 if they changed.

    A new apparmor_parser, abstraction or kernel can change what an installed profile allows. This compiles
    the installed files as the next boot would, runs the policy tests, and compares with what Phoenix loaded.
    Nothing is changed: `phoenix setup` does that.
    """
    with Busy(settings, "compiling") as busy:
        found = settings.phoenix().recheck(busy.step)
    lines = effect_lines({name: found.effects[name] for name in found.changed})
    for name, changes in lines.items():
        say(settings, f"changed {name}", style="yellow")
        for line in changes:
            say(settings, f"  {line}", style="red" if line.startswith("opens") else None)
    for problem in found.failures:
        say(settings, f"failed  {problem}", style="red")
    for name in found.unknown:
        say(settings, f"unknown {name}: Phoenix has no copy of what it loaded")
    same = len(found.effects) - len(found.changed)
    say(settings, f"compiled by apparmor_parser {found.parser} for {found.features}")
    if not found.ok:
        say(settings, "nothing was changed; next: `phoenix plan` shows what `phoenix setup` would load")
    if settings.json:
        emit(
            {
                "ok": found.ok,
                "parser": found.parser,
                "features": found.features,
                "same": sorted(set(found.effects) - set(found.changed)),
                "changed": lines,
                "failures": [str(problem) for problem in found.failures],
                "unknown": list(found.unknown),
            }
        )
    recap(settings, ok=same, changed=0, failed=len(found.changed) + len(found.failures))
    return EXIT_OK if found.ok else EXIT_NO
