"""Files of the host's that the sweep finds open and that stay so, one by one with the reason.

Owns the list; the report prints it.  A file that is not here makes the claim fail.
"""

from __future__ import annotations

import re

OPEN: tuple[tuple[str, str], ...] = (
    (
        r"proc:pressure/(cpu|io|memory)",
        "everybody may write there what it wants to be woken for (PSI triggers); nothing of the host's changes",
    ),
)
"""Pattern of `file system:path`, and why nothing closes it."""


def reason(name: str) -> str:
    """Why this file stays open; nothing where it must not."""
    return next((why for pattern, why in OPEN if re.fullmatch(pattern, name)), "")
