"""What is read without click is read as click reads it."""

from __future__ import annotations

from typing import Any

import click
from hypothesis import example, given
from hypothesis import strategies as st

from phoenix_hypervisor.cli import apply as commands
from phoenix_hypervisor.cli import plain
from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.main import phoenix

CONTEXT = click.Context(phoenix)
NAMES = [*plain.VALUES, *plain.FLAGS, *plain.COMMANDS, *(f for own in plain.COMMANDS.values() for f in own)]
ODD = ["950", "101", "lxc", "proxmox", "/", "--", "-", "", "-qv", "--root=/", "--root=", "--al", "--help", "-h",
       "--adopt", "status", "--json=1", "-x", "a b", "--no-json"]  # fmt: skip


def by_click(words: list[str], patched: Any) -> tuple[Settings, str, dict[str, Any]] | None:
    """The settings, the function of `cli.apply` and its arguments; None where click refuses or shows help."""
    called: list[tuple[str, dict[str, Any]]] = []

    def instead(name: str) -> Any:
        def record(settings: Settings, **arguments: Any) -> int:
            called.append((name, arguments))
            return 0

        return record

    for name in plain.COMMANDS:
        patched.setattr(commands, name, instead(name))
    settings = Settings()
    try:
        with phoenix.make_context("phoenix", list(words), obj=settings) as context:
            phoenix.invoke(context)
    except (click.ClickException, click.exceptions.Exit):
        return None
    return (settings, *called[0]) if called else None


@given(words=st.lists(st.sampled_from([*NAMES, *ODD]), max_size=7))
@example(words=["--root", "/srv/host", "apply", "--all", "--no-start", "-q"])
@example(words=["plan", "950", "--restart", "--runtime", "lxc", "101"])
@example(words=["--root", "/a", "setup", "--root", "/b", "--dry-run"])
@example(words=["--root", "apply", "apply", "apply"])
def test_both_read_the_same(words: list[str]) -> None:
    import pytest

    settings = Settings()
    found = plain.read(words, settings)
    if found is None:
        assert settings == Settings()
        return
    with pytest.MonkeyPatch.context() as patched:
        theirs = by_click(words, patched)
    assert theirs is not None
    assert (settings, *found) == theirs


def test_the_commonest_lines_are_plain() -> None:
    for line in (
        "apply --all",
        "apply 950 --no-start",
        "plan",
        "plan --json",
        "setup -q",
        "--root / plan 950",
    ):
        assert plain.read(line.split(), Settings()) is not None, line


def test_every_flag_is_one_of_clicks_and_none_is_missing() -> None:
    for name, own in plain.COMMANDS.items():
        command = phoenix.get_command(CONTEXT, name)
        assert command is not None
        flags: set[str] = set()
        values: set[str] = set()
        for one in command.params:
            if isinstance(one, click.Option) and not one.multiple:
                (flags if one.is_flag else values).update(one.opts)
        assert flags == {*own, *plain.FLAGS}
        assert values == set(plain.VALUES)
