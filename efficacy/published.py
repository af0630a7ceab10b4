"""More operations that must not succeed: what published escapes and a hostile reading of the profiles add.

One row each; see rows.py for what a row says.  Rows with `no_hook` are here so that what AppArmor cannot
stop is named one by one.
"""

from __future__ import annotations

from efficacy.dangerous import ADMIN
from efficacy.rows import BASE, rows_of, watch

_BASE = {"promises": (BASE,)}
_V = {"needs": "victim"}
PANIC_ON_OOM = "/proc/sys/vm/panic_on_oom"
NO_SCHEDULER = "AppArmor has no hook for scheduling of others; root of the same user: unprivileged stops it"
_CONTROL = "AppArmor has no hook for ioctl(2) or for marks; " + ADMIN

KNOBS = rows_of(
    "kernel knobs",
    ("limit of user namespaces", "put('/proc/sys/user/max_user_namespaces', '4321')",
     watch("/proc/sys/user/max_user_namespaces")),
    ("limit of inotify watches", "put('/proc/sys/user/max_inotify_watches', '4321')",
     watch("/proc/sys/user/max_inotify_watches")),
    ("its own memory limit", "put('/sys/fs/cgroup/memory.max', 'max')", _BASE),
    ("its own limit of processes", "put('/sys/fs/cgroup/pids.max', 'max')", _BASE),
    ("addresses of the kernel's symbols", "assert int(get('/proc/kallsyms')[:16], 16)", _BASE),
    ("map of the machine's memory", "assert any(int(l.split('-')[0], 16) for l in get('/proc/iomem').splitlines())",
     _BASE),
    ("physical address of a page", "b = ctypes.create_string_buffer(b'x' * 4096)\n"
     "fd = os.open('/proc/self/pagemap', os.O_RDONLY)\n"
     "n = struct.unpack('Q', os.pread(fd, 8, ctypes.addressof(b) // 4096 * 8))[0]\nassert n & (1 << 55) - 1", _BASE),
    ("list of the kernel's slabs", "assert 'kmalloc' in get('/proc/slabinfo')", _BASE),
    ("list of the kernel's allocations", "assert '0x' in get('/proc/vmallocinfo')", _BASE),
    ("address of a module's code", "p = [n for n in os.listdir('/sys/module') if os.path.exists(f'/sys/module/{n}/"
     "sections/.text')]\nassert int(get(f'/sys/module/{p[0]}/sections/.text'), 16)", _BASE),
    ("the machine's firmware tables", "assert get('/sys/firmware/dmi/tables/DMI')", _BASE),
)  # fmt: skip

MOUNTS = rows_of(
    "aliases of proc and sysfs",
    ("take away what lies over /sys", "umount('/sys', 2)", _BASE),
    ("take away what lies over /proc", "umount('/proc', 2)", _BASE),
    ("overlayfs over /proc/sys", "for n in 'uw': folder('/tmp/o/' + n)\n"
     "mount('o', '/mnt/o', 'overlay', 0, 'lowerdir=/proc/sys,upperdir=/tmp/o/u,workdir=/tmp/o/w')", _BASE),
    ("reconfigure the host's file system (fspick)", "fd = call('fspick', -100, b'/srv/share', 0)\ncall('fsconfig', fd, 7, None, "
     "None, 0)", {"no_hook": "AppArmor has no hook for a reconfiguration by fsconfig(2); " + ADMIN}),
)  # fmt: skip

