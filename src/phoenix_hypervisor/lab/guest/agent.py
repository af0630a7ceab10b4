"""The lab's agent: runs in the guest and does what the host asks over a virtio-serial port.

Owns the guest's end of the wire (`lab/wire.py` has the host's) and the processes it starts.
Standard library only, Python 3.11, one request at a time; a host that goes away ends the
command that it had started.  Must never wait without a bound.
"""

# ruff: noqa: TID253 -- a program of its own, started once

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable
from typing import Any

PORT_NAME = "phoenix.agent"
MAGIC = b"PHX1"
HEADER = struct.Struct(">4sII")
OUTPUT_LIMIT = 64 << 20
STALL = 2.0  # seconds without a byte in the middle of a frame: its sender is gone


def log(text: str) -> None:
    with open("/dev/kmsg", "w") as kmsg:
        kmsg.write(f"phoenix-lab: {text}\n")


class HostGone(Exception):
    """The host closed its end."""


class Wire:
    """Frames on the port: magic, two lengths, a JSON header, a payload."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self.buffer = bytearray()
        self.arrived = 0.0

    def _fill(self) -> None:
        """Read what is there; HostGone where nobody is connected."""
        try:
            data = os.read(self.fd, 1 << 16)
        except BlockingIOError:
            return
        if not data:
            self.buffer.clear()
            raise HostGone
        self.buffer += data
        self.arrived = time.monotonic()

    def receive(self, timeout: float) -> tuple[dict[str, Any], bytes] | None:
        """The next (header, payload), or None after `timeout` seconds."""
        end = time.monotonic() + timeout
        while True:
            frame = self._parse()
            if frame is not None:
                return frame
            if self.buffer and time.monotonic() - self.arrived > STALL:
                self.buffer.clear()
            left = max(0.0, end - time.monotonic())
            if select.select([self.fd], [], [], min(left, 1.0))[0]:
                self._fill()
            elif left <= 0:
                return None

    def _parse(self) -> tuple[dict[str, Any], bytes] | None:
        start = self.buffer.find(MAGIC)
        if start < 0:
            del self.buffer[:-3]
            return None
        del self.buffer[:start]
        if len(self.buffer) < HEADER.size:
            return None
        _, head, body = HEADER.unpack_from(self.buffer)
        end = HEADER.size + head + body
        if head > 1 << 20:
            del self.buffer[:4]
            return self._parse()
        if len(self.buffer) < end:
            return None
        header = json.loads(self.buffer[HEADER.size : HEADER.size + head])
        payload = bytes(self.buffer[HEADER.size + head : end])
        del self.buffer[:end]
        return header, payload

    def send(self, header: dict[str, object], payload: bytes = b"") -> None:
        head = json.dumps(header).encode()
        data = memoryview(HEADER.pack(MAGIC, len(head), len(payload)) + head + payload)
        while data:
            try:
                data = data[os.write(self.fd, data[: 1 << 16]) :]
            except BlockingIOError:
                _, ready, _ = select.select([], [self.fd], [], 30.0)
                if not ready:
                    raise HostGone
            except OSError as error:
                if error.errno in (errno.EPIPE, errno.ENODEV):
                    raise HostGone
                raise


def environment(extra: dict[str, str] | None) -> dict[str, str]:
    env = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "TERM": "linux",
    }
    env.update(extra or {})
    return env


def end(process: subprocess.Popen[bytes]) -> bool:
    """Kill the whole session; True when its leader is gone within three seconds."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        process.wait(3)
    except subprocess.TimeoutExpired:
        return False
    return True


def do_run(wire: Wire, header: dict[str, Any], payload: bytes) -> None:
    """Run argv to its end, its time-out, a cancel or the host's going."""
    files: list[int] = []
    for name, content in (("in", payload), ("out", b""), ("err", b"")):
        fd = os.memfd_create(name)
        os.write(fd, content)
        os.lseek(fd, 0, os.SEEK_SET)
        files.append(fd)
    try:
        try:
            process = subprocess.Popen(
                header["argv"],
                stdin=files[0],
                stdout=files[1],
                stderr=files[2],
                env=environment(header.get("env")),
                cwd=header.get("cwd") or "/root",
                start_new_session=True,
            )
        except OSError as error:
            wire.send({"error": f"{header['argv'][0]}: {error.strerror}", "errno": error.errno})
            return
        limit = time.monotonic() + header["timeout"]
        answer: dict[str, object] = {}
        pidfd = os.pidfd_open(process.pid)
        try:
            while True:
                left = limit - time.monotonic()
                ready, _, _ = select.select([pidfd, wire.fd], [], [], max(0.0, min(left, 1.0)))
                if pidfd in ready:
                    break
                if left <= 0:
                    answer["timed_out"] = True
                    break
                if wire.fd in ready and wire.receive(0.0) is not None:
                    answer["cancelled"] = True
                    break
        except HostGone:
            end(process)
            raise
        finally:
            os.close(pidfd)
        if answer:
            answer["unkillable"] = not end(process)
        else:
            process.wait(3)
        answer["rc"] = process.returncode
        parts = []
        for fd in files[1:]:
            size = os.fstat(fd).st_size
            parts.append(os.pread(fd, min(size, OUTPUT_LIMIT), 0))
        answer["out"], answer["err"] = (len(part) for part in parts)
        wire.send(answer, b"".join(parts))
    finally:
        for fd in files:
            os.close(fd)


