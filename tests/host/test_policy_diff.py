"""`policy diff` on what the real parser makes: nothing that differs is called equal."""

from __future__ import annotations

from pathlib import Path

import pytest

from host.test_policy_compiled import FEATURES, PARSER, Cli, cli, compile_text
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.policy.diff import Comparison, compare_policies, equal
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.profile import Profile
from phoenix_hypervisor.policy.queries import Query, RawQuery
from phoenix_hypervisor.policy.reader import read_policy
from phoenix_hypervisor.policy.sockets import Asks

__all__ = ["cli"]
pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(not PARSER or not Path(FEATURES).exists(), reason="apparmor_parser is not installed"),
]
PROXMOX = Path(__file__).parents[2] / "src/phoenix_hypervisor/data/features/proxmox-9-6.14"
BLOBS = Path(__file__).parents[1] / "data" / "policy"


def profile(rules: str, head: str = "profile t") -> str:
    return f"{head} {{\n{rules}\n}}\n"


def compared(one: str, two: str, logging: bool = False) -> tuple[Comparison, Profile, Profile]:
    a, b = (read_policy(compile_text(text.encode())) for text in (one, two))
    return compare_policies(a, b, logging=logging), a.profiles[0], b.profiles[0]


LOGGED = [
    # Rules of A and of B, the kind, what only A and only B do, the question.
    (
        "capability sys_admin, /** r,",
        "audit capability sys_admin, /** r,",
        "capability",
        ("", "logs sys_admin"),
    ),
    (
        "capability mac_admin, /x r,",
        "audit capability mac_admin, /x r,",
        "capability",
        ("", "logs mac_admin"),
    ),
    ("deny capability bpf,", "", "capability", ("keeps quiet about bpf", "")),
    ("deny capability sys_admin,", "", "capability", ("keeps quiet about sys_admin", "")),
    ("network inet stream,", "audit network inet stream,", "network", ("", "logs ")),
    ("deny network inet,", "", "network", ("keeps quiet about ", "")),
    ("/x r,", "audit /x r,", "file", ("", "logs read,open,getattr")),
    ("deny /x r, /z r,", "/z r,", "file", ("keeps quiet about ", "")),
    ("signal,", "audit signal,", "signal", ("", "logs send,receive")),
    ("deny ptrace trace peer=p,", "", "ptrace", ("keeps quiet about trace", "")),
    ("umount /x/,", "audit umount /x/,", "umount", ("", "logs umount")),
    ("mount fstype=proc,", "audit mount fstype=proc,", "mount (new)", ("", "logs mount")),
    ("link /a -> /b,", "audit link /a -> /b,", "link", ("", "logs link")),
]


@pytest.mark.parametrize(("one", "two", "kind", "only"), LOGGED)
def test_what_is_logged_is_compared_in_every_class(
    one: str, two: str, kind: str, only: tuple[str, str]
) -> None:
    found, a, b = compared(profile(one), profile(two), logging=True)
    told = [difference for difference in found.differences if difference.kind == kind]
    assert told and all(difference.logging for difference in told), found
    assert [word in said for word, said in zip(only, (told[0].only_a, told[0].only_b), strict=True)] == [
        True,
        True,
    ]
    assert [bool(told[0].only_a), bool(told[0].only_b)] == [bool(word) for word in only]
    query = told[0].query
    assert isinstance(query, Query)
    first, second = Evaluator(a).ask(query), Evaluator(b).ask(query)
    assert (first.audited, first.reason) != (second.audited, second.reason)


@pytest.mark.parametrize(("one", "two", "kind", "only"), LOGGED)
def test_without_logging_equal_is_not_said_bare(one: str, two: str, kind: str, only: tuple[str, str]) -> None:
    found, *_ = compared(profile(one), profile(two))
    assert found.differences == ()
    assert any("--logging" in one.what for one in found.not_compared)


def test_whether_an_environment_survives_a_change_of_profile_is_compared() -> None:
    one, two = (profile(f"change_profile {word} /** -> b, /** rmix,") for word in ("unsafe", "safe"))
    found, a, b = compared(one, two)
    (told,) = found.differences
    assert (told.kind, told.only_a, told.only_b) == ("change_profile on exec", "unsafe", "safe")
    query = told.query
    assert isinstance(query, Query) and str(query) == "change-profile b --onexec --program /a"
    answers = [Evaluator(p).ask(query) for p in (a, b)]
    assert [(answer.allowed, answer.transition) for answer in answers] == [
        (True, "unsafe -> b"),
        (True, "safe -> b"),
    ]


