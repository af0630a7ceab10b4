"""Man pages: one for `phoenix`, one for each of its commands, one for the configuration.

Owns how a command and its options are shown as mdoc(7).  The words are click's and the schema's own, so a
page says what --help says.  Pure: tables come in, text goes out; must not run a command.
"""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import click

from phoenix_hypervisor.cli.main import COMMANDS, phoenix
from phoenix_hypervisor.cli.options import global_names
from phoenix_hypervisor.cli.orchestrator import orchestrate
from phoenix_hypervisor.config.reference import objects
from phoenix_hypervisor.config.schema import Schema, packaged_schema
from phoenix_hypervisor.engine.places import CONFIG_NAME, FOLDERS

_EXITS = (
    ("0", "Done, as declared, allowed, or equal."),
    ("1", "Failed.  What, where and the next step are on standard error."),
    ("2", "The command line makes no sense."),
    ("3", "The answer is no: not as declared, denied, different, or a policy test failed."),
)
_CONFIG_PAGE = "phoenix_lxc_configs"
_EXAMPLE = """{
    "lxc_configs": {
        "950": { "name": "vllm", "apparmor_profile": "lxc-nvidia-gpu-base" }
    }
}"""


def pages(made: float) -> Mapping[str, str]:
    """Every page by its file's name; `made` is the date to print, in seconds since 1970."""
    day = datetime.fromtimestamp(made, UTC).strftime("%B %-d, %Y")
    context = click.Context(phoenix, info_name="phoenix")
    found = {"phoenix.1": _top(context, day)}
    for name in COMMANDS:
        command = phoenix.get_command(context, name)
        assert command is not None
        found[f"phoenix-{name}.1"] = _command(click.Context(command, context, name), day)
    words = click.Context(orchestrate, info_name="phoenix_orchestrator")
    found["phoenix_orchestrator.1"] = _command(words, day)
    found[f"{_CONFIG_PAGE}.5"] = _configuration(Schema(packaged_schema(), "the packaged schema"), day)
    return found


def _top(context: click.Context, day: str) -> str:
    lines = _head("phoenix", 1, "confinement as code for LXC containers", day)
    lines += [".Sh SYNOPSIS", ".Nm", ".Op Ar options", ".Ar command", ".Op Ar arguments"]
    lines += [".Sh DESCRIPTION", *_text(context.command.help or "")]
    lines += [".Pp", "The commands, each with a page of its own:", ".Bl -tag -width Ds"]
    for name, (_, line) in COMMANDS.items():
        lines += [f".It Xr phoenix-{name} 1", *_text(line)]
    lines += [
        ".El",
        ".Sh OPTIONS",
        "These come before or after the command.",
        *_options(context, general=True),
    ]
    lines += [".Sh ENVIRONMENT", ".Bl -tag -width Ds"]
    lines += [".It Ev PHOENIX_CONFIG", "The configuration, as", ".Fl -config", "names it."]
    lines += [".It Ev NO_COLOR", "No colour, whatever it is set to.", ".El", *_files()]
    return _page([*lines, *_exit(), ".Sh SEE ALSO", *_see(*(f"phoenix-{name} 1" for name in COMMANDS))])


def _command(context: click.Context, day: str) -> str:
    command = context.command
    named = context.command_path.replace(" ", "-")
    lines = _head(named, 1, _line(command), day)
    lines += [".Sh SYNOPSIS", *_synopsis(context)]
    lines += [".Sh DESCRIPTION", *_text(command.help or "")]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            below = click.Context(inner, context, name)
            lines += [f".Ss {_escaped(below.command_path)}", *_synopsis(below), ".Pp"]
            lines += [*_text(inner.help or ""), *_options(below)]
    lines += [".Sh OPTIONS", *_options(context), "The options of every command are in", ".Xr phoenix 1 ."]
    return _page([*lines, *_exit(), ".Sh SEE ALSO", *_see("phoenix 1", f"{_CONFIG_PAGE} 5")])


