"""What a container has named is printed so that no terminal obeys it."""

from __future__ import annotations

import pytest

from phoenix_hypervisor.audit.meaning import printable


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (b"/etc/x", "/etc/x"),
        ("/etc/\u00e4".encode(), "/etc/\u00e4"),
        (b"a\x1b[2Jb", "a\\x1b[2Jb"),
        (b"a\nb\rc\td\0e\x7f", "a\\x0ab\\x0dc\\x09d\\x00e\\x7f"),
        (b"\xff\xfe", "\\xff\\xfe"),
        ("\u202eevil\u2028\u200b", "\\u202eevil\\u2028\\u200b"),
        ("\x85", "\\u0085"),
        (b"\x85", "\\x85"),
        ("\udcff", "\\xff"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_no_control_character_is_left(given: bytes | str, shown: str) -> None:
    assert printable(given) == shown
