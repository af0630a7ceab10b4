"""`phoenix report`: all that is known of this host, for auditors and programs.

Owns its arguments and where the output goes; the engine gathers, the report room makes the documents.
"""

from __future__ import annotations

import click

from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.options import global_options
from phoenix_hypervisor.cli.output import echo, emit, say
from phoenix_hypervisor.cli.progress import Busy
from phoenix_hypervisor.errors import EXIT_OK, UsageError
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from phoenix_hypervisor.report.report_facts import Report, Words


@click.command()
@click.option(
    "--html",
    metavar="FILE",
    type=click.Path(),
    help="Write one page for people; FILE is replaced whole. With - it is printed.",
)
@click.option("--all-nodes", is_flag=True, help="Also what the files of the cluster's other nodes say.")
@click.option("--sarif", is_flag=True, help="Print what verify and policy lint find as SARIF 2.1.0.")
@global_options
@click.pass_obj
def report(settings: Settings, html: str | None, all_nodes: bool, sarif: bool) -> int:
    """Report this host: who is confined, by which walls, what changed since the last report.

    --html writes a page that needs nothing else, --json prints the same facts. Both keep the facts, so that
    the next report can say what changed.
    """
    if sarif and (settings.json or html is not None or all_nodes):
        raise UsageError("--sarif is a report of its own", hint="run it once for each format")
    if sarif:
        from phoenix_hypervisor.cli.report_sarif import document

        with Busy(settings, "looking at") as busy:
            emit(document(settings.phoenix(), busy))
        return EXIT_OK
    if html is None and not settings.json:
        raise UsageError("say which report: --html FILE, --json or --sarif")
    if html == "-" and settings.json:
        raise UsageError("only one document can be printed", hint="give --html a FILE")
    if html is not None and html != "-":
        from phoenix_hypervisor.engine.measuring import place_of

        place_of(html)
    with Busy(settings, "looking at containers"):
        found = settings.phoenix().monitoring().report(words(), keep=True, all_nodes=all_nodes)
    if html is not None:
        _write(settings, html, found)
    if settings.json:
        from phoenix_hypervisor.report.report_facts import document as facts_document

        emit(facts_document(found))
    return EXIT_OK


def _write(settings: Settings, html: str, found: Report) -> None:
    from phoenix_hypervisor.engine.measuring import put
    from phoenix_hypervisor.report.page import page

    if html == "-":
        echo(page(found).rstrip("\n"))
    else:
        put(html, page(found).encode())
        say(settings, f"{html}: {_summary(found)}")


def words() -> Words:
    """What codes and transactions say."""
    from phoenix_hypervisor.cli import history, notes
    from phoenix_hypervisor.report.report_facts import Words

    return Words(note=notes.words, entry=history.summary_of)


def _summary(found: Report) -> str:
    parts = [f"{found.confined} of {len(found.containers)} containers confined"]
    parts.append("as declared" if found.as_declared else "not as declared")
    compared = found.compared
    if compared.last is None:
        parts.append("the first report")
    elif compared.changed:
        count = len(compared.found[0].changes)
        parts.append(f"{count} change{'s' * (count != 1)} since {compared.last}")
    else:
        parts.append(f"nothing changed since {compared.last}")
    return ", ".join(parts)
