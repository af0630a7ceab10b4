"""Operations that must not succeed.  One row each; see rows.py for what a row says.

The ways are those of published escapes and of the kernel's own interfaces: knobs that are not
namespaced, other names for them, devices, modules, usermode helpers, security modules, and other
processes.  Values that are written are harmless, and what is changed is put back.
"""

from __future__ import annotations

from typing import Any

from efficacy.rows import BASE, DOCKER, STORAGE, rows_of, watch

ADMIN = "it asks for CAP_SYS_ADMIN, without which LXC cannot start a container (see CAP_SYS_ADMIN in the method): unprivileged stops it"
_NO_KEYS = "AppArmor has no hook for keys; keys of a user belong to the user namespace: unprivileged stops it"
_NO_BPF = "AppArmor has no hook for bpf(2); where CAP_BPF is denied, " + ADMIN
_NO_PERF = "AppArmor has no hook for perf_event_open(2); where CAP_PERFMON is denied, " + ADMIN
_NO_SWAP = "AppArmor sees no more than that a file of the container's own is opened; " + ADMIN
_NO_LOG = "AppArmor has no hook for syslog(2); where CAP_SYSLOG is denied, kernel 6.1 takes CAP_SYS_ADMIN for it: kernel 6.12 stops it"
_NO_TYPE = (
    "the mount is refused, but AppArmor's own hook looks the type up first, and that loads the module: "
    "kernel.modules_disabled stops it"
)
_NO_LOAD = (
    "the kernel loads the module itself; AppArmor has no hook for that: kernel.modules_disabled stops it"
)


def _knob(path: str, value: str, **more: Any) -> tuple[str, str, dict[str, Any]]:
    return (f"write {path}", f"put({path!r}, {value!r})", watch(path, **more))


CORE = "/proc/sys/kernel/core_pattern"
CORE_ = watch(CORE)
THP = "/sys/kernel/mm/transparent_hugepage/enabled"
THP_ = watch(THP)
_LOG = {"no_hook": _NO_LOG, "no_hook_kernel": "6.1."}
SYSRQ_ = {"check": "logged sysrq: HELP"}

KNOBS = rows_of(
    "kernel knobs",
    _knob(CORE, "phoenix"),
    _knob("/proc/sys/kernel/modprobe", "/tmp/phoenix"),
    _knob("/proc/sys/kernel/sysrq", "1"),
    _knob("/proc/sys/kernel/panic", "17"),
    _knob("/proc/sys/kernel/kptr_restrict", "2"),
    _knob("/proc/sys/kernel/randomize_va_space", "1"),
    _knob("/proc/sys/kernel/perf_event_paranoid", "0"),
    _knob("/proc/sys/kernel/yama/ptrace_scope", "1"),
    _knob("/proc/sys/kernel/printk", "3 3 3 3"),
    _knob("/proc/sys/kernel/keys/maxkeys", "333"),
    _knob("/proc/sys/fs/protected_symlinks", "0"),
    _knob("/proc/sys/fs/suid_dumpable", "2"),
    _knob("/proc/sys/vm/overcommit_memory", "1"),
    _knob("/proc/sys/vm/panic_on_oom", "1"),
    _knob("/proc/sys/vm/mmap_min_addr", "4096"),
    ("magic SysRq", "put('/proc/sysrq-trigger', 'h')", SYSRQ_),
    ("drop the host's caches", "put('/proc/sys/vm/drop_caches', '1')"),
    ("host's transparent huge pages", f"put({THP!r}, 'never')", THP_),
    ("read-ahead of the host's disk", "put('/sys/block/vda/queue/read_ahead_kb', '64')",
     watch("/sys/block/vda/queue/read_ahead_kb")),
    ("tuning of the host's root file system", "put('/sys/fs/ext4/vda/inode_readahead_blks', '16')",
     watch("/sys/fs/ext4/vda/inode_readahead_blks")),
    ("parameters of the host's modules", "put('/sys/module/printk/parameters/ignore_loglevel', 'Y')",
     watch("/sys/module/printk/parameters/ignore_loglevel")),
    ("power management", "put('/sys/power/pm_async', '0')", watch("/sys/power/pm_async")),
    ("CPUs of the kernel's workqueues", "put('/sys/devices/virtual/workqueue/writeback/nice', '5')",
     watch("/sys/devices/virtual/workqueue/writeback/nice")),
    ("scan the PCI bus", "put('/sys/bus/pci/rescan', '1')"),
    ("binfmt handler", "mount('binfmt_misc', '/proc/sys/fs/binfmt_misc', 'binfmt_misc')\n"
     "put('/proc/sys/fs/binfmt_misc/register', ':phxe:M::PHXE::/bin/true:F')", {"check": "binfmt"}),
    ("read the kernel's log", "b = ctypes.create_string_buffer(65536)\nassert call('syslog', 3, b, 65536) >= 0",
     _LOG),
    ("clear the kernel's log", "call('syslog', 5, None, 0)", _LOG),
    ("silence the kernel's console", "call('syslog', 6, None, 0)", _LOG),
    ("set the host's clock", "n = time.clock_gettime_ns(0)\ntime.clock_settime_ns(0, n + 1000000)", {}),
    ("steer the host's clock", "b = ctypes.create_string_buffer(struct.pack('I4xq', 2, 1), 208)\n"
     "call('adjtimex', b)", {}),
    ("raise a wake-up alarm", "fd = call('timerfd_create', 8, 0)\n"
     "call('timerfd_settime', fd, 0, struct.pack('qqqq', 0, 0, 3600, 0), None)", {}),
)  # fmt: skip

