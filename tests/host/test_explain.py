"""`explain` names the rule that decides: it is taken out, and the real parser is asked again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from phoenix_hypervisor import Phoenix
from phoenix_hypervisor.engine.policy_requests import ExplainRequest, QueryRequest
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.process import find_program
from phoenix_hypervisor.policy.explain import Explanation
from phoenix_hypervisor.policy.queries import Query, RawQuery, parse_query
from support.shipped import takes_optional

PARSER = find_program("apparmor_parser") or ""
pytestmark = [pytest.mark.host, pytest.mark.skipif(not PARSER, reason="apparmor_parser is not installed")]
from_4 = pytest.mark.skipif(bool(PARSER) and not takes_optional(), reason="the parser has no priorities")

SHADOW = {"kind": "file", "path": "/etc/shadow", "access": "r"}


def question(**fields: Any) -> Query:
    query = parse_query(fields)
    assert not isinstance(query, RawQuery)
    return query


def phoenix() -> Phoenix:
    return Phoenix(parser=PARSER, features="debian-13" if takes_optional() else "debian-12")


def explained(of: Path, /, profile: str | None = None, **fields: Any) -> Explanation:
    request = ExplainRequest(question=question(**fields), profile=profile, policy=str(of))
    return phoenix().explain(request).explanation


def answers(of: Path, /, profile: str | None = None, **fields: Any) -> tuple[bool, str, str | None]:
    found = phoenix().query(QueryRequest(question=question(**fields), profile=profile, policy=str(of)))
    answer = found.answer  # type: ignore[union-attr]
    return answer.allowed, answer.reason.value, answer.transition


def lines(found: Explanation) -> list[int]:
    return [rule.line for rule in found.rules]


def check(of: Path, /, profile: str | None = None, **fields: Any) -> list[int]:
    """The lines named; taken out of their file, all that decide the same, they change the answer."""
    found = explained(of, profile, **fields)
    before = answers(of, profile, **fields)
    kept = {
        Path(rule.file): Path(rule.file).read_text()
        for rules in (found.rules, *found.others)
        for rule in rules
    }
    for file, text in kept.items():
        gone = {r.line for rules in (found.rules, *found.others) for r in rules if r.file == str(file)}
        cut = ["" if number in gone else line for number, line in enumerate(text.split("\n"), 1)]
        file.write_text("\n".join(cut))
    assert kept, found.note
    assert answers(of, profile, **fields) != before
    for file, text in kept.items():
        file.write_text(text)
    return lines(found)


def source(tmp_path: Path, *rules: str, head: str = "profile t {") -> Path:
    path = tmp_path / "t"
    path.write_text("\n".join([head, *rules, "}", ""]))
    return path


def test_a_file_may_stand_where_a_profile_is_named(tmp_path: Path) -> None:
    """As for `query`: the file's one profile, whatever it is called, or the one that is called as the file."""
    path = source(tmp_path, "/etc/shadow r,", head="profile another {")
    request = ExplainRequest(question=question(**SHADOW), profile=str(path))
    assert lines(phoenix().explain(request).explanation) == [2]
    path.write_text(f"profile {path} {{\n/etc/shadow r,\n}}\nprofile second {{\n}}\n")
    assert lines(phoenix().explain(request).explanation) == [2]
    path.write_text("profile first {\n}\nprofile second {\n}\n")
    with pytest.raises(PhoenixError, match="it holds 2 profiles: first, second"):
        phoenix().explain(request)


def test_a_script_that_a_profile_is_called_after_is_no_source(tmp_path: Path) -> None:
    script = tmp_path / "usr/bin/tool"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\nexit 0\n")
    installed = tmp_path / "etc/apparmor.d" / str(script)[1:].replace("/", ".")
    installed.parent.mkdir(parents=True)
    (installed.parent / "tunables").mkdir()
    installed.write_text(f"profile {script} {{\n/etc/shadow r,\n}}\n")
    host = Phoenix(root=str(tmp_path), parser=PARSER, features="debian-12")
    answer = host.query(QueryRequest(question=question(**SHADOW), profile=str(script))).answer  # type: ignore[union-attr]
    assert answer.allowed
    found = host.explain(ExplainRequest(question=question(**SHADOW), profile=str(script))).explanation
    assert lines(found) == [2]
    # A source may begin like a script: the line is a comment to the parser.
    own = tmp_path / "own"
    own.write_text("#!/sbin/apparmor_parser\nprofile own {\n/etc/shadow r,\n}\n")
    assert host.query(QueryRequest(question=question(**SHADOW), profile=str(own))).answer.allowed  # type: ignore[union-attr]


