"""Operations that must not succeed: a procfs or sysfs under names that no rule knows.

A mount namespace that was unshared earlier can rename the directory under a mount.  So a file system that a
profile lets be mounted at one place stands under any name, and so do its parts.  Three steps: rename the mount
point; then bind a subdirectory of it; bind a part under its own name and rename or move that.  Each row writes
the switches of knobs.py that it reaches; one that changed on the host decides.
"""

from __future__ import annotations

from collections.abc import Iterator

from efficacy.openings import WALLS
from efficacy.rows import Row, Shape, rows_of

CLASS = "renamed mounts"
KNOBS = {"check": "knobs"}
PLACES = {
    "a directory of one's own": "/mnt/a/",
    "a home": "/root/a/",
    "Docker's directory": "/var/lib/docker/a/",
    "an image of Docker's": "/var/lib/docker/overlay2/a/merged/",
    "an image of containerd's": "/var/lib/containerd/a/",
    "podman's directory": "/var/lib/containers/storage/overlay/a/merged/",
    "systemd's root": "/run/systemd/mount-rootfs/",
    "systemd's unit root": "/run/systemd/unit-root/",
    "a nested container's root": "/usr/lib/x86_64-linux-gnu/lxc/rootfs/",
    "a nested container's directory": "/var/lib/lxc/a/rootfs/",
    "bubblewrap's root": "/newroot/",
}
NAMESPACE = "/run/systemd/namespace-abcdef"
PARTS = {
    "proc": ("sys", "sys/kernel", "sys/vm", "sys/fs"),
    "sysfs": ("kernel", "block", "module", "power", "devices"),
}
DIRECTORY = {"proc": "proc", "sysfs": "sys"}


def _mounted() -> Iterator[Shape]:
    """A new procfs or sysfs at a place that a profile may allow; renamed, its directory renamed, a part then bound."""
    for said, place in PLACES.items():
        for fstype, name in DIRECTORY.items():
            steps = [f"{fstype!r}, '{place}{name}'", f"{fstype!r}, '{place}{name}', parent=True"]
            steps += [f"{fstype!r}, '{place}{name}', {part!r}" for part in PARTS[fstype]]
            yield (
                f"{fstype} in {said}, renamed",
                "\n".join(f"attempt(renamed, {step})" for step in steps),
                KNOBS,
            )
    for fstype in DIRECTORY:
        yield (f"{fstype} in systemd's namespace directory, renamed or moved",
               f"attempt(renamed, {fstype!r}, {NAMESPACE!r})\n"
               f"mount({fstype!r}, {NAMESPACE!r}, {fstype!r})\nfolder('/mnt/x')\n"
               f"mount({NAMESPACE!r}, '/mnt/x', None, MOVE)\nturn('/mnt/x')", KNOBS)  # fmt: skip


def _bound() -> Iterator[Shape]:
    """The container's own /proc and /sys, or parts of them, bound under their own names, then renamed or moved."""
    for source in ("/proc", "/proc/sys", "/proc/sys/kernel", "/proc/sys/vm", "/proc/sys/fs", "/sys", "/sys/kernel",
                   "/sys/kernel/mm", "/sys/module", "/sys/power", "/sys/devices"):  # fmt: skip
        name = source.rpartition("/")[2]
        top = "/proc" if source.startswith("/proc") else "/sys"
        below = source.removeprefix(top).lstrip("/")
        yield (f"{source} bound under its own name, renamed",
               f"attempt(bound_renamed, {source!r}, '/mnt/q/{name}', {below!r}, BIND)\n"
               f"attempt(bound_renamed, {source!r}, '/mnt/q/{name}', {below!r}, BIND | REC)", KNOBS)  # fmt: skip
        yield (f"{source} bound under its own name, moved",
               f"mount({source!r}, '/mnt/q/{name}', None, BIND)\nfolder('/mnt/z')\n"
               f"mount('/mnt/q/{name}', '/mnt/z', None, MOVE)\nturn('/mnt/z', {below!r})", KNOBS)  # fmt: skip
        yield (f"{source} copied, attached under another name or its own, renamed",
               f"attempt(copied, {source!r}, '/mnt/z', {below!r})\n"
               f"attempt(copied_renamed, {source!r}, '/mnt/q/{name}', {below!r})", KNOBS)  # fmt: skip


def _again() -> Iterator[Shape]:
    """A part bound under its own name, that renamed, and then each directory of it bound to a name that says nothing."""
    for source, below, parts in (
        ("/proc/sys", "sys", ("kernel", "vm", "fs", "user", "debug", "abi", "sunrpc")),
        ("/sys", "", ("kernel", "module", "power", "devices", "fs")),
        ("/proc", "", ("sys", "sys/kernel", "sys/vm", "sys/fs")),
        ("/dev/.lxc/proc", "", ("sys", "sys/vm", "sys/fs", "sys/user")),
        ("/dev/.lxc/sys", "", ("kernel", "module", "power", "devices")),
    ):
        name = source.rpartition("/")[2]
        yield (f"{source} bound under its own name, renamed, a part of it bound again",
               "\n".join(f"attempt(bound_again, {source!r}, '/mnt/q/{name}', {below!r}, {part!r})" for part in parts),
               KNOBS)  # fmt: skip


ROOTS = rows_of(
    CLASS,
    ("/ bound with all below to systemd's root, that renamed",
     "folder('/run/systemd/mount-rootfs')\no = Elsewhere()\nmount('/', '/run/systemd/mount-rootfs', None, BIND | REC)\n"
     "t = o.rename('/run/systemd/mount-rootfs', '/run/systemd/x')\nturn(t + '/proc')\nturn(t + '/sys')", KNOBS),
    ("/ bound with all below, /proc renamed where it is no mount point",
     "mount('/', folder('/run/systemd/mount-rootfs'), None, BIND | REC)\n"
     "root_renamed('/proc', '/proc', '/x', '/run/systemd/mount-rootfs/x')", KNOBS),
    ("/proc renamed where it is no mount point", "root_renamed('/proc', '/proc', '/x', '/x')", KNOBS),
    ("/sys renamed where it is no mount point", "root_renamed('/sys', '/sys', '/x', '/x')", KNOBS),
    ("nesting's own procfs, its directory renamed",
     "root_renamed('/dev/.lxc/proc', '/dev/.lxc', '/dev/x', '/dev/x/proc')", KNOBS),
    ("nesting's own procfs, bound elsewhere", "turn(mount('/dev/.lxc/proc', '/mnt/z', None, BIND))", KNOBS),
    ("nesting's own sysfs, bound elsewhere", "turn(mount('/dev/.lxc/sys', '/mnt/z', None, BIND))", KNOBS),
    ("nesting's own procfs and sysfs by name", "turn('/dev/.lxc/proc')\nturn('/dev/.lxc/sys')", KNOBS),
    ("an overlay whose lower directory is /proc/sys", "for n in 'uw': folder('/tmp/o/' + n)\n"
     "turn(mount('o', '/mnt/o', 'overlay', 0, 'lowerdir=/proc/sys,upperdir=/tmp/o/u,workdir=/tmp/o/w'), 'sys')", KNOBS),
    promises=WALLS,
)  # fmt: skip


def _all() -> tuple[Row, ...]:
    return (*rows_of(CLASS, *_mounted(), *_bound(), *_again(), promises=WALLS), *ROOTS)


ROWS = _all()