_P = "/mnt/p"
_S = "/mnt/s"
ALIASES = rows_of(
    "aliases of proc and sysfs",
    ("second procfs", f"mount('proc', '{_P}', 'proc')\nput('{_P}/sys/kernel/core_pattern', MARK)", CORE_),
    ("procfs over /proc", f"mount('proc', '/proc', 'proc')\nput('{CORE}', MARK)", CORE_),
    ("second procfs, nosuid nodev noexec",
     f"mount('proc', '{_P}', 'proc', NOSUID | NODEV | NOEXEC)\nput('{_P}/sysrq-trigger', 'h')", SYSRQ_),
    ("procfs in a runtime's directory",
     "mount('proc', '/var/lib/docker/x/merged/proc', 'proc')\n"
     "put('/var/lib/docker/x/merged/proc/sys/kernel/core_pattern', MARK)", CORE_),
    ("knob without a suffix rule on a second procfs",
     f"mount('proc', '{_P}', 'proc')\nput('{_P}/sys/vm/panic_on_oom', '1')",
     watch("/proc/sys/vm/panic_on_oom", promises=(BASE,))),
    ("second sysfs", f"mount('sysfs', '{_S}', 'sysfs')\nput('{_S}/' + THP, 'never')",
     {**THP_, "promises": (BASE,)}),
    ("sysfs over /sys", f"umount('/sys', 2)\nmount('sysfs', '/sys', 'sysfs')\nput('{THP}', 'never')", THP_),
    ("bind /proc", f"mount('/proc', '{_P}', None, BIND)\nput('{_P}/sys/kernel/core_pattern', MARK)", CORE_),
    ("rbind /proc", f"mount('/proc', '{_P}', None, BIND | REC)\nput('{_P}/sys/kernel/modprobe', '/tmp/p')",
     watch("/proc/sys/kernel/modprobe", promises=(BASE,))),
    ("bind /proc/sys/kernel", f"mount('/proc/sys/kernel', '{_P}', None, BIND)\nput('{_P}/core_pattern', MARK)",
     CORE_),
    ("bind /proc/sys/kernel and use another knob",
     f"mount('/proc/sys/kernel', '{_P}', None, BIND)\nput('{_P}/panic', '17')",
     watch("/proc/sys/kernel/panic", promises=(BASE,))),
    ("bind core_pattern itself under another name",
     f"make('/tmp/f')\nmount('{CORE}', '/tmp/f', None, BIND)\nput('/tmp/f', MARK)",
     {**CORE_, "promises": (BASE,)}),
    ("bind modprobe's path itself under another name",
     "make('/tmp/f')\nmount('/proc/sys/kernel/modprobe', '/tmp/f', None, BIND)\nput('/tmp/f', '/tmp/p')",
     watch("/proc/sys/kernel/modprobe", promises=(BASE,))),
    ("bind core_pattern to a file of a runtime's directory",
     f"make('/var/lib/docker/f')\nmount('{CORE}', '/var/lib/docker/f', None, BIND)\n"
     "put('/var/lib/docker/f', MARK)", {**CORE_, "promises": (BASE,)}),
    ("move /proc", f"folder('{_P}')\nmount('/proc', '{_P}', None, MOVE)\n"
     f"put('{_P}/sys/kernel/core_pattern', MARK)", CORE_),
    ("bind /sys", f"mount('/sys', '{_S}', None, BIND)\nput('{_S}/' + THP, 'never')",
     {**THP_, "promises": (BASE,)}),
    ("bind a directory of /sys", f"mount('/sys/kernel/mm', '{_S}', None, BIND)\n"
     f"put('{_S}/transparent_hugepage/enabled', 'never')", {**THP_, "promises": (BASE,)}),
    ("rbind / and go through it", "mount('/', '/mnt/r', None, BIND | REC)\n"
     "put('/mnt/r/proc/sys/kernel/core_pattern', MARK)", CORE_),
    ("rbind / and a knob without a suffix rule", "mount('/', '/mnt/r', None, BIND | REC)\n"
     "put('/mnt/r/proc/sys/kernel/panic', '17')", watch("/proc/sys/kernel/panic", promises=(BASE,))),
    ("pivot_root, /proc through the old root", "mount('t', '/mnt/n', 'tmpfs')\nfolder('/mnt/n/o')\n"
     "call('pivot_root', b'/mnt/n', b'/mnt/n/o')\nput('/o/proc/sys/kernel/panic', '17')",
     watch("/proc/sys/kernel/panic", promises=(BASE,))),
    ("chroot with a procfs inside", f"mount('proc', '{_P}/q', 'proc')\nos.chroot('{_P}')\n"
     "put('/q/sys/kernel/core_pattern', MARK)", CORE_),
    ("remount /proc/sys writable", "mount(None, '/proc/sys', None, REMOUNT | BIND)\n"
     f"put('{CORE}', MARK)", CORE_),
    ("remount /sys writable", f"mount(None, '/sys', None, REMOUNT | BIND)\nput('{THP}', 'never')", THP_),
    ("clear read-only of /proc/sys by mount_setattr", f"writable('/proc/sys')\nput('{CORE}', MARK)", CORE_),
    ("through /proc/self/root", f"put('/proc/self/root{CORE}', MARK)", CORE_),
    ("through an open directory", "put('core_pattern', MARK, os.open('/proc/sys/kernel', os.O_PATH))", CORE_),
    ("binfmt_misc elsewhere", "mount('b', '/mnt/b', 'binfmt_misc')\n"
     "put('/mnt/b/register', ':phxe:M::PHXE::/bin/true:F')", {"check": "binfmt"}),
    ("debugfs", "mount('debugfs', '/mnt/d', 'debugfs')\nassert os.listdir('/mnt/d')\n"
     "get('/mnt/d/sleep_time') if os.path.exists('/mnt/d/sleep_time') else None", {}),
    ("debugfs where it belongs", "mount('debugfs', '/sys/kernel/debug', 'debugfs')\n"
     "assert os.listdir('/sys/kernel/debug')", {}),
    ("remount with a runtime's flags where a bind is meant",
     f"mount('/proc', '{_P}', None, BIND | RDONLY | NOSUID)\nput('{_P}/sys/kernel/core_pattern', MARK)", CORE_),
)  # fmt: skip

