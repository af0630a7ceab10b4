"""What `policy lint` names, on what the real parser makes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from phoenix_hypervisor import Phoenix
from phoenix_hypervisor.cli.main import main
from phoenix_hypervisor.engine.policy_requests import LintRequest
from phoenix_hypervisor.engine.results import Stage
from phoenix_hypervisor.errors import UsageError
from phoenix_hypervisor.host.process import find_program
from phoenix_hypervisor.policy import surplus
from phoenix_hypervisor.policy.lint import CODES
from phoenix_hypervisor.policy.source import Source, Statement
from support.sarif import sarif_faults
from support.shipped import takes_optional

PARSER = find_program("apparmor_parser") or ""
pytestmark = [pytest.mark.host, pytest.mark.skipif(not PARSER, reason="apparmor_parser is not installed")]
from_4 = pytest.mark.skipif(bool(PARSER) and not takes_optional(), reason="the parser does not know the rule")


def features() -> str:
    return "debian-13" if takes_optional() else "debian-12"


def found(tmp_path: Path, *rules: str, head: str = "profile t {", ignore: tuple[str, ...] = ()) -> list[str]:
    """Code and line of each finding that is not waived."""
    path = tmp_path / "t"
    path.write_text("\n".join([head, *rules, "}", ""]))
    phoenix = Phoenix(parser=PARSER, features=features())
    done = phoenix.lint(LintRequest(sources=(str(path),), ignore=ignore))
    return [f"{one.code}:{one.place.rpartition(':')[2]}" for one in done.findings if one.waived is None]


@pytest.mark.parametrize("mode", ["ux", "Ux", "rpux", "PUx", "cux", "CUx"])
def test_execution_without_confinement(tmp_path: Path, mode: str) -> None:
    assert found(tmp_path, f"/bin/a {mode},", "/bin/b px,", "/usr/ux r,") == ["unconfined-exec:2"]


def test_bare_rules(tmp_path: Path) -> None:
    rules = ("ptrace,", "capability,", "mount,", "change_profile,")
    assert found(tmp_path, *rules) == [
        "bare-ptrace:2",
        "bare-capability:3",
        "bare-mount:4",
        "bare-change-profile:5",
    ]
    assert found(tmp_path, "ptrace (read) peer=x,", "capability chown,", "change_profile -> y,") == []


@from_4
def test_the_rule_all(tmp_path: Path) -> None:
    assert found(tmp_path, "all,") == ["bare-all:2"]


@pytest.mark.parametrize(
    ("rules", "line"),
    [
        (("mount fstype=tmpfs -> /b/,", "mount fstype=tmpfs -> /{b,c}/,"), 2),
        (("signal (send) set=kill peer=x,", "signal (send) peer=x,"), 2),
        (("capability chown,", "capability chown,"), 3),
    ],
)
def test_what_rules_of_the_same_kind_cover_takes_no_compile_of_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rules: tuple[str, ...], line: int
) -> None:
    wholes: list[Sequence[Statement]] = []
    without = Source.without

    def counted(self: Source, gone: Sequence[Statement]) -> bytes:
        wholes.append(list(gone))
        return without(self, gone)

    monkeypatch.setattr(Source, "without", counted)
    assert found(tmp_path, *rules) == [f"redundant-rule:{line}"]
    assert line not in [rule.line for gone in wholes for rule in gone]


KINDS = [
    ("mount fstype=tmpfs -> /{b,d}/,", "mount fstype=tmpfs -> /{b,c}/,"),
    ("mount fstype=tmpfs -> /b/,", "deny mount -> /b/,", "umount /b/,", "deny umount,"),
    ("mount options=(remount, bind) options in (ro, nosuid),", "remount options=(ro, bind),"),
    ("network inet stream,", "deny network inet stream,", "deny network inet,"),
    ("audit deny signal peer=x,", "deny signal peer=x,", "deny signal (send) peer=x,"),
    ("audit capability chown,", "capability chown,", "capability kill,"),
    ("ptrace (read) peer=x,", "ptrace peer=@{profile_name},", "ptrace peer=t,"),
    ("dbus bus=system,", "dbus (send) bus=system,", "dbus (send) bus=session,"),
]


@pytest.mark.parametrize("number", range(len(KINDS)))
def test_the_rules_of_one_kind_say_as_much_as_the_whole_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    rules = (*KINDS[number], "/etc/** rw,")
    monkeypatch.setattr(surplus, "_needed", lambda *_: False)
    wholes: list[Sequence[Statement]] = []
    without = Source.without

    def counted(self: Source, gone: Sequence[Statement]) -> bytes:
        wholes.append(list(gone))
        return without(self, gone)

    monkeypatch.setattr(Source, "without", counted)
    small = found(tmp_path, *rules)
    assert [gone[-1].text for gone in wholes] == ["/etc/** rw,"]
    monkeypatch.setattr(surplus, "_KINDS", {})
    assert found(tmp_path, *rules) == small


@pytest.mark.parametrize(("flag", "expected"), [("audit", ["redundant-rule:3"]), ("complain", [])])
def test_where_flags_change_what_a_rule_means_the_whole_profile_is_asked(
    tmp_path: Path, flag: str, expected: list[str]
) -> None:
    rules = ("mount fstype=tmpfs -> /{b,c}/,", "audit mount fstype=tmpfs -> /b/,", "/x rw,")
    assert found(tmp_path, *rules) == []
    flagged = found(tmp_path, *rules, head=f"profile t flags=({flag}) {{")
    assert [one for one in flagged if not one.startswith("complain")] == expected


def test_what_an_include_brings_in_counts_for_the_rules_of_a_kind(tmp_path: Path) -> None:
    (tmp_path / "more").write_text("mount fstype=tmpfs -> /{b,c}/,\n")
    line = f'include "{tmp_path}/more"'
    assert found(tmp_path, line, "mount fstype=tmpfs -> /b/,", "/x rw,") == ["redundant-rule:3"]
    assert found(tmp_path, line, "mount fstype=tmpfs -> /d/,", "/x rw,") == []


@pytest.mark.parametrize(
    "rules",
    [
        ("audit mount fstype=tmpfs -> /b/,", "mount fstype=tmpfs -> /{b,c}/,"),
        ("mount fstype=tmpfs -> /{b,d}/,", "mount fstype=tmpfs -> /{b,c}/,"),
        ("mount fstype=tmpfs -> /{b,c}/,", "deny mount fstype=tmpfs -> /c/,"),
    ],
)
def test_what_they_cover_in_part_or_log_otherwise_is_needed(tmp_path: Path, rules: tuple[str, ...]) -> None:
    assert found(tmp_path, *rules) == []


@from_4
def test_a_rule_of_another_priority_covers_nothing(tmp_path: Path) -> None:
    rules = ("priority=5 mount fstype=tmpfs -> /b/,", "mount fstype=tmpfs -> /{b,c}/,", "deny mount -> /b/,")
    assert found(tmp_path, *rules) == []


@pytest.mark.parametrize(("flag", "code"), [("complain", "complain-flag"), ("unconfined", "unconfined-flag")])
def test_flags_that_take_the_walls_away(tmp_path: Path, flag: str, code: str) -> None:
    head = f"profile t flags=(attach_disconnected, {flag}) {{"
    assert f"{code}:1" in found(tmp_path, "/etc/hosts r,", head=head)


def test_a_profile_that_is_not_for_lxc_is_not_told_its_name(tmp_path: Path) -> None:
    assert found(tmp_path, "/etc/hosts r,", "change_profile -> y,", head="profile /usr/bin/t {") == []
    # The same for a container: the name, and the signals of the host.
    (tmp_path / "abstractions" / "lxc").mkdir(parents=True)
    (tmp_path / "abstractions" / "lxc" / "x").write_text("/etc/hosts r,\n")
    codes = found(tmp_path, "include <abstractions/lxc/x>", head="profile t {")
    assert codes == ["no-signal-receive:1", "profile-name:1"]


def test_what_is_left_over_beside_a_deny_rule(tmp_path: Path) -> None:
    assert found(tmp_path, "file,", "deny /x rwklx,") == ["left-beside-deny:3"]
    for rules in (("file,", "deny /x rwklxm,"), ("/y rm,", "deny /x rwklx,"), ("file,", "deny /x w,")):
        assert found(tmp_path, *rules) == [], rules
    assert found(tmp_path, "/x rm,", "deny /x rw,") == ["left-beside-deny:3"]


def test_of_two_rules_that_stand_for_each_other_one_is_told(tmp_path: Path) -> None:
    assert found(tmp_path, "/etc/hosts r,", "/etc/host[s] r,") == ["redundant-rule:3"]
    assert found(tmp_path, "/etc/hosts r,", "/etc/** r,") == ["redundant-rule:2"]
    assert found(tmp_path, "/etc/** r,", "deny /etc/a* r,", "deny /etc/ab r,") == ["redundant-rule:4"]


@from_4
def test_a_rule_that_is_needed_for_its_priority_only(tmp_path: Path) -> None:
    rules = ("/etc/** r,", "deny /etc/a* r,", "priority=5 /etc/ab r,")
    assert found(tmp_path, *rules) == []
    assert found(tmp_path, *rules, "priority=4 /etc/ab r,") == ["redundant-rule:5"]


def test_a_code_is_switched_off_in_the_source_and_for_a_run(tmp_path: Path) -> None:
    assert found(tmp_path, "ptrace,  # lint: allow bare-ptrace it is a debugger") == []
    assert found(tmp_path, "ptrace,  # lint: allow bare-ptrace") == ["bare-ptrace:2"]
    assert found(tmp_path, "ptrace,", "capability,", ignore=("bare-ptrace",)) == ["bare-capability:3"]
    with pytest.raises(UsageError, match="bare-trace is not a code"):
        found(tmp_path, "ptrace,", ignore=("bare-trace",))


def test_sarif(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a b"
    path.write_text("profile t {\nptrace,\n# lint: allow bare-capability why not\ncapability,\n}\n")
    words = ["--parser", PARSER, "--features", features(), "policy", "lint", str(path), "--sarif"]
    assert main(words) == 1
    log = json.loads(capsys.readouterr().out)
    assert (log["version"], log["$schema"].rpartition("/")[2]) == ("2.1.0", "sarif-schema-2.1.0.json")
    assert sarif_faults(log) == []
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(CODES)
    ptrace, capability = run["results"]
    assert rules[ptrace["ruleIndex"]]["id"] == ptrace["ruleId"] == "bare-ptrace"
    place = ptrace["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == f"file://{tmp_path}/a%20b"
    assert place["region"]["startLine"] == 2
    assert "suppressions" not in ptrace
    assert capability["suppressions"] == [{"kind": "inSource", "justification": "why not"}]
    assert main(["--json", *words]) == 2


def test_the_shipped_profiles_have_no_finding_without_a_why(capsys: pytest.CaptureFixture[str]) -> None:
    steps: list[Stage] = []
    # How long a compile takes is not a test's business.
    request = LintRequest(ignore=("slow-compile",))
    done = Phoenix(parser=PARSER, features=features()).lint(request, steps.append)
    assert [str(one) for one in done.findings if one.waived is None] == []
    assert len(steps) == len(done.sources) > 5
