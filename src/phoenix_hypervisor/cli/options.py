"""Global options.

Owns the one table from which the group and every sub-command take them, so that they
work before and after the command.  Must not act on them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.containers.runtimes.registry import names as runtimes

F = TypeVar("F", bound=Callable[..., Any])


def _completed(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in runtimes() if name.startswith(incomplete)]


_OPTIONS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (
        ("--root",),
        {
            "metavar": "DIR",
            "type": click.Path(),
            "help": "Work on the files of a host below DIR; touches no kernel.",
        },
    ),
    (
        ("--config",),
        {
            "metavar": "FILE",
            "type": click.Path(),
            "help": "The configuration; profile sources are in apparmor/ beside it.",
        },
    ),
    (
        ("--runtime",),
        {
            "metavar": "NAME",
            "shell_complete": _completed,
            "help": f"What runs the containers: {' or '.join(runtimes())}. Default: what this host has.",
        },
    ),
    (("--parser",), {"metavar": "FILE", "type": click.Path(), "help": "The apparmor_parser to use."}),
    (
        ("--features",),
        {
            "metavar": "FILE|NAME",
            "type": click.Path(),
            "help": "The kernel to compile for: a feature dump, or debian-13, proxmox-9, ...",
        },
    ),
    (
        ("--require-signed",),
        {
            "metavar": "KEYRING",
            "type": click.Path(),
            "help": "Install only what a key in KEYRING signed: sources, policy tests, configuration.",
        },
    ),
    (("--json",), {"is_flag": True, "default": None, "help": "Print one JSON object and nothing else."}),
    (("--no-color",), {"is_flag": True, "default": None, "help": "No colour; NO_COLOR does the same."}),
    (
        ("-v", "--verbose"),
        {
            "is_flag": True,
            "default": None,
            "help": "Also tell what is used and each program that is run; tracebacks of internal errors.",
        },
    ),
    (("-q", "--quiet"), {"is_flag": True, "default": None, "help": "Print errors only."}),
)


def _store(context: click.Context, parameter: click.Parameter, value: object) -> None:
    settings = context.ensure_object(Settings)
    if value is not None:
        assert parameter.name is not None
        if parameter.name == "runtime" and value not in runtimes():
            raise click.BadParameter(f"{value!r} is not one of {', '.join(runtimes())}", context, parameter)
        setattr(settings, parameter.name, value)


def global_options(function: F) -> F:
    """Decorate a command so that it takes every global option."""
    for names, arguments in reversed(_OPTIONS):
        function = click.option(*names, expose_value=False, callback=_store, **arguments)(function)
    return function


def global_names() -> frozenset[str]:
    """What click calls the options that every command takes."""
    return frozenset(names[-1].lstrip("-").replace("-", "_") for names, _ in _OPTIONS)