DETACHED = rows_of(
    "detached mounts",
    ("core_pattern on a detached procfs", "put('sys/kernel/core_pattern', MARK, detached('proc'))", CORE_),
    ("modprobe's path on a detached procfs", "put('sys/kernel/modprobe', '/tmp/p', detached('proc'))",
     watch("/proc/sys/kernel/modprobe")),
    ("SysRq on a detached procfs", "put('sysrq-trigger', 'h', detached('proc'))", SYSRQ_),
    ("vm knob on a detached procfs", "put('sys/vm/panic_on_oom', '1', detached('proc'))",
     watch("/proc/sys/vm/panic_on_oom")),
    ("fs knob on a detached procfs", "put('sys/fs/suid_dumpable', '2', detached('proc'))",
     watch("/proc/sys/fs/suid_dumpable")),
    ("kernel knob on a detached procfs", "put('sys/kernel/panic', '17', detached('proc'))",
     watch("/proc/sys/kernel/panic")),
    ("huge pages on a detached sysfs", "put(THP, 'never', detached('sysfs'))", THP_),
    ("disk on a detached sysfs", "put('block/vda/queue/read_ahead_kb', '64', detached('sysfs'))",
     watch("/sys/block/vda/queue/read_ahead_kb")),
    ("module parameters on a detached sysfs",
     "put('module/printk/parameters/ignore_loglevel', 'Y', detached('sysfs'))",
     watch("/sys/module/printk/parameters/ignore_loglevel")),
    ("ext4 tuning on a detached sysfs",
     "put('fs/ext4/vda/inode_readahead_blks', '16', detached('sysfs'))",
     watch("/sys/fs/ext4/vda/inode_readahead_blks")),
    ("power on a detached sysfs", "put('power/pm_async', '0', detached('sysfs'))",
     watch("/sys/power/pm_async")),
    ("copy of the mount at /proc", "put('sys/kernel/core_pattern', MARK, cloned('/proc'))", CORE_),
    ("copy of the mount at /sys", "put(THP, 'never', cloned('/sys'))", THP_),
    ("copy of a directory of /proc", "put('core_pattern', MARK, cloned('/proc/sys/kernel'))", CORE_),
    ("copy of the mount of one file", f"put('/proc/self/fd/' + str(cloned('{CORE}')), MARK)", CORE_),
    ("detached procfs attached elsewhere", f"attach(detached('proc'), '{_P}')\n"
     f"put('{_P}/sys/kernel/core_pattern', MARK)", CORE_),
    ("detached sysfs attached elsewhere", f"attach(detached('sysfs'), '{_S}')\nput('{_S}/' + THP, 'never')",
     {**THP_, "promises": (BASE,)}),
    ("copy of /proc attached elsewhere, another knob", f"attach(cloned('/proc'), '{_P}')\n"
     f"put('{_P}/sys/kernel/panic', '17')", watch("/proc/sys/kernel/panic", promises=(BASE,))),
    ("binfmt_misc detached", "put('register', ':phxe:M::PHXE::/bin/true:F', detached('binfmt_misc'))",
     {"check": "binfmt"}),
    ("debugfs detached", "fd = detached('debugfs')\n"
     "assert len(get('clk/clk_summary' if os.path.exists('x') else 'sleep_time', fd)) >= 0", {"promises": (BASE,)}),
)  # fmt: skip