DETACHED = rows_of(
    "detached mounts",
    ("limit of user namespaces on a detached procfs", "put('sys/user/max_user_namespaces', '4321', detached('proc'))",
     watch("/proc/sys/user/max_user_namespaces")),
    ("symbols' addresses on a detached procfs", "assert int(get('kallsyms', detached('proc'))[:16], 16)", _BASE),
    ("serial console of a detached devtmpfs",
     "os.close(os.open('ttyS0', os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK, dir_fd=detached('devtmpfs')))", _BASE),
    ("clock of a detached devtmpfs", "os.close(os.open('rtc0', os.O_RDONLY, dir_fd=detached('devtmpfs')))", _BASE),
    ("screen of a detached devtmpfs", "os.close(os.open('vcs1', os.O_RDWR, dir_fd=detached('devtmpfs')))", _BASE),
    ("kernel's log by a detached devtmpfs", "put('kmsg', 'phoenix-forged\\n', detached('devtmpfs'))",
     {"check": "logged phoenix-forged"}),
    ("scheduler's switches on a detached debugfs", "assert get('sched/features', detached('debugfs'))", _BASE),
    ("fault switches on a detached debugfs", "put('fault_around_bytes', '65536', detached('debugfs'))", _BASE),
    ("marker of a detached tracefs", "put('trace_marker', 'phoenix', detached('tracefs'))", _BASE),
    ("tracing instance of a detached tracefs", "t = detached('tracefs')\nos.mkdir('instances/phx', dir_fd=t)\n"
     "os.rmdir('instances/phx', dir_fd=t)", _BASE),
    ("profiles on a detached securityfs", "assert 'phoenix-efficacy-victim' in get('apparmor/profiles', "
     "detached('securityfs'))", _BASE),
    ("copy of /proc attached elsewhere, vm knob",
     "attach(cloned('/proc'), '/mnt/p')\nput('/mnt/p/sys/vm/panic_on_oom', '1')",
     watch(PANIC_ON_OOM, promises=(BASE,))),
    ("devtmpfs attached elsewhere", "attach(detached('devtmpfs'), '/mnt/d')\n"
     "fd = os.open('/mnt/d/vda', os.O_RDONLY)\nassert os.pread(fd, 2, 1080) == b'S\\xef'", _BASE),
    ("device's events, sysfs attached elsewhere", "attach(detached('sysfs'), '/mnt/s')\n"
     "put('/mnt/s/devices/virtual/mem/null/uevent', 'change')", _BASE),
)  # fmt: skip

DEVICES = rows_of(
    "block and memory devices",
    ("freeze the host's file system", "fd = os.open('/srv/share', os.O_RDONLY)\nfcntl.ioctl(fd, 0xC0045877, 0)\n"
     "fcntl.ioctl(fd, 0xC0045878, 0)", {"no_hook": _CONTROL}),
    ("watch every file of the host's file system", "fd = call('fanotify_init', 0, 0)\n"
     "call('fanotify_mark', fd, 0x101, 0x20, -100, b'/srv/share')", {"no_hook": _CONTROL}),
    ("a shared file that the host cannot remove", "fd = os.open(make('/srv/share/imm'), os.O_RDONLY)\n"
     "fcntl.ioctl(fd, 0x40086602, struct.pack('l', 0x80010))\nfcntl.ioctl(fd, 0x40086602, struct.pack('l', 0x80000))",
     _BASE),
)  # fmt: skip

SOCKETS = rows_of(
    "namespaces",
    ("socket to the machine's hypervisor (vsock)", "socket.socket(40, socket.SOCK_STREAM).close()"),
    ("socket of the kernel's cryptography", "socket.socket(38, socket.SOCK_SEQPACKET).close()"),
    ("socket of a bus (CAN)", "socket.socket(29, socket.SOCK_RAW, 1).close()"),
    ("socket of a cluster (TIPC)", "socket.socket(30, socket.SOCK_SEQPACKET).close()"),
    ("socket of a cluster (RDS)", "socket.socket(21, socket.SOCK_SEQPACKET).close()"),
)  # fmt: skip

BORDER = rows_of(
    "ptrace and signals across the border",
    ("open a host's program by /proc/PID/exe", "os.close(os.open(f'/proc/{V}/exe', os.O_RDONLY))", _V),
    ("its map of memory", "assert get(f'/proc/{V}/maps')", _V),
    ("its CPUs", "os.sched_setaffinity(V, {0})", {**_V, "no_hook": NO_SCHEDULER}),
    ("its scheduling class", "os.sched_setscheduler(V, os.SCHED_BATCH, os.sched_param(0))",
     {**_V, "no_hook": NO_SCHEDULER}),
    ("its priority for disks", "call('ioprio_set', 1, V, 3 << 13)", {**_V, "no_hook": NO_SCHEDULER}),
)  # fmt: skip

ROWS = (*KNOBS, *MOUNTS, *DETACHED, *DEVICES, *SOCKETS, *BORDER)
