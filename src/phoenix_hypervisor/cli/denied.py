"""`phoenix denials`.

Owns its arguments; the engine reads and judges, `cli.denial_words` shows.
"""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import cast

import click

from phoenix_hypervisor.cli import denial_words as words_of
from phoenix_hypervisor.cli.complete import complete_present, complete_profiles
from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.options import global_options
from phoenix_hypervisor.cli.output import emit, tell
from phoenix_hypervisor.cli.progress import Busy
from phoenix_hypervisor.engine.requests import DenialsRequest
from phoenix_hypervisor.errors import EXIT_NO, EXIT_OK, UsageError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_FORMS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d")
_CHUNK = 256 * 1024


def seconds(text: str, option: str) -> float:
    """The seconds that `10m` or `1h30m` stands for.  Raises UsageError."""
    pieces = re.findall(r"([0-9]{1,9})([smhdw])", text)
    if not pieces or "".join(number + unit for number, unit in pieces) != text:
        raise UsageError(f"{option} takes a time such as 90s, 10m, 1h, 2d or 1w", where=text)
    return float(sum(int(number) * _UNITS[unit] for number, unit in pieces))


def moment(text: str) -> float:
    """The time, in seconds since 1970, that `1h` (ago) or a local date stands for.  Raises UsageError."""
    for form in _FORMS:
        try:
            return time.mktime(time.strptime(text, form))
        except (ValueError, OverflowError):
            continue
    try:
        return time.time() - seconds(text, "--since")
    except UsageError:
        hint = "write 90s, 10m, 1h, 2d, 1w, or a date: 2026-11-26, 2026-11-26 13:00"
        raise UsageError("--since takes a time", where=text, hint=hint) from None


def piped() -> Iterator[bytes]:
    """Standard input, in pieces."""
    stdin = cast(io.BufferedReader, sys.stdin.buffer)
    while piece := stdin.read1(_CHUNK):
        yield piece


@click.command()
@click.argument("ctids", nargs=-1, metavar="[CONTAINER]...", shell_complete=complete_present)
@click.option("--since", metavar="TIME", help="Not what is older: 10m, 1h, 2d, or 2026-11-26 13:00.")
@click.option("--follow", is_flag=True, help="Go on, and tell each denial as it happens. Ends with Ctrl-C.")
@click.option(
    "--file",
    "files",
    multiple=True,
    metavar="FILE",
    type=click.Path(),
    help="Read this log (- is standard input) instead of the host's. May be packed by gzip.",
)
@click.option("--trust", is_flag=True, help="Only the kernel's own lines came to --file: believe them.")
@click.option(
    "--listen",
    is_flag=True,
    help="Make the kernel log what `deny` rules refuse, of the whole host, until --for is over or Ctrl-C.",
)
@click.option("--for", "period", metavar="TIME", help="How long to listen: 10m, 1h.  [default: 10m]")
@click.option(
    "--replay",
    metavar="PROFILE",
    shell_complete=complete_profiles,
    help="Ask this profile (a name, a source or a compiled file) for each event instead.",
)
@global_options
@click.pass_obj
def denials(
    settings: Settings,
    ctids: tuple[str, ...],
    since: str | None,
    follow: bool,
    files: tuple[str, ...],
    trust: bool,
    listen: bool,
    period: str | None,
    replay: str | None,
) -> int:
    """Show what AppArmor denied, to which container, and what may be done.

    CONTAINER is a CTID, a name, a list (103,104) or a range (103-110). Exit 3 where there are any.
    """
    if period is not None and not listen:
        raise UsageError("--for says how long to --listen")
    if listen:
        others = {"--since": since, "--follow": follow, "--file": files, "--replay": replay}
        wrong = [name for name, value in others.items() if value]
        if wrong:
            raise UsageError(f"--listen and {wrong[0]} exclude each other")
        return _listen(settings, ctids, seconds(period or "10m", "--for"))
    if trust and not files:
        raise UsageError("--trust is about a log that --file names")
    if files.count("-") > 1:
        raise UsageError("standard input can be read once only", where="--file")
    if follow and (replay is not None or "-" in files):
        other = "--replay" if replay is not None else "--file -"
        raise UsageError(f"--follow and {other} exclude each other")
    request = DenialsRequest(
        ctids=ctids,
        since=None if since is None else moment(since),
        files=tuple(file for file in files if file != "-"),
        piped=piped() if "-" in files else None,
        trust=trust,
    )
    if replay is not None:
        return _replay(settings, request, replay)
    if follow:
        for counted in settings.phoenix().follow_denials(request):
            words_of.show_counted(settings, counted)
        return EXIT_OK
    with Busy(settings, "reading logs"):
        found = settings.phoenix().denials(request)
    if settings.json:
        emit(words_of.document(found))
    else:
        words_of.show(settings, found, ctids, files=bool(files))
    return EXIT_NO if found.denials else EXIT_OK


def _listen(settings: Settings, ctids: tuple[str, ...], period: float) -> int:
    if not ctids:
        raise UsageError(
            "--listen takes the container that you want to hear: `phoenix denials CTID --listen`"
        )
    told = partial(tell, settings)
    found = False
    # Closed here, whatever happens: then the kernel is put back.
    with closing(settings.phoenix().listen(ctids, period, told)) as heard:
        for counted in heard:
            found = True
            words_of.show_counted(settings, counted)
    return EXIT_NO if found else EXIT_OK


def _replay(settings: Settings, request: DenialsRequest, profile: str) -> int:
    with Busy(settings, "reading logs"):
        found = settings.phoenix().replay(request, profile)
    if settings.json:
        emit(words_of.replay_document(found))
    else:
        words_of.show_replay(settings, found)
    return EXIT_NO if found.refused or found.not_asked else EXIT_OK