_STRICT = {"promises": (BASE, DOCKER, STORAGE)}
"""lxc-nesting-v1 leaves CAP_SYS_RAWIO, which e2scrub_reap asks for: LXC takes it from privileged containers."""
DEVICES = rows_of(
    "block and memory devices",
    ("read the host's disk by a node of one's own", "node('/dev/phx', 'b', *device(env['disk']))\n"
     "fd = os.open('/dev/phx', os.O_RDONLY)\nassert os.pread(fd, 2, 1080) == b'S\\xef'", {}),
    ("read the host's disk by a node in /tmp", "node('/tmp/phx', 'b', *device(env['disk']))\n"
     "fd = os.open('/tmp/phx', os.O_RDONLY)\nassert os.pread(fd, 2, 1080) == b'S\\xef'", {}),
    ("read the host's disk by its own name", "node('/dev/vda', 'b', *device(env['disk']))\n"
     "fd = os.open('/dev/vda', os.O_RDONLY)\nassert os.pread(fd, 2, 1080) == b'S\\xef'", {}),
    ("write a host's block device", "node('/tmp/loop', 'b', *device(env['loop']))\n"
     "fd = os.open('/tmp/loop', os.O_WRONLY)\nos.pwrite(fd, MARK.encode(), 512)\nos.fsync(fd)",
     {"check": "loop_written"}),
    ("mount a host's block device", "node('/tmp/loop2', 'b', *device(env['loop2']))\n"
     "mount('/tmp/loop2', '/mnt/l', 'ext4')\nresult = get('/mnt/l/secret')", {"secret": True}),
    ("devtmpfs and the disk in it", "mount('d', '/mnt/dev', 'devtmpfs')\n"
     "fd = os.open('/mnt/dev/vda', os.O_RDONLY)\nassert os.pread(fd, 2, 1080) == b'S\\xef'", {}),
    ("detached devtmpfs and the disk in it", "fd = os.open('vda', os.O_RDONLY, dir_fd=detached('devtmpfs'))\n"
     "assert os.pread(fd, 2, 1080) == b'S\\xef'", {}),
    ("host's memory, /dev/mem", "node('/dev/mem', 'c', 1, 1)\nfd = os.open('/dev/mem', os.O_RDONLY)\n"
     "assert len(os.pread(fd, 64, 0xf0000)) == 64", {}),
    ("host's memory by a node in /tmp", "node('/tmp/mem', 'c', 1, 1)\nfd = os.open('/tmp/mem', os.O_RDONLY)\n"
     "assert len(os.pread(fd, 64, 0xf0000)) == 64", _STRICT),
    ("I/O ports, /dev/port", "node('/dev/port', 'c', 1, 4)\nfd = os.open('/dev/port', os.O_RDWR)\n"
     "os.pwrite(fd, b'\\0', 0x80)", {}),
    ("I/O ports by a node in /tmp", "node('/tmp/port', 'c', 1, 4)\nfd = os.open('/tmp/port', os.O_RDWR)\n"
     "os.pwrite(fd, b'\\0', 0x80)", _STRICT),
    ("I/O ports by iopl", "call('iopl', 3)", _STRICT),
    ("I/O ports by ioperm", "call('ioperm', 0x80, 1, 1)", _STRICT),
    ("kernel's memory, /proc/kcore", "fd = os.open('/proc/kcore', os.O_RDONLY)\n"
     "assert os.read(fd, 4) == b'\\x7fELF'", {}),
    ("kernel's memory, kcore on a detached procfs", "fd = os.open('kcore', os.O_RDONLY, dir_fd=detached('proc'))\n"
     "assert os.read(fd, 4) == b'\\x7fELF'", {}),
    ("forge the host's kernel log", "node('/tmp/kmsg', 'c', 1, 11)\nput('/tmp/kmsg', 'phoenix-forged\\n')",
     {"check": "logged phoenix-forged"}),
    ("a loop device of one's own", "node('/tmp/lc', 'c', 10, 237)\nfd = os.open('/tmp/lc', os.O_RDWR)\n"
     "n = fcntl.ioctl(fd, 0x4C82)\nassert n >= 0", {}),
    ("bind a loop device to a file", "node('/tmp/l6', 'b', 7, 6)\nfd = os.open('/tmp/l6', os.O_RDWR)\n"
     "f = os.open(make('/tmp/img', bytes(65536)), os.O_RDWR)\nfcntl.ioctl(fd, 0x4C00, f)\n"
     "fcntl.ioctl(fd, 0x4C01)", {}),
    ("host's serial console", "node('/tmp/tty', 'c', 4, 64)\nfd = os.open('/tmp/tty', os.O_WRONLY | os.O_NOCTTY)\n"
     "os.write(fd, b'\\r\\n')", {}),
    ("host's file by handle, past the bind mount", "fd = os.open('/srv/share', os.O_RDONLY)\n"
     "top = by_handle(fd, 2)\nresult = get('var/lib/phoenix-efficacy/secret', top)", {"secret": True}),
    ("swap on a file", "f = make('/srv/share/swap', bytes(1024) + struct.pack('III', 1, 15, 0) + bytes(3050) "
     "+ b'SWAPSPACE2' + bytes(61440))\n"
     "call('swapon', text(f), 0)", {"check": "swapping", "no_hook": _NO_SWAP}),
    ("trace the disk's requests", "node('/tmp/phx', 'b', *device(env['disk']))\n"
     "fd = os.open('/tmp/phx', os.O_RDONLY | os.O_NONBLOCK)\nfcntl.ioctl(fd, 0x1261)", {}),
)  # fmt: skip

