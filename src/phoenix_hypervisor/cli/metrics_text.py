"""`phoenix metrics`: the state of this host, for Prometheus.

Owns its arguments and where the text goes; the engine gathers, the report room makes the text.
"""

from __future__ import annotations

import click

from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.options import global_options
from phoenix_hypervisor.cli.output import echo
from phoenix_hypervisor.errors import EXIT_OK, UsageError


@click.command()
@click.option(
    "--textfile",
    metavar="FILE",
    type=click.Path(),
    help="Replace FILE, whole, for node_exporter's textfile collector; its name ends in .prom.",
)
@global_options
@click.pass_obj
def metrics(settings: Settings, textfile: str | None) -> int:
    """Print the state of this host in Prometheus's text format.

    \b
    For node_exporter:
      phoenix metrics --textfile /var/lib/prometheus/node-exporter/phoenix.prom
    """
    from phoenix_hypervisor.report.metrics import exposition

    if settings.json:
        raise UsageError(
            "metrics have a format of their own", hint="`phoenix status --json` has the same facts"
        )
    if textfile is not None and not textfile.endswith(".prom"):
        raise UsageError("--textfile must end in .prom: node_exporter reads no other file", where=textfile)
    text = exposition(settings.phoenix().monitoring().measure())
    if textfile is None:
        echo(text.rstrip("\n"))
    else:
        from phoenix_hypervisor.engine.measuring import put

        put(textfile, text.encode())
    return EXIT_OK
