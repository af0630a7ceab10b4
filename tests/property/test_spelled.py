"""Names in rules: whatever a name holds, the parser reads it as that name and as no other."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_hypervisor.audit.spelled import Name, exact, general
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.reader import read_policy
from phoenix_hypervisor.profiles.parser import Parser

pytestmark = pytest.mark.host

ETC = Path(__file__).parents[2] / "etc/apparmor"
PIECES = [
    *(
        b"*",
        b"**",
        b"?",
        b"[",
        b"]",
        b"[a",
        b"a-z]",
        b"{",
        b"}",
        b"{a,b}",
        b"@{",
        b"@{pid}",
        b"@",
        b"#",
        b"# x",
    ),
    *(
        b"\n",
        b"\t",
        b" ",
        b'"',
        b"'",
        b"\\",
        b"\\\\",
        b"\\1",
        b"\\x41",
        b"^",
        b",",
        b"a",
        b"1",
        b"0",
        b"7",
        b"n",
    ),
    *(
        b"\xff",
        "é".encode(),
        "\u202e".encode(),
        b"\x01",
        b"\x7f",
        b"..a",
        b"$",
        b"(",
        b"=",
        b"->",
        b"|",
        b"!",
        b"/",
    ),
]
NAMES = st.lists(
    st.one_of(st.sampled_from(PIECES), st.binary(max_size=2).map(lambda d: d.replace(b"\0", b"")))
).map(b"".join)


def askable(path: bytes) -> bool:
    return b"//" not in path and not {b".", b".."} & set(path.split(b"/"))


def compiled(rules: list[str]) -> Evaluator:
    parser = Parser(Host("/"), str(ETC), features="debian-13")
    text = "abi <abi/phoenix>,\ninclude <tunables/global>\ninclude <tunables/phoenix>\nprofile lxc-x {\n"
    text += "".join(f"  {rule}\n" for rule in rules) + "}\n"
    data = parser.compile_text(text.encode("utf-8", "surrogateescape"), str(ETC / "lxc-x"), optional=False)
    return Evaluator(read_policy(data).profiles[0])


@settings(max_examples=25)
@given(st.lists(NAMES, min_size=1, max_size=20), st.data())
def test_a_name_is_read_as_itself_and_as_no_other(names: list[bytes], data: st.DataObject) -> None:
    paths = [b"/n%d/" % number + name for number, name in enumerate(names)]
    paths = [path for path in paths if askable(path)]
    judge = compiled([f"{exact(path).text} w," for path in paths])
    for path in paths:
        assert judge.file(path, "w").allowed, exact(path).text
        at = data.draw(st.integers(path.index(b"/", 1) + 1, len(path)))
        more = data.draw(st.sampled_from(PIECES))
        for other in (
            path[:at] + more + path[at:],
            path[:at] + path[at + 1 :],
            path[:at] + more + path[at + 1 :],
        ):
            if other not in paths and askable(other):
                assert not judge.file(other, "w").allowed, (exact(path).text, other)


@pytest.mark.parametrize(
    ("path", "text", "others"),
    [
        (b"/proc/12/stat", "/proc/@{pid}/stat", {b"/proc/7/stat": True, b"/proc/x/stat": False, b"/proc/7/stat/a": False}),
        (b"/proc/12/task/13/comm", "/proc/@{pid}/task/@{pid}/comm", {b"/proc/1/task/99/comm": True}),
        (b"/proc/sys/12", "/proc/sys/12", {b"/proc/sys/13": False}),
        (b"/srv/12/stat", "/srv/12/stat", {b"/srv/13/stat": False}),
        (b"/a/" + b"0a" * 32 + b"/x", "/a/@{phoenix_hex64}/x", {b"/a/" + b"b" * 64 + b"/x": True, b"/a/b/x": False}),
        (b"/a-" + b"0a" * 16 + b".scope/", "/a-@{phoenix_hex32}.scope/", {b"/a-" + b"b" * 33 + b".scope/": False}),
        (b"/a/" + b"0a" * 20, "/a/" + "0a" * 20, {b"/a/" + b"b" * 40: False}),
    ],
    ids=["pid", "thread", "no-pid", "elsewhere", "container-id", "hash", "other-length"],
)  # fmt: skip
def test_a_name_is_widened_by_named_patterns_only(path: bytes, text: str, others: dict[bytes, bool]) -> None:
    name = general(path)
    assert name.text == text
    judge = compiled([f"{name.text} w,"])
    assert judge.file(path, "w").allowed and name.covers(path)
    for other, meant in others.items():
        assert (judge.file(other, "w").allowed, name.covers(other)) == (meant, meant), other


def test_what_a_rule_covers_is_what_it_means() -> None:
    """A `covers` that is wider than the rule would hide what the rule opens, and the other way round."""
    name: Name = general(b"/proc/4194303/x")
    judge = compiled([f"{name.text} w,"])
    for number in (b"1", b"9", b"10", b"99999", b"4194304", b"99999999", b"0", b"01"):
        assert judge.file(b"/proc/" + number + b"/x", "w").allowed is name.covers(
            b"/proc/" + number + b"/x"
        ), number
