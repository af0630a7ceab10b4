"""What a program said, as a message shows it."""

from __future__ import annotations

import pytest

from phoenix_hypervisor.host.process import SAID_LENGTH, SAID_LINES, Completed, shortened


def lines(count: int, word: str = "line") -> bytes:
    return b"".join(b"%s %d\n" % (word.encode(), number) for number in range(count))


def test_a_few_lines_are_shown_as_they_are() -> None:
    assert shortened(b"") == ""
    assert shortened(b"one\n\n  two\n") == "one\n  two"
    assert shortened(lines(SAID_LINES)) == lines(SAID_LINES).decode().strip()


@pytest.mark.parametrize(("more", "said"), [(1, "(1 more line before)"), (1380, "(1380 more lines before)")])
def test_of_many_the_last_are_shown_and_the_others_counted(more: int, said: str) -> None:
    first, *rest = shortened(lines(SAID_LINES + more)).splitlines()
    assert first == said
    assert rest == [f"line {number}" for number in range(more, SAID_LINES + more)]


def test_how_far_mke2fs_has_come_is_counted_and_not_shown() -> None:
    noise = b"mke2fs 1.47.0 (5-Feb-2023)\nCreating journal (65536 blocks): done\n\t32768, 98304,\n"
    assert shortened(noise + b"no space left\n") == "(3 more lines before)\nno space left"
    # Where there is nothing else, it is better than nothing.
    assert shortened(noise) == noise.decode().replace("\t", "\t").rstrip()


def test_long_lines_make_it_fewer_and_none_is_longer_than_all() -> None:
    text = shortened(b"\n".join([b"a" * 1500] * 10))
    assert text.splitlines()[0] == "(8 more lines before)" and len(text) < SAID_LENGTH
    one = shortened(b"b" * 9000 + b"end")
    assert len(one) == SAID_LENGTH and one.endswith("end")


def test_bytes_that_are_no_text_are_shown_all_the_same() -> None:
    assert shortened(b"\xff broken") == "\ufffd broken"


def test_standard_error_goes_before_standard_output() -> None:
    assert Completed((), 1, b"out\n", b"err\n").words() == "err"
    assert Completed((), 1, b"out\n", b" \n").words() == "out"
