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

import click

from phoenix_hypervisor import __version__
from phoenix_hypervisor.cli.options import Settings, global_options
from phoenix_hypervisor.errors import EXIT_FAILED, EXIT_USAGE, PhoenixError, UsageError

COMMANDS: dict[str, tuple[str, str]] = {
    "setup": ("phoenix_hypervisor.cli.apply:setup", "Prove, install and load the profiles."),
    "apply": ("phoenix_hypervisor.cli.apply:apply", "Setup, then create, assign and start containers."),
    "plan": ("phoenix_hypervisor.cli.apply:plan", "Show exactly what apply would do."),
    "status": ("phoenix_hypervisor.cli.status:status", "Show declared, assigned and running profiles."),
    "verify": ("phoenix_hypervisor.cli.status:verify", "Exit 3 where anything is not as declared."),
    "history": ("phoenix_hypervisor.cli.history:history", "Transactions: who, when, what."),
    "rollback": ("phoenix_hypervisor.cli.history:rollback", "Undo a transaction."),
    "check": ("phoenix_hypervisor.cli.check:check", "Everything that needs no host: config, profiles."),
    "policy": ("phoenix_hypervisor.cli.policy_bench:policy", "Ask compiled policy what it allows."),
    "lab": ("phoenix_hypervisor.cli.lab:lab", "A real AppArmor kernel with real LXC, in QEMU."),
    "doctor": ("phoenix_hypervisor.cli.doctor:doctor", "What this machine lacks, with the apt line."),
}
"""Command -> where it is, and its line in `phoenix --help`."""


class LazyGroup(click.Group):
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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        import difflib

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            ctx.fail(f"No such command {args[0]!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="phoenix", message="%(prog)s %(version)s")
@global_options
def phoenix() -> None:
    """Confinement as code for LXC containers.

    One JSON file says which AppArmor profile each container gets; Phoenix proves, installs,
    loads and assigns the profiles, and shows from the host what really runs under them.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is the caller's to use."""
    return run(phoenix, "phoenix", arguments)


def _end_as_interrupted() -> None:
    """Let the first of SIGINT, SIGTERM and SIGHUP undo a transaction, where we own the process.

    A second one would stop the undoing half-way, so it is only answered; SIGKILL is the way to
    end at once, and safe: the next run goes on by the journal.
    """
    import signal

    seen: list[int] = []

    def interrupt(number: int, frame: object) -> None:
        seen.append(number)
        if len(seen) == 1:
            raise KeyboardInterrupt
        with suppress(OSError):
            os.write(2, b"phoenix: ending already; what was begun is being taken back\n")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Not where it is ignored, as under nohup.
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, interrupt)


def run(command: click.Command, name: str, arguments: Sequence[str] | None) -> int:
    """Run any of our commands under the one rule for errors."""
    settings = Settings(command=(name, *(sys.argv[1:] if arguments is None else arguments)))
    if arguments is None:
        _end_as_interrupted()
    try:
        code = _run(command, name, arguments, settings)
        sys.stdout.flush()
        return code
    except OSError as error:
        if not isinstance(error, BrokenPipeError) and not _is_of_output(error):
            return _internal(name, error, settings)
        words = error.strerror or str(error)
    _discard()
    with suppress(OSError):
        click.echo(f"{name}: the output could not be written: {words}", err=True)
        click.echo(
            "  next: what was done stays done; `phoenix history` and `phoenix status` show it", err=True
        )
    return EXIT_FAILED


def _run(command: click.Command, name: str, arguments: Sequence[str] | None, settings: Settings) -> int:
    """As `run`, raising OSError where standard output, or anything else unforeseen, fails."""
    try:
        result = command.main(
            args=list(arguments) if arguments is not None else None,
            prog_name=name,
            standalone_mode=False,
            obj=settings,
        )
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        # click may not have come as far as our options.
        if settings.json or "--json" in settings.command:
            from phoenix_hypervisor.cli.output import emit_error

            emit_error(UsageError(error.format_message()))
        return EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo(f"{name}: interrupted; files are old or new, never half; the next run goes on", err=True)
        return EXIT_FAILED
    except PhoenixError as error:
        from phoenix_hypervisor.cli.output import report_error

        report_error(name, error, settings)
        return error.exit_code
    except SystemExit as error:
        # Without standalone_mode click ends so only where nobody reads any more.
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from error
    except OSError:
        raise
    except Exception as error:
        return _internal(name, error, settings)


def _internal(name: str, error: Exception, settings: Settings) -> int:
    if settings.verbose:
        raise error
    click.echo(f"{name}: internal error: {type(error).__name__}: {error}", err=True)
    click.echo("  next: run it again with -v and report what it prints", err=True)
    return EXIT_FAILED


def _is_of_output(error: OSError) -> bool:
    """Whether it was raised by printing; everything else that Phoenix writes says what file it is."""
    trace = error.__traceback__
    modules = []
    while trace is not None:
        modules.append(trace.tb_frame.f_globals.get("__name__", ""))
        trace = trace.tb_next
    # `run` itself does nothing that fails so but flushing; tables are drawn by rich.
    return modules == [__name__] or modules[-1] == "click.utils" or modules[-1].startswith("rich.")


def _discard() -> None:
    """Nothing more can be written: the interpreter must not try again when it ends."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
