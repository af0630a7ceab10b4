"""`phoenix watch`: the timers that look at this host by themselves.

Owns its arguments and output; the engine switches.
"""

from __future__ import annotations

import click

from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.options import global_options
from phoenix_hypervisor.cli.output import emit, say
from phoenix_hypervisor.errors import EXIT_OK


@click.command()
@click.argument("state", required=False, type=click.Choice(["on", "off"]))
@global_options
@click.pass_obj
def watch(settings: Settings, state: str | None) -> int:
    """Switch the hourly check and the metrics on or off; without a word, show whether they are on.

    phoenix-verify.timer runs `phoenix verify` every hour. The unit fails where something is not as declared,
    and monitoring sees that. phoenix-metrics.timer writes metrics for node_exporter every five minutes.
    """
    monitoring = settings.phoenix().monitoring()
    found = monitoring.timers() if state is None else monitoring.switch(state == "on")
    for one in found:
        text = (
            "on" if one.enabled and one.active else "off" if not one.enabled and not one.active else "half on"
        )
        say(settings, f"{one.unit}: {text}")
    if settings.json:
        emit({"timers": [{"unit": one.unit, "enabled": one.enabled, "active": one.active} for one in found]})
    return EXIT_OK
