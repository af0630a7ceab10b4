"""The words of a run that is made often, read without click.

Loading click takes longer than all that `apply` does on a host of 1,000 containers that is as
declared.  Owns reading setup, plan and apply where every word is plain; whatever is not (help, a
mistake, another command) is left to click.  Must not read a word otherwise than click does: a test
compares the tables and many command lines.
"""

from __future__ import annotations

from collections.abc import Sequence

from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.containers.runtimes.registry import names as runtimes
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

FLAGS = {
    "--json": "json",
    "--no-color": "no_color",
    "-v": "verbose",
    "--verbose": "verbose",
    "-q": "quiet",
    "--quiet": "quiet",
}
"""Global options without a value, by the setting that they set."""
VALUES = {
    **{f"--{name}": name for name in ("root", "config", "runtime", "parser", "features")},
    "--require-signed": "require_signed",
}
"""Global options with one."""
COMMANDS: dict[str, dict[str, str]] = {
    "setup": {"--dry-run": "dry_run"},
    "plan": {
        "--no-start": "no_start",
        "--restart": "restart",
        "--skip-refused": "skip_refused",
        "--all-nodes": "all_nodes",
        "--detailed-exitcode": "detailed_exitcode",
    },
    "apply": {
        "--all": "everything",
        "--dry-run": "dry_run",
        "--no-start": "no_start",
        "--restart": "restart",
        "--skip-refused": "skip_refused",
    },
}
"""Each command's own flags, by the argument of its function in `cli.apply`."""


def read(words: Sequence[str], settings: Settings) -> tuple[str, dict[str, Any]] | None:
    """The command and its arguments, with `settings` filled; None where click must read the words."""
    command, given = "", dict[str, bool]()
    others: list[str] = []
    filled: dict[str, str | bool] = {}
    pending = iter(words)
    for word in pending:
        if word in VALUES:
            value = next(pending, "")
            if not value or value.startswith("-") or (word == "--runtime" and value not in runtimes()):
                return None
            filled[VALUES[word]] = value
        elif word in FLAGS:
            filled[FLAGS[word]] = True
        elif not command:
            if word not in COMMANDS:
                return None
            command = word
        elif word in COMMANDS[command]:
            given[COMMANDS[command][word]] = True
        elif not word or word.startswith("-") or command == "setup":
            return None
        else:
            others.append(word)
    if not command:
        return None
    for name, setting in filled.items():
        setattr(settings, name, setting)
    arguments: dict[str, Any] = {name: given.get(name, False) for name in COMMANDS[command].values()}
    return command, {**arguments, "adopt" if command == "setup" else "ctids": tuple(others)}


def main() -> int | None:
    """Run the process's own command line where it is a plain one; else None, and nothing was done."""
    import sys

    if read(sys.argv[1:], Settings()) is None:
        return None
    from phoenix_hypervisor.cli import running

    return running.run(_perform, "phoenix", None)


def _perform(settings: Settings, words: Sequence[str]) -> int:
    from phoenix_hypervisor.cli import apply

    found = read(words, settings)
    assert found is not None
    command, arguments = found
    if command == "setup":
        return apply.setup(settings, **arguments)
    return apply.plan(settings, **arguments) if command == "plan" else apply.apply(settings, **arguments)
