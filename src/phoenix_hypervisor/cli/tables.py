"""Tables that fit.

Owns drawing rows so that no name is broken: on a terminal the widest form that has room, each
cell wrapped between words only; in a pipe one line for each row, for grep.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence

from phoenix_hypervisor.cli.output import colored, echo, printable, styled
from phoenix_hypervisor.values import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from phoenix_hypervisor.cli.given import Settings

_GAP = 3
"""Blanks between two columns, as rich draws them."""

Row = tuple[Sequence[str], str | None]
"""Cells, and a colour or None."""


@dataclass(frozen=True, slots=True)
class Form:
    """One way to show rows."""

    columns: Sequence[str]
    rows: Sequence[Row]


def table(settings: Settings, title: str, *forms: Form) -> None:
    """Draw the first of `forms`, widest first, that has room; else each row as a block of lines."""
    if settings.json or settings.quiet:
        return
    width = _width()
    for form in forms:
        if width is None or sum(_least(form)) + _GAP * (len(form.columns) - 1) <= width:
            _grid(settings, title, form, width)
            return
    _blocks(settings, title, forms[0], width or 80)


def _width() -> int | None:
    """The terminal's, or the one that COLUMNS asks for; None in a pipe: as wide as it takes."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isascii() and asked.isdigit() and int(asked) > 0:
        return int(asked)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError):
        return None


def _cells(form: Form) -> list[list[str]]:
    """By column, the texts below its head and the head itself."""
    rows = [form.columns, *(cells for cells, _ in form.rows)]
    return [[printable(row[number]) for row in rows] for number in range(len(form.columns))]


def _least(form: Form) -> list[int]:
    """By column, the length of the longest word: what it needs at least."""
    return [max(len(word) for text in texts for word in text.split() or [""]) for texts in _cells(form)]


def _grid(settings: Settings, title: str, form: Form, width: int | None) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    widest = [max(map(len, texts)) for texts in _cells(form)]
    for column, least in zip(form.columns, _least(form), strict=True):
        drawn.add_column(column, min_width=least)
    for cells, color in form.rows:
        drawn.add_row(*(Text(printable(cell), style=color or "") for cell in cells))
    console = Console(
        width=sum(widest) + _GAP * len(widest) if width is None else width,
        no_color=not colored(settings),
        highlight=False,
    )
    with console.capture() as captured:
        console.print(drawn)
    # rich pads every line to the table's width.
    echo("\n".join(line.rstrip() for line in captured.get().rstrip().split("\n")) + "\n")


def _blocks(settings: Settings, title: str, form: Form, width: int) -> None:
    """A line for each cell, below the first two, which name the row."""
    lines = [title, ""]
    label = max(map(len, form.columns[2:]), default=0) + 2
    for cells, color in form.rows:
        head = "  ".join(filter(None, map(printable, cells[:2])))
        lines.append(styled(settings, head, color))
        for column, cell in zip(form.columns[2:], cells[2:], strict=True):
            if cell:
                lines += textwrap.wrap(
                    printable(cell),
                    max(width, label + 24),
                    initial_indent="  " + column.ljust(label),
                    subsequent_indent=" " * (label + 2),
                    break_long_words=False,
                    break_on_hyphens=False,
                )
        lines.append("")
    echo("\n".join(lines))