@from_4
def test_an_allow_rule_that_outranks_a_deny_rule_decides_alone(tmp_path: Path) -> None:
    path = source(tmp_path, "/etc/shadow rw,", "priority=10 /etc/shadow r,", "deny /etc/** r,")
    found = explained(path, **SHADOW)
    assert (lines(found), found.others) == ([3], ())
    assert check(path, **SHADOW) == [3]
    assert check(path, **{**SHADOW, "access": "w"}) == [2]


@from_4
def test_each_priority_has_its_own_deny_rules(tmp_path: Path) -> None:
    rules = [
        "/etc/** rw,",
        "priority=5 deny /etc/shadow r,",
        "priority=9 /etc/s* r,",
        "priority=12 deny /etc/*w r,",
    ]
    path = source(tmp_path, *rules)
    found = explained(path, **SHADOW)
    assert (found.answer.reason.value, lines(found), found.others) == ("deny rule", [5], ())
    assert check(source(tmp_path, *rules[:3]), **SHADOW) == [4]
    assert check(source(tmp_path, *rules[:2]), **SHADOW) == [3]


@from_4
def test_a_block_of_deny_rules(tmp_path: Path) -> None:
    path = source(tmp_path, "/etc/** r,", "deny {", "  /etc/passwd r,", "  /etc/shadow r,", "}")
    assert check(path, **SHADOW) == [5]
    assert explained(path, **SHADOW).rules[0].within == ("deny {",)
    path = source(tmp_path, "/etc/** r,", "audit deny {", "  /etc/passwd r,", "  /etc/shadow r,", "}")
    found = explained(path, **SHADOW)
    assert (lines(found), found.answer.reason.value) == ([5], "no rule")
    assert "an audited deny rule" in found.note


def test_other_blocks(tmp_path: Path) -> None:
    path = source(tmp_path, "owner {", "  /etc/** r,", "}", "allow {", "  /etc/s* r,", "}")
    assert check(path, **SHADOW, other=True) == [6]
    assert len(explained(path, **SHADOW).others) == 1
    assert lines(explained(path, **{**SHADOW, "path": "/etc/passwd"})) == [3]


@pytest.mark.parametrize(("value", "line"), [("true", 3), ("false", 6)])
def test_the_branch_of_a_condition_that_holds(tmp_path: Path, value: str, line: int) -> None:
    rules = ["if $x {", "  /etc/s* r,", "  deny /etc/p* r,", "} else {", "  /etc/shadow r,", "}"]
    path = source(tmp_path, *rules[:3], *rules[3:], head=f"$x = {value}\nprofile t {{")
    assert check(path, **SHADOW) == [line + 1]


def test_variables_are_told_with_where_they_are_set(tmp_path: Path) -> None:
    (tmp_path / "tunables").mkdir()
    (tmp_path / "tunables" / "mine").write_text("@{SECRET} = /etc/\n@{SECRET} += /srv/\n")
    path = source(
        tmp_path, "@{SECRET}shadow r,", "@{SECRET}passwd r,", head="include <tunables/mine>\nprofile t {"
    )
    assert check(path, **SHADOW) == [3]
    places = [f"{tmp_path}/tunables/mine:{line}" for line in (1, 2)]
    assert explained(path, **SHADOW).variables == {"@{SECRET}": places}


def test_a_rule_in_a_directory_that_is_included(tmp_path: Path) -> None:
    folder = tmp_path / "abstractions" / "mine.d"
    folder.mkdir(parents=True)
    (folder / "one").write_text("# nothing\n/etc/passwd r,\n")
    (folder / "two").write_text("/etc/hosts r,\n\ninclude <abstractions/deep>\n")
    (folder / "two.dpkg-old").write_text("/etc/** r,\n")
    (tmp_path / "abstractions" / "deep").write_text("/etc/shadow r,\n")
    (tmp_path / "abstractions" / "mine").write_text("include if exists <abstractions/mine.d>\n")
    path = source(tmp_path, "include <abstractions/mine>")
    assert check(path, **SHADOW) == [1]
    rule = explained(path, **SHADOW).rules[0]
    above = [f"{path}:2", f"{tmp_path}/abstractions/mine:1", f"{folder}/two:3"]
    assert (rule.file, rule.chain) == (f"{tmp_path}/abstractions/deep", tuple(above))


