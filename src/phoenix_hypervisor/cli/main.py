"""The `phoenix` command.

Owns the table of sub-commands, which are imported only when they run, and the rule by
which errors become messages and exit codes.  Must not do any work itself.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from phoenix_hypervisor import __version__
from phoenix_hypervisor.cli.options import Settings, global_options
from phoenix_hypervisor.cli.stdout import OutputError, take_over
from phoenix_hypervisor.cli.suggest import SuggestingGroup
from phoenix_hypervisor.errors import EXIT_FAILED, EXIT_USAGE, PhoenixError, UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from phoenix_hypervisor.host.machine import Host

COMMANDS: dict[str, tuple[str, str]] = {
    "setup": ("phoenix_hypervisor.cli.apply:setup", "Prove, install and load the profiles."),
    "apply": ("phoenix_hypervisor.cli.apply:apply", "Setup, then create, assign and start containers."),
    "plan": ("phoenix_hypervisor.cli.apply:plan", "Show exactly what apply would do."),
    "status": ("phoenix_hypervisor.cli.status:status", "Show declared, assigned and running profiles."),
    "verify": ("phoenix_hypervisor.cli.status:verify", "Like status; exit 3 if anything is not as declared."),
    "history": ("phoenix_hypervisor.cli.history:history", "Transactions: who, when, what."),
    "rollback": ("phoenix_hypervisor.cli.history:rollback", "Undo a transaction."),
    "check": ("phoenix_hypervisor.cli.check:check", "Check configuration, profiles and policy tests."),
    "policy": ("phoenix_hypervisor.cli.policy:policy", "Ask compiled policy what it allows."),
    "lab": ("phoenix_hypervisor.cli.lab:lab", "A real AppArmor kernel with real LXC, in QEMU."),
    "doctor": ("phoenix_hypervisor.cli.doctor:doctor", "Show what is missing on this machine."),
    "completion": ("phoenix_hypervisor.cli.completion:completion", "Print a shell's completion script."),
}
"""Command -> where it is, and its line in `phoenix --help`."""


class LazyGroup(SuggestingGroup):
    """A group whose commands are named in a table and imported when asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # click would import every module for its one line of help.
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        # Likewise: click would import them all.
        from click.shell_completion import CompletionItem

        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [
            CompletionItem(name, help=line)
            for name, (_, line) in COMMANDS.items()
            if name.startswith(incomplete)
        ]


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="phoenix", message="%(prog)s %(version)s")
@global_options
def phoenix() -> None:
    """Confinement as code for LXC containers.

    One JSON file says which AppArmor profile each container gets; Phoenix proves, installs,
    loads and assigns the profiles, and shows from the host what really runs under them.
    """


def main(arguments: Sequence[str] | None = None, *, host: Host | None = None) -> int:
    """Run the command line; the exit code is the caller's to use.

    Without `arguments` they are the process's own, and so are its signals and standard output.
    `host` is a machine to work on instead of the one at `--root`.
    """
    return run(phoenix, "phoenix", arguments, host=host)


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
    command: click.Command, name: str, arguments: Sequence[str] | None, *, host: Host | None = None
) -> int:
    """Run any of our commands under the one rule for errors."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    settings = Settings(command=(name, *words), host=host)
    output = None
    if arguments is None:
        output = settings.output = take_over()
        _end_as_interrupted()
        instruction = os.environ.get(f"_{name.upper()}_COMPLETE")
        if instruction:
            from phoenix_hypervisor.cli.complete import answer

            return answer(command, name, instruction, settings)
    try:
        code = _run(command, name, words, settings)
        sys.stdout.flush()
    except OutputError:
        code = EXIT_FAILED
    except KeyboardInterrupt as error:
        code = _interrupted(name, settings, error)
    return code if output is None or output.failed is None else _unwritten(name, settings, output.failed)


def _run(command: click.Command, name: str, words: Sequence[str], settings: Settings) -> int:
    """As `run`; raises OutputError where standard output fails, and KeyboardInterrupt."""
    try:
        # Not `command.main`, which answers Ctrl-C and a closed pipe in its own way.
        with command.make_context(name, list(words), obj=settings) as context:
            result = command.invoke(context)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        # click may not have come as far as our options.
        if settings.json or "--json" in settings.command:
            from phoenix_hypervisor.cli.output import emit_error

            emit_error(UsageError(error.format_message()))
        return EXIT_USAGE
    except PhoenixError as error:
        from phoenix_hypervisor.cli.output import report_error

        report_error(name, error, settings)
        return error.exit_code
    except OutputError:
        raise
    except Exception as error:
        if settings.verbose:
            raise
        click.echo(f"{name}: internal error: {type(error).__name__}: {error}", err=True)
        click.echo("  next: run it again with -v, and report the output", err=True)
        return EXIT_FAILED


def _interrupted(name: str, settings: Settings, error: KeyboardInterrupt) -> int:
    """Nothing to say where nothing was to be changed; the exit code is the shell's own."""
    if settings.writes:
        text = "interrupted: every file is intact; the next run finishes the rollback"
        click.echo(f"{name}: {text}", err=True)
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
        click.echo(f"{name}: the output could not be written: {error}", err=True)
        if settings.writes:
            hint = "the changes were made; `phoenix history` and `phoenix status` show them"
            click.echo(f"  next: {hint}", err=True)
    return EXIT_FAILED


EXIT_READER_GONE = 141
"""As a program that SIGPIPE ended."""
