"""Labs for the tests: one of each release for the whole run, continued from its saved machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from phoenix_hypervisor.lab.booted import Lab
from phoenix_hypervisor.lab.recipe import RELEASES
from support.lab_demand import demand_tools
from support.lab_host import make_ready
from support.packages import make_deb, only_base

LONG = {
    "test_every_way_of_every_event": "PHOENIX_CORPUS",
    "test_package.py": "PHOENIX_PACKAGE",
    "test_timers.py": "PHOENIX_PACKAGE",
    "test_trial_of_services.py": "PHOENIX_TRIALS",
    "test_fleet.py": "PHOENIX_FLEET",
    "test_fleet_moves.py": "PHOENIX_FLEET",
    "test_migrate_guest.py": "PHOENIX_FLEET",
}
"""Tests that take minutes on each release, and the variable that asks for them (docs/internals/lab.md)."""


def _is_wanted(item: pytest.Item) -> bool:
    names = (item.name.partition("[")[0], item.path.name)
    return all(os.environ.get(LONG[name]) for name in names if name in LONG)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left = [item for item in items if not _is_wanted(item)]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
    for item in items:
        if "/tests/lab/" in str(item.path).replace(os.sep, "/"):
            item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session")
def lab_tools() -> None:
    demand_tools()


@pytest.fixture(scope="session")
def labs(lab_tools: None) -> Iterator[Callable[[str], Lab]]:
    """Gives the session's lab of a release, started at its first use."""
    started: dict[str, Lab] = {}

    def give(release: str) -> Lab:
        if release not in started:
            lab = Lab(release, phoenix=True, progress=lambda text: print(f"lab: {text}", file=sys.stderr))
            lab.start()
            started[release] = lab
        return started[release]

    yield give
    for lab in started.values():
        lab.close()


SETTLED = [name for name, release in RELEASES.items() if not release.moving]
CHOSEN = os.environ.get("PHOENIX_LAB_RELEASES", "").split() or sorted(SETTLED, reverse=True)
"""Those that everything runs on.  The moving ones have a few tests of their own (test_moving.py)."""


@pytest.fixture(scope="module", params=CHOSEN)
def release(request: pytest.FixtureRequest) -> str:
    """For a module with labs of its own."""
    return str(request.param)


@pytest.fixture(params=CHOSEN)
def lab(request: pytest.FixtureRequest, labs: Callable[[str], Lab]) -> Lab:
    """A running lab, on each release; the kernel log so far is forgotten, nothing else is."""
    found = labs(request.param)
    found.mark()
    return found


@pytest.fixture
def ready(lab: Lab) -> Lab:
    """A guest with the shipped profiles loaded by Phoenix and nothing declared."""
    return make_ready(lab)


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian package."""
    return make_deb(tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="session")
def small(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with few profiles."""
    return only_base(package, tmp_path_factory.mktemp("small") / "tree")