def test_what_is_included_twice_is_named_once(tmp_path: Path) -> None:
    """As the parser reads it: once in a profile, and again in a child."""
    (tmp_path / "abstractions").mkdir()
    (tmp_path / "abstractions" / "x").write_text("/etc/shadow r,\n")
    twice = ["include <abstractions/x>"] * 2
    path = source(tmp_path, *twice, "profile c {", *twice, "}")
    for profile, above in (("t", 2), ("t//c", 5)):
        found = explained(path, profile, **SHADOW)
        assert (found.rules[0].chain, found.others) == ((f"{path}:{above}",), ())


def test_how_a_program_is_run_decides_as_well(tmp_path: Path) -> None:
    run = {"kind": "file", "path": "/usr/bin/a", "access": "x"}
    path = source(tmp_path, "/usr/bin/* ix,", "/usr/bin/a px,", "/usr/bin/a r,")
    assert check(path, **run) == [3]
    assert check(path, **{**run, "path": "/usr/bin/b"}) == [2]
    assert check(path, **{**run, "access": "rx"}) == [3, 4]


def test_what_no_rule_says(tmp_path: Path) -> None:
    attr = {"kind": "file", "path": "/proc/1/attr/current", "access": "w"}
    path = source(tmp_path, "/etc/hosts r,", "^h {", "  /x r,", "}")
    found = explained(path, "t", **attr)
    assert (lines(found), "a hat" in found.note) == ([3], True)
    assert check(source(tmp_path, "change_profile -> x,"), **attr) == [2]
    found = explained(path, "t", **SHADOW)
    assert (found.rules, found.note) == ((), "no rule allows it")
    path = source(tmp_path, "/etc/hosts r,", head="profile t flags=(unconfined) {")
    assert explained(path, **SHADOW).note.endswith(f"unconfined, by the flags at {path}:1")


def test_rules_that_name_their_own_profile(tmp_path: Path) -> None:
    """@{profile_name} is another in each profile: the child is asked as the child."""
    path = source(tmp_path, "profile c {", "  /etc/hosts r,", "  signal (send) peer=@{profile_name},", "}")
    asked = {"kind": "signal", "signal": "kill", "access": "send", "peer": "t//c"}
    assert check(path, "t//c", **asked) == [4]


def test_the_command_shows_the_chain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from phoenix_hypervisor.cli.main import main

    (tmp_path / "abstractions").mkdir()
    (tmp_path / "abstractions" / "x").write_text("@{E}shadow r,\n")
    path = source(tmp_path, "include <abstractions/x>", head="@{E} = /etc/\nprofile t {")
    words = ["--parser", PARSER, "--features", "debian-12", "policy", "explain", "--policy", str(path)]
    assert main([*words, "file", "/etc/shadow", "--access", "r"]) == 0
    out = capsys.readouterr().out
    assert f"{tmp_path}/abstractions/x:1: @{{E}}shadow r," in out
    assert f"included at: {path}:3" in out and f"@{{E}} is set at: {path}:1" in out


def test_a_part_that_is_decided_twice_is_told(tmp_path: Path) -> None:
    path = source(tmp_path, "/a r,", "/a w,", "/{a,b} r,")
    both = explained(path, kind="file", path="/a", access="rw")
    assert len(both.rules) == 2 and both.others == ()
    place = next(rule.place for rule in both.rules if rule.text.endswith(" r,"))
    assert both.note == f"other rules do the same as {place}"
    assert explained(source(tmp_path, "/a r,", "/a w,"), kind="file", path="/a", access="rw").note == ""


def test_what_a_rule_allows_that_denies_something_else(tmp_path: Path) -> None:
    look = {"kind": "file", "path": "/a", "access": "getattr"}
    path = source(tmp_path, "capability chown,", "deny /a w,")
    assert check(path, **look) == [3]
    assert "a rule that denies something else" in explained(path, **look).note


def test_a_source_that_compiles_too_long_is_refused_with_the_limit(tmp_path: Path) -> None:
    path = source(tmp_path, *(f"/{'?' * 9}/**{number}**/{{a,b}}*{number} rw," for number in range(40)))
    request = ExplainRequest(question=question(**SHADOW), policy=str(path), wait=0.5)
    with pytest.raises(PhoenixError, match=r"t: compiling it takes more than 0.5 s") as refused:
        phoenix().explain(request)
    assert refused.value.hint == "--wait SECONDS lets it take longer"
