"""`--verbose`: what is used and what is run is told besides, and what is printed stays as it is."""

from __future__ import annotations

import pytest

from support.hosts import DirectoryHost, LiveHost, run


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("verify",),
        ("plan",),
        ("setup",),
        ("apply", "--all"),
        ("history",),
        ("check", "--quick"),
        ("import", "--output", "-"),
        ("import", "--propose"),
        ("policy", "query", "101", "file", "/etc/hosts", "--access", "r"),
        ("policy", "list", "lxc-b"),
    ],
    ids=" ".join,
)
def test_every_command_tells_what_it_works_with(two: LiveHost, words: tuple[str, ...]) -> None:
    assert two.apply("--all").code == 0
    quiet, verbose = two.phoenix(*words, "--json"), two.phoenix(*words, "--json", "-v")
    assert verbose.code == quiet.code and verbose.document == quiet.document
    told = verbose.err.splitlines()
    assert told[:3] == [
        f"configuration: {two.config}",
        f"profile sources: {two.sources}",
        "containers of: proxmox",
    ]
    assert "configuration: " not in quiet.err


def test_programs_are_told_with_their_words_and_how_they_ended(two: LiveHost) -> None:
    two.fail(pct_start=1)
    result = two.phoenix("apply", "101", "-v")
    assert result.code == 1
    told = result.err.splitlines()
    load = "$ apparmor_parser --binary --replace --skip-cache "
    assert any(line.startswith(load) and "(exit 0, " in line for line in told)
    start = next(n for n, line in enumerate(told) if line.startswith("$ pct start 101  (exit 255, "))
    assert told[start + 1].startswith("  "), "what it complained of"
    assert "$ pct" not in two.phoenix("apply", "102").err


def test_a_host_without_any(host: DirectoryHost) -> None:
    host.conf("101")
    result = host.phoenix("status", "-v", config=False)
    assert result.code == 0 and "configuration: none" in result.err


def test_the_doctor_looks_at_its_own_machine_only(host: DirectoryHost) -> None:
    """Told with --root, it would be taken for what it says of that."""
    result = host.phoenix("doctor", config=False)
    assert result.code == 2 and "leave out --root" in result.err
    assert "containers of: " in run(["doctor", "-v"]).err