MODULE_ = {"check": "module dummy"}
MODULES = rows_of(
    "modules",
    ("modprobe", "run('/sbin/modprobe', 'dummy')", MODULE_),
    ("insmod", "run('/sbin/insmod', env['module'])", MODULE_),
    ("finit_module", "fd = os.open(env['module'], os.O_RDONLY)\n"
     "call('finit_module', fd, b'', 4 if env['module'].endswith(('.xz', '.zst')) else 0)", MODULE_),
    ("init_module", "import lzma\nd = open(env['module'], 'rb').read()\n"
     "d = lzma.decompress(d) if env['module'].endswith('.xz') else d\n"
     "call('init_module', d, len(d), b'')", MODULE_),
    ("remove a host's module", "call('delete_module', b'dummy', os.O_NONBLOCK)",
     {"needs": "module", "check": "module_gone dummy"}),
    ("load a kernel for kexec", "call('kexec_load', 0, 0, None, 0)", {}),
    ("load a kernel file for kexec", "k = open('/srv/share/vmlinuz', 'rb')\n"
     "call('kexec_file_load', k.fileno(), -1, 1, b'\\0', 4)", {"check": "kexec_loaded"}),
    ("module by an interface's kind", "link('dummy', 'phx0')", {**MODULE_, "no_hook": _NO_LOAD}),
    ("module by a mounted file system", "mount('none', '/mnt/q', 'squashfs')",
     {"check": "module squashfs", "no_hook": _NO_TYPE}),
    ("module by fsopen", "call('fsopen', b'squashfs', 0)", {"check": "module squashfs", "no_hook": _NO_LOAD}),
)  # fmt: skip

