"""Makes an LXC container out of what the lab's guest already has; runs in the guest, as root.

Owns the containers' root file systems and the identity-mapped mount that unprivileged ones need.
Reads one JSON object on standard input; standard library only.  Sent by the host at every use, so
that a saved machine does not have to be made again when it changes.
"""

# ruff: noqa: TID253 -- a program of its own, started once

from __future__ import annotations

import ctypes
import json
import os
import shutil
import struct
import subprocess
import sys
from typing import Any

LXC = "/var/lib/lxc"
DATA = "/home"
RUN = "/run/phoenix-lab"
SYS_MOVE_MOUNT, SYS_OPEN_TREE, SYS_MOUNT_SETATTR = 429, 428, 442
AT_FDCWD, AT_EMPTY_PATH, MOVE_MOUNT_F_EMPTY_PATH = -100, 0x1000, 4
OPEN_TREE_CLONE = 1
MOUNT_ATTR_IDMAP = 0x00100000
CLONE_NEWUSER = 0x10000000

DIRECTORIES = "bin dev etc proc run sbin sys tmp usr/bin usr/sbin root var mnt home"
BUSYBOX_INIT = """#!/bin/sh
# Runs until it is asked to stop.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
trap 'exit 0' PWR TERM INT
while :; do
    sleep 3600 &
    wait $!
done
"""
# What a container must not start again: the guest's own LXC, and units that wait for devices.
MASKED = (
    "apparmor.service lxc.service lxc-net.service lxc-monitord.service systemd-udevd.service "
    "systemd-networkd.service systemd-resolved.service systemd-timesyncd.service "
    "systemd-journal-flush.service dpkg-db-backup.timer e2scrub_reap.service fstrim.timer "
    "systemd-tmpfiles-clean.timer getty.target console-getty.service systemd-firstboot.service"
)

libc = ctypes.CDLL(None, use_errno=True)


def syscall(number: int, *arguments: Any) -> int:
    result: int = libc.syscall(number, *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"system call {number}: {os.strerror(code)}")
    return result


def user_namespace(base: int, count: int) -> int:
    """A file descriptor of a user namespace that maps 0 to `base`."""
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if libc.unshare(CLONE_NEWUSER) == 0:
                os.write(ready[1], b"1")
                os.read(go[0], 1)
        finally:
            os._exit(0)
    if os.read(ready[0], 1) != b"1":
        raise OSError("no user namespace")
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{child}/{name}", "w") as file:
            file.write(f"0 {base} {count}")
    fd = os.open(f"/proc/{child}/ns/user", os.O_RDONLY)
    os.write(go[1], b"1")
    os.waitpid(child, 0)
    for end in (*ready, *go):
        os.close(end)
    return fd


def mount_shifted(source: str, target: str, base: int, count: int) -> None:
    """Show `source` at `target` with every owner moved up by `base`."""
    namespace = user_namespace(base, count)
    tree = syscall(SYS_OPEN_TREE, AT_FDCWD, source.encode(), OPEN_TREE_CLONE | os.O_CLOEXEC)
    attributes = struct.pack("QQQQ", MOUNT_ATTR_IDMAP, 0, 0, namespace)
    syscall(SYS_MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH, attributes, len(attributes))
    syscall(SYS_MOVE_MOUNT, tree, b"", AT_FDCWD, target.encode(), MOVE_MOUNT_F_EMPTY_PATH)
    os.close(tree)
    os.close(namespace)


def own(path: str, base: int) -> None:
    """Give a whole tree to the container's root."""
    os.lchown(path, base, base)
    for parent, directories, files in os.walk(path):
        for name in (*directories, *files):
            os.lchown(os.path.join(parent, name), base, base)


def write(path: str, text: str, mode: int = 0o644) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, mode)


def busybox(rootfs: str, base: int) -> None:
    """One static program and a script as init."""
    for name in DIRECTORIES.split():
        os.makedirs(f"{rootfs}/{name}", exist_ok=True)
    shutil.copy("/bin/busybox", f"{rootfs}/bin/busybox")
    applets = subprocess.run(["/bin/busybox", "--list"], stdout=subprocess.PIPE, check=True).stdout
    for name in applets.decode().split():
        if name not in ("busybox", "init"):
            os.symlink("/bin/busybox", f"{rootfs}/bin/{name}")
    write(f"{rootfs}/sbin/init", BUSYBOX_INIT, 0o755)
    write(f"{rootfs}/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
    write(f"{rootfs}/etc/group", "root:x:0:\n")
    own(rootfs, base)


def disk(device: str) -> str:
    """Where the root file system on a further disk is mounted, for containers to lie on."""
    place = f"{RUN}/disk-{os.path.basename(device)}"
    os.makedirs(place, exist_ok=True)
    if not os.path.ismount(place):
        subprocess.run(["mount", "-t", "ext4", "-o", "noatime", device, place], check=True)
    return place


def debian(rootfs: str, name: str, base: int, count: int, below: str, masked: list[str] | None) -> None:
    """A Debian (the guest's own: `/`) below a layer in memory, with systemd as init.

    `masked` units do not start, nor do those of MASKED; with None it is as it was installed.
    """
    work = f"{RUN}/{name}"
    upper = f"{work}/upper"
    for directory in (f"{upper}/etc/systemd/system", f"{work}/work", f"{work}/lower", rootfs):
        os.makedirs(directory, exist_ok=True)
    write(f"{upper}/etc/hostname", f"{name}\n")
    if masked is not None:
        for unit in (*MASKED.split(), *masked):
            os.symlink("/dev/null", f"{upper}/etc/systemd/system/{unit}")
        target = "/usr/lib/systemd/system/multi-user.target"
        os.symlink(target, f"{upper}/etc/systemd/system/default.target")
        write(f"{upper}/etc/machine-id", "uninitialized\n")
        write(f"{upper}/etc/fstab", "")
    lower = below
    if base:
        lower = f"{work}/lower"
        mount_shifted(below, lower, base, count)
        own(upper, base)
    os.chmod(upper, 0o755)
    options = f"lowerdir={lower},upperdir={upper},workdir={work}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, rootfs], check=True)


def remove(name: str) -> None:
    directory = f"{LXC}/{name}"
    subprocess.run(["lxc-stop", "-k", "-n", name], stderr=subprocess.DEVNULL, timeout=60, check=False)
    for target in (f"{directory}/rootfs", f"{RUN}/{name}/lower"):
        if os.path.ismount(target):
            subprocess.run(["umount", "-l", target], check=True)
    shutil.rmtree(directory, ignore_errors=True)
    shutil.rmtree(f"{DATA}/{name}", ignore_errors=True)
    shutil.rmtree(f"{RUN}/{name}", ignore_errors=True)


def main() -> None:
    order = json.load(sys.stdin)
    name = order["name"]
    directory = f"{LXC}/{name}"
    if order.get("remove"):
        remove(name)
        return
    os.makedirs(f"{directory}/rootfs")
    for path in (LXC, directory):
        os.chmod(path, 0o755)
    base, count = order["base"], order["count"]
    if order["rootfs"] == "busybox":
        busybox(f"{directory}/rootfs", base)
    else:
        below = disk(order["disk"]) if order.get("disk") else "/"
        debian(f"{directory}/rootfs", name, base, count, below, order["masked"])
    for place in order.get("data", ()):
        # Bound in by the config: an overlay of Docker's cannot lie on the container's own.
        os.makedirs(f"{DATA}/{name}/{place}")
        os.chown(f"{DATA}/{name}/{place}", base, base)
    write(f"{directory}/config", order["config"])


main()
