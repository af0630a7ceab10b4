"""Shared rules of the test run: what runs side by side, what is told, and no unseen skips under CI."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("fuzz", max_examples=int(os.environ.get("PHOENIX_EXAMPLES", "5000")), deadline=None)
settings.register_profile("usual", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "usual"))


TOP = Path(__file__).parents[1]
PACKAGE = "src/phoenix_hypervisor"
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


def _coverage_by_room(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Statements that some test ran, for each room: told, and tuned to by nobody."""
    if not config.pluginmanager.hasplugin("_cov") or not config.getoption("cov_source"):
        return
    from coverage import Coverage

    measured = Coverage()
    measured.load()
    rooms: dict[str, list[int]] = {}
    for path in sorted((TOP / PACKAGE).rglob("*.py")):
        _, statements, _, missing, _ = measured.analysis2(str(path))
        inner = path.relative_to(TOP / PACKAGE)
        counts = rooms.setdefault(inner.parts[0] if len(inner.parts) > 1 else "top", [0, 0])
        counts[0] += len(statements)
        counts[1] += len(statements) - len(missing)
    terminalreporter.write_sep(
        "-", "statements that a test ran, by room (processes of their own not counted)"
    )
    for room, (total, ran) in sorted(rooms.items()):
        terminalreporter.write_line(f"{room:<12} {ran:>6} of {total:>6}  {100 * ran / max(total, 1):5.1f} %")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    _told(terminalreporter)
    _coverage_by_room(terminalreporter, config)
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
