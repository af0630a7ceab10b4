"""Ansible's callback that writes each task's result as a line of JSON, for the tests beside it."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase  # type: ignore[import-not-found]

DOCUMENTATION = """
name: record
type: notification
short_description: each result as a line of JSON
description: For tests.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Appends to the file that PHOENIX_RECORD names."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "record"

    def _write(self, how: str, result: Any) -> None:
        values = json.loads(json.dumps(result._result, default=str))
        line = {"how": how, "host": result._host.name, "task": result._task.name, "result": values}
        with open(os.environ["PHOENIX_RECORD"], "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def v2_runner_on_ok(self, result: Any) -> None:
        self._write("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._write("failed", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._write("unreachable", result)