def test_a_deny_rule_refuses_in_a_complaining_profile() -> None:
    head = "profile t flags=(complain)"
    for rule, kind in (("deny /x w,", "file"), ("deny capability mac_admin,", "capability")):
        found, a, b = compared(profile(f"{rule} /z r,", head), profile("/z r,", head))
        told = found.differences[0]
        assert (told.kind, told.only_a) == (kind, "") and "with a complaint" in told.only_b
        assert isinstance(told.query, Query)
        assert [Evaluator(p).ask(told.query).allowed for p in (a, b)] == [False, True]


def test_what_kernels_read_for_want_of_file_rules_is_compared() -> None:
    rules = "audit deny network inet,"
    found, a, b = compared(profile(rules + " audit deny owner /a/* r,"), profile(rules))
    told = [one for one in found.differences if "--other" in one.witness]
    assert told
    for one in told:
        assert isinstance(one.query, Query)
        assert Evaluator(a).ask(one.query).allowed is not Evaluator(b).ask(one.query).allowed


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("audit owner /a rwl,", "link /[ab] -> /[ab], audit link /** -> /a?,"),
        ("link /[ab] -> /[ab],", "audit owner /a rwl,"),
        ("link subset /a/** -> /a/*,", "/a/b rwl,"),
    ],
)
def test_an_example_of_a_link_shows_what_is_said(one: str, two: str) -> None:
    """A target may also need permissions: then the side that has the pair's may be the one that refuses."""
    found, a, b = compared(profile(one), profile(two))
    links = [d for d in found.differences if d.kind == "link" and "link" in (d.only_a, d.only_b)]
    assert links
    for told in links:
        assert isinstance(told.query, Query)
        answers = [Evaluator(p).ask(told.query).allowed for p in (a, b)]
        assert answers == [bool(told.only_a), bool(told.only_b)], told


def test_an_unconfined_tracer_is_no_example() -> None:
    rules = "ptrace (readby,tracedby) peer=unconfined,"
    found, *_ = compared(profile(rules), profile("deny " + rules), logging=True)
    assert found.differences == ()
    assert [one.what for one in found.not_compared] == ["ptrace: strings that no kernel asks"]
    more = "ptrace (read,readby) peer=unconfined,"
    found, a, b = compared(profile(more), profile("deny " + more))
    (told,) = found.differences
    assert told.only_a == "read" and isinstance(told.query, Query)
    assert [Evaluator(p).ask(told.query).allowed for p in (a, b)] == [True, False]


@pytest.mark.parametrize(
    ("one", "two", "path"),
    [
        ("profile t /bin/{a,b}", "profile t /bin/{a,b,c}", "/bin/c"),
        ("profile t", "profile t /x*", "/xa"),
        ("/bin/a", "/bin/b", "/bin/a"),
    ],
)
def test_attachments_have_an_example_that_can_be_asked(one: str, two: str, path: str) -> None:
    found, a, b = compared(profile("/x r,", one), profile("/x r,", two))
    told = found.differences[0]
    assert told.kind == "attachment" and str(told.query) == told.witness
    assert isinstance(told.query, Query)
    assert [Evaluator(p).ask(told.query).allowed for p in (a, b)] == [bool(told.only_a), bool(told.only_b)]
    assert path in {str(one.witness).removeprefix("attachment ") for one in found.differences} | {"/xa"}


SETTINGS = [
    (("set rlimit nofile <= 10,", "profile t"), ("set rlimit nofile <= 11,", "profile t"), "rlimit nofile"),
    (("", "profile t flags=(attach_disconnected)"), ("", "profile t"), "path flags"),
    (("", "profile t flags=(audit)"), ("", "profile t"), "audit"),
    (("profile c { /x r, }", "profile t"), ("", "profile t"), "profile"),
    (("^h { /x r, }", "profile t"), ("profile h { /x r, }", "profile t"), "hat"),
    (("^h { /x r, }", "profile t"), ("^h { /y r, }", "profile t"), "file"),
]


@pytest.mark.parametrize(("one", "two", "kind"), SETTINGS)
def test_limits_flags_hats_and_children_are_compared(
    one: tuple[str, str], two: tuple[str, str], kind: str
) -> None:
    found, *_ = compared(profile(*one), profile(*two))
    assert kind in {difference.kind for difference in found.differences}