MARK_ = {"check": "mark"}
CGROUPS = rows_of(
    "cgroup release agents",
    ("version 1 hierarchy in /tmp", "t = mount('none', '/tmp/cg', 'cgroup', 0, 'none,name=phx')\n"
     "escape_by_agent(t, env)", MARK_),
    ("version 1 hierarchy in /sys/fs/cgroup", "mount('t', '/sys/fs/cgroup', 'tmpfs')\n"
     "t = mount('none', '/sys/fs/cgroup/x', 'cgroup', 0, 'none,name=phx')\nescape_by_agent(t, env)", MARK_),
    ("agent given as a mount option", "t = mount('none', '/tmp/cg', 'cgroup', 0, 'none,name=phx')\n"
     "mount(None, t, None, REMOUNT, 'none,name=phx,release_agent=' + env['rootfs'] + '/tmp/agent')\n"
     "escape_by_agent(t, env, set_agent=False)", MARK_),
    ("detached version 1 hierarchy", "fd = call('fsopen', b'cgroup', 0)\ncall('fsconfig', fd, 0, b'none', None, 0)\n"
     "call('fsconfig', fd, 1, b'name', b'phx', 0)\ncall('fsconfig', fd, 6, None, None, 0)\nt = call('fsmount', fd, 0, 0)\n"
     "escape_by_agent(f'/proc/self/fd/{t}', env)", MARK_),
    ("agent under another name", "t = mount('none', '/tmp/cg', 'cgroup', 0, 'none,name=phx')\nmake('/tmp/ra')\n"
     "mount('/tmp/cg/release_agent', '/tmp/ra', None, BIND)\nput('/tmp/ra', env['rootfs'] + '/tmp/agent')\n"
     "escape_by_agent(t, env, set_agent=False)", {**MARK_, "promises": (BASE,)}),
    ("from a cgroup namespace of one's own", "unshare(NEWCGROUP)\n"
     "t = mount('none', '/tmp/cg', 'cgroup', 0, 'none,name=phx')\nescape_by_agent(t, env)", MARK_),
    ("hierarchy in a runtime's directory", "t = mount('none', '/var/lib/docker/cg', 'cgroup', 0, "
     "'none,name=phx')\nescape_by_agent(t, env)", MARK_),
)  # fmt: skip

_AA = "apparmor"
VICTIM_GONE = {"check": "profile_gone phoenix-efficacy-victim"}
SECURITYFS = rows_of(
    "securityfs",
    ("remove a host's profile", "mount('s', '/mnt/y', 'securityfs')\n"
     "put('/mnt/y/apparmor/.remove', 'phoenix-efficacy-victim')", VICTIM_GONE),
    ("remove a profile, securityfs at its own place", "mount('s', '/sys/kernel/security', 'securityfs')\n"
     "put('/sys/kernel/security/apparmor/.remove', 'phoenix-efficacy-victim')", VICTIM_GONE),
    ("remove a profile, securityfs detached",
     "put('apparmor/.remove', 'phoenix-efficacy-victim', detached('securityfs'))", VICTIM_GONE),
    ("load a profile", "mount('s', '/mnt/y', 'securityfs')\n"
     "put('/mnt/y/apparmor/.load', open('/srv/share/blob', 'rb').read())", {"check": "profile phoenix-efficacy-intruder"}),
    ("load a profile, securityfs detached",
     "put('apparmor/.load', open('/srv/share/blob', 'rb').read(), detached('securityfs'))",
     {"check": "profile phoenix-efficacy-intruder"}),
    ("replace a profile", "mount('s', '/mnt/y', 'securityfs')\n"
     "put('/mnt/y/apparmor/.replace', open('/srv/share/blob', 'rb').read())", {"check": "profile phoenix-efficacy-intruder"}),
    ("make a policy namespace", "mount('s', '/mnt/y', 'securityfs')\n"
     "os.mkdir('/mnt/y/apparmor/policy/namespaces/phxns')", {"check": "policy_namespace"}),
    ("apparmor_parser -R", "mount('s', '/sys/kernel/security', 'securityfs')\n"
     "make('/tmp/v', 'profile phoenix-efficacy-victim { }\\n')\n"
     "run('/sbin/apparmor_parser', '-R', '/tmp/v')", VICTIM_GONE),
    ("list the host's profiles", "mount('s', '/mnt/y', 'securityfs')\n"
     "assert 'phoenix-efficacy-victim' in get('/mnt/y/apparmor/profiles')", {}),
)  # fmt: skip

