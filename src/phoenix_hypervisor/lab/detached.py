"""Labs that outlive the command that started them: `phoenix lab boot`, `run`, `shell`, `stop`.

Owns the keeper, a small process of our own that is QEMU's parent.  QEMU dies with the keeper, the
keeper ends when its parent dies before the lab is ready, when it is asked to, or after its lifetime.
What others see is CACHE/run/NAME: `lock` (held while the keeper lives), `keeper.json`, `agent.sock`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.lab import recipe
from phoenix_hypervisor.lab.booted import Lab
from phoenix_hypervisor.lab.build import Progress, silent
from phoenix_hypervisor.lab.cache import Cache, is_locked, locked
from phoenix_hypervisor.lab.guestlink import Guest
from phoenix_hypervisor.lab.snapshot import BOOT_LIMIT
from phoenix_hypervisor.lab.waiting import is_ready
from phoenix_hypervisor.lab.wire import Wire

READY_LIMIT = 1800.0
"""Seconds from `boot` to a ready lab, an image built from nothing included."""
STOP_LIMIT = 20.0
DEFAULT_LIFETIME = 8 * 3600.0
"""Seconds after which a forgotten lab ends by itself."""
TURN_LIMIT = 600.0
"""Seconds that a command waits for another command in the same lab."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A detached lab that is running."""

    name: str
    release: str
    accel: str
    keeper: int
    qemu: int
    directory: Path


def running(cache: Cache, name: str) -> Running | None:
    """The detached lab called `name`, where one is running."""
    directory = cache.run / name
    if not is_locked_dir(directory):
        return None
    try:
        said = json.loads((directory / "keeper.json").read_bytes())
        return Running(
            name=name,
            release=said["release"],
            accel=said["accel"],
            keeper=said["keeper"],
            qemu=said["qemu"],
            directory=directory,
        )
    except (OSError, ValueError, KeyError):
        return None


def is_locked_dir(directory: Path) -> bool:
    """Whether a keeper lives in `directory`; looking makes nothing."""
    return (directory / "lock").exists() and is_locked(directory / "lock")


