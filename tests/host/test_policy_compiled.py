"""The engine on what the real apparmor_parser makes, and the `policy` commands over it."""

from __future__ import annotations

import io
import itertools
import json
import os
import subprocess
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.policy.diff import diff_policies
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.explain import explain
from phoenix_hypervisor.policy.globs import matches
from phoenix_hypervisor.policy.lint import Habit, lint
from phoenix_hypervisor.policy.queries import Query, RawQuery, parse_query
from phoenix_hypervisor.policy.reader import looks_compiled, profile_names, read_policy
from phoenix_hypervisor.policy.source import read_source
from support.hosts import DirectoryHost, Result

PARSER = next(
    (p for p in ("/sbin/apparmor_parser", "/usr/sbin/apparmor_parser") if os.access(p, os.X_OK)), ""
)
FEATURES = "/usr/share/apparmor-features/features"
pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(not PARSER or not Path(FEATURES).exists(), reason="apparmor_parser is not installed"),
]

BASE = b"""\
profile lxc-t {
  file,
  mount fstype=tmpfs -> /t/,
  signal (receive),
  deny /proc/sysrq-trigger rwklx,
  deny /proc/sys/[^kn]*{,/**} wklx,
  deny /proc/sys/fs/** wklx,
  audit deny /proc/kcore w,
  deny /sys/firmware/** wklx,
  capability,
  deny capability sys_module,
}
"""


def compile_text(text: bytes) -> bytes:
    """What the parser makes of `text`, always for named features."""
    argv = [PARSER, "-QSK", "--policy-features", FEATURES, "--kernel-features", FEATURES]
    done = subprocess.run(argv, input=text, capture_output=True, timeout=120, check=False)
    if done.returncode or b"parser error" in done.stderr or not done.stdout:
        raise PhoenixError(done.stderr.decode("utf-8", "replace"))
    return done.stdout


def question(**fields: Any) -> Query:
    query = parse_query(fields)
    assert not isinstance(query, RawQuery)
    return query


def test_removing_an_effective_deny_rule_is_found_with_a_witness() -> None:
    whole = read_policy(compile_text(BASE))
    source = read_source("t", BASE)
    found = {}
    for rule in source.rules():
        if "deny" in rule.text:
            without = read_policy(compile_text(source.without([rule])))
            found[rule.text] = [(one.witness, one.only_b) for one in diff_policies(whole, without)]
    assert found.pop("deny /proc/sys/fs/** wklx,") == []  # the rule above it covers it
    assert all(found.values())
    for text, differences in found.items():
        for witness, only_b in differences:
            assert only_b, text
            assert not witness.startswith("raw"), text
    assert found["deny capability sys_module,"] == [("capability sys_module", "sys_module")]


def test_a_link_in_a_difference_has_a_target_that_it_may_have() -> None:
    """`l` asks the target for the permissions of the link; /a, the shortest path, has none."""
    plain = b"profile lxc-t {\n  /q/x rw,\n  /q/y rw,\n}\n"
    linking = plain.replace(b"/q/x rw", b"/q/x rwl")
    one, two = (read_policy(compile_text(text)) for text in (plain, linking))
    found = [d for d in diff_policies(one, two) if d.kind == "link"]
    assert found
    for difference in found:
        assert not isinstance(difference.query, RawQuery)
        assert difference.query is not None
        assert not Evaluator(one.profiles[0]).ask(difference.query).allowed
        assert Evaluator(two.profiles[0]).ask(difference.query).allowed


