"""The host's end of the wire to the guest's agent.

Owns framing (magic, two lengths, a JSON header, a payload), matching of answers, and the bound on
every wait.  Must not know what the guest runs.  `guest/agent.py` is the other end.
"""

from __future__ import annotations

import json
import secrets
import socket
import struct
import time
from typing import Any

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.lab.waiting import is_ready

MAGIC = b"PHX1"
HEADER = struct.Struct(">4sII")


class GuestGone(PhoenixError):
    """The guest's QEMU ended, or its agent says nothing any more."""


class Wire:
    """One connection to one agent."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.setblocking(False)
        self._buffer = bytearray()

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def sync(self, timeout: float) -> None:
        """Agree with the agent on where frames begin, and give the guest the time of day.

        Asked again every two seconds: an agent that was left in the middle of somebody else's
        frame drops it after that.
        """
        end = time.monotonic() + timeout
        while True:
            nonce = secrets.token_hex(8)
            self.send({"op": "sync", "nonce": nonce, "time": time.time()})
            again = min(end, time.monotonic() + 2.5)
            while True:
                frame = self.receive(again - time.monotonic())
                if frame is None:
                    break
                if frame[0].get("sync") == nonce:
                    return
            if time.monotonic() >= end:
                raise GuestGone(f"the guest's agent did not answer within {timeout:.0f} s")

    def request(
        self, header: dict[str, object], payload: bytes = b"", *, timeout: float
    ) -> tuple[dict[str, Any], bytes]:
        """Send one request and wait for its answer.

        GuestGone where none comes within `timeout` seconds; PhoenixError where the agent refuses.
        """
        end = time.monotonic() + timeout
        self.send(header, payload)
        frame = self.receive(end - time.monotonic())
        if frame is None:
            raise GuestGone(f"the guest's agent did not answer {header.get('op')} within {timeout:.0f} s")
        if "error" in frame[0]:
            raise PhoenixError(str(frame[0]["error"]), where="in the lab's guest")
        return frame

    def send(self, header: dict[str, object], payload: bytes = b"", *, timeout: float = 60.0) -> None:
        head = json.dumps(header).encode()
        data = memoryview(HEADER.pack(MAGIC, len(head), len(payload)) + head + payload)
        end = time.monotonic() + timeout
        while data:
            left = end - time.monotonic()
            if left <= 0 or not is_ready(self._socket, left, to_write=True):
                raise GuestGone("the guest's agent no longer reads")
            try:
                data = data[self._socket.send(data[: 1 << 18]) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise GuestGone(f"the guest is gone: {error.strerror}") from None

    def receive(self, timeout: float) -> tuple[dict[str, Any], bytes] | None:
        """The next frame, or None after `timeout` seconds."""
        end = time.monotonic() + timeout
        while True:
            frame = self._parse()
            if frame is not None:
                return frame
            left = end - time.monotonic()
            if not is_ready(self._socket, left):
                return None
            try:
                data = self._socket.recv(1 << 18)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                raise GuestGone("the guest is gone: its QEMU ended")
            self._buffer += data

    def _parse(self) -> tuple[dict[str, Any], bytes] | None:
        start = self._buffer.find(MAGIC)
        if start < 0:
            del self._buffer[:-3]
            return None
        del self._buffer[:start]
        if len(self._buffer) < HEADER.size:
            return None
        _, head, body = HEADER.unpack_from(self._buffer)
        end = HEADER.size + head + body
        if len(self._buffer) < end:
            return None
        header: dict[str, Any] = json.loads(self._buffer[HEADER.size : HEADER.size + head])
        payload = bytes(self._buffer[HEADER.size + head : end])
        del self._buffer[:end]
        return header, payload
