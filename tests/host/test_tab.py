"""TAB in real shells on a real terminal: what is typed, and what appears."""

from __future__ import annotations

import os
import pty
import select
import shutil
import sys
import time
from pathlib import Path

import pytest

from support.hosts import TOP, DirectoryHost

READY, LOADED = b"READY> ", b"LOADED"
SHELLS = {
    "bash": (
        ["bash", "--norc", "--noprofile", "-i"],
        "source <(phoenix completion bash); echo LOA''DED\n",
    ),
    "zsh": (
        ["zsh", "-f", "-i"],
        "autoload -Uz compinit; compinit -u; source <(phoenix completion zsh); echo LOA''DED\n",
    ),
    "fish": (
        ["fish", "--no-config", "-i", "-C", "function fish_prompt; echo -n 'READY> '; end"],
        "phoenix completion fish | source; echo LOA''DED\n",
    ),
}


class Typist:
    """A shell on a terminal, and somebody who types."""

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                os.execvpe(argv[0], argv, env)
            finally:
                os._exit(127)
        self.seen = b""

    def wait_for(self, text: bytes, timeout: float = 60.0) -> None:
        """Read until `text` is on the screen."""
        end = time.monotonic() + timeout
        while text not in self.seen:
            assert time.monotonic() < end, (text, self.seen[-2000:])
            if not select.select([self.fd], [], [], 0.2)[0]:
                continue
            piece = os.read(self.fd, 4096)
            self.seen += piece
            if b"\x1b[c" in piece or b"\x1b[0c" in piece:
                os.write(self.fd, b"\x1b[?1;2c")  # fish asks what terminal it is on, and waits.

    def type(self, text: str) -> None:
        self.seen = b""
        os.write(self.fd, text.encode())

    def leave(self) -> None:
        os.close(self.fd)
        end = time.monotonic() + 10
        while os.waitpid(self.pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > end:
                os.kill(self.pid, 9)
            time.sleep(0.05)


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_in_a_real_shell(host: DirectoryHost, tmp_path: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = tmp_path / "phoenix"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -I {TOP}/bin/phoenix "$@"\n')
    script.chmod(0o755)
    host.source("lxc-a")
    host.declare({"95001": "lxc-a", "95002": "lxc-a"})
    argv, load = SHELLS[shell]
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PS1": READY.decode(), "HOME": str(tmp_path)}
    typist = Typist(argv, {**env, "TERM": "xterm"})
    try:
        typist.wait_for(READY)
        typist.type(load)
        typist.wait_for(LOADED)
        typist.type("phoenix ver\t")
        typist.wait_for(b"verify")
        typist.type(f"\x15phoenix --config {host.config} apply 950\t\t\t")
        typist.wait_for(b"95001")
        typist.wait_for(b"95002")
    finally:
        typist.leave()
