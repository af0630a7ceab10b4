"""Shared rules of the test run: what runs side by side, what is told, and no unseen skips under CI."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from hypothesis import settings

settings.register_profile("fuzz", max_examples=int(os.environ.get("PHOENIX_EXAMPLES", "5000")), deadline=None)
settings.register_profile("usual", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "usual"))


BOTH_RELEASES = ("test_compilers.py", "test_deny_groups.py")
"""They compare the releases, so one process must run them on both."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say which tests share a process: a file, or in the lab a release; the labs, being slowest, go first."""
    for item in items:
        group = item.path.name
        if item.path.parent.name == "lab":
            callspec = getattr(item, "callspec", None)
            release = callspec.params.get("lab") if callspec is not None else None
            if group in BOTH_RELEASES:
                group = "both releases"
            elif release is not None:
                group = str(release)
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: (item.path.parent.name != "lab", item.path.parent.name != "host"))


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Prints what a test measured at the end of the run, whichever process ran it."""
    return lambda text: record_property("told", text)


def _told(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.stats.get(kind, [])]
    texts = [str(text) for report in reports for name, text in report.user_properties if name == "told"]
    if texts:
        terminalreporter.write_sep("-", "measured")
        terminalreporter.write_line("\n".join(texts))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    _told(terminalreporter)
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
