"""`phoenix policy` over a real session.

Owns putting the group of `cli.policy` together with where policy comes from.
"""

from __future__ import annotations

from typing import Any

from phoenix_hypervisor.cli.options import Settings, global_options
from phoenix_hypervisor.cli.output import emit, say
from phoenix_hypervisor.cli.policy import make_group
from phoenix_hypervisor.engine.policy_sources import SessionWorkbench
from phoenix_hypervisor.engine.policy_work import Result
from phoenix_hypervisor.engine.session import Session


def _show(settings: Settings, result: Result) -> None:
    for line in result.lines:
        say(settings, line)
    if settings.json:
        emit(result.document)


def _workbench(settings: Settings) -> SessionWorkbench:
    return SessionWorkbench(Session(settings))


def _write(settings: Settings, path: str, data: bytes) -> None:
    _workbench(settings).write(path, data)


def __getattr__(name: str) -> Any:
    if name == "policy":
        return make_group(global_options, _workbench, _show, _write)
    raise AttributeError(name)
