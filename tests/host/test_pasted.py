"""What people paste into `policy query`: names that another file defines, lines of a log, paths as they are typed."""

from __future__ import annotations

import io
from unittest import mock

import pytest

from phoenix_hypervisor import Phoenix
from phoenix_hypervisor.engine.ask import AnsweredEach
from phoenix_hypervisor.engine.policy_requests import DenialRequest, QueryRequest
from phoenix_hypervisor.policy.answers import Reason
from phoenix_hypervisor.policy.queries import EachAccess
from support.hosts import DirectoryHost

PACKAGED = """\
profile lxc-container-default-cgns flags=(attach_disconnected,mediate_deleted) {
  /etc/hosts r,
  /srv/ r,
  deny /proc/ r,
  mount fstype=tmpfs,
  deny mount -> /proc/,
  umount /run/x,
  capability sys_admin,
  profile tool {
    /bin/tool r,
  }
  ^HAT {
    /etc/hat r,
  }
}
"""


@pytest.fixture
def stock(host: DirectoryHost) -> DirectoryHost:
    """As LXC's package has it: one file in /etc/apparmor.d that pulls in those of a folder."""
    (host.installed / "lxc").mkdir()
    (host.installed / "lxc/lxc-default-cgns").write_text(PACKAGED)
    (host.installed / "lxc/lxc-default").write_text("profile lxc-container-default {\n  /etc/shadow r,\n}\n")
    (host.installed / "lxc-containers").write_text("include <tunables/global>\n\ninclude <lxc>\n")
    (host.installed / "usr.sbin.some").write_text(
        "include <tunables/global>\n@{who}=thing\n"
        "/usr/sbin/{some,other} {\n  /x r,\n}\nprofile @{who}-named {\n  /y r,\n}\nprofile second {\n  /z r,\n}\n"
    )
    host.source("lxc-a", "/etc/hosts r,", "unix,")
    host.declare({})
    return host


def _answer(host: DirectoryHost, *words: str) -> tuple[int, str]:
    result = host.phoenix("policy", "query", *words, "--json")
    assert result.out, result.err
    return result.code, result.document["answer"]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("lxc-container-default-cgns", "/etc/hosts"),
        ("lxc-container-default", "/etc/shadow"),
        ("lxc-container-default-cgns//tool", "/bin/tool"),
        ("lxc-container-default-cgns//HAT", "/etc/hat"),
        ("installed:lxc-container-default", "/etc/shadow"),
        ("/usr/sbin/{some,other}", "/x"),
        ("thing-named", "/y"),
        ("second", "/z"),
    ],
)
def test_a_profile_is_asked_by_its_name_whichever_file_defines_it(
    stock: DirectoryHost, name: str, path: str
) -> None:
    assert _answer(stock, name, "file", path, "--access", "r") == (0, "allowed")
    assert _answer(stock, name, "file", path + "x", "--access", "r") == (3, "denied")


def test_a_file_with_several_profiles_says_which(stock: DirectoryHost) -> None:
    for name in ("lxc-containers", "lxc-container-default//none"):
        result = stock.phoenix("policy", "query", name, "userns")
        assert result.code in (1, 2) and "lxc-container-default-cgns//HAT" in result.err


def test_a_file_that_defines_the_name_and_is_broken_is_told(stock: DirectoryHost) -> None:
    (stock.installed / "broken").write_text("profile lxc-x {\n  /a r\n}\n")
    result = stock.phoenix("policy", "query", "lxc-x", "userns")
    assert result.code == 1 and "etc/apparmor.d/broken" in result.err


def test_an_answer_names_the_kernel_that_the_installed_profile_was_compiled_for(stock: DirectoryHost) -> None:
    words = ("lxc-container-default", "userns", "--json")
    by_name = stock.phoenix("policy", "query", *words).document
    file = str(stock.installed / "lxc-containers")
    assert by_name["kernel"] == stock.phoenix("policy", "query", "--policy", file, *words).document["kernel"]


def test_an_installed_profile_is_explained_by_its_name(stock: DirectoryHost) -> None:
    hosts = ("file", "/etc/hosts", "--access", "r")
    for name in ("lxc-container-default-cgns", "installed:lxc-container-default-cgns"):
        found = stock.phoenix("policy", "explain", name, *hosts)
        assert found.code == 0 and "etc/apparmor.d/lxc/lxc-default-cgns:2: /etc/hosts r," in found.out
    child = stock.phoenix(
        "policy", "explain", "lxc-container-default-cgns//tool", "file", "/bin/tool", "--access", "r"
    )
    assert child.code == 0 and "lxc-default-cgns:10: /bin/tool r," in child.out
    # Ours is not asked in its place: what is installed finds its includes in /etc/apparmor.d.
    (stock.installed / "abstractions/both").write_text("  /one r,\n")
    stock.source("abstractions/both", data=b"  /two r,\n")
    (stock.installed / "usr.bin.both").write_text("profile both {\n  include <abstractions/both>\n}\n")
    one = stock.phoenix("policy", "explain", "both", "file", "/one", "--access", "r")
    assert one.code == 0 and "abstractions/both:1: /one r," in one.out
    assert stock.phoenix("policy", "explain", "lxc-a", *hosts).out.startswith("allowed (rule)")
    none = stock.phoenix("policy", "explain", "lxc-container-defualt", *hosts)
    assert none.code == 2 and "lxc-container-defualt is neither" in none.err


