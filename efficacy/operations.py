"""All operations of the suite.

To add one, add a row to dangerous.py, published.py, openings.py, renaming.py or legitimate.py; nothing else
has to change.
"""

from __future__ import annotations

from collections import Counter

from efficacy import dangerous, legitimate, openings, published, renaming
from efficacy.rows import Row


def load() -> tuple[Row, ...]:
    """All operations, dangerous first; ValueError where a name stands twice."""
    rows = (*dangerous.ROWS, *published.ROWS, *openings.ROWS, *renaming.ROWS, *legitimate.ROWS)
    twice = sorted(name for name, count in Counter(row.name for row in rows).items() if count > 1)
    if twice:
        raise ValueError(f"operations of the same name: {', '.join(twice)}")
    return rows
