"""Tests of the Ansible collection with a real Ansible: `make collection-test` says where one is."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.fleet import ansible

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without an Ansible they are not asked for: they take minutes, on each of its versions."""
    left = [item for item in items if HERE in item.path.parents]
    if ansible() is None and left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if HERE not in item.path.parents]
