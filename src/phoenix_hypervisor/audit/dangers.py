"""What a new permission must never open.

Owns the classes of dangers, and which of them a question belongs to.  Policy tests name examples; these
are the kinds that the examples are of.  Whether a class counts for a profile follows from that profile's
own tests (`Held`), never from its name.  Pure; must not compile, nor know rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache

from phoenix_hypervisor.policy import constants, perms
from phoenix_hypervisor.policy.assertions import GlobQuery, PolicyTest
from phoenix_hypervisor.policy.globs import matches
from phoenix_hypervisor.policy.kinds.io_uring import IoUringQuery
from phoenix_hypervisor.policy.queries import (
    CapabilityQuery,
    ChangeProfileQuery,
    FileQuery,
    LinkQuery,
    MountQuery,
    NetworkQuery,
    PivotRootQuery,
    PtraceQuery,
    Query,
    RawQuery,
    SignalQuery,
    UmountQuery,
)
from phoenix_hypervisor.policy.strings import mount_question
from phoenix_hypervisor.values import dataclass

CLASSES = {
    "kernel programs": "the kernel starts what is written there as the host's root",
    "crash": "it stops or restarts the host",
    "kernel memory": "it is the memory of the host, of every container, and of the kernel",
    "raw devices": "it is a disk or another device of the host, past every file system",
    "kernel settings": "it is a switch of the host's kernel: every container has the same",
    "settings under other names": "of a second procfs or sysfs, it is a switch of the host's kernel",
    "kernel secrets": "it shows the host's keys, its log, or where the kernel lies in memory",
    "detached mounts": "a mount that is attached nowhere may show any file of the host's",
    "second procfs or sysfs": "the kernel's switches get names that no rule knows",
    "second names": "what rules know by its place gets a name that no rule knows",
    "host file systems": "that file system is the host's, or is not known to be the container's own",
    "remounts": "it changes a file system that the host shares with the container, or lifts its read-only",
    "masks": "what the host put over /proc and /sys would be lifted",
    "overlay": "the profile holds its walls by names, and an overlay makes new ones",
    "new roots": "behind another root, rules by place mean other files",
    "other profiles": "the process would leave its profile",
    "other labels": "it reaches processes that do not run under this profile: the host's, other containers'",
    "unix peers": "what is at the other end runs under another profile: the host's, other containers'",
    "sockets": "such a socket reaches past the network namespace, or loads a kernel module by being named",
}
"""Each class of dangers, and why it is one.  Capabilities are a class each: `capability NAME`."""

CAPABILITIES = {
    "sys_module": "it loads code into the host's kernel",
    "sys_rawio": "it reaches the ports and the memory of the machine",
    "sys_boot": "it starts another kernel (kexec)",
    "mac_admin": "it changes the policy of security modules",
    "mac_override": "it passes by the policy of security modules",
    "syslog": "it reads and clears the host's kernel log",
    "sys_time": "it sets the host's clock",
    "wake_alarm": "it wakes the host",
    "block_suspend": "it keeps the host awake",
    "sys_pacct": "it writes the host's accounting",
    "audit_control": "it changes the host's audit rules",
    "audit_read": "it reads the host's audit log",
    "dac_read_search": "it opens any file of a file system by its number, past every mount",
    "mknod": "it makes nodes of the host's devices",
    "bpf": "it loads programs that see the host's kernel",
    "perfmon": "it watches every process of the host",
    "checkpoint_restore": "it reads the memory of processes, past their owners",
    "linux_immutable": "it makes files that the host cannot remove",
}
"""Those that reach past a container, and why."""

OWN_FILESYSTEMS = frozenset(
    b"tmpfs ramfs nfs nfs4 cifs smb3 ceph afs fuse devpts mqueue hugetlbfs cgroup2 fusectl"
    b" rpc_pipefs autofs ecryptfs proc sysfs overlay".split()
)
"""What shows a container's own, or what it gets over the network; others may be the host's."""

_PLAIN_FAMILIES = frozenset({"unix", "inet", "inet6", "netlink", "packet", "xdp"})

_WRITES = (perms.WRITE | perms.APPEND | perms.CREATE | perms.DELETE) | (
    perms.SETATTR | perms.CHMOD | perms.CHOWN | perms.LOCK | perms.LINK
)
_ANY = perms.ALL
_OWN = rb"(domainname|hostname|msg[^/]*|sem|shm[^/]*)"
"""Of /proc/sys/kernel, what a namespace holds."""

_FILES: tuple[tuple[str, int, bytes], ...] = (
    ("kernel programs", _WRITES, rb"/(.+/)?(core_pattern|uevent_helper|release_agent)"),
    ("kernel programs", _WRITES, rb"/(.+/)?kernel/(modprobe|hotplug|poweroff_cmd|usermodehelper/.+)"),
    ("kernel programs", _WRITES, rb"(/.+)?/binfmt_misc/.+|/(register|status)"),
    ("crash", _WRITES, rb"/(.+/)?(sysrq-trigger|trigger_fs_error)"),
    ("kernel memory", _ANY, rb"/(.+/)?kcore|/(.+/)?dev/(mem|kmem|port|nvram|cpu/.+)"),
    (
        "raw devices",
        _ANY,
        rb"/(.+/)?dev/([shv]d[a-z].*|xvd.*|nvme.*|dm-.*|md.*|zd.*|loop.*|s[rgt][0-9].*|mmcblk.*|nbd.*|rbd.*"
        rb"|bcache.*|ram[0-9].*|btrfs-control|zfs|drbd.*|mtd.*|(mapper|disk|block|bsg|vfio|raw|input|snd)/.+"
        rb"|vhost-.*|uinput|uhid|watchdog.*|rtc.*|hpet|hwrng|snapshot|vcs.*|tty[0-9A-Z].*|fb[0-9].*|ipmi.*"
        rb"|tpm.*|mei.*|uio.*|i2c.*|gpiochip.*|udmabuf|dma_heap/.+|cuse|vga_arbiter|cpu_dma_latency)",
    ),
    ("kernel secrets", _ANY, rb"/(.+/)?(kmsg|keys|key-users)"),
    (
        "kernel secrets",
        _ANY,
        rb"/(proc/)?(kallsyms|iomem|ioports|slabinfo|vmallocinfo|pagetypeinfo|timer_list|sched_debug|kpage.*)"
        rb"|/proc/[0-9]+/(task/[0-9]+/)?pagemap|/sys/(module/[^/]+/sections|firmware/(acpi|dmi|efi))/.*"
        rb"|/sys/kernel/(notes|vmcoreinfo|(slab|security|debug|tracing|config)/.*)",
    ),
    ("kernel settings", _WRITES, rb"/proc/sys/(?!net/|kernel/" + _OWN + rb"$).+"),
    ("kernel settings", _WRITES, rb"/proc/(acpi|asound|bus|driver|dynamic_debug|fs|irq|scsi)/.+|/(.+/)?mtrr"),
    (
        "kernel settings",
        _WRITES,
        rb"/sys/(?!class/net/|devices/virtual/net/|fs/cgroup/([^/]+/|(?!(cpu|cpuset|hugetlb|io|memory"
        rb"|memory_tiering|misc|pids|rdma)\.))).+",
    ),
    (
        "settings under other names",
        _WRITES,
        rb"/(?!proc/sys/).+/sys/(kernel|vm|fs|dev|debug|abi|sunrpc|user|crypto)/(?!" + _OWN + rb"$).+",
    ),
    ("detached mounts", _WRITES, rb"/\.detached/.+"),
)
"""Paths of each class, and the access that counts."""

_ALIASES = (
    rb"/|/(.+/)?(proc|sys|dev|namespace-.{6})/|/(proc|sys)/.+|/(.+/)?(sysrq-trigger|mtrr|kcore)"
    rb"|/(.+/)?(btrfs|ext4|f2fs|xfs|sys|irq|acpi|asound|dynamic_debug|scsi|bus|pci|kernel|module|power|class|devices"
    rb"|firmware|vm|abi|sunrpc)/.*|/(.+/)?(fs|debug|crypto|epoll|fanotify|fuse|inotify|tty)/[^/]*"
    rb"|/(.+/)?(max_[^/]*_(namespaces|instances|watches|groups|marks)|(default_)?smp_affinity(_list)?)"
)
"""What must not be seen under another name: procfs, sysfs, and their parts by the names inside."""


def classes(question: Query | RawQuery, profile: str) -> frozenset[str]:
    """The classes that a question of `profile` belongs to."""
    if isinstance(question, FileQuery):
        return _of_file(question.path, question.access)
    if isinstance(question, LinkQuery):
        return _of_file(question.path, _WRITES) | _of_file(question.target, _WRITES)
    if isinstance(question, MountQuery):
        return _of_mount(question)
    return frozenset(_of_others(question, profile.encode("utf-8", "surrogateescape")))


@cache
def _patterns() -> list[tuple[str, int, re.Pattern[bytes]]]:
    return [(name, bits, re.compile(text, re.DOTALL)) for name, bits, text in _FILES]


def _of_file(path: bytes, access: int) -> frozenset[str]:
    return frozenset(name for name, bits, pattern in _patterns() if access & bits and pattern.fullmatch(path))


def _of_mount(question: MountQuery) -> frozenset[str]:
    target, source, fstype, flags = mount_question(question)
    if flags & constants.MS_REMOUNT:
        only_narrows = flags & constants.MS_BIND and flags & constants.MS_RDONLY
        return frozenset() if only_narrows else frozenset({"remounts"})
    found: set[str] = set()
    if flags & constants.MS_PROPAGATION:
        return frozenset()
    if flags & (constants.MS_BIND | constants.MS_MOVE):
        if not source:
            found.add("detached mounts")
        alias = source and re.fullmatch(_ALIASES, source, re.DOTALL) is not None
        if alias or _of_file(source, _WRITES) or _of_file(source + b"x", _WRITES):
            found.add("second names")
    elif fstype in (b"proc", b"sysfs"):
        found.add("second procfs or sysfs")
    elif fstype == b"cgroup":
        found.add("kernel programs")
    elif fstype == b"overlay":
        found.add("overlay")
    elif fstype not in OWN_FILESYSTEMS and not fstype.startswith(b"fuse."):
        found.add("host file systems")
    if target.rstrip(b"/") == b"/dev/shm" and fstype != b"tmpfs":
        found.add("remounts")
    return frozenset(found)


def _of_others(question: Query | RawQuery, own: bytes) -> Iterator[str]:
    match question:
        case CapabilityQuery(number):
            if constants.CAPABILITIES[number] in CAPABILITIES:
                yield f"capability {constants.CAPABILITIES[number]}"
        case UmountQuery(target) if re.match(rb"/(proc|sys)/", target):
            yield "masks"
        case PivotRootQuery():
            yield "new roots"
        case ChangeProfileQuery(target) if not _is_own(target, own):
            yield "other profiles"
        case SignalQuery(_, access, peer):
            sends = access & constants.SIGNAL_ACCESS["send"]
            if not _is_own(peer, own) and (sends or peer.startswith((b"lxc-", b":"))):
                yield "other labels"
        case PtraceQuery(access, peer):
            traces = access & (constants.PTRACE_ACCESS["trace"] | constants.PTRACE_ACCESS["read"])
            if not _is_own(peer, own) and (traces or peer.startswith((b"lxc-", b":"))):
                yield "other labels"
        case IoUringQuery(_, bytes(peer)) if not _is_own(peer, own):
            yield "other labels"
        case NetworkQuery(family=family, peer=peer):
            name = constants.FAMILIES[family] if family < len(constants.FAMILIES) else ""
            if name not in _PLAIN_FAMILIES:
                yield "sockets"
            if peer is not None and not _is_own(peer, own):
                yield "unix peers"


def _is_own(label: bytes, own: bytes) -> bool:
    """Whether a label is the profile's, a child's, or of policy that was loaded inside under it."""
    parts = label.split(b"//&")
    outer = [part for part in parts if not part.startswith(b":")]
    return bool(outer) and all(part == own or part.startswith(own + b"//") for part in outer)


@dataclass(frozen=True, slots=True)
class Counts:
    """Why a class counts for a profile."""

    test: PolicyTest | None = None
    """The test that expects one of it to be denied; None: no test says that any of it may be."""


class Held:
    """Which classes count for one profile, as its own policy tests say.

    A class counts unless the tests expect one of it to be allowed, and none to be denied.
    """

    def __init__(self, tests: Iterable[PolicyTest], profile: str) -> None:
        self.profile = profile
        self.tests = [test for test in tests if test.applies_to(profile)]
        self._denied: dict[str, PolicyTest] | None = None
        self._allowed: set[str] = set()

    def counts(self, name: str) -> Counts | None:
        """Why the class counts; None where it does not."""
        if self._denied is None:
            self._denied = {}
            for test in self.tests:
                for one in {found for query in test.queries for found in self._classes(query)}:
                    if test.allowed:
                        self._allowed.add(one)
                    else:
                        self._denied.setdefault(one, test)
        if name in self._denied:
            return Counts(self._denied[name])
        return None if name in self._allowed else Counts()

    def names(self, question: Query) -> PolicyTest | None:
        """The test that expects this very question to be denied."""
        for test in self.tests:
            for query in () if test.allowed else test.queries:
                if query == question or (isinstance(query, GlobQuery) and _meant(query, question)):
                    return test
        return None

    def _classes(self, query: Query | GlobQuery) -> frozenset[str]:
        if isinstance(query, GlobQuery):
            return _of_file(_example(query.glob), query.access)
        return classes(query, self.profile)


def _meant(query: GlobQuery, question: Query) -> bool:
    if not isinstance(question, FileQuery) or question.other != query.other:
        return False
    return bool(question.access & query.access) and matches(query.glob, question.path)


def _example(glob: bytes) -> bytes:
    """A path that the glob means: each set, star and choice is made one of its own."""
    text = re.sub(rb"\{([^{},]*),[^{}]*\}", rb"\1", glob)
    text = re.sub(rb"\[\^([^\]])[^\]]*\]", b"x", text)
    text = re.sub(rb"\[([^\]])[^\]]*\]", rb"\1", text)
    return re.sub(rb"\*\*?|\?", b"x", text)


def why(name: str) -> str:
    """Why a class is a danger."""
    kind, _, capability = name.partition(" ")
    return CAPABILITIES[capability] if kind == "capability" else CLASSES[name]


def probes(question: Query) -> list[Query]:
    """Dangerous questions about the object of `question`: parsers make more of some rules than they say."""
    if not isinstance(question, MountQuery):
        return []
    target, flags = question.target, question.flags
    plain = flags & ~(constants.MS_REMOUNT | constants.MS_BIND | constants.MS_REC | constants.MS_SILENT)
    plain &= ~constants.MS_PROPAGATION
    found: list[Query] = []
    for fstype in (b"proc", b"sysfs", b"debugfs", b"securityfs", b"cgroup", b"ext4", b"devtmpfs", b"overlay"):
        for kept in {plain, plain | flags & constants.MS_SILENT}:
            found.append(MountQuery(b"/dev/x" if fstype == b"ext4" else b"x", target, fstype, kept))
    for source in (b"/", b"/proc/", b"/sys/", b"/proc/sys/kernel/core_pattern"):
        found += [
            MountQuery(source, target, None, constants.MS_BIND),
            MountQuery(source, target, None, constants.MS_BIND | constants.MS_REC),
            MountQuery(source, target, None, constants.MS_MOVE),
        ]
    found.append(MountQuery(None, target, None, constants.MS_REMOUNT))
    return found
