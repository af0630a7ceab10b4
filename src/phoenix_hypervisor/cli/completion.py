"""`phoenix completion`: the script that makes a shell complete words.

Owns the command; `cli.complete` owns the scripts and what they ask.
"""

from __future__ import annotations

import click

from phoenix_hypervisor.cli.complete import answer
from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.options import global_options


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@global_options
@click.pass_context
def completion(context: click.Context, shell: str) -> int:
    """Print the completion script of a shell.

    \b
    bash:  phoenix completion bash > /etc/bash_completion.d/phoenix
    zsh:   phoenix completion zsh  > /usr/local/share/zsh/site-functions/_phoenix
    fish:  phoenix completion fish > /etc/fish/completions/phoenix.fish
    """
    return answer(context.find_root().command, "phoenix", f"{shell}_source", Settings())