CHANGE = rows_of(
    "change_profile",
    ("to unconfined, then core_pattern", f"put('/proc/self/attr/current', 'changeprofile unconfined')\n"
     f"writable('/proc/sys') if os.statvfs('/proc/sys').f_flag & 1 else None\nput('{CORE}', MARK)", CORE_),
    ("by attr/apparmor/current", "put('/proc/self/attr/apparmor/current', 'changeprofile unconfined')\n"
     f"writable('/proc/sys') if os.statvfs('/proc/sys').f_flag & 1 else None\nput('{CORE}', MARK)", CORE_),
    ("at exec", "put('/proc/self/attr/exec', 'exec unconfined')\n"
     "writable('/proc/sys') if os.statvfs('/proc/sys').f_flag & 1 else None\n"
     f"run('/bin/sh', '-c', 'echo phoenix > {CORE}')", CORE_),
    ("to a stack with unconfined", "put('/proc/self/attr/current', 'changeprofile &unconfined')\n"
     f"put('{CORE}', MARK)", CORE_),
    ("to a weaker profile, by a detached procfs",
     "put('self/attr/current', 'changeprofile unconfined', detached('proc'))\n"
     f"writable('/proc/sys') if os.statvfs('/proc/sys').f_flag & 1 else None\nput('{CORE}', MARK)", CORE_),
    ("to Debian's nesting profile, then a procfs",
     "put('/proc/self/attr/current', 'changeprofile lxc-container-default-with-nesting')\n"
     "p = mount('proc', '/usr/lib/x86_64-linux-gnu/lxc/p', 'proc')\n"
     "put(p + '/sys/kernel/core_pattern', MARK)", CORE_),
    ("to lxc-start's own profile, then core_pattern",
     "put('/proc/self/attr/current', 'changeprofile /usr/bin/lxc-start')\n"
     f"writable('/proc/sys') if os.statvfs('/proc/sys').f_flag & 1 else None\nput('{CORE}', MARK)", CORE_),
)  # fmt: skip

_V = {"needs": "victim"}
_VS = {"needs": "victim", "secret": True}
BORDER = rows_of(
    "ptrace and signals across the border",
    ("kill a host's process", "os.kill(V, 9)\ntime.sleep(0.2)", {**_V, "check": "victim_gone"}),
    ("stop a host's process", "os.kill(V, 19)\ntime.sleep(0.2)", {**_V, "check": "victim_stopped"}),
    ("signal through a pidfd", "fd = os.pidfd_open(V)\nsignal.pidfd_send_signal(fd, 10)\ntime.sleep(0.2)",
     {**_V, "check": "victim_gone"}),
    ("attach to a host's process", "attached(V)\nb = ctypes.c_long.from_buffer(bytearray(8))\n"
     "result = memory(V, env['address'])", _VS),
    ("seize a host's process", "ptrace(0x4206, V)", _V),
    ("read a host's process's memory", "result = memory(V, env['address'])", _VS),
    ("read it by /proc/PID/mem", "fd = os.open(f'/proc/{V}/mem', os.O_RDONLY)\n"
     "result = os.pread(fd, 64, env['address']).decode('latin-1')", _VS),
    ("write a host's process's memory", "fd = os.open(f'/proc/{V}/mem', os.O_RDWR)\n"
     "os.pwrite(fd, b'phoenix-overwritten', env['address'])", {**_V, "check": "victim_overwritten"}),
    ("read its environment", "result = get(f'/proc/{V}/environ')", _VS),
    ("host's files through /proc/PID/root", "result = get(f'/proc/{V}/root/var/lib/phoenix-efficacy/secret')",
     _VS),
    ("host's files through /proc/PID/cwd", "result = get(f'/proc/{V}/cwd/secret')", _VS),
    ("its open file through /proc/PID/fd", "result = get(f'/proc/{V}/fd/9')", _VS),
    ("its open file by pidfd_getfd", "fd = call('pidfd_getfd', os.pidfd_open(V), 9, 0)\n"
     "result = os.pread(fd, 64, 0).decode()", _VS),
    ("its limits", "import resource\nresource.prlimit(V, resource.RLIMIT_CORE, (0, 0))",
     {**_V, "no_hook": "AppArmor stops it only by denying CAP_SYS_RESOURCE, which GPU work needs for locked "
      "memory: unprivileged stops it"}),
    ("its priority", "os.setpriority(os.PRIO_PROCESS, V, 19)",
     {**_V, "no_hook": "AppArmor has no hook for the priority of others: unprivileged stops it"}),
)  # fmt: skip

