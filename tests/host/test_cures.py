"""What the parser says of a source is told with what to do about it."""

from __future__ import annotations

import pytest

from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.profiles.cures import RULE_WORDS, cure
from phoenix_hypervisor.profiles.parser import Parser, ProofError
from support.hosts import DirectoryHost

HEAD = "include <tunables/global>\n"


@pytest.fixture
def told(host: DirectoryHost) -> DirectoryHost:
    (host.installed / "abstractions/lxc").mkdir()
    (host.installed / "abstractions/lxc/container-base").write_text("  deny @{PROC}/sys/** w,\n  file,\n")
    (host.installed / "abstractions/newer").write_text("  file,\n  moount,\n")
    host.declare({})
    return host


def _hint(host: DirectoryHost, source: str) -> str:
    """What `policy compile` says next of a file outside of the configuration's directory."""
    path = host.installed / "lxc-x"
    path.write_text(source)
    result = host.phoenix("policy", "compile", str(path), "-o", str(host.folder / "blob"))
    assert result.code == 1, result
    return result.err


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            "profile x {\n  include <abstractions/lxc/container-base>\n}\n",
            "`include <tunables/global>` above",
        ),
        (
            "# without include <tunables/global>\nprofile x {\n  @{PROC}/x r,\n}\n",
            "`include <tunables/global>` above",
        ),
        (HEAD + "profile x {\n  @{NOWHERE}/x r,\n}\n", "declare it above the profile, `@{NOWHERE}=...`"),
        (HEAD + "profile x {\n  moount fstype=(a, b),\n}\n", "did you mean `mount`?"),
        (HEAD + "profile x {\n  deny moount -> /{a,b}/,\n}\n", "did you mean `mount`?"),
        (HEAD + "profile x {\n  include <abstractions/newer>\n}\n", "did you mean `mount`?"),
        (
            HEAD + "profile x {\n  include <abstractions/none>\n}\n",
            "no include directory has abstractions/none",
        ),
        (HEAD + "profile x {\n  /a r\n}\n", "without its comma"),
        (HEAD + "profile x {\n  /a r,\n", "a } is missing"),
        (HEAD + "profile x {\n  /a rix,\n  /a rpx,\n}\n", "leave one of them"),
    ],
)
def test_the_next_step_stands_beside_the_parser_s_words(told: DirectoryHost, source: str, words: str) -> None:
    assert words in _hint(told, source)


def test_a_fault_in_an_include_names_the_include(told: DirectoryHost) -> None:
    assert "abstractions/newer at line 2" in _hint(
        told, HEAD + "profile x {\n  include <abstractions/newer>\n}\n"
    )


@pytest.mark.parametrize("rule", [*RULE_WORDS, "priority=3 /x r", "prompt /x r", "network inet port=3"])
def test_a_newer_rule_is_named_with_the_version_that_it_needs(told: DirectoryHost, rule: str) -> None:
    """Of the parser that is here: it takes the rule, or says which one it does not know."""
    text = f"{HEAD}profile x {{\n  file,\n  {rule},\n}}\n".encode()
    parser = Parser(Host("/"), "", features="debian-12")
    try:
        parser.compile_text(text, "/nowhere/x", optional=False)
    except ProofError as error:
        assert parser.version < (4, 1, 0)
        assert (
            error.hint is not None
            and f"`{rule.partition('=')[0].partition(' /')[0].removesuffix(' inet port')}" in error.hint
        )
        assert "or newer, and this parser is" in error.hint
    else:
        assert parser.version >= (4, 0, 0)


@pytest.mark.parametrize(
    ("said", "line", "version", "expected"),
    [
        (
            "Invalid profile flag: kill.signal=hup.",
            "",
            (3, 1, 7),
            "the flag `kill.signal` needs AppArmor 4.0",
        ),
        ("Invalid profile flag: error=EPERM.", "", (4, 0, 3), "the flag `error` needs AppArmor 4.1"),
        ("Invalid profile flag: nonsense.", "", (3, 0, 8), None),
        ("deny prefix not allowed", "", (3, 0, 8), "`deny { }` needs AppArmor 4.0"),
        ("syntax error, x", "  userns,", (3, 1, 7), "`userns` needs AppArmor 4.0"),
        ("syntax error, x", "  userns wrong,", (4, 0, 0), None),
        ("syntax error, x", "  priority=1 /x r,", (4, 0, 0), "`priority` needs AppArmor 4.1"),
        ("syntax error, x", "  signal set=(odd, term) /,", (3, 0, 8), None),
        ("syntax error, x", "  /srv/{foo,bar} rq, # mqueue,", (3, 0, 8), None),
        ("Failed to find declaration for: @{A}", "", (5, 0, 2), "@{A}"),
    ],
)
def test_words_of_every_version(
    said: str, line: str, version: tuple[int, int, int], expected: str | None
) -> None:
    found = cure(f"AppArmor parser error at line 1: {said}", "/x", version, lambda path: line)
    assert found is None if expected is None else expected in (found or "")


def test_a_profile_that_only_complains_is_a_finding(told: DirectoryHost) -> None:
    """It confines nothing, and looks like any other one."""
    told.conf("101")
    told.declare({"101": "lxc-x"})
    source = told.source(
        "lxc-x", data=(HEAD + "profile lxc-x flags=(complain) {\n  /etc/** r,\n}\n").encode()
    )
    checked = told.phoenix("check", "--json")
    assert checked.code == 1 and ("only-complains", str(source)) in checked.problems
    plan = told.phoenix("plan", "--json").document
    assert [note["code"] for note in plan["warnings"]].count("only-complains") == 1
    told.source("lxc-x", "/etc/** r,")
    assert told.phoenix("check").code == 0
    assert "only-complains" not in told.phoenix("plan", "--json").out
