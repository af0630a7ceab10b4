"""The Python libraries that Phoenix needs beyond the standard one.

Owns reading their list, which stands once, in cli/libraries.json.  Must not import any.
"""

from __future__ import annotations

import json
import os


def libraries() -> dict[str, str]:
    """What each is for, by its module's name; Debian's package is `python3-NAME`."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    with open(os.path.join(package, "cli", "libraries.json"), encoding="utf-8") as file:
        found: dict[str, str] = json.load(file)
    return found