def _configuration(schema: Schema, day: str) -> str:
    lines = _head(_CONFIG_PAGE, 5, "which AppArmor profile each container gets", day)
    lines += [
        ".Sh DESCRIPTION",
        "One JSON file.",
        "The containers are in",
        ".Va lxc_configs ,",
        "each under its CTID.",
    ]
    lines += ["An unknown key is an error, and so is a key that comes twice."]
    lines += [".Ss The file itself", ".Bl -tag -width Ds", *_keys(schema.document), ".El"]
    lines += [".Ss A container", ".Bl -tag -width Ds"]
    for key in schema.rows():
        lines += _key(key.name, key.kind, key.default, key.meaning)
    container = schema.document["definitions"]["container"]
    for name, row in container["properties"].items():
        for place, entry in objects(name, row):
            lines += [".El", f".Ss {place}", ".Bl -tag -width Ds", *_keys(entry)]
    lines += [".El", *_files(), ".Sh EXAMPLES", ".Bd -literal -offset indent"]
    lines += [*map(_escaped, _EXAMPLE.split("\n")), ".Ed"]
    return _page([*lines, ".Sh SEE ALSO", *_see("phoenix 1", "phoenix-check 1", "phoenix-import 1")])


def _keys(entry: Mapping[str, Any]) -> Iterator[str]:
    for name, row in entry["properties"].items():
        yield from _key(name, str(row["type"]), row.get("default"), str(row["description"]))


def _key(name: str, kind: str, default: object, meaning: str) -> Iterator[str]:
    yield f".It Va {_escaped(name)} Pq {_escaped(kind)}"
    yield from _text(meaning)
    if default is not None:
        yield from _text(f"Default: {json.dumps(default)}.")


def _head(name: str, section: int, line: str, day: str) -> list[str]:
    title = [f".Dd {day}", f".Dt {name.upper()} {section}", ".Os"]
    return [*title, ".Sh NAME", f".Nm {name}", f".Nd {_escaped(line)}"]


def _line(command: click.Command) -> str:
    """The first sentence of a help, as a man page's NAME takes it."""
    first = re.split(r"(?<=[.;:])\s|\n\n", inspect.cleandoc(command.help or ""), maxsplit=1)[0]
    first = " ".join(first.split()).rstrip(".;:")
    return first[:1].lower() + first[1:]


def _synopsis(context: click.Context) -> list[str]:
    pieces = context.command.collect_usage_pieces(context)
    return [f".Nm {_escaped(context.command_path)}", *(f".Ar {_escaped(piece)}" for piece in pieces)]


def _options(context: click.Context, *, general: bool = False) -> list[str]:
    """The options of a command; `general`: also those that every command takes."""
    lines = []
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        everywhere = parameter.name in global_names() or "--help" in parameter.opts
        if record is not None and (general or not everywhere):
            lines += [f".It {_spelt(record[0])}", *_text(record[1])]
    return [".Bl -tag -width Ds", *lines, ".El"] if lines else []


def _spelt(usage: str) -> str:
    """`-v, --verbose` or `--root DIR`, as mdoc's Fl and Ar."""
    found = []
    for word in usage.split(", "):
        option, _, value = word.partition(" ")
        found.append(f"Fl {_escaped(option[1:])}" + (f" Ar {_escaped(value)}" if value else ""))
    return " , ".join(found)


def _files() -> list[str]:
    lines = [".Sh FILES", "The configuration is looked for in this order:", ".Bl -tag -width Ds"]
    for folder in FOLDERS:
        lines += [f".It Pa {folder}/{CONFIG_NAME}"]
    return [*lines, ".El"]


def _exit() -> list[str]:
    return [
        ".Sh EXIT STATUS",
        ".Bl -tag -width Ds",
        *(x for n, t in _EXITS for x in (f".It {n}", *_text(t))),
        ".El",
    ]


def _see(*others: str) -> list[str]:
    return [
        f".Xr {other}{' ,' if number < len(others) else ''}" for number, other in enumerate(sorted(others), 1)
    ]


def _text(text: str) -> list[str]:
    """Paragraphs, a sentence a line; what click must not wrap stays as it is."""
    lines: list[str] = []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text).strip("\n")):
        kept = paragraph.startswith("\b")
        lines += [".Pp"] if lines and not kept else []
        if kept:
            body = textwrap.dedent(paragraph[1:].strip("\n")).split("\n")
            lines += [".Bd -literal -offset indent", *map(_escaped, body), ".Ed"]
        else:
            for sentence in re.split(r"(?<=[.!?]) +", " ".join(paragraph.split())):
                lines += map(_escaped, textwrap.wrap(sentence, 76, break_on_hyphens=False))
    return lines


def _escaped(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def _page(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
