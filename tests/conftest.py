"""Shared rules of the test run: skips are counted, named, and forbidden under CI."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("fuzz", max_examples=int(os.environ.get("PHOENIX_EXAMPLES", "5000")), deadline=None)
settings.register_profile("usual", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "usual"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.write_sep("-", f"{len(skipped)} skipped")
        for report in skipped:
            terminalreporter.write_line(f"{report.nodeid}: {report.longrepr[2]}")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Under CI a skip that the Makefile does not list makes the run fail."""
    if not os.environ.get("CI"):
        return
    allowed = os.environ.get("ALLOWED_SKIPS", "").split()
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter is not None else []
    unseen = [r.nodeid for r in skipped if not any(word in r.nodeid for word in allowed)]
    if unseen and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
