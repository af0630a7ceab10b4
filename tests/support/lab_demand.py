"""What a missing tool means to the lab tests."""

from __future__ import annotations

import os

import pytest

from phoenix_hypervisor.lab.tools import Tool, apt_line, missing_tools


def demand_tools(missing: tuple[Tool, ...] | None = None) -> None:
    """Skip on a laptop, fail in a CI: a skip there would say that the profiles hold."""
    missing = missing_tools() if missing is None else missing
    if not missing:
        return
    text = f"the lab lacks {', '.join(tool.program for tool in missing)}; {apt_line(missing)}"
    if os.environ.get("CI") == "true":
        pytest.fail(text, pytrace=False)
    pytest.skip(text)
