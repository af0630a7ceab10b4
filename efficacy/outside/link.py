"""The runner inside the container, reached by lxc-attach; started again where it has gone."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
from typing import Any

PROGRAM = "/opt/phoenix-efficacy.pyz"


class Inside:
    """inside.py in the container; started again where it has gone."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    def start(self) -> None:
        self.end()
        self.starts += 1
        argv = [
            "lxc-attach",
            "-n",
            self.name,
            "--clear-env",
            "-v",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "--",
        ]
        argv += ["/usr/bin/python3", "-I", "-S", PROGRAM]
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip

    def end(self) -> None:
        if self.process is not None:
            with contextlib.suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        for attempt in (1, 2):
            if self.process is None or self.process.poll() is not None:
                self.start()
            process = self.process
            assert process is not None and process.stdin and process.stdout
            try:
                process.stdin.write(json.dumps(order).encode() + b"\n")
                process.stdin.flush()
                ready, _, _ = select.select([process.stdout], [], [], order["limit"] + 20)
                line = process.stdout.readline() if ready else b""
            except OSError:
                line = b""
            if line:
                answer: dict[str, Any] = json.loads(line)
                return answer
            self.end()
            self.process = None
            if attempt == 2 or not ready:
                break
        return {"ok": False, "error": "the container's side gave no answer", "broken": True}
