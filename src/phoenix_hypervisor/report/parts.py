"""What the sections of the page are put together of.

Owns badges, tables and lists of containers as markup.  Pure; must not know what a section is about.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from phoenix_hypervisor.plan.chosen import shortest
from phoenix_hypervisor.report.markup import Html, joined, tag


def badge(kind: str, text: str) -> Html:
    """A word in a colour; `kind` is `good`, `warn`, `bad` or `none`."""
    return tag("span", text, class_=f"b {kind}")


def section(name: str, title: str, *inside: str, count: str = "") -> Html:
    """A section with its heading, which links lead to."""
    return tag("section", tag("h2", title, tag("small", count) if count else "", id=name), *inside)


def table(name: str, columns: Sequence[str], rows: Iterable[Html]) -> Html:
    """A table; the style sheet makes cards of it by its class."""
    head = tag("thead", tag("tr", *(tag("th", column, scope="col") for column in columns)))
    return tag("table", head, tag("tbody", *rows), class_=name)


def row(*cells: str, name: str = "") -> Html:
    """A row whose first cell names it."""
    first, *others = cells
    return tag("tr", tag("td", first, class_="id"), *(tag("td", cell) for cell in others), id=name)


def code(text: str) -> Html:
    """A text as machines have it."""
    return tag("code", text)


def prose(text: str) -> Html:
    """A sentence in which what stands between backticks is a text as machines have it."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0:
        return joined(text)
    return joined(*(code(piece) if number % 2 else piece for number, piece in enumerate(pieces)))


def listed(ctids: Iterable[str]) -> str:
    """CTIDs as few ranges."""
    return shortest(ctids).replace(",", ", ")


def many(count: int, what: str) -> str:
    """So many of something."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def moment(text: str) -> str:
    """A time of a journal or a report, for people."""
    return text.replace("T", " ").replace("Z", " UTC")
