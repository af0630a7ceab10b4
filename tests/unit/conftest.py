"""Fixtures that several unit tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from phoenix_hypervisor.host.files import Directory


@pytest.fixture
def folder(tmp_path: Path) -> Directory:
    """A directory whose host path is /etc/x, shown as ROOT/etc/x."""
    return Directory("/etc/x", str(tmp_path), "ROOT/etc/x")