NAMESPACES = rows_of(
    "namespaces",
    ("enter the host's mount namespace", "setns(os.open(f'/proc/{V}/ns/mnt', os.O_RDONLY), NEWNS)\n"
     "result = get('/var/lib/phoenix-efficacy/secret')", _VS),
    ("enter it by a pidfd", "setns(os.pidfd_open(V), NEWNS)\n"
     "result = get('/var/lib/phoenix-efficacy/secret')", _VS),
    ("enter the host's UTS namespace", "setns(os.open(f'/proc/{V}/ns/uts', os.O_RDONLY), NEWUTS)\n"
     "socket.sethostname('phoenix-taken')", {**_V, "watch": "/proc/sys/kernel/hostname"}),
    ("enter the host's network", "setns(os.open(f'/proc/{V}/ns/net', os.O_RDONLY), NEWNET)\n"
     "put('/proc/sys/net/ipv4/ip_default_ttl', '65')\n", {**_V, "watch": "/proc/sys/net/ipv4/ip_default_ttl"}),
    ("enter the host's cgroup namespace", "setns(os.open(f'/proc/{V}/ns/cgroup', os.O_RDONLY), NEWCGROUP)\n"
     "assert ':/../' not in get('/proc/self/cgroup') and os.readlink('/proc/self/ns/cgroup') == "
     "env['ns_cgroup']", _V),
    ("enter the host's IPC namespace by a pidfd", "setns(os.pidfd_open(V), NEWIPC)\n"
     "assert os.readlink('/proc/self/ns/ipc') == env['ns_ipc']", _V),
    ("keep the host's namespace open", "mount(f'/proc/{V}/ns/net', make('/run/phxns'), None, BIND)", _V),
)  # fmt: skip

_K = {"no_hook": _NO_KEYS}
KEYRINGS = rows_of(
    "keyrings",
    ("read a key of the host's root", "result = read_key(find_key('phoenix-secret'))",
     {**_K, "secret": True}),
    ("change a key of the host's root", "k = find_key('phoenix-secret')\ncall('keyctl', 2, k, b'phoenix-forged', 14)",
     {**_K, "check": "key_changed"}),
    ("revoke a key of the host's root", "keyctl(3, find_key('phoenix-secret'))",
     {**_K, "check": "key_gone"}),
    ("take a key of the host's root away", "keyctl(9, find_key('phoenix-secret'), -4)",
     {**_K, "check": "key_gone"}),
    ("list the host's keys", "assert 'phoenix-secret' in get('/proc/keys')", {}),
    ("list the host's keys on a detached procfs", "assert 'phoenix-secret' in get('keys', detached('proc'))", {}),
)  # fmt: skip

_B = {"no_hook": _NO_BPF}
BPF = rows_of(
    "bpf",
    ("change a map of the host", "[bpf_update(fd, b'taken') for fd in bpf_all_maps()]",
     {**_B, "check": "map_changed"}),
    ("list the host's maps", "assert bpf_all_maps()", _B),
    ("load a kprobe program", "bpf_program(2)", _B),
    ("load a tracepoint program", "bpf_program(5)", _B),
    ("load a program for cgroups' devices", "bpf_program(15)", _B),
    ("the host's pinned map by bpffs", "mount('bpf', '/mnt/bpf', 'bpf')\n"
     "assert os.path.isdir('/mnt/bpf')\nmount('bpf', '/sys/fs/bpf', 'bpf')", {}),
)  # fmt: skip

_F = {"no_hook": _NO_PERF}
PERF = rows_of(
    "perf",
    ("count all that a CPU does", "perf_counts(perf(1, 0, -1, 0))", _F),
    ("a tracepoint of the whole host", "perf_counts(perf(2, env['tracepoint'], -1, 0))", _F),
    ("a kprobe by perf", "n = ctypes.create_string_buffer(b'do_sys_openat2')\n"
     "t = int(get('/sys/bus/event_source/devices/kprobe/type'))\n"
     "perf_counts(perf(t, 0, -1, 0, ctypes.addressof(n), 0))", _F),
    ("count a host's process", "perf_counts(perf(1, 0, V, -1))", {**_V, "no_hook": _NO_PERF}),
    ("trace by tracefs", "t = tracing('/mnt/t')\nput(t + '/events/sched/sched_switch/enable', '1')",
     {"check": "traced"}),
    ("trace by tracefs where it belongs", "t = tracing('/sys/kernel/tracing')\n"
     "put(t + '/events/sched/sched_switch/enable', '1')", {"check": "traced"}),
    ("trace by a detached tracefs", "put('events/sched/sched_switch/enable', '1', detached('tracefs'))",
     {"check": "traced"}),
    ("kprobe by tracefs", "t = tracing('/mnt/t')\nput(t + '/kprobe_events', 'p:phxk do_sys_openat2')",
     {"check": "kprobed"}),
)  # fmt: skip

ROWS = (
    *KNOBS, *ALIASES, *DETACHED, *DEVICES, *MODULES, *CGROUPS, *SECURITYFS, *CHANGE,
    *BORDER, *NAMESPACES, *KEYRINGS, *BPF, *PERF,
)  # fmt: skip