def test_globs_are_read_as_the_compiler_reads_them() -> None:
    rules = [
        b"/a[^b]c", b"/d*e", b"/f/*g", b"/h?i", b"/j/**", b"/k**", b"/l{m,n/}o", b"/p/{*,q/**}", b"/s/*t",
        b"/u/**v", b"/w[a-c]x", b"/y{,/**}", b"/z/*/a",
    ]  # fmt: skip
    text = b"profile g {\n" + b"".join(rule + b" r,\n" for rule in rules) + b"}\n"
    judge = Evaluator(read_policy(compile_text(text)).get("g"))
    wrong = []
    for head in b"adfhjklpsuwyz":
        for size in range(5):
            for tail in itertools.product(b"/abcegimnoqtvx"[:11], repeat=size):
                path = bytes((0x2F, head, *tail))
                if judge.file(path, "r").allowed is not any(matches(r, path, is_path=False) for r in rules):
                    wrong.append(path)
    assert wrong == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"kind": "file", "path": "/x", "access": "rw"}, ["t:2"]),
        ({"kind": "file", "path": "/proc/sysrq-trigger", "access": "w"}, ["t:5"]),
        ({"kind": "file", "path": "/proc/kcore", "access": "w"}, ["t:8"]),
        ({"kind": "mount", "target": "/t/", "fstype": "tmpfs"}, ["t:3"]),
        ({"kind": "mount", "target": "/u/", "fstype": "tmpfs"}, []),
        ({"kind": "capability", "name": "sys_module"}, ["t:11"]),
        ({"kind": "userns"}, []),
    ],
)
def test_explain_finds_the_line(fields: dict[str, Any], expected: list[str]) -> None:
    found = explain(read_source("t", BASE), compile_text, "lxc-t", question(**fields))
    assert [rule.place for rule in found.rules] == expected
    assert found.compiles <= 12


TRANSITIONS = (
    "ix",
    "px",
    "Px",
    "cx",
    "Cx",
    "ux",
    "Ux",
    "pix",
    "Pix",
    "cix",
    "Cix",
    "pux",
    "PUx",
    "cux",
    "CUx",
)


def test_exec_transitions_are_named_as_profiles_write_them() -> None:
    """Their meaning was compared with real executions on both kernels: docs/internals/policy-engine.md."""
    rules = "".join(f"  /b/{word} {word},\n" for word in TRANSITIONS)
    rules += "".join(f"  /n/{word} {word} -> other,\n" for word in TRANSITIONS if word[0] in "pP")
    judge = Evaluator(read_policy(compile_text(f"profile lxc-t {{\n{rules}}}\n".encode())).get("lxc-t"))
    for word in TRANSITIONS:
        assert judge.file(f"/b/{word}".encode(), "x").transition == word
        if word[0] in "pP":
            assert judge.file(f"/n/{word}".encode(), "x").transition == f"{word} -> other"


def test_explain_names_what_would_decide_next() -> None:
    query = question(kind="file", path="/proc/sys/fs/x", access="w")
    found = explain(read_source("t", BASE), compile_text, "lxc-t", query)
    places = {found.rules[0].place, *(rules[0].place for rules in found.others)}
    assert places == {"t:6", "t:7"}


def findings(text: bytes, **options: Any) -> list[Habit]:
    return lint(read_source("t", text), compile_text, name="t", **options)


def test_lint_on_a_sound_profile_finds_little() -> None:
    assert [(one.code, one.place) for one in findings(BASE)] == [
        ("left-beside-deny", "t:5"),
        ("redundant-rule", "t:7"),
        ("bare-capability", "t:10"),
    ]


BAD = b"""\
profile Container {
  include if exists <abstractions/lxc/start-container>
  file,
  /dev/nvidia* rwm,
  /bin/x Px,
  mount,
  change_profile -> unconfined,
  change_profile -> lxc-x,
}
"""


def test_lint_names_each_habit() -> None:
    assert [(one.code, one.place) for one in findings(BAD, thorough=False)] == [
        ("no-signal-receive", "t:1"),
        ("profile-name", "t:1"),
        ("start-container", "t:2"),
        ("covered-by-file", "t:4"),
        ("bare-mount", "t:6"),
        ("change-profile-out", "t:7"),
    ]


