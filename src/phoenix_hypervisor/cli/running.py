"""One rule for every command: errors become messages and exit codes, signals and a lost reader too.

Owns that rule.  Must not know how a command line is read: what reads it is handed in.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.output import echo, report_error
from phoenix_hypervisor.cli.stdout import OutputError, take_over
from phoenix_hypervisor.errors import EXIT_FAILED, PhoenixError
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from phoenix_hypervisor.host.machine import Host

EXIT_READER_GONE = 141
"""As a program that SIGPIPE ended."""


def _end_as_interrupted() -> None:
    """Let the first of SIGINT, SIGTERM and SIGHUP undo a transaction, where we own the process.

    A second one would stop the undoing half-way, so it is only answered; SIGKILL is the way to
    end at once, and safe: the next run finishes by the journal.
    """
    import signal

    seen: list[int] = []

    def interrupt(number: int, frame: object) -> None:
        seen.append(number)
        if len(seen) == 1:
            raise KeyboardInterrupt(number)
        with suppress(OSError):
            os.write(2, b"phoenix: already stopping: rolling back\n")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Not where it is ignored, as under nohup.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)


def run(
    work: Callable[[Settings, list[str]], int],
    name: str,
    arguments: Sequence[str] | None,
    *,
    host: Host | None = None,
) -> int:
    """Run a command; `work` gets the settings to fill and the words, and returns the exit code.

    Without `arguments` they are the process's own, and so are its signals and standard output.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    settings = Settings(command=(name, *words), host=host)
    output = None
    if arguments is None:
        output = settings.output = take_over()
        _end_as_interrupted()
    try:
        code = _run(work, name, words, settings)
        sys.stdout.flush()
    except OutputError:
        code = EXIT_FAILED
    except KeyboardInterrupt as error:
        code = _interrupted(name, settings, error)
    return code if output is None or output.failed is None else _unwritten(name, settings, output.failed)


def _run(work: Callable[[Settings, list[str]], int], name: str, words: list[str], settings: Settings) -> int:
    """As `run`; raises OutputError where standard output fails, and KeyboardInterrupt."""
    try:
        return work(settings, words)
    except PhoenixError as error:
        report_error(name, error, settings)
        return error.exit_code
    except OutputError:
        raise
    except Exception as error:
        if settings.verbose:
            raise
        echo(f"{name}: internal error: {type(error).__name__}: {error}", err=True)
        echo("  next: run it again with -v, and report the output", err=True)
        return EXIT_FAILED


def _interrupted(name: str, settings: Settings, error: KeyboardInterrupt) -> int:
    """Nothing to say where nothing was to be changed; the exit code is the shell's own."""
    if settings.writes:
        text = "interrupted: every file is intact; the next run finishes the rollback"
        echo(f"{name}: {text}", err=True)
        return EXIT_FAILED
    if settings.output is not None:
        settings.output.give_up()
    return 128 + (error.args[0] if error.args else 2)


def _unwritten(name: str, settings: Settings, error: OutputError) -> int:
    """Standard output failed.  A reader that went away, as `head` does, has what it wanted."""
    assert settings.output is not None
    settings.output.give_up()
    if error.number == errno.EPIPE and not settings.writes:
        return EXIT_READER_GONE
    with suppress(OSError):
        echo(f"{name}: the output could not be written: {error}", err=True)
        if settings.writes:
            hint = "the changes were made; `phoenix history` and `phoenix status` show them"
            echo(f"  next: {hint}", err=True)
    return EXIT_FAILED