def test_what_is_no_source_is_told_what_it_is(stock: DirectoryHost) -> None:
    folder, missing = str(stock.installed / "lxc"), str(stock.installed / "none")
    (stock.installed / "noise").write_bytes(b"a\0b\xff" * 100)
    for words in (("lint", folder), ("explain", "--policy", folder, "userns"), ("list", folder)):
        result = stock.phoenix("policy", *words)
        assert result.code == 2 and f"{folder}: is a directory" in result.err
    for words in (("lint", missing), ("explain", "--policy", missing, "userns"), ("list", missing)):
        result = stock.phoenix("policy", *words)
        assert result.code == 2 and f"{missing} is neither a file nor" in result.err
    noise = str(stock.installed / "noise")
    for words in (("query", "--policy", noise, "userns"), ("list", noise)):
        result = stock.phoenix("policy", *words)
        assert result.code == 2 and f"{noise}: is neither a source nor compiled policy" in result.err


LINE = (
    'kernel: audit: type=1400 audit(1.2:3): apparmor="DENIED" operation="open" class="file"'
    ' profile="{}" name="{}" pid=1 comm="a" requested_mask="r" denied_mask="r" fsuid=0 ouid=0'
)


def test_a_line_is_answered_by_the_profile_that_it_names(stock: DirectoryHost) -> None:
    name = "lxc-container-default-cgns"
    assert _answer(stock, "--denial", LINE.format(name, "/etc/shadow")) == (3, "denied")
    assert _answer(stock, "--denial", LINE.format(name, "/etc/hosts")) == (0, "allowed")
    assert _answer(stock, "--denial", LINE.format(f"{name}//tool", "/bin/tool")) == (0, "allowed")
    asked = stock.phoenix(
        "policy", "query", "lxc-container-default", "--denial", LINE.format(name, "/etc/shadow")
    )
    assert asked.code == 0
    assert asked.out.startswith("allowed (rule)  lxc-container-default: file /etc/shadow --access r\n")
    assert "  logged as: DENIED open\n" in asked.out
    document = stock.phoenix("policy", "query", "--denial", LINE.format(name, "/etc/x"), "--json").document
    assert document["query"] == "file /etc/x --access r" and document["logged"] == "DENIED open"


def test_what_decides_about_a_line_is_explained(stock: DirectoryHost) -> None:
    name = "lxc-container-default-cgns"
    hosts = stock.phoenix("policy", "explain", "--denial", LINE.format(name, "/etc/hosts"))
    assert hosts.code == 0 and hosts.out.startswith("allowed (rule)  file /etc/hosts --access r\n")
    assert "lxc-default-cgns:2: /etc/hosts r," in hosts.out and "  logged as: DENIED open\n" in hosts.out
    proc = stock.phoenix("policy", "explain", "--denial", LINE.format(name, "/proc/"), "--json").document
    assert [rule["rule"] for rule in proc["rules"]] == ["deny /proc/ r,"] and proc["logged"] == "DENIED open"
    draft = str(stock.sources / "lxc-a")
    other = stock.phoenix(
        "policy", "explain", "--policy", draft, "lxc-a", "--denial", LINE.format(name, "/x")
    )
    assert other.code == 0 and "no rule allows it" in other.out
    lost = 'info="Failed name lookup - disconnected path" error=-13 profile='
    line = LINE.format("lxc-container-default", "etc/shadow").replace("profile=", lost)
    found = stock.phoenix("policy", "explain", "--denial", line)
    assert found.code == 0 and found.out.startswith("denied (no path)") and "attach_disconnected" in found.out
    for words in (("lxc-a", "file", "/x"), ("--access", "r")):
        assert stock.phoenix("policy", "explain", *words, "--denial", line).code == 2


def test_a_line_comes_from_a_pipe_too(stock: DirectoryHost) -> None:
    line = LINE.format("lxc-container-default", "/etc/shadow")
    with mock.patch("sys.stdin", io.TextIOWrapper(io.BytesIO(line.encode()))):
        assert stock.phoenix("policy", "query", "--denial", "-").code == 0


def test_a_line_without_a_path_is_refused_as_the_kernel_does(stock: DirectoryHost) -> None:
    lost = 'info="Failed name lookup - disconnected path" error=-13 profile='
    line = LINE.format("lxc-container-default", "etc/shadow").replace("profile=", lost)
    phoenix = Phoenix(str(stock.root), str(stock.config))
    found = phoenix.denial(DenialRequest(line=line))
    assert (found.answer.allowed, found.answer.reason) == (False, Reason.NO_PATH)
    assert "attach_disconnected" in (found.note or "")
    other = phoenix.denial(DenialRequest(line=line, profile="lxc-container-default-cgns"))
    assert other.answer.reason is Reason.NO_RULE and str(other.question) == "file /etc/shadow --access r"


