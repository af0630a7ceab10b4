"""Sources that only some parsers take, and the policy tests that go with them.

All or none: where the host's parser takes every file below if-parser-accepts, each of them counts before the
file of the same name; elsewhere none does.  And: which profile is the variant of which.
"""

from __future__ import annotations

import os
import shutil

import pytest

from phoenix_hypervisor.engine.gather import Request
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.engine.settings import HostSettings
from phoenix_hypervisor.engine.workflow import prepare
from phoenix_hypervisor.host.machine import Host
from support.hosts import DirectoryHost, RecordingRunner, profile, told

QUESTION = """\
version = 1
[[test]]
name = "x"
profiles = ["lxc-a"]
kind = "file"
path = "/etc/passwd"
access = "r"
expect = "{}"
"""


@pytest.fixture
def three(host: DirectoryHost) -> DirectoryHost:
    for name in ("lxc-a", "lxc-b", "lxc-c"):
        host.source(name)
    host.declare({})
    return host


def proven(host: DirectoryHost) -> list[str]:
    """The sources that a setup would compile."""
    runner = RecordingRunner(Host().runner)
    session = Session(
        HostSettings(root=str(host.root), config=str(host.config)), Host(str(host.root), runner)
    )
    prepare(session, Request())
    return [os.path.basename(argv[-1]) for argv in runner.argvs if argv[-2:-1] == ("--stdout",)]


def test_optional_includes_are_installed_only_where_the_parser_takes_them(three: DirectoryHost) -> None:
    three.source("lxc-a", "include if exists <abstractions/phoenix/new>")
    optional = three.sources / "if-parser-accepts/abstractions/phoenix/new"
    optional.parent.mkdir(parents=True)
    optional.write_bytes(b"  rules_of_parser_9,\n")
    first = three.phoenix("setup")
    assert first.code == 0
    assert "this parser does not know its rules" in first.out
    assert not (three.installed / "abstractions/phoenix/new").exists()
    optional.write_bytes(b"  network,\n")
    assert three.phoenix("setup").code == 0
    assert (three.installed / "abstractions/phoenix/new").read_bytes() == b"  network,\n"
    assert three.phoenix("setup").recap["changed"] == 0


def test_an_optional_profile_stands_in_place_of_the_plain_one_where_the_parser_takes_it(
    three: DirectoryHost,
) -> None:
    optional = three.sources / "if-parser-accepts/lxc-a"
    optional.parent.mkdir()
    rules = "profile lxc-a flags=(attach_disconnected) {{\n  {}\n  include if exists <abstractions/phoenix/x>\n}}\n"
    optional.write_text(rules.format("rules_of_parser_9,"))
    first = three.phoenix("setup")
    assert first.code == 0
    assert "if-parser-accepts/lxc-a" in first.out
    plain = (three.sources / "lxc-a").read_bytes()
    assert (three.installed / "lxc-a").read_bytes() == plain
    optional.write_text(rules.format("network,"))
    within = three.sources / "if-parser-accepts/abstractions/phoenix/x"
    within.parent.mkdir(parents=True)
    within.write_bytes(b"  network inet,\n")
    three.source("abstractions/phoenix/x", data=b"  network inet6,\n")
    second = three.phoenix("setup")
    assert second.code == 0
    assert (three.installed / "lxc-a").read_bytes() == optional.read_bytes()
    assert (three.installed / "abstractions/phoenix/x").read_bytes() == within.read_bytes()
    assert three.phoenix("setup").recap["changed"] == 0
    within.write_bytes(b"  network netlink,\n")
    assert proven(three) == ["lxc-a"]
    # One file that the parser does not take, and the plain ones count again.
    within.write_bytes(b"  rules_of_parser_9,\n")
    assert three.phoenix("setup").code == 0
    assert (three.installed / "lxc-a").read_bytes() == plain


def test_what_is_proven_of_an_optional_profile_is_what_is_installed(three: DirectoryHost) -> None:
    """The optional include wins in the compile, too: the policy test tells which one was compiled."""
    three.source("lxc-a", "include <abstractions/phoenix/x>")
    three.source("abstractions/phoenix/x", data=b"  file,\n")
    within = three.sources / "if-parser-accepts/abstractions/phoenix/x"
    within.parent.mkdir(parents=True)
    within.write_bytes(b"  deny /etc/passwd r,\n  file,\n")
    tests = three.etc / "policy_tests"
    (tests / "if-parser-accepts").mkdir(parents=True)
    (tests / "a.toml").write_text(QUESTION.format("allowed"))
    assert "expected allowed" in three.phoenix("setup").err
    (tests / "if-parser-accepts/a.toml").write_text(QUESTION.format("denied"))
    assert three.phoenix("setup").code == 0
    within.write_bytes(b"  rules_of_parser_9,\n")
    assert three.phoenix("setup").code == 0, "the plain include, and the plain test"


def test_an_optional_profile_needs_one_for_older_parsers(three: DirectoryHost) -> None:
    three.source("if-parser-accepts/lxc-z", data=b"profile lxc-z {\n}\n")
    refused = three.phoenix("setup")
    assert refused.code == 1
    assert "replaces no profile" in refused.err


def test_an_edit_that_another_file_stands_in_front_of_is_told(three: DirectoryHost) -> None:
    """An installation remembers what it shipped: who edits the plain file edits one that does not count."""
    for name, rule in (("lxc-a", "network,"), ("if-parser-accepts/lxc-a", "network inet,")):
        three.source(name, data=profile("lxc-a", rule))
    assert three.phoenix("setup").code == 0
    told_of = ("edited-in-vain", str(three.sources / "lxc-a"))
    shipped = three.folder / "shipped/apparmor"
    shutil.copytree(three.sources, shipped)
    assert told_of not in told(three.phoenix("plan", "--json").document["warnings"])
    three.source("lxc-a", "/srv/mine r,")
    assert told_of in told(three.phoenix("plan", "--json").document["warnings"])
    assert f"{three.sources}/if-parser-accepts/lxc-a counts in its place" in three.phoenix("plan").out
    three.source("if-parser-accepts/lxc-a", data=b"profile lxc-a { rules_of_parser_9, }\n")
    plan = three.phoenix("plan", "--json").document
    assert told_of not in told(plan["warnings"]) and plan["changes"], "the plain one counts"
