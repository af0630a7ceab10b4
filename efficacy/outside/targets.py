"""What operations aim at on the host, prepared once for a container.

Owns files, devices, keys, maps, modules and mounts of the host that the suite made itself.  Must not judge.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import struct
import subprocess
import time
from typing import Any

from efficacy.outside.system import SECRET, STATE, TRACING, mounted, read, sh, write
from efficacy.outside.victim import Victim
from efficacy.syscalls import call

MODULES = "binfmt_misc loop bridge veth overlay fuse nf_tables netconsole cuse sunrpc configfs"
MISC = "/proc/sys/fs/binfmt_misc"
VICTIM_PROFILE = b"profile phoenix-efficacy-victim { file, }\n"
READ_ONLY = f"{STATE}/readonly/model"
DEV_VICTIM = "/dev/phx-victim"
LABEL_SIZE = 256
GET_LABEL, SET_LABEL = 0x81009431, 0x41009432
"""FS_IOC_GETFSLABEL, FS_IOC_SETFSLABEL."""


class Targets:
    """Everything of the host that an operation may reach for."""

    def __init__(self, container: str) -> None:
        self.rootfs = f"/var/lib/lxc/{container}/rootfs"
        self.init = 0
        self.victim = Victim()
        self.key = 0
        self.map = -1
        self.fuse = -1
        self._fuse_holder = 0
        os.makedirs(STATE, exist_ok=True)
        write(f"{STATE}/secret", SECRET)
        self._blobs()
        self._devices()
        for module in MODULES.split():
            sh("modprobe", module, check=False)
        mounted(MISC, "-t", "binfmt_misc", "binfmt_misc")
        mounted(TRACING, "-t", "tracefs", "tracefs")
        mounted("/sys/kernel/config", "-t", "configfs", "configfs")
        mounted("/sys/kernel/debug", "-t", "debugfs", "debugfs")
        mounted("/sys/fs/fuse/connections", "-t", "fusectl", "fusectl")
        # As systemd mounts it: what a cgroup namespace's own limits are is the host's to set.
        sh("mount", "-o", "remount,nsdelegate", "/sys/fs/cgroup")
        write("/proc/sys/kernel/printk_devkmsg", "on\n")
        # A hierarchy that is there already: only then may a container mount it.
        mounted("/run/phoenix-cg1", "-t", "cgroup", "-o", "none,name=phx", "none")
        self.module_path = sh("modinfo", "-n", "dummy").strip()
        sh("modprobe", "-r", "dummy", check=False)
        self.files()
        self.binfmt_entry()

    def environment(self, upper: str) -> dict[str, Any]:
        """What an operation is told; it knows nothing else of the host."""
        return {
            "marker": "/run/phoenix-efficacy-marker",
            "rootfs": upper or self.rootfs,
            "disk": read("/sys/class/block/vda/dev").strip(),
            "loop": "7:7",
            "loop2": "7:5",
            "module": self.module_path,
            "tracepoint": int(read(f"{TRACING}/events/sched/sched_switch/id")),
            "ns_cgroup": os.readlink("/proc/self/ns/cgroup"),
            "ns_ipc": os.readlink("/proc/self/ns/ipc"),
        }

    def _blobs(self) -> None:
        os.makedirs(f"{STATE}/share", exist_ok=True)
        if not os.path.exists(f"{STATE}/share/blob"):
            text = b"profile phoenix-efficacy-intruder { file, }\n"
            blob = subprocess.run(["apparmor_parser", "-QSK"], input=text, capture_output=True, check=True)
            write(f"{STATE}/share/blob", blob.stdout)
        self.load_victim_profile()

    def load_victim_profile(self) -> None:
        subprocess.run(["apparmor_parser", "-rK"], input=VICTIM_PROFILE, capture_output=True, check=True)

    def _devices(self) -> None:
        for name, minor in (("nvidia3", 5), ("nvidia4", 8)):
            if not os.path.exists(f"/dev/{name}"):
                os.mknod(f"/dev/{name}", 0o020666, os.makedev(1, minor))
                os.chmod(f"/dev/{name}", 0o666)
        sh("modprobe", "loop", check=False)
        sh("modprobe", "fuse", check=False)
        if os.path.exists("/dev/fuse"):
            os.chmod("/dev/fuse", 0o666)
        for number, path in ((7, f"{STATE}/disk"), (5, f"{STATE}/disk2")):
            if os.path.exists(f"{path}.ready"):
                continue
            write(f"{path}.ready", b"")
            if number == 7:
                write(path, bytes(1 << 20))
            node = f"/dev/loop{number}"
            if not os.path.exists(node):
                os.mknod(node, 0o060600, os.makedev(7, number))
            sh("/bin/busybox", "losetup", node, path)

    def files(self) -> None:
        """Files of the host: in its /dev, on a share that is bound read-only, of another user's, of Docker's."""
        os.makedirs(os.path.dirname(READ_ONLY), exist_ok=True)
        write(READ_ONLY, "the host's model")
        write(DEV_VICTIM, "the host's")
        os.chmod(DEV_VICTIM, 0o600)
        leased = f"{STATE}/share/leased"
        write(leased, "another user's")
        os.chown(leased, 5000, 5000)
        os.makedirs(f"{STATE}/upper", exist_ok=True)
        os.makedirs("/var/lib/docker/overlay2/other", exist_ok=True)
        write("/var/lib/docker/overlay2/other/secret", SECRET)

    def binfmt_entry(self) -> None:
        """A handler that the host registered."""
        if not os.path.exists(f"{MISC}/phxhost") and os.path.exists(f"{MISC}/register"):
            write(f"{MISC}/register", ":phxhost:M::PHXHOST::/bin/true:")

    def label(self) -> bytes:
        """The label of the host's root file system."""
        fd = os.open(STATE, os.O_RDONLY)
        try:
            return fcntl.ioctl(fd, GET_LABEL, bytes(LABEL_SIZE)).rstrip(b"\0")
        finally:
            os.close(fd)

    def set_label(self, label: bytes) -> None:
        fd = os.open(STATE, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SET_LABEL, label.ljust(LABEL_SIZE, b"\0"))
        finally:
            os.close(fd)

    # A file system in user space, in a mount namespace of its own: nothing else must look into it. -----

    def mount_fuse(self) -> None:
        self.end_fuse()
        self.fuse = os.open("/dev/fuse", os.O_RDWR | os.O_NONBLOCK)
        ready, go = os.pipe()
        self._fuse_holder = os.fork()
        if self._fuse_holder == 0:
            with contextlib.suppress(BaseException):
                call("unshare", 0x20000)
                call("mount", None, b"/", None, (1 << 18) | 16384, None)
                os.makedirs("/run/phx-fuse", exist_ok=True)
                options = f"fd={self.fuse},rootmode=40000,user_id=0,group_id=0".encode()
                call("mount", b"phx", b"/run/phx-fuse", b"fuse", 0, options)
                os.write(go, b"1")
                while True:
                    time.sleep(60)
            os._exit(1)
        os.close(go)
        os.read(ready, 1)
        os.close(ready)

    def end_fuse(self) -> None:
        if self._fuse_holder:
            with contextlib.suppress(OSError):
                os.kill(self._fuse_holder, 9)
            os.waitpid(self._fuse_holder, 0)
            os.close(self.fuse)
            self._fuse_holder = 0

    def fuse_there(self) -> bool:
        """Whether the connection still stands: an aborted one answers ENODEV."""
        try:
            os.read(self.fuse, 1 << 17)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    # Keys and maps ---------------------------------------------------------------------------------------

    def make_key(self) -> None:
        if self.key:
            with contextlib.suppress(OSError):
                call("keyctl", 3, self.key)
        self.key = call("add_key", b"user", b"phoenix-secret", SECRET.encode(), len(SECRET), -4)
        call("keyctl", 5, self.key, 0x3F3F0000)

    def key_text(self) -> str | None:
        data = ctypes.create_string_buffer(256)
        try:
            found = call("keyctl", 10, -4, b"user", b"phoenix-secret", 0)
            size = call("keyctl", 11, found, data, 256)
        except OSError:
            return None
        return data.raw[:size].decode("latin-1")

    def make_map(self) -> None:
        data = struct.pack("IIIII", 2, 4, 8, 1, 0).ljust(128, b"\0")
        with contextlib.suppress(OSError):
            self.map = call("bpf", 0, data, 128)

    def map_value(self) -> bytes:
        key, value = ctypes.create_string_buffer(4), ctypes.create_string_buffer(8)
        data = struct.pack("IIQQQ", self.map, 0, ctypes.addressof(key), ctypes.addressof(value), 0)
        with contextlib.suppress(OSError):
            call("bpf", 1, data.ljust(128, b"\0"), 128)
        return value.raw

    def clear_map(self) -> None:
        key, value = ctypes.create_string_buffer(4), ctypes.create_string_buffer(8)
        data = struct.pack("IIQQQ", self.map, 0, ctypes.addressof(key), ctypes.addressof(value), 0)
        with contextlib.suppress(OSError):
            call("bpf", 2, data.ljust(128, b"\0"), 128)
