"""What a container runtime (containerd, runc, crun) does, in its order, for operations inside the container."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Any

from efficacy.inside.files import child, folder, make, run
from efficacy.inside.mounts import (
    BIND,
    NEWCGROUP,
    NEWIPC,
    NEWNET,
    NEWNS,
    NEWPID,
    NEWUTS,
    NODEV,
    NOEXEC,
    NOSUID,
    RDONLY,
    REC,
    REMOUNT,
    SLAVE,
    mount,
    umount,
    unshare,
    user_namespace,
)
from efficacy.syscalls import call

ROOT = "/var/lib/docker/overlay2/phoenix"


def image_root(root: str = ROOT, fs: str = "overlay") -> str:
    """A container's root file system on overlay, with this container's /usr in it."""
    folder(root)
    mount("layers", root, "tmpfs")
    for name in ("lower", "upper", "work", "merged"):
        folder(f"{root}/{name}")
    for name in ("proc", "sys", "dev", "etc", "tmp", "usr", "data", "run", "var"):
        folder(f"{root}/lower/{name}")
    for name in ("bin", "lib", "lib64", "sbin"):
        with contextlib.suppress(FileExistsError):
            os.symlink(f"usr/{name}", f"{root}/lower/{name}")
    make(f"{root}/lower/etc/hostname", "image\n", 0o644)
    merged = f"{root}/merged"
    data = f"lowerdir={root}/lower,upperdir={root}/upper,workdir={root}/work"
    mount("overlay", merged, fs, 0, data)
    mount("/usr", f"{merged}/usr", None, BIND | REC)
    return merged


def runtime_mounts(merged: str) -> None:
    """What a container runtime mounts before it pivots."""
    mount("proc", f"{merged}/proc", "proc", NOSUID | NODEV | NOEXEC)
    mount("tmpfs", f"{merged}/dev", "tmpfs", NOSUID, "mode=755,size=64k")
    mount("devpts", f"{merged}/dev/pts", "devpts", NOSUID | NOEXEC, "newinstance,ptmxmode=0666,mode=0620")
    mount("mqueue", f"{merged}/dev/mqueue", "mqueue", NOSUID | NODEV | NOEXEC)
    mount("shm", f"{merged}/dev/shm", "tmpfs", NOSUID | NODEV | NOEXEC, "mode=1777,size=64k")
    mount("sysfs", f"{merged}/sys", "sysfs", NOSUID | NODEV | NOEXEC | RDONLY)
    mount("cgroup", f"{merged}/sys/fs/cgroup", "cgroup2", NOSUID | NODEV | NOEXEC | RDONLY)


def pivot(root: str) -> None:
    """pivot_root(., .) as runc does it, and let go of the old root."""
    old = os.open("/", os.O_DIRECTORY | os.O_RDONLY)
    new = os.open(root, os.O_DIRECTORY | os.O_RDONLY)
    os.fchdir(new)
    call("pivot_root", b".", b".")
    os.fchdir(old)
    call("mount", None, b".", None, SLAVE | REC, None)
    umount(".", 2)
    os.chdir("/")
    os.close(old)
    os.close(new)


def mask_paths() -> None:
    """Docker's masked and read-only paths, after the pivot."""
    for name in ("/proc/kcore", "/proc/keys", "/proc/timer_list"):
        if os.path.exists(name):
            mount("/dev/null", name, None, BIND)
    for name in ("/proc/acpi", "/proc/scsi", "/sys/firmware"):
        if os.path.isdir(name):
            mount("tmpfs", name, "tmpfs", RDONLY)
    for name in ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"):
        if os.path.exists(name):
            mount(name, name, None, BIND | REC)
            flags = NOSUID | NODEV | NOEXEC
            mount(name, name, None, BIND | REMOUNT | RDONLY | flags)


def docker_run(command: tuple[str, ...] = ("/usr/bin/true",), extra: Any = None, user: bool = False) -> None:
    """A whole `docker run`: layers, namespaces, mounts, pivot, masks, exec."""
    kinds = NEWNS | NEWPID | NEWUTS | NEWIPC | NEWNET | NEWCGROUP

    def start() -> None:
        if user:
            user_namespace(NEWPID | NEWUTS | NEWIPC)
        else:
            unshare(kinds)
        child(box)

    def box() -> None:
        call("mount", None, b"/", None, SLAVE | REC, None)
        merged = image_root()
        mount(merged, merged, None, BIND | REC)
        runtime_mounts(merged)
        make(f"{merged}/dev/null", b"")
        mount("/dev/null", f"{merged}/dev/null", None, BIND)
        if extra is not None:
            extra(merged)
        pivot(merged)
        mask_paths()
        socket.sethostname("image")
        run(*command)

    child(start)