def boot(
    cache: Cache,
    name: str,
    release: str,
    *,
    snapshot: bool = True,
    lifetime: float = DEFAULT_LIFETIME,
    phoenix: bool = True,
    progress: Progress = silent,
) -> Running:
    """Start a detached lab and wait until it answers.

    PhoenixError where one of that name runs already, or where it does not come up.
    """
    import subprocess

    recipe.release_named(release)
    if is_locked_dir(cache.run / name):
        raise PhoenixError(f"lab {name} is running already", hint=f"phoenix lab stop --name {name}")
    cache.sweep()
    order = {
        "cache": str(cache.root),
        "name": name,
        "release": release,
        "snapshot": snapshot,
        "lifetime": lifetime,
        "parent": os.getpid(),
    }
    package_root = str(Path(__file__).resolve().parent.parent.parent)
    path = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH", "")]))
    process = subprocess.Popen(
        [sys.executable, "-m", "phoenix_hypervisor.lab.detached"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
        cwd="/",
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
        _await_ready(process.stdout.fileno(), progress)
        # Whoever boots answers for the lab until here; the keeper is on its own after this word.
        process.stdin.write(b"kept\n")
        process.stdin.flush()
    except BaseException:
        process.kill()
        process.wait(10)
        raise
    finally:
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.stdout.close()
    # The keeper goes on without us; tell subprocess that this is meant.
    process.returncode = 0
    found = running(cache, name)
    if found is None:
        raise PhoenixError(f"lab {name} ended right after it had started")
    if phoenix:
        with attach(cache, name) as guest:
            guest.install_phoenix()
    return found


@contextlib.contextmanager
def attach(cache: Cache, name: str, *, turn: float = TURN_LIMIT) -> Iterator[Guest]:
    """The guest of a detached lab, for one caller at a time."""
    found = running(cache, name)
    if found is None:
        raise PhoenixError(f"no lab {name} is running", hint="phoenix lab boot")
    with (
        locked(found.directory / "turn", timeout=turn, what=f"lab {name}"),
        socket.socket(socket.AF_UNIX) as connection,
    ):
        connection.settimeout(10)
        try:
            _connect(connection, found.directory)
        except OSError as error:
            raise PhoenixError(f"lab {name} does not answer: {error}", hint="phoenix lab stop") from None
        wire = Wire(connection)
        wire.sync(30)
        yield Guest(wire)


def stop(cache: Cache, name: str) -> bool:
    """End a detached lab; False where none was running."""
    found = running(cache, name)
    if found is None:
        cache.sweep()
        return False
    try:
        pidfd = os.pidfd_open(found.keeper)
    except ProcessLookupError:
        return False
    try:
        # The lock is still held after the pidfd was taken, so the number is still the keeper's.
        if is_locked_dir(found.directory):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        if not is_ready(pidfd, STOP_LIMIT):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            is_ready(pidfd, STOP_LIMIT)
    finally:
        os.close(pidfd)
    cache.sweep()
    return True


def _connect(connection: socket.socket, directory: Path) -> None:
    """Connect to the agent's socket; by way of a descriptor, as socket names are short."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        connection.connect(f"/proc/self/fd/{fd}/agent.sock")
    finally:
        os.close(fd)


def _await_ready(fd: int, progress: Progress) -> None:
    end = time.monotonic() + READY_LIMIT
    buffer = b""
    while True:
        if not is_ready(fd, end - time.monotonic()):
            raise PhoenixError(f"the lab was not ready within {READY_LIMIT:.0f} s")
        data = os.read(fd, 1 << 16)
        if not data:
            raise PhoenixError("the lab's background process ended before the lab was ready")
        buffer += data
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            said = json.loads(line)
            if "progress" in said:
                progress(said["progress"])
            elif "error" in said:
                raise PhoenixError(said["error"], where=said.get("where"), hint=said.get("hint"))
            elif said.get("ready"):
                return


# The keeper's side.


def _say(**what: object) -> None:
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(what).encode() + b"\n")


def _line(timeout: float) -> bytes:
    """One line from standard input, unbuffered; empty where none comes in time."""
    end = time.monotonic() + timeout
    line = b""
    while not line.endswith(b"\n"):
        if not is_ready(0, end - time.monotonic()):
            return b""
        byte = os.read(0, 1)
        if not byte:
            return b""
        line += byte
    return line.strip()


def _die_with(parent: int | None) -> None:
    """Have the kernel kill this process when `parent` dies, or (None) no longer."""
    import ctypes

    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(1, int(signal.SIGKILL) if parent is not None else 0, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        raise SystemExit(1)


def _leave(*_: object) -> None:
    raise SystemExit(0)


def _keeper() -> None:
    """Read the order from standard input, keep the lab, remove what is left of it."""
    order = json.loads(_line(10.0) or b"{}")
    if not order:
        return
    _die_with(int(order["parent"]))
    signal.signal(signal.SIGTERM, _leave)
    cache = Cache(Path(order["cache"]))
    directory = cache.run / order["name"]
    with contextlib.ExitStack() as stack:
        try:
            with locked(cache.root / "work.lock", timeout=30, what="the lab's cache"):
                directory.mkdir(parents=True, exist_ok=True)
                directory.chmod(0o700)
                stack.enter_context(locked(directory / "lock", timeout=2, what=f"lab {order['name']}"))
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
            _keep(cache, directory, order, stack)
        except PhoenixError as error:
            _say(error=error.message, where=error.where, hint=error.hint)


def _keep(cache: Cache, directory: Path, order: dict[str, Any], stack: contextlib.ExitStack) -> None:
    listener = stack.enter_context(socket.socket(socket.AF_UNIX))
    os.chdir(directory)
    listener.bind("agent.sock")
    listener.listen(16)
    os.chdir("/")
    lab = Lab(
        order["release"],
        snapshot=order["snapshot"],
        cache=cache,
        progress=lambda text: _say(progress=text),
    )
    stack.callback(lab.close)
    lab.start(listen=listener)
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(10)
        _connect(probe, directory)
        Wire(probe).sync(BOOT_LIMIT)
    said = {
        "release": order["release"],
        "accel": lab.accel,
        "keeper": os.getpid(),
        "qemu": lab.machine.pid,
    }
    part = directory / "keeper.part"
    part.write_text(json.dumps(said) + "\n")
    part.replace(directory / "keeper.json")
    _say(ready=True)
    if _line(30.0) == b"kept":
        _die_with(None)
        lab.machine.wait(order["lifetime"])


if __name__ == "__main__":
    _keeper()
