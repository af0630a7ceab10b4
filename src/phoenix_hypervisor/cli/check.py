"""`phoenix check`: everything that needs no host.

Owns its output; configuration, sources and proof are judged in their own rooms.
"""

from __future__ import annotations

import click

from phoenix_hypervisor.cli.options import Settings, global_options
from phoenix_hypervisor.cli.output import emit, recap, say
from phoenix_hypervisor.cli.session import Session
from phoenix_hypervisor.errors import Problem, ProblemsError
from phoenix_hypervisor.profiles.prove import prove
from phoenix_hypervisor.profiles.store import Store


@click.command()
@global_options
@click.pass_obj
def check(settings: Settings) -> int:
    """Check configuration, schema and profile sources; compile every profile."""
    session = Session(settings)
    problems: list[Problem] = []
    checked: list[tuple[str, str]] = []
    warnings: list[tuple[str, str]] = []
    try:
        desired = session.desired
        checked.append((session.config_path, f"{len(desired.containers)} containers"))
    except ProblemsError as error:
        problems += error.problems
    store = Store(session.host, session.sources, session.parser, recorded=False)
    for profile in store.profiles():
        try:
            proof = prove(store, [profile], session.policy_tests)
        except ProblemsError as error:
            problems += error.problems
            continue
        warnings += proof.warnings
        checked.append((profile.source, f"compiles to {len(proof.blobs[profile.name])} bytes"))
    shown = session.parser.features.shown
    if problems:
        raise ProblemsError("check failed", problems, where=session.config_path)
    if warnings:
        raise ProblemsError("the parser warns", [Problem(text, path) for path, text in warnings])
    for path, text in checked:
        say(settings, f"ok  {path}: {text}")
    accepted, words = store.optional_accepted()
    if not accepted:
        say(settings, f"left out on this parser: {', '.join(sorted(session.sources.optional))}")
        if settings.verbose:
            say(settings, words)
    version = ".".join(map(str, session.parser.version))
    say(settings, f"compiled by apparmor_parser {version} for {shown}")
    if settings.json:
        emit(
            {"checked": [{"path": p, "result": t} for p, t in checked], "features": shown, "parser": version}
        )
    recap(settings, ok=len(checked), changed=0)
    return 0
