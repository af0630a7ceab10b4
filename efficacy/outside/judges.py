"""Whether an operation reached the host, and undoing what it did there.

Owns the judges, by the name that a row's `check` begins with, and the way back.  Must not prepare targets.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable

from efficacy import knobs
from efficacy.outside.system import MARKER, SECRET, STATE, TRACING, read, restore, sh, unlink, value_of, write
from efficacy.outside.targets import DEV_VICTIM, MISC, READ_ONLY, Targets
from efficacy.syscalls import call

SECURITY = "/sys/kernel/security/apparmor"
NETCONSOLE = "/sys/kernel/config/netconsole/phx"
DEBUGFS = "/sys/kernel/debug"
LOADED_MODULES = ("dummy", "squashfs", "tcp_westwood", "sctp")
"""What operations load; none of it is there before."""


NAMES = frozenset(
    [
        "logged",
        "module",
        "module_gone",
        "profile",
        "profile_gone",
        "in_dev",
        "on_root",
        "binfmt",
        "binfmt_off",
        "binfmt_entry_off",
        "mark",
        "loop_written",
        "swapping",
        "kexec_loaded",
        "policy_namespace",
        "victim_gone",
        "victim_stopped",
        "victim_overwritten",
        "victim_sacrificed",
        "victim_moved",
        "key_changed",
        "key_gone",
        "map_changed",
        "traced",
        "kprobed",
        "netconsole",
        "fuse_aborted",
        "knobs",
        "mtrr",
        "dev_opened",
        "dev_gone",
        "dev_full",
        "debugfs_opened",
        "read_only_written",
        "label",
        "suid_shared",
    ]
)
"""What `check` of a row may begin with."""


def log_since(mark: int) -> list[str]:
    """The kernel's records after that sequence number."""
    found = []
    fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    try:
        while True:
            try:
                line = os.read(fd, 16384).decode("latin-1").split("\n", 1)[0]
            except BlockingIOError:
                break
            except BrokenPipeError:
                continue
            if int(line.split(",", 2)[1]) > mark:
                found.append(line)
    finally:
        os.close(fd)
    return found


def sequence_of(line: str) -> int:
    return int(line.split(",", 2)[1])


def _module(name: str) -> bool:
    return f"\n{name} " in "\n" + read("/proc/modules")


def _profile(name: str) -> bool:
    # Not what is loaded in a policy namespace of the container's own.
    return f"\n{name} " in "\n" + read(f"{SECURITY}/profiles")


def _mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


