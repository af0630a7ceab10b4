"""Man pages: what --help and the schema say, and nothing that a formatter stumbles over."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from phoenix_hypervisor.cli.main import COMMANDS, phoenix
from phoenix_hypervisor.cli.manual import pages
from phoenix_hypervisor.config.schema import packaged_schema

MADE = 1_790_000_000.0
PAGES = pages(MADE)
NOT_INSTALLED = "referenced manual not found"
"""mandoc looks for the other pages where this machine has its own."""


def _plain(page: str) -> str:
    return page.replace("\\-", "-")


def _commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _commands(inner, f"{path} {name}")


def test_every_command_and_every_option_is_in_a_page() -> None:
    general = _plain(PAGES["phoenix.1"])
    for path, command in _commands(phoenix, "phoenix"):
        page = _plain(PAGES["-".join(path.split()[:2]) + ".1"])
        assert path in page or f".Nm {path}" in page
        for parameter in command.params:
            for option in parameter.opts if isinstance(parameter, click.Option) else ():
                assert f"Fl {option[1:]}" in page or f"Fl {option[1:]}" in general, (path, option)


def test_every_key_is_in_the_page_of_the_configuration() -> None:
    schema = json.loads(packaged_schema())
    page = _plain(PAGES["phoenix_lxc_configs.5"])
    for name in [*schema["properties"], *schema["definitions"]["container"]["properties"]]:
        assert f".It Va {name} " in page


def test_every_command_has_a_page_and_the_first_names_them_all() -> None:
    assert {f"phoenix-{name}.1" for name in COMMANDS} < set(PAGES)
    for name in COMMANDS:
        assert f".It Xr phoenix-{name} 1" in PAGES["phoenix.1"]


def test_the_date_is_the_one_given() -> None:
    assert ".Dd September 21, 2026" in PAGES["phoenix.1"]
    assert pages(MADE) == PAGES


@pytest.mark.parametrize("name", sorted(PAGES))
def test_mandoc_finds_no_fault(name: str, tmp_path: Path) -> None:
    assert shutil.which("mandoc"), "apt-get install mandoc"
    path = tmp_path / name
    path.write_text(PAGES[name])
    done = subprocess.run(
        ["mandoc", "-T", "lint", path], capture_output=True, text=True, timeout=60, check=False
    )
    assert [line for line in done.stdout.splitlines() if NOT_INSTALLED not in line] == []
