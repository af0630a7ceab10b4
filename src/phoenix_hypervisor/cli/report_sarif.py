"""What `phoenix report --sarif` prints: what verify finds, GPUs among it, and what lint finds.

Owns the two runs of that log; the document is `report.sarif`'s.
"""

from __future__ import annotations

from collections.abc import Iterator

from phoenix_hypervisor import __version__
from phoenix_hypervisor.cli.notes import words
from phoenix_hypervisor.cli.policy_sarif import run_of
from phoenix_hypervisor.cli.progress import Busy
from phoenix_hypervisor.engine.condition import Status
from phoenix_hypervisor.engine.phoenix import Phoenix
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.plan.model import Finding
from phoenix_hypervisor.plan.registries import every
from phoenix_hypervisor.plan.roles import Role
from phoenix_hypervisor.report.sarif import Result, Rule, Run
from phoenix_hypervisor.report.sarif import document as log_of

NO_FILE = "/var/lib/phoenix"
"""Where a finding is that no file is about: code scanning takes none without a file."""


def document(phoenix: Phoenix, busy: Busy) -> dict[str, object]:
    """The log.  Raises PhoenixError where nothing can be said of the host."""
    found = phoenix.status()
    try:
        linted = phoenix.lint(progress=busy.step)
    except PhoenixError as error:
        return log_of([_verified(found), run_of((), (), failed=str(error))])
    return log_of([_verified(found), run_of(linted.sources, linted.findings)])


def _verified(found: Status) -> Run:
    codes = [code for code in every() if Role.FINDING in code.roles]
    return Run(
        tool="phoenix verify",
        version=__version__,
        rules={str(code): Rule(meaning=code.meaning, level="error") for code in codes},
        results=list(_results(found)),
    )


def _results(found: Status) -> Iterator[Result]:
    for finding in found.host:
        yield _result(finding, found.configuration or NO_FILE)
    for container in found.containers:
        for finding in container.findings:
            yield _result(finding, container.path or found.configuration or NO_FILE)
    for profile in found.profiles:
        for finding in profile.findings:
            yield _result(finding, profile.source)


def _result(finding: Finding, path: str) -> Result:
    text, hint = words(finding)
    return Result(
        rule=str(finding.code),
        level="error" if finding.fault else "note",
        message=f"{finding.target}: {text}" + (f" (next: {hint})" if hint else ""),
        path=path,
        target=finding.target,
    )
