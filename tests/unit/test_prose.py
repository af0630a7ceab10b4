"""Made documents have lines that can be read in an editor."""

from __future__ import annotations

from efficacy.prose import WIDTH, wrapped


def test_long_prose_is_broken_and_everything_else_is_kept() -> None:
    words = "word " * 40
    row, command, code = f"| {words}|", f"    make {words}", f"```\n{words}\n```"
    text = f"- {words.strip()}\n- short\n  lines\n{row}\n{command}\n{code}\n"
    made = wrapped(text)
    for kept in (row, command, code, "\n- short\n  lines\n"):
        assert kept in made
    item = made.split("\n- short")[0].splitlines()
    assert [line[:2] for line in item] == ["- ", "  "]
    assert all(len(line) <= WIDTH for line in item)
    assert made.split() == text.split()
    assert wrapped(made) == made