@pytest.mark.parametrize(
    "words",
    [
        ("--denial", "nothing"),
        ("--denial", LINE.format("lxc-none", "/x")),
        ("lxc-a", "file", "/x", "--denial", LINE.format("lxc-a", "/x")),
        ("--access", "r", "--denial", LINE.format("lxc-a", "/x")),
        ("--batch", "-", "--denial", LINE.format("lxc-a", "/x")),
    ],
)
def test_mistakes_around_a_line(stock: DirectoryHost, words: tuple[str, ...]) -> None:
    assert stock.phoenix("policy", "query", *words).code == 2


def test_without_an_access_every_access_is_answered(stock: DirectoryHost) -> None:
    text = stock.phoenix("policy", "query", "lxc-container-default-cgns", "file", "/etc/hosts")
    assert text.code == 0
    assert [line.split()[:2] for line in text.out.splitlines()[1:7]] == [
        ["r", "allowed"],
        ["w", "denied"],
        ["m", "denied"],
        ["k", "denied"],
        ["l", "denied"],
        ["x", "denied"],
    ]
    none = stock.phoenix("policy", "query", "lxc-container-default-cgns", "file", "/none", "--json")
    assert none.code == 3
    assert {letter: one["answer"] for letter, one in none.document["answers"].items()} == dict.fromkeys(
        "rwmklx", "denied"
    )
    phoenix = Phoenix(str(stock.root), str(stock.config))
    request = QueryRequest(question=EachAccess(b"/etc/hosts"), profile="lxc-container-default-cgns")
    found = phoenix.query(request)
    assert isinstance(found, AnsweredEach) and found.answers["r"].allowed and not found.answers["w"].allowed


def test_a_directory_without_its_slash_is_asked_as_the_kernel_asks(stock: DirectoryHost) -> None:
    name = "lxc-container-default-cgns"

    def asked(*words: str) -> tuple[int, str, str]:
        found = stock.phoenix("policy", "query", name, *words, "--json")
        return found.code, found.document["query"], found.document.get("note", "")

    code, query, note = asked("file", "/proc", "--access", "r")
    assert (code, query) == (3, "file /proc/ --access r") and "asked for as /proc/" in note
    code, query, note = asked("mount", "--source", "tmpfs", "--target", "/proc", "--fstype", "tmpfs")
    assert code == 3 and "--target /proc/ " in query and "asked for as /proc/" in note
    assert asked("mount", "--source", "tmpfs", "--target", "/proc/", "--fstype", "tmpfs")[2] == ""
    code, query, note = asked("pivot-root", "--new-root", "/n", "--put-old", "/n/o/")
    assert "--new-root /n/ --put-old /n/o/" in query and "asked for as /n/" in note
    # Where it may be a file, the answer is for one; what a directory would get is told where it differs.
    code, query, note = asked("umount", "--target", "/run/x")
    assert (code, query) == (0, "umount --target /run/x") and "/run/x/: denied (no rule)" in note
    assert asked("file", "/etc/other", "--access", "r")[2] == ""
    each = stock.phoenix("policy", "query", name, "file", "/srv", "--json").document
    assert each["answers"]["r"]["answer"] == "allowed" and "/srv/" in each["note"]


def test_a_mistyped_profile_is_told_before_a_missing_word(stock: DirectoryHost) -> None:
    for words in (
        ("lxc-b", "mqueue", "/x"),
        ("lxc-b", "moount"),
        ("lxc-b",),
        ("lxc-b", "file", "etc/passwd", "--access", "r"),
    ):
        result = stock.phoenix("policy", "query", *words)
        assert result.code == 2 and "lxc-b is neither" in result.err and "did you mean lxc-a?" in result.err
    assert "lxc-b is neither" in stock.phoenix("policy", "explain", "lxc-b", "file", "/x").err
    missing = stock.phoenix("policy", "query", "lxc-a", "mqueue", "/x")
    assert missing.code == 2 and "--access is missing" in missing.err
    unknown = stock.phoenix("policy", "query", "lxc-a", "moount")
    assert unknown.code == 2 and "did you mean mount?" in unknown.err


def test_a_path_without_its_first_slash_is_offered_with_it(stock: DirectoryHost) -> None:
    for words in (("etc/passwd", "--access", "w"), ("etc/passwd",)):
        result = stock.phoenix("policy", "query", "lxc-a", "file", *words)
        assert result.code == 2 and "must be absolute" in result.err and "write /etc/passwd" in result.err


def test_flags_are_taken_as_the_kernel_logs_them(stock: DirectoryHost) -> None:
    words = ("mount", "--target", "/run/u/", "--flags", "ro, remount, noatime, bind")
    assert _answer(stock, "lxc-a", *words) == (3, "denied")