def test_a_waiver_needs_its_code_its_place_and_a_reason() -> None:
    text = BAD.replace(b"  mount,\n", b"  # lint: allow bare-mount the lab wants it\n  mount,\n")
    waived = {one.code: one.waived for one in findings(text, thorough=False)}
    assert waived["bare-mount"] == "the lab wants it"
    assert waived["covered-by-file"] is None
    same_line = BAD.replace(b"  mount,\n", b"  mount,  # lint: allow bare-mount it is so\n")
    assert {one.code: one.waived for one in findings(same_line, thorough=False)}["bare-mount"] == "it is so"
    for comment in (b"# lint: allow bare-mount", b"# lint: allow covered-by-file wrong one"):
        text = BAD.replace(b"  mount,\n", b"  " + comment + b"\n  mount,\n")
        assert {one.code: one.waived for one in findings(text, thorough=False)}["bare-mount"] is None
    whole = b"# lint: allow-file bare-mount a whole file of them\n" + BAD
    assert {one.code: one.waived for one in findings(whole, thorough=False)}["bare-mount"] is not None
    far = BAD.replace(b"  file,\n", b"  # lint: allow bare-mount too far away\n  file,\n")
    assert {one.code: one.waived for one in findings(far, thorough=False)}["bare-mount"] is None


def test_rules_that_this_compiler_widens_are_named() -> None:
    rules = b"  signal,\n  mount options=(ro,remount,bind),\n  mount options=(bind) /a/ -> /b/,\n"
    text = b"profile lxc-m {\n" + rules + b"}\n"
    version = subprocess.run([PARSER, "--version"], capture_output=True, check=False).stdout
    widened = [one.place for one in findings(text) if one.code == "compiler-widens"]
    if b" 3.0." in version:
        assert "t:3" in widened
        message = next(one.message for one in findings(text) if one.place == "t:3")
        assert message.endswith("it allows `mount --source / --target / --flags bind`")
        assert not [one for one in findings(text) if one.code == "redundant-rule"]
    elif b" 4." in version:
        assert widened == []


def test_a_compiler_that_was_told_too_little_is_found_out() -> None:
    def compile_blindly(text: bytes) -> bytes:
        argv = [PARSER, "-QSK", "--policy-features", FEATURES, "-M", "/dev/null"]
        blind = subprocess.run(argv, input=text, capture_output=True, check=False).stdout
        return blind or compile_text(text)

    codes = {one.code for one in lint(read_source("t", BASE), compile_blindly, name="t", thorough=False)}
    if read_policy(compile_blindly(BASE)).profiles[0].start(7):
        pytest.skip("this parser fills in what it is not told")
    assert "unmediated-class" in codes


def test_distribution_includes_are_not_judged() -> None:
    text = b"profile lxc-x {\n  signal,\n  include <ours>\n  include <theirs>\n}\n"
    files = {"ours": b"  mount,\n", "theirs": b"  umount,\n  umount,\n"}
    source = read_source("t", text, lambda path: (path, files[path]))
    found = lint(source, compile_text, name="t", own=lambda file: file in ("t", "ours"))
    assert [(one.code, one.place) for one in found] == [("bare-mount", "ours:1")]


