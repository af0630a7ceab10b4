"""Tables that fit.

Owns drawing rows so that no name is broken: on a terminal the widest form that has room, each
cell wrapped between words only; in a pipe one line for each row, for grep.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterable, Sequence

from phoenix_hypervisor.cli.output import colored, echo, printable, styled
from phoenix_hypervisor.values import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from phoenix_hypervisor.cli.given import Settings

_GAP = 2
"""Blanks between two columns."""

_LENGTHS = (32, 20)
"""Characters that are left of a name, where no form has room for all of it."""

Row = tuple[Sequence[str], str | None]
"""Cells, and a colour or None."""


@dataclass(frozen=True, slots=True)
class Form:
    """One way to show rows."""

    columns: Sequence[str]
    rows: Sequence[Row]


def table(settings: Settings, title: str, *forms: Form, wide: bool = False) -> None:
    """Draw the first of `forms`, widest first, that has room, else one whose cells can be wrapped.

    Where none can be, each row is a block of lines.  `wide`: the first form, as wide as it takes.
    """
    if settings.json or settings.quiet:
        return
    width = None if wide else _width()
    form = _fitting(forms, width)
    for length in _LENGTHS:
        # One container with a name of 200 characters takes nobody else's row away.
        form = form or _fitting([_with_short_names(one, length) for one in forms], width)
    if form is not None:
        _grid(settings, title, form, width)
        return
    echo(f"{title}\n")
    for cells, color in forms[-1].rows:
        pairs = list(zip(forms[-1].columns[2:], cells[2:], strict=True))
        block(settings, "  ".join(filter(None, cells[:2])), pairs, color)


def _with_short_names(form: Form, length: int) -> Form:
    """With what is longer in the column `name` cut off; there is an id beside it."""
    if "name" not in form.columns:
        return form
    number = list(form.columns).index("name")

    def short(cells: Sequence[str]) -> Sequence[str]:
        name = printable(cells[number])
        return [
            *cells[:number],
            name if len(name) <= length else f"{name[: length - 1]}…",
            *cells[number + 1 :],
        ]

    return Form(form.columns, [(short(cells), color) for cells, color in form.rows])


def _fitting(forms: Sequence[Form], width: int | None) -> Form | None:
    widest, *others = forms
    if width is None or _total(map(max, (map(len, texts) for texts in _cells(widest)))) <= width:
        return widest
    # With many columns there would be rows of many lines.
    return next((form for form in others or forms if _total(_least(form)) <= width), None)


def _total(widths: Iterable[int]) -> int:
    """What columns of these widths take together."""
    each = list(widths)
    return sum(each) + _GAP * (len(each) - 1)


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


def _widths(form: Form, width: int | None) -> list[int]:
    """By column: as wide as its longest cell; where that is too much, each what it needs and then a share.

    rich itself would cut the last columns off.
    """
    full = [max(map(len, texts)) for texts in _cells(form)]
    if width is None:
        return full
    found = _least(form)
    left = width - _total(found)
    wanting = sorted(range(len(full)), key=lambda number: full[number] - found[number])
    for place, number in enumerate(wanting):
        share = min(full[number] - found[number], max(left, 0) // (len(wanting) - place))
        found[number] += share
        left -= share
    return found


def _grid(settings: Settings, title: str, form: Form, width: int | None) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, _GAP - 1, 0, 0),
    )
    widths = _widths(form, width)
    for column, each in zip(form.columns, widths, strict=True):
        drawn.add_column(column, width=each)
    for cells, color in form.rows:
        drawn.add_row(*(Text(printable(cell), style=color or "") for cell in cells))
    console = Console(
        width=_total(widths),
        no_color=not colored(settings),
        highlight=False,
    )
    with console.capture() as captured:
        console.print(drawn)
    # rich pads every line to the table's width.
    echo("\n".join(line.rstrip() for line in captured.get().rstrip().split("\n")) + "\n")


def block(settings: Settings, head: str, pairs: Sequence[tuple[str, str]], color: str | None) -> None:
    """A heading and a line for each cell below it, by its name; what is empty is left out."""
    label = max((len(name) for name, _ in pairs), default=0) + 2
    lines = [styled(settings, printable(head), color)]
    for name, cell in pairs:
        if cell:
            lines += textwrap.wrap(
                printable(cell),
                max(_width() or 100, label + 24),
                initial_indent="  " + name.ljust(label),
                subsequent_indent=" " * (label + 2),
                break_long_words=False,
                break_on_hyphens=False,
            )
    echo("\n".join([*lines, ""]))
