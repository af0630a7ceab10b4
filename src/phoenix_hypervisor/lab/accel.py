"""Whether KVM may be used here: asked by booting a kernel, never by looking at /dev/kvm.

Owns the probe and its remembered answer.  A /dev/kvm that opens may still not run a stock kernel
(nested virtualisation, seen in practice), and a lab that hangs in it would look like a broken profile.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.process import ProcessRunner
from phoenix_hypervisor.lab import qemu, tools
from phoenix_hypervisor.lab.build import Image, Progress, silent
from phoenix_hypervisor.lab.cache import Cache

PROBE_LIMIT = 15.0
"""Seconds; a working KVM boots the probe in two."""
MARK = "PHOENIX-LAB-PROBE-OK"
KVM = Path("/dev/kvm")


def qemu_version() -> str:
    """The first line of what QEMU says of itself."""
    done = ProcessRunner().run([tools.path_of("qemu-system-x86_64"), "--version"], timeout=30)
    return done.stdout.decode("utf-8", "replace").partition("\n")[0].strip()


def choose(cache: Cache, image: Image, *, progress: Progress = silent) -> str:
    """`kvm` where a test boot worked, else `tcg`; PHOENIX_LAB_ACCEL overrides.

    The answer is kept for this boot of this machine, this QEMU and this kernel.
    """
    forced = os.environ.get("PHOENIX_LAB_ACCEL")
    if forced:
        if forced not in qemu.CPU:
            raise PhoenixError(
                f"PHOENIX_LAB_ACCEL is {forced!r}", hint=f"choose one of: {', '.join(qemu.CPU)}"
            )
        return forced
    if not os.access(KVM, os.R_OK | os.W_OK):
        return "tcg"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    key = f"{boot} {image.kernel} {_identity(tools.path_of('qemu-system-x86_64'))}"
    path = cache.root / f"accel-{image.release}.json"
    try:
        known = json.loads(path.read_bytes())
        if known["key"] == key and known["accel"] in qemu.CPU:
            return str(known["accel"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    progress("trying KVM")
    accel = "kvm" if probe(image) else "tcg"
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_text(json.dumps({"key": key, "accel": accel}) + "\n")
    part.replace(path)
    return accel


def probe(image: Image) -> bool:
    """Whether a test boot under KVM reached its init within PROBE_LIMIT seconds."""
    try:
        guest = qemu.start(
            image, accel="kvm", disk=image.disk, disk_format="raw", append="phoenix.probe", memory=256
        )
    except PhoenixError:
        return False
    end = time.monotonic() + PROBE_LIMIT
    try:
        while time.monotonic() < end:
            if MARK in guest.console():
                return True
            if guest.wait(0.1):
                return MARK in guest.console()
            if guest.qmp.command("query-status", timeout=5)["status"] not in ("running", "shutdown"):
                return False
    except PhoenixError:
        return MARK in guest.console()
    finally:
        guest.close()
    return False


def _identity(path: str) -> str:
    stat = Path(path).stat()
    return f"{path}:{stat.st_size}:{stat.st_mtime_ns}"
