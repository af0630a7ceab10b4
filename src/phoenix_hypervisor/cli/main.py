"""The `phoenix` command.

Owns the table of sub-commands, which are imported only when they run, and reading their
words by click.  Must not do any work itself.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence

import click

from phoenix_hypervisor import __version__
from phoenix_hypervisor.cli import running
from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.options import global_options
from phoenix_hypervisor.cli.suggest import SuggestingGroup
from phoenix_hypervisor.errors import EXIT_USAGE, UsageError
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from phoenix_hypervisor.host.machine import Host

COMMANDS: dict[str, tuple[str, str]] = {
    "import": ("phoenix_hypervisor.cli.importer:import_", "Write the configuration of what stands."),
    "setup": ("phoenix_hypervisor.cli.changes:setup", "Prove, install and load the profiles."),
    "apply": ("phoenix_hypervisor.cli.changes:apply", "Setup, then create, assign and start containers."),
    "plan": ("phoenix_hypervisor.cli.changes:plan", "Show exactly what apply would do."),
    "status": ("phoenix_hypervisor.cli.status:status", "Show declared, assigned and running profiles."),
    "verify": ("phoenix_hypervisor.cli.status:verify", "Like status; exit 3 if anything is not as declared."),
    "gpu": ("phoenix_hypervisor.cli.gpu_command:gpu", "Show who can open whose GPU, and why."),
    "denials": ("phoenix_hypervisor.cli.denied:denials", "What AppArmor denied, to whom, and what to do."),
    "try": (
        "phoenix_hypervisor.cli.trial:try_",
        "Try a profile: log what it does not allow, refuse dangers.",
    ),
    "accept": (
        "phoenix_hypervisor.cli.accept:accept",
        "Accept the rule that a denial is offered, as source.",
    ),
    "metrics": ("phoenix_hypervisor.cli.metrics_text:metrics", "The state of this host, for Prometheus."),
    "facts": ("phoenix_hypervisor.cli.facts_text:facts", "What this node tells others of itself."),
    "migrate-check": (
        "phoenix_hypervisor.cli.migrate:migrate_check",
        "What speaks against moving a container to another node.",
    ),
    "report": ("phoenix_hypervisor.cli.report_command:report", "A page about this host, or JSON, or SARIF."),
    "watch": ("phoenix_hypervisor.cli.watch:watch", "Check this host every hour, by timers of systemd."),
    "hook": ("phoenix_hypervisor.cli.hook:hook", "Ask Phoenix before a container starts."),
    "history": ("phoenix_hypervisor.cli.history:history", "Transactions: who, when, what."),
    "rollback": ("phoenix_hypervisor.cli.history:rollback", "Undo a transaction."),
    "check": ("phoenix_hypervisor.cli.check:check", "Check configuration, profiles and policy tests."),
    "recheck": (
        "phoenix_hypervisor.cli.recheck:recheck",
        "Prove the installed profiles anew, after an upgrade.",
    ),
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


def run(
    command: click.Command, name: str, arguments: Sequence[str] | None, *, host: Host | None = None
) -> int:
    """Run any of our commands under the one rule for errors."""

    def work(settings: Settings, words: list[str]) -> int:
        instruction = os.environ.get(f"_{name.upper()}_COMPLETE")
        if arguments is None and instruction:
            from phoenix_hypervisor.cli.complete import answer

            return answer(command, name, instruction, settings)
        return _invoked(command, name, words, settings)

    return running.run(work, name, arguments, host=host)


def _invoked(command: click.Command, name: str, words: Sequence[str], settings: Settings) -> int:
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
