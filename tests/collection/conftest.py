"""Tests of the Ansible collection with a real Ansible: `make collection-test` says where one is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.fleet import ansible

HERE = Path(__file__).parent


def _is_wanted(item: pytest.Item) -> bool:
    """Those that make whole Debian systems are asked for by the variable of the three guests."""
    long = item.path.name == "test_package_role.py"
    return ansible() is not None and (not long or bool(os.environ.get("PHOENIX_FLEET")))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without an Ansible they are not asked for: they take minutes, on each of its versions."""
    left = [item for item in items if HERE in item.path.parents and not _is_wanted(item)]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
