"""Findings of `policy lint` for code scanning.

Owns which of them cost safety; the document is `report.sarif`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from phoenix_hypervisor import __version__
from phoenix_hypervisor.policy.lint import CODES, Habit
from phoenix_hypervisor.report.sarif import Result, Rule, Run

_NOTES = ("redundant-rule", "accepted-not-needed", "covered-by-file", "slow-compile", "large-policy")
"""What costs no safety."""


def run_of(sources: Sequence[str], findings: Iterable[Habit], failed: str = "") -> Run:
    """What lint found in these files, with a rule for each code that it knows."""
    return Run(
        tool="phoenix policy lint",
        version=__version__,
        rules={code: Rule(meaning=meaning, level=_level(code)) for code, meaning in CODES.items()},
        results=[_result(one) for one in findings],
        looked_at=sources,
        failed=failed,
    )


def _result(one: Habit) -> Result:
    file, _, line = one.place.rpartition(":")
    at_line = line.isdigit()
    return Result(
        rule=one.code,
        level=_level(one.code),
        message=one.message,
        path=file if at_line else one.place,
        line=int(line) if at_line else None,
        snippet=one.rule,
        waived=one.waived,
    )


def _level(code: str) -> str:
    return "note" if code in _NOTES else "warning"