class Judges:
    """Answers `check` of a row: the name of a judge and, after a blank, its argument."""

    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        self._log_mark = 0
        self._debugfs_mode = _mode(DEBUGFS)
        self._dev_inodes = os.statvfs("/dev").f_files
        self._mtrr = value_of("/proc/mtrr")
        self._label = targets.label()
        self._knobs_before = self._knobs()
        victim = targets.victim
        self._with: dict[str, Callable[[str], bool]] = {
            "logged": lambda words: any(words in line for line in log_since(self._log_mark)),
            "module": _module,
            "module_gone": lambda name: not _module(name),
            "profile": _profile,
            "profile_gone": lambda name: not _profile(name),
            "in_dev": lambda name: os.path.lexists(f"/dev/{name}"),
            "on_root": lambda name: os.path.lexists(f"{STATE}/{name}"),
        }
        self._without: dict[str, Callable[[], bool]] = {
            "binfmt": lambda: os.path.exists(f"{MISC}/phxe"),
            "binfmt_off": lambda: "disabled" in read(f"{MISC}/status"),
            "binfmt_entry_off": lambda: not (value_of(f"{MISC}/phxhost") or "").startswith("enabled"),
            "mark": lambda: os.path.exists(MARKER),
            "loop_written": lambda: "phoenix-efficacy" in read(f"{STATE}/disk")[:4096],
            "swapping": lambda: "swap" in read("/proc/swaps").split("\n", 1)[1],
            "kexec_loaded": lambda: read("/sys/kernel/kexec_loaded").strip() == "1",
            "policy_namespace": lambda: os.path.isdir(f"{SECURITY}/policy/namespaces/phxns"),
            "victim_gone": lambda: not victim.there(),
            "victim_stopped": lambda: victim.state() in "Tt",
            "victim_overwritten": victim.overwritten,
            "victim_sacrificed": lambda: read(f"/proc/{victim.pid}/oom_score_adj").strip() == "999",
            "victim_moved": lambda: "lxc.payload" in read(f"/proc/{victim.pid}/cgroup"),
            "key_changed": lambda: targets.key_text() == "phoenix-forged",
            "key_gone": lambda: targets.key_text() is None,
            "map_changed": lambda: targets.map_value().startswith(b"taken"),
            "traced": lambda: read(f"{TRACING}/events/sched/sched_switch/enable").strip() == "1",
            "kprobed": lambda: "phxk" in read(f"{TRACING}/kprobe_events"),
            "netconsole": lambda: os.path.isdir(NETCONSOLE),
            "fuse_aborted": lambda: not targets.fuse_there(),
            "knobs": lambda: self._knobs() != self._knobs_before,
            "mtrr": lambda: value_of("/proc/mtrr") != self._mtrr,
            "dev_opened": lambda: bool(_mode(DEV_VICTIM) & 0o006),
            "dev_gone": lambda: not os.path.exists(DEV_VICTIM),
            "dev_full": lambda: os.statvfs("/dev").f_files != self._dev_inodes,
            "debugfs_opened": lambda: _mode(DEBUGFS) != self._debugfs_mode,
            "read_only_written": lambda: read(READ_ONLY) != "the host's model",
            "label": lambda: targets.label() != self._label,
            "suid_shared": self._suid_shared,
        }
        assert {*self._with, *self._without} == NAMES

    def before(self, check: str) -> None:
        """To be called ahead of the operation."""
        if check.startswith("logged"):
            lines = log_since(self._log_mark)
            if lines:
                self._log_mark = sequence_of(lines[-1])
        if check == "fuse_aborted":
            self._targets.mount_fuse()

    def reached(self, check: str) -> bool:
        """Whether the host was reached; KeyError for a judge that there is not."""
        name, _, argument = check.partition(" ")
        return self._with[name](argument) if argument else self._without[name]()

    def _knobs(self) -> dict[str, str]:
        paths = [f"/proc/{path}" for path in knobs.PROC] + [f"/sys/{path}" for path in knobs.SYSFS]
        return {path: value_of(path) or "" for path in paths}

    def _suid_shared(self) -> bool:
        # Of the host's root: a shifted owner's is no danger.
        try:
            found = os.stat(f"{STATE}/share/suid")
        except OSError:
            return False
        return found.st_uid == 0 and bool(found.st_mode & stat.S_ISUID)

    def put_back(self, check: str) -> None:
        """Undo what an operation may have done to the host; one that only turns switches, no more than those."""
        for path, value in self._knobs().items():
            if value != self._knobs_before[path]:
                restore(path, self._knobs_before[path])
        if check != "knobs":
            self._put_back()

    def _put_back(self) -> None:
        targets = self._targets
        unlink(
            MARKER,
            f"{STATE}/overwritten",
            f"{STATE}/escaped",
            f"{STATE}/upper/escaped",
            f"{STATE}/share/suid",
        )
        unlink(*(f"/dev/{name}" for name in ("phx-linked", "phx-file", "phx-disk", "phx-moved")))
        self._binfmt()
        loaded = "\n" + read("/proc/modules")
        for module in LOADED_MODULES:
            if f"\n{module} " in loaded:
                sh("rmmod", module, check=False)
        for line in read("/proc/swaps").splitlines()[1:]:
            sh("/bin/busybox", "swapoff", line.split()[0], check=False)
        if (value_of("/sys/kernel/kexec_loaded") or "0").strip() == "1":
            call("kexec_load", 0, 0, None, 0)
        self._policy()
        if read("/run/phoenix-cg1/release_agent").strip():
            write("/run/phoenix-cg1/release_agent", "\n")
        for group in os.scandir("/run/phoenix-cg1"):
            if group.name.startswith("phoenix-"):
                with contextlib.suppress(OSError):
                    os.rmdir(group.path)
        if targets.key_text() != SECRET:
            targets.make_key()
        if targets.map >= 0 and targets.map_value() != bytes(8):
            targets.clear_map()
        if read(f"{TRACING}/events/sched/sched_switch/enable").strip() == "1":
            write(f"{TRACING}/events/sched/sched_switch/enable", "0")
        if "phxk" in read(f"{TRACING}/kprobe_events"):
            write(f"{TRACING}/kprobe_events", "\n")
        with open(f"{STATE}/disk", "r+b") as file:
            if b"phoenix" in file.read(4096):
                file.seek(0)
                file.write(bytes(8192))
        self._files()

    def _binfmt(self) -> None:
        if os.path.exists(f"{MISC}/phxe"):
            write(f"{MISC}/phxe", "-1")
        if not os.path.exists(f"{MISC}/status"):
            return
        if "disabled" in read(f"{MISC}/status"):
            write(f"{MISC}/status", "1")
        if not os.path.exists(f"{MISC}/phxhost"):
            self._targets.binfmt_entry()
        elif read(f"{MISC}/phxhost").startswith("disabled"):
            write(f"{MISC}/phxhost", "1")

    def _policy(self) -> None:
        if not _profile("phoenix-efficacy-victim"):
            self._targets.load_victim_profile()
        if _profile("phoenix-efficacy-intruder"):
            write(f"{SECURITY}/.remove", "phoenix-efficacy-intruder")
        with contextlib.suppress(OSError):
            os.rmdir(f"{SECURITY}/policy/namespaces/phxns")

    def _files(self) -> None:
        if os.path.isdir(NETCONSOLE):
            os.rmdir(NETCONSOLE)
        if _mode(DEBUGFS) != self._debugfs_mode:
            os.chmod(DEBUGFS, self._debugfs_mode)
        if os.statvfs("/dev").f_files != self._dev_inodes:
            sh("mount", "-o", f"remount,nr_inodes={self._dev_inodes}", "/dev")
        if self._targets.label() != self._label:
            self._targets.set_label(self._label)
        if (
            value_of(READ_ONLY) != "the host's model"
            or value_of(DEV_VICTIM) != "the host's"
            or (_mode(DEV_VICTIM) != 0o600)
        ):
            self._targets.files()
        now = value_of("/proc/mtrr")
        for line in (now or "").splitlines() if now != self._mtrr else ():
            if line not in (self._mtrr or ""):
                write("/proc/mtrr", f"disable={int(line[3:5])}")
