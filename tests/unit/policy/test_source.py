"""Cutting profile sources into statements."""

from __future__ import annotations

import pytest

from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.source import read_source
from unit.policy.samples import DATA

TEXT = b"""\
# comment, with a comma and a { brace
abi <abi/3.0>,
@{A}=/a/ /b/{c,d}
include <tunables/global>
#include <tunables/old>
/usr/bin/{x,y} flags=(complain) {
  deny /{a,b}{,/**} w, # trailing, comment
  /q\\,r r,
  "/with space, and comma" r,
  mount options=(ro, remount,
                 bind) /a -> /b,
  network inet, network inet6,
  set rlimit nofile <= 1024,
  profile "inner one" { /x r, }
  ^hat {
    /y w,
  }
  if $debug { /z r, }
}
profile lxc-last{/notaglob r,
}
"""


def test_statements_have_kind_place_and_profile() -> None:
    found = [(s.line, s.kind, s.profile, s.text) for s in read_source("f", TEXT).statements]
    top = "/usr/bin/{x,y}"
    assert found[:12] == [
        (2, "rule", "", "abi <abi/3.0>,"),
        (3, "rule", "", "@{A}=/a/ /b/{c,d}"),
        (4, "include", "", "include <tunables/global>"),
        (5, "include", "", "#include <tunables/old>"),
        (6, "block", top, "/usr/bin/{x,y} flags=(complain) {"),
        (7, "rule", top, "deny /{a,b}{,/**} w,"),
        (8, "rule", top, "/q\\,r r,"),
        (9, "rule", top, '"/with space, and comma" r,'),
        (10, "rule", top, "mount options=(ro, remount, bind) /a -> /b,"),
        (12, "rule", top, "network inet,"),
        (12, "rule", top, "network inet6,"),
        (13, "rule", top, "set rlimit nofile <= 1024,"),
    ]
    assert (14, "rule", f"{top}//inner one", "/x r,") in found
    assert (16, "rule", f"{top}//hat", "/y w,") in found
    assert (18, "rule", top, "/z r,") in found


def test_leaving_a_rule_out_moves_no_line() -> None:
    source = read_source("f", TEXT)
    mount = next(s for s in source.statements if s.text.startswith("mount"))
    without = source.without([mount])
    assert without.count(b"\n") == TEXT.count(b"\n")
    assert b"mount" not in without
    assert b"network inet, network inet6," in without
    assert source.without([]) == TEXT


def test_includes_are_put_in_with_their_own_lines() -> None:
    files = {"a": b"/a r,\ninclude <b>\n", "b": b"\n/b r,\n"}
    text = b"profile p {\n  include if exists <a>\n  include <none>\n  /c r,\n}\n"
    source = read_source("p", text, lambda path: (f"inc/{path}", files[path]) if path in files else None)
    assert [(r.place, r.text, r.profile) for r in source.rules()] == [
        ("inc/a:1", "/a r,", "p"),
        ("inc/b:2", "/b r,", "p"),
        ("p:4", "/c r,", "p"),
    ]
    assert [s.text for s in source.statements if s.kind == "include"] == ["include <none>"]


def test_includes_in_a_circle_are_refused() -> None:
    with pytest.raises(PolicyError, match="nest too deeply"):
        read_source("p", b"include <a>", lambda path: ("a", b"include <a>"))


@pytest.mark.parametrize(
    "text", [b"", b"}", b"}}}", b"profile x {", b"/a r", b'"', b"{", b"\\", b"@{", b"a{b{c"]
)
def test_broken_text_is_cut_up_as_well_as_it_goes(text: bytes) -> None:
    assert read_source("f", text).text == text


def test_text_survives_being_read() -> None:
    for path in sorted(DATA.glob("*.aa")):
        text = path.read_bytes()
        assert read_source(path.name, text).text == text
