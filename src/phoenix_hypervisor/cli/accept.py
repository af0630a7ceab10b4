"""`phoenix accept`: a denial's rule becomes source.

Owns its arguments and what it prints; the engine proves and writes.
"""

from __future__ import annotations

import os
import pwd

import click

from phoenix_hypervisor.audit.meaning import printable
from phoenix_hypervisor.cli.denied import moment, piped
from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.options import global_options
from phoenix_hypervisor.cli.output import emit, say
from phoenix_hypervisor.cli.progress import Busy
from phoenix_hypervisor.engine.requests import AcceptRequest, DenialsRequest
from phoenix_hypervisor.errors import EXIT_OK, UsageError
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from phoenix_hypervisor.engine.accepting import Accepted, AcceptedRule

_ID = 8
"""Letters of an id."""


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--list", "lists", is_flag=True, help="List the rules that were accepted, and why.")
@click.option("--remove", is_flag=True, help="Take the rules of these denials out again.")
@click.option("--since", metavar="TIME", help="Not what is older: 10m, 1h, 2d, or 2026-11-26 13:00.")
@click.option(
    "--file",
    "files",
    multiple=True,
    metavar="FILE",
    type=click.Path(),
    help="The log that `phoenix denials --file` was given (- is standard input), instead of the host's.",
)
@click.option("--trust", is_flag=True, help="Only the kernel's own lines came to --file: believe them.")
@global_options
@click.pass_obj
def accept(
    settings: Settings,
    ids: tuple[str, ...],
    lists: bool,
    remove: bool,
    since: str | None,
    files: tuple[str, ...],
    trust: bool,
) -> int:
    """Accept the rule that `phoenix denials` offers for a denial, by its ID.

    It is written to apparmor/accepted beside the configuration, with its evidence. That is source: plan shows
    what it changes, apply proves and installs it.
    """
    _check(ids, lists=lists, remove=remove, looks=bool(since or files or trust), trust=trust and not files)
    phoenix = settings.phoenix()
    if lists:
        found = phoenix.accepted()
    elif remove:
        found = phoenix.remove_accepted(ids)
    else:
        where = DenialsRequest(
            since=None if since is None else moment(since),
            files=tuple(file for file in files if file != "-"),
            piped=piped() if "-" in files else None,
            trust=trust,
        )
        with Busy(settings, "reading logs"):
            found = phoenix.accept(AcceptRequest(ids=ids, by=_who(), denials=where))
    if settings.json:
        emit(_document(found))
        return EXIT_OK
    for rule in found.rules:
        _show(settings, rule, evidence=lists, opens=(found.opens or {}).get(rule.entry.id, ()))
    for one in found.already:
        say(settings, f"{one}: its rule was accepted already")
    if lists:
        count = len(found.rules)
        say(settings, f"{count} accepted rule{'' if count == 1 else 's'}")
    elif found.rules:
        say(settings, "taken out" if remove else "written", "green")
        say(settings, "next: phoenix plan, then phoenix setup or phoenix apply")
    return EXIT_OK


def _check(ids: tuple[str, ...], *, lists: bool, remove: bool, looks: bool, trust: bool) -> None:
    """Raise UsageError for words that do not go together."""
    if lists and (ids or remove or looks):
        raise UsageError("--list goes alone")
    if remove and looks:
        raise UsageError("--remove looks into no log")
    if trust:
        raise UsageError("--trust is about a log that --file names")
    if not ids and not lists:
        raise UsageError("name a denial by its ID", hint="`phoenix denials` lists them")
    for one in ids:
        if len(one) != _ID or any(letter not in "0123456789abcdef" for letter in one):
            raise UsageError("is not the ID of a denial", where=one, hint="`phoenix denials` lists them")


def _who() -> str:
    """Who is at work: the one who used sudo, else the user of this process."""
    name = os.environ.get("SUDO_USER")
    if name:
        return name
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"


def _document(found: Accepted) -> dict[str, Any]:
    opens = found.opens or {}
    rules = [
        {
            "id": rule.entry.id or None,
            "profile": rule.profile,
            "rule": printable(rule.entry.rule),
            "file": rule.path,
            "evidence": [printable(line) for line in rule.entry.evidence],
            "opens": list(opens.get(rule.entry.id, ())),
        }
        for rule in found.rules
    ]
    return {"rules": rules, "already": list(found.already)}


def _show(settings: Settings, rule: AcceptedRule, *, evidence: bool, opens: tuple[str, ...]) -> None:
    say(settings, f"{rule.entry.id or 'by hand '}  {rule.profile}", "bold")
    say(settings, f"  {printable(rule.entry.rule)}", "green")
    for line in rule.entry.evidence if evidence else ():
        say(settings, f"    {printable(line)}")
    for line in opens:
        say(settings, f"    also opens: {line}")
    say(settings, f"  {rule.path}")
