"""Debian's Chromium without a window, driven over the pipe of its DevTools protocol.

Source: chromium's content/browser/devtools/devtools_pipe_handler.cc (messages of JSON, ended by NUL, on file
descriptors 3 and 4) and the protocol's own domains Page, Runtime and Emulation.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

PATIENCE = 60.0
"""Seconds that one answer may take."""


class Chromium:
    """One browser with one page."""

    def __init__(self, home: Path) -> None:
        program = shutil.which("chromium")
        if program is None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)("chromium is not installed")
        to_read, own_write = os.pipe()
        own_read, to_write = os.pipe()
        # It reads from 3 and writes to 4.
        argv = [
            "bash", "-c", f'exec "$@" 3<&{to_read} 4>&{to_write}', "bash", program, "--headless",
            "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--user-data-dir={home}", "--no-first-run", "--disable-background-networking", "about:blank",
        ]  # fmt: skip
        with open(home / "log", "wb") as log:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(to_read, to_write)
            )
        os.close(to_read)
        os.close(to_write)
        self._read, self._write = own_read, own_write
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self._loaded = False
        self.asked_for: list[str] = []
        """What pages wanted to load."""
        try:
            self._begin()
        except BaseException:
            self._end()
            raise

    def _begin(self) -> None:
        (target,) = [t for t in self._ask("Target.getTargets")["targetInfos"] if t["type"] == "page"][:1]
        given = {"targetId": target["targetId"], "flatten": True}
        self._session = self._ask("Target.attachToTarget", **given)["sessionId"]
        self._ask("Page.enable")
        self._ask("Runtime.enable")
        self._ask("Network.enable")

    def __enter__(self) -> Chromium:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        os.close(self._write)
        os.close(self._read)
        self._process.terminate()
        self._process.wait(PATIENCE)

    def open(self, path: Path, width: int, scheme: str = "light", height: int = 900) -> None:
        """Show a file in a window of so many pixels, for people who prefer that scheme."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._ask("Emulation.setDeviceMetricsOverride", **size)
        self.media("screen", scheme)
        self.asked_for = []
        self._loaded = False
        self._ask("Page.navigate", url=path.as_uri())
        while not self._loaded:
            self._message()

    def media(self, media: str, scheme: str) -> None:
        """Show it as on a screen or on paper (`screen`, `print`)."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._ask("Emulation.setEmulatedMedia", media=media, features=features)

    def run(self, script: str) -> Any:
        """What an expression in the page comes to; a promise is waited for."""
        answer = self._ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def screenshot(self, path: Path, *, whole: bool = True) -> bytes:
        """The page as a PNG file."""
        answer = self._ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        data = base64.b64decode(answer["data"])
        path.write_bytes(data)
        return data

    def printed(self) -> bytes:
        """The page as it is printed, in PDF."""
        return base64.b64decode(self._ask("Page.printToPDF", printBackground=True)["data"])

    def _ask(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        wanted = {"id": self._number, "method": method, "params": parameters}
        message = wanted if self._session is None else {**wanted, "sessionId": self._session}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _message(self) -> Any:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            data = os.read(self._read, 1 << 20) if ready else b""
            assert data, "Chromium does not answer"
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(text)
        if message.get("method") == "Page.loadEventFired":
            self._loaded = True
        if message.get("method") == "Network.requestWillBeSent":
            self.asked_for.append(message["params"]["request"]["url"])
        return message
