"""The machine as it was after its first boot, saved so that later labs continue from there.

Owns the saved state: a frozen disk overlay and QEMU's migration stream in a file.  Both are only
ever read afterwards, so any number of labs continue from one of them side by side, which a `savevm`
inside a qcow2 would not allow (it must be opened for writing).  Must not know what tests do.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.libraries import libraries
from phoenix_hypervisor.host.process import ProcessRunner
from phoenix_hypervisor.lab import qemu, tools
from phoenix_hypervisor.lab.accel import qemu_version
from phoenix_hypervisor.lab.build import Image, Progress, silent
from phoenix_hypervisor.lab.cache import Cache, locked
from phoenix_hypervisor.lab.qemu import Machine
from phoenix_hypervisor.lab.wire import GuestGone, Wire

BOOT_LIMIT = 120.0
"""Seconds from start to the agent's first word; 5 to 9 are usual under emulation."""
SAVE_LIMIT = 120.0
RESUME_LIMIT = 60.0


def warm() -> str:
    """Run once before saving, so that these programs' files are in the guest's page cache for every lab."""
    return (
        "lxc-info --version; lxc-start --version; apparmor_parser --version; "
        f"python3 -c 'import {', '.join(libraries())}'; busybox true; true"
    )


PROFILES = "/sys/kernel/security/apparmor/profiles"


@dataclass(frozen=True, slots=True)
class Saved:
    """A saved machine; both files are read-only."""

    path: Path

    @property
    def disk(self) -> Path:
        return self.path / "disk.qcow2"

    @property
    def state(self) -> Path:
        return self.path / "state"


def location(image: Image, accel: str, memory: int) -> Path:
    """Where the saved machine of these settings belongs.

    QEMU's version and the image's own path are part of the name: neither a state nor an overlay
    survives their change.
    """
    parts = (
        qemu_version(),
        qemu.MACHINE,
        qemu.CPU[accel],
        qemu.KERNEL_LINE,
        warm(),
        str(image.path),
    )
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
    return image.path / f"saved-{accel}-{memory}-{digest}"


def ensure_saved(
    cache: Cache, image: Image, *, accel: str, memory: int, progress: Progress = silent
) -> Saved:
    """The saved machine, made by booting once where there is none."""
    path = location(image, accel, memory)
    if path.is_dir():
        return Saved(path)
    lock = image.path / "saved.lock"
    with locked(lock, timeout=BOOT_LIMIT + SAVE_LIMIT, what="the first boot of the lab"):
        if not path.is_dir():
            progress(f"first boot ({accel}), then saving the machine")
            with cache.workdir(f"save-{image.release}") as work:
                made = work / "saved"
                made.mkdir()
                _save(image, Saved(made), accel=accel, memory=memory)
                cache.publish(made, path)
    return Saved(path)


def discard(saved: Saved) -> None:
    """Forget a saved machine that did not continue."""
    shutil.rmtree(saved.path, ignore_errors=True)


def cold_boot(
    image: Image,
    *,
    accel: str,
    memory: int,
    listen: socket.socket | None = None,
    more_disks: Sequence[Path] = (),
    ssh_port: int | None = None,
) -> Machine:
    """Boot the image itself, writes thrown away."""
    return qemu.start(
        image,
        accel=accel,
        disk=image.disk,
        disk_format="raw",
        memory=memory,
        listen=listen,
        more_disks=more_disks,
        ssh_port=ssh_port,
    )


def resume(
    image: Image, saved: Saved, *, accel: str, memory: int, listen: socket.socket | None = None
) -> Machine:
    """Continue the saved machine, writes thrown away."""
    guest = qemu.start(
        image,
        accel=accel,
        disk=saved.disk,
        disk_format="qcow2",
        memory=memory,
        state=saved.state,
        listen=listen,
    )
    try:
        guest.qmp.until_status("paused", "running", timeout=RESUME_LIMIT)
        guest.qmp.command("cont")
    except BaseException:
        guest.close()
        raise
    return guest


def _save(image: Image, saved: Saved, *, accel: str, memory: int) -> None:
    argv = [tools.path_of("qemu-img"), "create", "-q", "-f", "qcow2", "-F", "raw"]
    argv += ["-b", str(image.disk), str(saved.disk)]
    done = ProcessRunner().run(argv, timeout=60)
    if not done.ok:
        raise PhoenixError(f"qemu-img failed: {done.words()}")
    fd = os.open(saved.state, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, fd)
        guest = qemu.start(
            image,
            accel=accel,
            disk=saved.disk,
            disk_format="qcow2",
            throwaway=False,
            memory=memory,
        )
        stack.callback(guest.close)
        assert guest.agent is not None
        wire = Wire(guest.agent)
        try:
            wire.sync(BOOT_LIMIT)
            wire.request({"op": "run", "argv": ["sh", "-c", warm()], "timeout": 60}, timeout=70)
            wire.request({"op": "run", "argv": ["sync"], "timeout": 60}, timeout=70)
            _, loaded = wire.request({"op": "get", "path": PROFILES}, timeout=70)
        except GuestGone as error:
            tail = "\n".join(guest.console().splitlines()[-15:])
            raise PhoenixError(f"the lab's first boot failed: {error.message}\n{tail}") from None
        if b"lxc-container-default-cgns (enforce)" not in loaded:
            raise PhoenixError("the lab booted without LXC's stock profiles")
        guest.qmp.command("stop")
        guest.qmp.command("migrate-set-parameters", max_bandwidth=1 << 40)
        guest.qmp.pass_fd("state", fd)
        guest.qmp.command("migrate", uri="fd:state")
        guest.qmp.until_status("postmigrate", timeout=SAVE_LIMIT)
        guest.qmp.command("quit")
        if not guest.wait(30):
            raise PhoenixError("QEMU did not end after saving the machine")