@pytest.mark.parametrize("which", ["port", "xattr", "unix"])
def test_what_is_not_compared_is_said(which: str) -> None:
    """Compiled by 4.1 for Proxmox's 6.14: `network inet stream port=80,`, `xattrs=(security.ima="80*")`,
    `unix (bind) type=stream addr=@x80,`; the others with 443."""
    a, b = (read_policy((BLOBS / f"{which}-{number}.bin").read_bytes()) for number in (80, 443))
    found = compare_policies(a, b, logging=True)
    assert found.differences == () and len(found.not_compared) == 1
    assert found.not_compared[0].asked and not equal(a, b)
    found = compare_policies(a, b, logging=True, asks=Asks.PROTOCOL)
    assert len(found.differences) == (2 if which == "unix" else 0)
    for one in found.differences:
        assert isinstance(one.query, Query) and one.kind == "unix"
        answers = [Evaluator(p.profiles[0], Asks.PROTOCOL).ask(one.query).allowed for p in (a, b)]
        assert answers == [bool(one.only_a), bool(one.only_b)]
        assert "--address" in one.witness
    assert bool(found.not_compared) is (which != "unix")


def test_strict_exits_with_3_where_something_was_not_compared(cli: Cli) -> None:
    port, other = (str(BLOBS / f"port-{number}.bin") for number in (80, 443))
    code, out = cli("diff", port, other)
    assert code == 0 and out.startswith("equal in what was compared\nnot compared: t: network")
    assert cli("diff", "--strict", port, other)[0] == 3
    assert cli("diff", "--strict", port, port)[0] == 0
    code, out = cli("diff", "--json", port, other)
    assert '"not_compared": [' in out and "addresses and ports" in out


def test_two_profiles_of_one_file_are_compared(cli: Cli) -> None:
    rules = "profile lxc-one {\n /x r,\n profile c { /y r, }\n}\nprofile lxc-two {\n /x rw,\n profile c { /z r, }\n}\n"
    path = cli.place / "both"
    path.write_text(rules)
    code, out = cli("diff", "--policy", str(path), "lxc-one", "lxc-two")
    assert code == 3
    assert "lxc-one / lxc-two: file: only B: " in out and "file /x --access " in out
    assert "lxc-one//c / lxc-two//c: file: only A: " in out and "profile: only" not in out
    code, out = cli("diff", "--policy", str(path), "lxc-one", "lxc-one")
    assert (code, out.splitlines()[0]) == (0, "equal")
    code, out = cli("diff", "--policy", str(path), "lxc-one//c", "lxc-two//c")
    assert code == 3 and "file /y" in out


def test_lint_keeps_a_rule_that_only_silences() -> None:
    text = profile("deny capability sys_module,\naudit capability chown,\ndeny network inet,\n/x r,")
    whole = read_policy(compile_text(text.encode()))
    for rule in ("deny capability sys_module,", "audit capability chown,", "deny network inet,"):
        assert not equal(whole, read_policy(compile_text(text.replace(rule, "").encode()))), rule


def test_raw_questions_are_not_what_a_class_with_words_is_shown_by() -> None:
    one, two = (f"change_profile {x}/** -> b, link /a -> /b, signal, ptrace, /x r," for x in ("", "unsafe "))
    found, *_ = compared(profile(one, "profile t /t"), profile(two, "profile t /u"), logging=True)
    assert found.differences and not any(isinstance(d.query, RawQuery) for d in found.differences)


def test_too_large_is_said_with_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    from phoenix_hypervisor.policy import alphabet

    a, b = (read_policy(compile_text(profile(rules).encode())) for rules in ("/x r,", "/y r,"))
    monkeypatch.setattr(alphabet, "MAX_STATES", 3)
    with pytest.raises(PhoenixError, match="too large to be searched: at most 3 "):
        compare_policies(a, b)


def test_two_files_count_together(tmp_path: Path, cli: Cli) -> None:
    """Each alone may be read; both would take more memory than there is on a node."""
    for name in ("a", "b"):
        with open(tmp_path / name, "wb") as file:
            file.truncate(40 << 20)
    result = cli.run("diff", str(tmp_path / "a"), str(tmp_path / "b"))
    assert result.code == 1
    assert f"{tmp_path}/a and {tmp_path}/b are over 67108864 bytes together" in result.err
