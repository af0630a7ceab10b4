"""Completion for bash, zsh and fish.

Owns what the words of a command may be, and the shells' side of asking for it: click's
protocol, `_PHOENIX_COMPLETE=bash_source phoenix` for the script and `bash_complete` for an
answer.  Must not print anything else: what is printed lands in the operator's prompt.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import click
from click import shell_completion
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.errors import PhoenixError

_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' answer type value help
    local -a values=() shown=()
    for answer in $(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD \
%(complete_var)s=bash_complete "$1" 2>/dev/null); do
        IFS=$'\\t' read -r type value help <<< "$answer"
        case $type in
            dir) COMPREPLY=(); compopt -o dirnames; return 0;;
            file) COMPREPLY=(); compopt -o default; return 0;;
        esac
        values+=("$value")
        shown+=("$value${help:+  ($help)}")
    done
    # While all are listed, each with what it is; what is inserted is the word alone.
    if [[ $COMP_TYPE == 63 && ${#values[@]} -gt 1 ]]; then
        COMPREPLY=("${shown[@]}")
    else
        COMPREPLY=("${values[@]}")
    fi
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class _Bash(ShellComplete):
    """Bash, which is told what each word is, too; click's own tells it to zsh and fish only."""

    name = "bash"
    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        words = shell_completion.split_arg_string(os.environ["COMP_WORDS"])
        current = int(os.environ["COMP_CWORD"])
        return words[1:current], words[current] if current < len(words) else ""

    def format_completion(self, item: CompletionItem) -> str:
        return f"{item.type}\t{item.value}" + (f"\t{item.help}" if item.help else "")


class _Fish(shell_completion.FishComplete):
    """Fish, for which a word may hold a comma: a list of containers does."""

    source_template = shell_completion.FishComplete.source_template.replace('split ","', 'split -m 1 ","')


def answer(command: click.Command, name: str, instruction: str, settings: Settings) -> int:
    """Print the script of a shell (`bash_source`) or what the words may be (`bash_complete`)."""
    shell, _, what = instruction.partition("_")
    kind = {"bash": _Bash, "fish": _Fish}.get(shell) or get_completion_class(shell)
    if kind is None or what not in ("source", "complete"):
        return 1
    # click's own name for the variable, with which the script asks again.
    variable = f"_{name.replace('-', '_').upper()}_COMPLETE"
    shells = kind(command, {"obj": settings}, name, variable)
    if what == "source":
        # Not `source()`: click runs bash there, to ask for its version.
        click.echo(shells.source_template % shells.source_vars())
        return 0
    try:
        text = shells.complete()
    except (PhoenixError, click.ClickException, KeyError, ValueError):
        return 1
    if text:
        click.echo(text)
    return 0


def _items(found: Mapping[str, str], incomplete: str, without: tuple[str, ...] = ()) -> list[CompletionItem]:
    return [
        CompletionItem(word, help=help or None)
        for word, help in found.items()
        if word.startswith(incomplete) and word not in without and "\n" not in word + help
    ]


def _settings(context: click.Context) -> Settings:
    return context.find_object(Settings) or Settings()


def complete_ctids(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Declared containers: what can be applied."""
    return _containers(_settings(context).phoenix().known_containers(declared=True), context, parameter, word)


def complete_present(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Containers that are declared or on this host: what can be looked at."""
    return _containers(_settings(context).phoenix().known_containers(), context, parameter, word)


def _containers(
    known: Mapping[str, str], context: click.Context, parameter: click.Parameter, word: str
) -> list[CompletionItem]:
    """By CTID, with the name, or once a letter is there by name; each once, also behind a comma."""
    given = context.params.get(parameter.name or "") or ()
    before, comma, last = word.rpartition(",")
    if last[:1].isalpha():
        known = {name: ctid for ctid, name in known.items() if name}
    items = _items(known, last, (*given, *before.split(",")))
    for item in items:
        item.value = before + comma + item.value
    return items


def complete_nodes(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Nodes of the cluster."""
    return _items(_settings(context).phoenix().fleet().known_nodes(), word)


def complete_profiles(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Profiles, and files where the word looks like a path."""
    if "/" in word or word.startswith("."):
        return [CompletionItem(word, type="file")]
    return _items(_settings(context).phoenix().known_profiles(), word)


def complete_sources(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Profiles that Phoenix ships."""
    known = _settings(context).phoenix().known_profiles()
    return _items({name: what for name, what in known.items() if what == "shipped"}, word)


def complete_transactions(
    context: click.Context, parameter: click.Parameter, word: str
) -> list[CompletionItem]:
    """Transactions, newest first, with their time and command."""
    return _items(_settings(context).phoenix().known_transactions(), word)


def complete_question(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """A profile or a container, then a kind of question."""
    from phoenix_hypervisor.cli.question import kinds

    given = context.params.get(parameter.name or "") or ()
    known = dict.fromkeys(kinds(), "kind of question")
    if not given:
        containers = _items(_settings(context).phoenix().known_containers(), word) if word.isdigit() else []
        profiles = _items(_settings(context).phoenix().known_profiles(), word)
        return [*profiles, *containers, *_items(known, word)]
    asked = any(one.replace("_", "-") in known for one in given)
    return [] if asked else _items(known, word)
