"""Every test here needs the real apparmor_parser; without it they skip on a laptop and fail under CI."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from support.hosts import DirectoryHost, LiveHost

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.host)


@pytest.fixture(autouse=True)
def _as_wide_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that run side by side are told how wide their terminal is, and they have none."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(autouse=True)
def _parser() -> None:
    if shutil.which("apparmor_parser") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("apparmor_parser is not installed")


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables as in a pipe: whoever runs the tests may have told how wide their terminal is."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def host(tmp_path: Path) -> DirectoryHost:
    return DirectoryHost(tmp_path / "host")


@pytest.fixture
def live(tmp_path: Path) -> LiveHost:
    return LiveHost(tmp_path / "live")


@pytest.fixture
def two(live: LiveHost) -> LiveHost:
    live.source("lxc-a")
    live.source("lxc-b")
    live.conf("101")
    live.conf("102")
    live.declare({"101": "lxc-a", "102": "lxc-b"})
    return live
