"""QEMU's control socket.

Owns the JSON conversation with one QEMU.  Every wait is bounded.  Must not start processes.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Sequence
from typing import Any

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.lab.waiting import is_ready


class Qmp:
    """A connected QMP socket; QEMU answers commands in order and mixes events in."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = b""

    def negotiate(self, timeout: float = 20.0) -> None:
        """Take the greeting and leave the negotiation mode."""
        self._message(time.monotonic() + timeout)
        self.command("qmp_capabilities", timeout=timeout)

    def command(self, name: str, timeout: float = 20.0, **arguments: object) -> Any:
        """Run one command; its `return` value.

        Raises PhoenixError where QEMU refuses, is gone, or says nothing for `timeout` seconds.
        """
        return self._converse(name, {k.replace("_", "-"): v for k, v in arguments.items()}, timeout)

    def pass_fd(self, name: str, fd: int) -> None:
        """Give QEMU an open file descriptor to know as `name`."""
        self._converse("getfd", {"fdname": name}, 20.0, [fd])

    def _converse(
        self, name: str, arguments: dict[str, object], timeout: float, fds: Sequence[int] = ()
    ) -> Any:
        message: dict[str, object] = {"execute": name}
        if arguments:
            message["arguments"] = arguments
        try:
            socket.send_fds(self._socket, [json.dumps(message).encode() + b"\n"], fds)
        except OSError as error:
            raise PhoenixError(f"QEMU is gone: {error.strerror}") from None
        end = time.monotonic() + timeout
        while True:
            answer = self._message(end)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise PhoenixError(f"QEMU refused {name}: {answer['error'].get('desc')}")

    def until_status(self, *wanted: str, timeout: float) -> str:
        """Wait until the machine's run state is one of `wanted`."""
        end = time.monotonic() + timeout
        while True:
            status = str(self.command("query-status")["status"])
            if status in wanted:
                return status
            if time.monotonic() > end:
                raise PhoenixError(f"QEMU is still {status} after {timeout:.0f} s")
            time.sleep(0.02)

    def close(self) -> None:
        self._socket.close()

    def _message(self, end: float) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            left = end - time.monotonic()
            if left <= 0 or not is_ready(self._socket, left):
                raise PhoenixError("QEMU does not answer on its control socket")
            try:
                data = self._socket.recv(1 << 16)
            except OSError:
                data = b""
            if not data:
                raise PhoenixError("QEMU ended")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message
