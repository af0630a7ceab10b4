"""Findings as SARIF 2.1.0, for code scanning.

Owns that document.  Pure: findings come in, a document goes out; must not judge.  Source: the standard of
OASIS, sections 3.14 (run), 3.27 (result), 3.29 (physical location), 3.33 (logical location), 3.35
(suppression) and 3.49 (rule).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

from phoenix_hypervisor.values import dataclass

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing that can be found."""

    meaning: str
    level: str
    """`error`, `warning` or `note`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One finding."""

    rule: str
    """A key of the run's rules."""
    level: str
    message: str
    path: str
    """The file that it is about; a relative one stays so, for whoever shows it beside the sources."""
    line: int | None = None
    snippet: str = ""
    target: str = ""
    """What it is about, where that is not the file itself: `container 950`."""
    waived: str | None = None
    """Why somebody lets it be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one tool found."""

    tool: str
    version: str
    rules: Mapping[str, Rule]
    results: Sequence[Result]
    looked_at: Sequence[str] = ()
    """Files."""
    failed: str = ""
    """Why the tool could not finish; empty: it did."""


def document(runs: Iterable[Run]) -> dict[str, object]:
    """The log of these runs."""
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [_run(run) for run in runs]}


def _run(run: Run) -> dict[str, object]:
    rules = [
        {
            "id": code,
            "shortDescription": {"text": f"{rule.meaning[0].upper()}{rule.meaning[1:].rstrip('.')}."},
            "defaultConfiguration": {"level": rule.level},
        }
        for code, rule in run.rules.items()
    ]
    places = {code: number for number, code in enumerate(run.rules)}
    found: dict[str, object] = {
        "tool": {"driver": {"name": run.tool, "version": run.version, "rules": rules}},
        "results": [_result(one, places[one.rule]) for one in run.results],
        "columnKind": "unicodeCodePoints",
    }
    if run.looked_at:
        found["artifacts"] = [{"location": {"uri": _uri(path)}} for path in run.looked_at]
    if run.failed:
        notice = {"level": "error", "message": {"text": run.failed}}
        found["invocations"] = [{"executionSuccessful": False, "toolExecutionNotifications": [notice]}]
    return found


def _result(one: Result, index: int) -> dict[str, object]:
    place: dict[str, object] = {"artifactLocation": {"uri": _uri(one.path)}}
    if one.line is not None:
        place["region"] = {"startLine": one.line}
        if one.snippet:
            place["region"] = {"startLine": one.line, "snippet": {"text": one.snippet}}
    location: dict[str, object] = {"physicalLocation": place}
    result: dict[str, object] = {
        "ruleId": one.rule,
        "ruleIndex": index,
        "level": one.level,
        "message": {"text": one.message},
        "locations": [location],
    }
    if one.target:
        location["logicalLocations"] = [{"fullyQualifiedName": one.target, "kind": "resource"}]
        # So that the same finding of the next report is known again.
        result["partialFingerprints"] = {"phoenix/v1": f"{one.rule} {one.target}"}
    if one.waived is not None:
        result["suppressions"] = [{"kind": "inSource", "justification": one.waived}]
    return result


def _uri(path: str) -> str:
    return f"file://{quote(path)}" if os.path.isabs(path) else quote(path)
