"""What is shipped for monitoring: alert rules and a dashboard that name only metrics that there are."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from phoenix_hypervisor import __version__
from phoenix_hypervisor.plan.model import Finding
from phoenix_hypervisor.report.metrics import Measured, exposition

TOP = Path(__file__).parents[2]
RULES = TOP / "monitoring/phoenix.rules.yml"
DASHBOARD = TOP / "monitoring/grafana-dashboard.json"
SOURCE = (TOP / "src/phoenix_hypervisor/report/metrics.py").read_text()


def _named(text: str) -> set[str]:
    return set(re.findall(r"\bphoenix_[a-z_]+", text))


@pytest.mark.parametrize("path", [RULES, DASHBOARD], ids=lambda path: path.name)
def test_only_metrics_that_there_are_are_named(path: Path) -> None:
    named = _named(path.read_text())
    assert named and {name for name in named if f'"{name}"' not in SOURCE} == set()


def test_the_dashboard_is_whole() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) and all(panel["targets"] for panel in panels)


@pytest.mark.parametrize(
    "words", [["check", "rules", "phoenix.rules.yml"], ["test", "rules", "phoenix.rules.test.yml"]]
)
def test_promtool_takes_the_rules(words: list[str]) -> None:
    promtool = shutil.which("promtool", path=os.path.dirname(sys.executable))
    if promtool is None:
        pytest.skip("`make test` puts promtool beside the tests' Python")
    done = subprocess.run(
        [promtool, *words], cwd=RULES.parent, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_host_without_anything_is_told_too() -> None:
    measured = Measured(
        version=__version__,
        containers=(),
        profiles=(),
        host=(),
        unmediated=None,
        transactions=0,
        last_transaction=None,
    )
    text = exposition(measured)
    assert f'phoenix_info{{version="{__version__}"}} 1' in text and "phoenix_transactions_total 0" in text
    assert 'phoenix_findings{code="none",of="host",fault="false"} 0' in text
    assert "phoenix_last_transaction" not in text


def test_the_package_has_the_version_of_the_program() -> None:
    first = (TOP / "debian/changelog").read_text().splitlines()[0]
    assert first.startswith(f"phoenix-hypervisor ({__version__}) ")


def test_findings_of_one_code_are_counted() -> None:
    from phoenix_hypervisor.plan.codes import Code

    findings = [Finding(Code.APPARMOR_OFF, "host"), Finding(Code.APPARMOR_OFF, "host")]
    measured = Measured(
        version="1",
        containers=(),
        profiles=(),
        host=findings,
        unmediated=2,
        transactions=3,
        last_transaction=5.0,
    )
    text = exposition(measured)
    assert 'phoenix_findings{code="apparmor-off",of="host",fault="true"} 2' in text
    assert "phoenix_kernel_unmediated 2" in text