class Cli:
    """`phoenix policy` in this process, on a directory host whose sources lie in `folder`."""

    def __init__(self, host: DirectoryHost) -> None:
        self.host = host
        self.folder = host.sources
        self.place = host.folder
        """Where files lie that are no profile sources."""

    def run(self, *words: str) -> Result:
        return self.host.phoenix("--features", FEATURES, "policy", *words)

    def __call__(self, *words: str, stdin: bytes = b"") -> tuple[int, str]:
        with mock.patch("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin))):
            result = self.run(*words)
        assert "internal error" not in result.err, result
        return result.code, result.out

    def document(self, *words: str) -> dict[str, Any]:
        return self.run("--json", *words).document


@pytest.fixture
def cli(host: DirectoryHost) -> Cli:
    host.declare({})
    (host.sources / "lxc-t").write_bytes(BASE)
    (host.etc / "policy_tests").mkdir()
    (host.etc / "policy_tests/tests.toml").write_text(
        '[[test]]\nname="keys"\nkind="file"\npath="/proc/sysrq-trigger"\naccess="w"\nexpect="denied"\n'
    )
    return Cli(host)


def test_query_answers_and_exits(cli: Cli) -> None:
    code, out = cli("query", "lxc-t", "file", "/x", "--access", "rw")
    assert code == 0
    assert out.startswith("allowed (rule)  lxc-t: file /x --access rw\n")
    assert "not judged: file ownership" in out
    code, out = cli("query", "lxc-t", "file", "/proc/sysrq-trigger", "--access", "w")
    assert (code, out.split("\n")[0]) == (
        3,
        "denied (deny rule)  lxc-t: file /proc/sysrq-trigger --access w",
    )
    code, out = cli("query", "lxc-t", "mount", "--source", "x", "--target", "/t/", "--fstype", "tmpfs")
    assert code == 0
    assert "also needs the capability sys_admin: this profile has it" in out
    assert cli("query", "lxc-t", "pivot-root", "--new-root", "/a/", "--put-old", "/b/")[0] == 3
    assert cli("query", "lxc-t", "network", "inet", "stream")[0] == 3
    assert cli("query", "lxc-t", "signal", "kill", "--access", "receive", "--peer", "unconfined")[0] == 0
    assert cli("query", "lxc-t", "ptrace", "--access", "read", "--peer", "x")[0] == 3
    assert cli("query", "lxc-t", "change-profile", "unconfined")[0] == 3
    assert cli("query", "lxc-t", "capability", "sys_admin")[0] == 0
    mediated = b"userns_create" in Path(FEATURES).read_bytes()  # Debian 13's
    assert cli("query", "lxc-t", "userns")[0] == (3 if mediated else 0)


def test_query_of_a_source_or_a_blob(cli: Cli) -> None:
    source, blob = str(cli.folder / "lxc-t"), str(cli.place / "blob")
    code, out = cli("compile", source, "-o", blob)
    assert code == 0
    assert "lxc-t" in out
    assert looks_compiled(Path(blob).read_bytes())
    for path in (source, blob):
        assert cli("query", "--policy", path, "umount", "--target", "/x/")[0] == 3
        assert cli("query", "--policy", path, "lxc-t", "umount", "--target", "/x/")[0] == 3
    for one in (source, "lxc-t"):
        code, out = cli("diff", one, blob)
        assert code == 0
        assert out.startswith("equal\n")


def test_a_batch_answers_line_for_line(cli: Cli) -> None:
    good = b'{"profile":"lxc-t","kind":"userns"}\n{"kind":"raw","profile":"lxc-t","class":7,"string":""}\n'
    code, out = cli("query", "--policy", str(cli.folder / "lxc-t"), "--batch", "-", stdin=good)
    assert code == 0
    assert [set(json.loads(line)) for line in out.splitlines()] == [
        {"answer", "reason", "audited", "complain", "needs"},
        {"allow", "deny", "audit", "quiet"},
    ]
    (cli.place / "in").write_bytes(good + b"bad\n")
    code, out = cli("query", "--batch", str(cli.place / "in"))
    assert code == 1
    assert "error" in out.splitlines()[2]
    named = json.dumps({"profile": str(cli.folder / "lxc-t"), "kind": "userns"}).encode()
    code, out = cli("query", "--batch", "-", stdin=named)
    assert (code, set(json.loads(out))) == (1, {"error"})


def test_a_program_is_no_source_but_may_be_a_profile_s_name(cli: Cli) -> None:
    result = cli.run("query", PARSER, "userns")
    assert result.code == 2 and "is neither a source nor compiled policy" in result.err
    (cli.folder / "lxc-h").write_bytes(b"profile lxc-h {\n ^hat {\n  /y w,\n }\n}\n")
    assert cli("query", "lxc-h//hat", "file", "/y", "--access", "w")[0] == 0


def test_a_batch_from_a_pipe_is_cut_at_newlines_only(cli: Cli) -> None:
    policy = str(cli.folder / "lxc-t")
    long = json.dumps({"kind": "file", "path": "/" + "x" * 200_000, "access": "r"}).encode()
    for text, lines in ((b"", 0), (b"\n", 1), (b"{}", 1), (long, 1), (long + b"\n\n" + long + b"\r\n{}", 4)):
        piped = cli("query", "--policy", policy, "--batch", "-", stdin=text)
        (cli.place / "in").write_bytes(text)
        assert cli("query", "--policy", policy, "--batch", str(cli.place / "in")) == piped
        assert piped[1].count("\n") == lines


def test_list_diff_test_lint_and_explain(cli: Cli) -> None:
    code, out = cli("list", "lxc-t", "--under", "/proc/sys", "--access", "w")
    assert code == 0
    assert "files, by pattern" in out
    assert cli("list", "lxc-t")[0] == 0
    assert "sys_admin" in cli.document("list", "lxc-t")["capabilities"]
    (cli.place / "other").write_bytes(BASE.replace(b"  deny /sys/firmware/** wklx,\n", b""))
    code, out = cli("diff", "lxc-t", str(cli.place / "other"))
    assert code == 3
    assert "file: only B: " in out
    assert cli("test")[0] == 0
    assert cli("test", "lxc-t")[0] == 0
    (cli.folder / "lxc-t").write_bytes(BASE.replace(b"  deny /proc/sysrq-trigger rwklx,\n", b""))
    code, out = cli("test")
    assert code == 3
    assert "witness: lxc-t file /proc/sysrq-trigger --access w" in out or "file /proc/sysrq-trigger" in out
    code, out = cli("lint")
    assert code == 1
    assert "sources=1 findings=2 waived=0" in out
    code, out = cli("explain", "lxc-t", "file", "/proc/sys/fs/a", "--access", "w")
    assert code == 0
    assert "lxc-t:" in out


def test_a_shared_rule_is_superfluous_only_where_it_is_so_for_all(cli: Cli) -> None:
    cli.host.source("abstractions/shared", data=b"  /x r,\n  umount /y/,\n")
    (cli.folder / "lxc-t").write_bytes(
        b"profile lxc-t {\n signal,\n file,\n include <abstractions/shared>\n}\n"
    )
    (cli.folder / "lxc-u").write_bytes(
        b"profile lxc-u {\n signal,\n file,\n umount,\n include <abstractions/shared>\n}\n"
    )
    code, out = cli("lint")
    assert code == 1
    assert out.count("covered-by-file") == 1
    assert "redundant-rule" not in out


def test_mistakes_on_the_command_line_are_usage_errors(cli: Cli) -> None:
    blob = str(cli.place / "blob")
    cli("compile", "lxc-t", "-o", blob)
    for words in (
        ["query"],
        ["query", "lxc-t"],
        ["query", "lxc-t", "nothing"],
        ["query", "lxc-t", "file", "/x", "y", "--access", "r"],
        ["explain", "lxc-t", "file", "/x"],
        ["query", "file", "/x", "--access", "r"],
        ["query", "lxc-t", "capability", "sysadmin"],
        ["test", "lxc-none"],
        ["query", "lxc-t", "userns", "--batch", "-"],
        ["query", "--access", "r", "--batch", "-"],
        ["list", "lxc-t", "--access", "z"],
        ["list", "lxc-t", "--under", "proc"],
        ["lint", blob],
        ["compile", blob, "-o", blob],
        ["explain", "--policy", blob, "userns"],
    ):
        assert cli(*words)[0] == 2, words


def test_names_of_the_stock_profiles_are_those_the_parser_gives() -> None:
    checked = 0
    for path in sorted(Path("/etc/apparmor.d").iterdir()):
        if not path.is_file():
            continue
        argv = [PARSER, "-QSK", "-M", FEATURES, str(path)]
        done = subprocess.run(argv, capture_output=True, timeout=120, check=False)
        listed = subprocess.run([PARSER, "-N", "-M", FEATURES, str(path)], capture_output=True, check=False)
        if done.returncode or not done.stdout:
            continue
        assert sorted(profile_names(done.stdout)) == sorted(listed.stdout.decode().split("\n")[:-1])
        assert len(read_policy(done.stdout).profiles) == len(profile_names(done.stdout))
        checked += 1
    assert checked > 0


def test_a_plan_says_what_an_edit_opens(host: DirectoryHost) -> None:
    host.source("lxc-a", "deny /etc/shadow r,", "file,")
    host.declare({})
    assert host.phoenix("setup").code == 0
    host.source("lxc-a", "file,")
    planned = host.phoenix("plan")
    assert "lxc-a opens  file: " in planned.out and "/etc/shadow" in planned.out
    host.source("lxc-a", "file,", "deny /etc/shadow r,")
    assert "lxc-a allows exactly what it allowed" in host.phoenix("plan").out
    document = json.loads(host.phoenix("setup", "--dry-run", "--json").out)
    assert document["effects"] == {"lxc-a": ["allows exactly what it allowed"]}