def do_tty(wire: Wire, header: dict[str, Any], payload: bytes) -> None:
    """A command on a terminal of its own; bytes both ways until it ends."""
    pid, master = pty.fork()
    if pid == 0:
        try:
            os.chdir(header.get("cwd") or "/root")
            os.execvpe(header["argv"][0], header["argv"], environment(header.get("env")))
        finally:
            os._exit(127)
    pidfd = os.pidfd_open(pid)
    os.set_blocking(master, False)
    try:
        ended = False
        while True:
            # What came together with the request is in the buffer and wakes no select.
            frame = wire.receive(0.0)
            while frame is not None:
                order, data = frame
                if order.get("op") == "input":
                    # A program that reads nothing must not stop the agent: its input is dropped.
                    with contextlib.suppress(BlockingIOError):
                        os.write(master, data)
                elif order.get("op") == "size":
                    rows, columns = order["size"]
                    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
                frame = wire.receive(0.0)
            ready, _, _ = select.select([master, wire.fd, pidfd], [], [], 1.0)
            if master in ready:
                try:
                    data = os.read(master, 1 << 15)
                except OSError:
                    data = b""
                if data:
                    wire.send({"tty": True}, data)
                    continue
                ended = True
            if ended or pidfd in ready:
                break
        select.select([pidfd], [], [], 3.0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGHUP)
        done, status = os.waitpid(pid, os.WNOHANG)
        wire.send({"rc": os.waitstatus_to_exitcode(status) if done else -1})
    except HostGone:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        raise
    finally:
        os.close(pidfd)
        os.close(master)


def do_put(wire: Wire, header: dict[str, Any], payload: bytes) -> None:
    """Write a file whole; its directory is made."""
    path = header["path"]
    os.makedirs(os.path.dirname(path) or "/", exist_ok=True)
    part = f"{path}.phoenix-part"
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(payload)
        os.fchmod(fd, header["mode"])
    os.replace(part, path)
    wire.send({"size": len(payload)})


def do_get(wire: Wire, header: dict[str, Any], payload: bytes) -> None:
    """A file's bytes; files of /proc and /sys say size 0, so read to the end."""
    with open(header["path"], "rb") as file:
        data = file.read(OUTPUT_LIMIT)
    wire.send({"size": len(data)}, data)


def do_kmsg(wire: Wire, header: dict[str, Any], payload: bytes) -> None:
    """Kernel log records after sequence number `since`, one a line as /dev/kmsg has them."""
    since = header.get("since", -1)
    lines: list[bytes] = []
    lost = False
    fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    try:
        while True:
            try:
                record = os.read(fd, 1 << 14)
            except BlockingIOError:
                break
            except BrokenPipeError:
                lost = True
                continue
            first = record.split(b"\n", 1)[0]
            if int(first.split(b",", 2)[1]) > since:
                lines.append(first)
    finally:
        os.close(fd)
    wire.send({"lost": lost}, b"\n".join(lines))


def do_tree(wire: Wire, header: dict[str, Any], payload: bytes) -> None:
    """Every file below a directory in the directory's own order, as JSON of latin-1 text."""
    found: list[list[str]] = []

    def walk(path: str, name: str) -> None:
        for entry in os.scandir(path):
            below = f"{name}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                walk(entry.path, below + "/")
            else:
                with open(entry.path, "rb") as file:
                    found.append([below, file.read().decode("latin-1")])

    walk(header["path"], "")
    wire.send({}, json.dumps(found).encode())


OPERATIONS: dict[str, Callable[[Wire, dict[str, Any], bytes], None]] = {
    "run": do_run,
    "tty": do_tty,
    "put": do_put,
    "get": do_get,
    "kmsg": do_kmsg,
    "tree": do_tree,
}


def serve(wire: Wire) -> None:
    frame = wire.receive(60.0)
    if frame is None:
        return
    header, payload = frame
    operation = header.get("op")
    if operation == "sync":
        now = header.get("time")
        if now is not None and abs(time.time() - now) > 0.5:
            time.clock_settime(time.CLOCK_REALTIME, now)
        wire.send({"sync": header["nonce"]})
        return
    if operation not in OPERATIONS:
        # Left over from a host that has gone (terminal input, a cancel that came late).
        return
    try:
        OPERATIONS[operation](wire, header, payload)
    except HostGone:
        raise
    except Exception as error:
        wire.send({"error": str(error), "errno": getattr(error, "errno", None)})


def find_port() -> str:
    for _ in range(300):
        for name in sorted(os.listdir("/sys/class/virtio-ports")):
            with open(f"/sys/class/virtio-ports/{name}/name") as file:
                if file.read().strip() == PORT_NAME:
                    return f"/dev/{name}"
        time.sleep(0.1)
    raise SystemExit("no agent port")


def main() -> None:
    wire = Wire(find_port())
    log("agent ready")
    while True:
        try:
            serve(wire)
        except HostGone:
            time.sleep(0.05)


main()
