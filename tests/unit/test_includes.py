"""What a source pulls in, and that a change anywhere changes the closure."""

from __future__ import annotations

import pytest

from phoenix_hypervisor.profiles.includes import Closures, abi, include_loop, included, reaching_outside

SOURCE = b"""#include <tunables/global>
include if exists <local/x>
  include "abs"
# a comment about include <no>
  #include <abstractions/d.d>
"""


def test_include_lines() -> None:
    assert included(SOURCE) == ["tunables/global", "local/x", "abs", "abstractions/d.d"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"profile x { include <a> }", ["a"]),
        (b"/x r,include <a>", ["a"]),
        (b"/x r, #include <a>", ["a"]),
        (b"/x r, # include <a>", []),
        (b"/x r, # see #include <a>", []),
        (b"/usr/include r,", []),
        (b"/usr/include/x include.h r,", []),
        (b'include if exists <a> include "/b"', ["a", "/b"]),
        (b'"/x\n # y" r, include <a>', ["a"]),
        (b"include\t< a >", ["a"]),
        (b'#include"/a" include<b>', ["/a", "b"]),
        (b"mount options=(ro #), include </a>", ["/a"]),
    ],
)
def test_an_include_may_stand_anywhere(line: bytes, found: list[str]) -> None:
    assert included(line + b"\n") == found


def test_what_is_below_apparmor_d() -> None:
    inside = b'include <a/b>\ninclude "/etc/apparmor.d/a"\nabi <abi/4.0>,\n# include /x\n/y r, # abi /x\n'
    assert reaching_outside(inside) == []


def files(**change: bytes) -> dict[str, bytes | list[str]]:
    base: dict[str, bytes | list[str]] = {
        "tunables/global": b"include <tunables/home>\ninclude <tunables/global>\n",
        "tunables/home": b"@{HOME}=/home/*/\n",
        "abstractions/d.d": ["one", "two.dpkg-old", ".hidden"],
        "abstractions/d.d/one": b"file,\n",
        "abstractions/d.d/two.dpkg-old": b"x",
    }
    return {**base, **{k.replace("__", "/").replace("_d", ".d"): v for k, v in change.items()}}


def test_every_level_counts_and_loops_end() -> None:
    first, paths = Closures(files().get).of(SOURCE)
    assert "tunables/home" in paths and "abstractions/d.d/one" in paths
    assert "abstractions/d.d/two.dpkg-old" not in paths
    assert Closures(files().get).of(SOURCE)[0] == first
    assert Closures({**files(), "tunables/home": b"@{HOME}=/x/\n"}.get).of(SOURCE)[0] != first
    assert Closures({**files(), "abstractions/d.d/one": b"x"}.get).of(SOURCE)[0] != first
    assert Closures({**files(), "local/x": b""}.get).of(SOURCE)[0] != first
    assert Closures({**files(), "abstractions/d.d/two.dpkg-old": b"y"}.get).of(SOURCE)[0] == first


def test_the_abi_counts_as_an_include_does() -> None:
    source = b"abi <abi/x>,\n# abi <abi/no>,\nprofile a { /usr/abi r, }\n"
    assert abi(source) == ["abi/x"] and included(source) == []
    known: dict[str, bytes | list[str]] = {"abi/x": b"file {mask {read\n}\n}\n"}
    first, paths = Closures(known.get).of(source)
    assert paths == ("abi/x",)
    assert Closures({"abi/x": b"file {mask {write\n}\n}\n"}.get).of(source)[0] != first


def test_include_loops() -> None:
    files = {"a": b"include <b>\n", "b": b"include <c>\ninclude <d>\n", "c": b"", "d": b'#include "b"\n'}
    assert include_loop(files) == ["b", "d"]
    assert include_loop({"a": b"include <a>\n"}) == ["a"]
    assert include_loop({**files, "d": b"include <c>\n"}) == []
    wide = {str(n): f"include <{n + 1}>\n".encode() * 9 for n in range(200)}
    assert include_loop(wide) == []
