"""Findings of `policy lint` as SARIF 2.1.0, for code scanning.

Owns that document.  Must not ask anything.  Source: the standard of OASIS, sections 3.14 (run), 3.27
(result), 3.29 (physical location), 3.35 (suppression) and 3.49 (rule).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import quote

from phoenix_hypervisor import __version__
from phoenix_hypervisor.policy.lint import CODES

if TYPE_CHECKING:
    from phoenix_hypervisor.engine.ask import Linted
    from phoenix_hypervisor.policy.lint import Habit

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_NOTES = ("redundant-rule", "accepted-not-needed", "covered-by-file", "slow-compile", "large-policy")
"""What costs no safety."""


def document(found: Linted) -> dict[str, object]:
    """The log: one run, with a rule for each code that lint knows."""
    rules = [
        {
            "id": code,
            "shortDescription": {"text": f"{meaning[0].upper()}{meaning[1:]}."},
            "defaultConfiguration": {"level": _level(code)},
        }
        for code, meaning in CODES.items()
    ]
    driver = {"name": "phoenix policy lint", "version": __version__, "rules": rules}
    run = {
        "tool": {"driver": driver},
        "artifacts": [{"location": {"uri": _uri(path)}} for path in found.sources],
        "results": [_result(one) for one in found.findings],
        "columnKind": "unicodeCodePoints",
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _result(one: Habit) -> dict[str, object]:
    file, _, line = one.place.rpartition(":")
    place: dict[str, object] = {"artifactLocation": {"uri": _uri(file if line.isdigit() else one.place)}}
    if line.isdigit():
        place["region"] = {"startLine": int(line)}
        if one.rule:
            place["region"] = {"startLine": int(line), "snippet": {"text": one.rule}}
    result: dict[str, object] = {
        "ruleId": one.code,
        "ruleIndex": list(CODES).index(one.code),
        "level": _level(one.code),
        "message": {"text": one.message},
        "locations": [{"physicalLocation": place}],
    }
    if one.waived is not None:
        result["suppressions"] = [{"kind": "inSource", "justification": one.waived}]
    return result


def _level(code: str) -> str:
    return "note" if code in _NOTES else "warning"


def _uri(path: str) -> str:
    """The file as a URI: relative ones stay so, for whoever shows them beside the sources."""
    return f"file://{quote(path)}" if os.path.isabs(path) else quote(path)
