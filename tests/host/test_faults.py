"""The short version of `make faults`, and that it finds what it is there to find."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from phoenix_hypervisor.plan import recorded
from phoenix_hypervisor.plan.actions import Action, InstallFile
from support import concurrency, faults
from support.faults import KILL, Injector, Scenario

STRIDE = 31
"""Every such fault of all: `make faults` does each."""


@pytest.fixture(scope="module")
def scenarios(tmp_path_factory: pytest.TempPathFactory) -> list[Scenario]:
    return faults.scenarios(tmp_path_factory.mktemp("faults"))


def test_there_are_over_a_thousand_of_them(scenarios: list[Scenario]) -> None:
    assert [s.name for s in scenarios] == ["setup", "apply", "rollback"]
    assert sum(len(faults.jobs(s)) for s in scenarios) >= 1000


def test_no_call_goes_past_the_injector_and_the_order_is_right(
    scenarios: list[Scenario], tmp_path: Path
) -> None:
    if shutil.which("strace") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("strace is not installed")
    for scenario in scenarios:
        seen = faults.traced(scenario, tmp_path / "trace")
        assert faults.shape(seen, scenario.place) == faults.shape(scenario.events, scenario.place)
        assert faults.order_faults(seen, scenario.root) == []
        assert faults.order_faults(scenario.events, scenario.root) == []


@pytest.mark.slow
@pytest.mark.parametrize("index", range(3))
def test_a_part_of_the_faults(scenarios: list[Scenario], index: int) -> None:
    scenario = scenarios[index]
    for number, fault in faults.jobs(scenario)[index::STRIDE]:
        assert faults.inject(scenario, number, fault) == []


def test_leaving_out_any_fsync_is_found(scenarios: list[Scenario], tell: Callable[[str], None]) -> None:
    left_out = 0
    for scenario in scenarios:
        for number in range(1, faults.tally(scenario.events)["fsync"] + 1):
            scenario.restore()
            injector = Injector(skip_fsync=number)
            assert scenario.run(injector)[0] == 0
            found = faults.order_faults(injector.events, scenario.root)
            assert found, f"{scenario.name}: without fsync {number} nobody noticed"
            left_out += 1
    tell(f"order checker: {left_out} fsyncs left out, one at a time, each noticed")


def test_leaving_out_a_before_image_is_found(
    scenarios: list[Scenario], monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = scenarios[1]
    real = recorded.document

    def forgetful(action: Action) -> object:
        return real(replace(action, before=None) if isinstance(action, InstallFile) else action)

    last = max(n for n, e in enumerate(scenario.events, 1) if e.kind == "write" and "/journal/" in e.path)
    assert faults.inject(scenario, last, KILL) == []
    monkeypatch.setattr(recorded, "document", forgetful)
    scenario.restore()
    # By itself the next apply heals everything; recovery alone must give the old state back.
    scenario.forked(Injector(last, KILL))
    (scenario.place / "config/phoenix_lxc_configs.json").write_text("{")
    scenario.again()
    assert _changed(scenario), "a lost before-image went unnoticed"
    monkeypatch.undo()
    scenario.restore()
    scenario.forked(Injector(last, KILL))
    (scenario.place / "config/phoenix_lxc_configs.json").write_text("{")
    scenario.again()
    assert _changed(scenario) == []


def _changed(scenario: Scenario) -> list[str]:
    """Files that recovery alone did not bring back; what was swept does not count."""
    now = faults.settled(scenario.root)
    return [
        path
        for path in {*now, *scenario.old}
        if now.get(path) != scenario.old.get(path)
        and not path.endswith(".phoenix-tmp")
        and not path.startswith("var/cache/apparmor")
    ]


def test_phoenix_beside_itself_and_beside_others(tmp_path: Path) -> None:
    result = concurrency.run(tmp_path, 2)
    assert result.lost == []
    assert result.writes == 2 * concurrency.WRITERS
