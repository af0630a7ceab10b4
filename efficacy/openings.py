"""Operations that must not succeed: what was found open under the first profiles by people who looked for it.

The detached world (fsopen, open_tree), the host's disk through it, names that a list forgot, and, one by one,
what AppArmor has no hook for or no profile can afford to stop.  One row each; rows.py says what a row says.
"""

from __future__ import annotations

from efficacy.dangerous import ADMIN
from efficacy.rows import BASE, DOCKER, OURS, STORAGE, rows_of, watch

WALLS = (BASE, DOCKER, STORAGE)
"""Profiles that promise to hold in a privileged container; nesting-v1 does not."""
ALL = "detached mounts"
_V = {"needs": "victim"}
_NO_BPF = "AppArmor has no hook for bpf(2): the seccomp companion stops it; " + ADMIN
_OWN_NAME = "the file has the same name as the container's own processes', which systemd and others write"
_NO_OPTIONS = "AppArmor has no hook for fsconfig(2): the seccomp companion stops it; " + ADMIN

_READING = (
    "overlays and files that the host passes in are read in the same way; the seccomp companion stops fsopen"
)

DISK = rows_of(
    "the host's disk, detached",
    ("write a host's file: fsopen(ext4) of the disk in a detached devtmpfs",
     "os.close(os.open('var/lib/phoenix-efficacy/escaped', os.O_CREAT | os.O_WRONLY, dir_fd=hosts_disk()))",
     {"check": "on_root escaped"}),
    ("read a host's file: the same disk, attached to /mnt", "attach(hosts_disk(), '/mnt/h')\nresult = get('/mnt/h/' + SECRET_PATH)", {"secret": True}),
    ("write a host's file by fsopen(ext4), the device cgroup detached first", "with device_cgroup_detached():\n"
     "    os.close(os.open('var/lib/phoenix-efficacy/escaped', os.O_CREAT | os.O_WRONLY, dir_fd=hosts_disk()))",
     {"check": "on_root escaped"}),
    ("mount(2) of a node of one's own, the device cgroup detached first", "with device_cgroup_detached():\n"
     "    mount(node('/tmp/phx', 'b', *device(env['disk'])), '/mnt/h', 'ext4')\n"
     "    result = get('/mnt/h/' + SECRET_PATH)", {"secret": True}),
    ("read the disk of a detached devtmpfs, the device cgroup detached first", "with device_cgroup_detached():\n"
     "    fd = os.open('vda', os.O_RDONLY, dir_fd=detached('devtmpfs'))\n"
     "    assert os.pread(fd, 2, 1080) == b'S\\xef'"),
    promises=WALLS,
)  # fmt: skip

FILES = rows_of(
    "files of the host's disk, detached",
    ("read a host's file: fsopen(ext4) of the disk in a detached devtmpfs",
     "result = get(SECRET_PATH, hosts_disk())", {"secret": True, "accepted": _READING}),
    ("read a host's file: fsopen(ext4) of a node of one's own", "n = node('/tmp/phx', 'b', *device(env['disk']))\n"
     "result = get(SECRET_PATH, hosts_disk(n))", {"secret": True, "accepted": _READING}),
    ("read another container's Docker layer on the same disk", "result = get('var/lib/docker/overlay2/other/secret', hosts_disk())",
     {"secret": True, "accepted": _READING}),
    ("read a host's file by fsopen(ext4), the device cgroup detached first", "with device_cgroup_detached():\n"
     "    result = get(SECRET_PATH, hosts_disk())", {"secret": True, "accepted": _READING}),
    ("write below a directory `upper` of the host's: fsopen(ext4) of the disk in a detached devtmpfs",
     "os.close(os.open('var/lib/phoenix-efficacy/upper/escaped', os.O_CREAT | os.O_WRONLY, dir_fd=hosts_disk()))",
     {"check": "on_root upper/escaped", "accepted": "an overlay of the container's own opens its upper directory in the "
      "same way; the seccomp companion stops fsopen"}),
)  # fmt: skip

HOSTS_DEV = rows_of(
    "the host's /dev, detached",
    ("open a file of the host's /dev for all", "os.chmod('phx-victim', 0o666, dir_fd=detached('devtmpfs'))",
     {"check": "dev_opened"}),
    ("link a file in the host's /dev", "d = detached('devtmpfs')\nos.link('phx-victim', 'phx-linked', src_dir_fd=d, "
     "dst_dir_fd=d)", {"check": "in_dev phx-linked"}),
    ("remove a file of the host's /dev", "os.unlink('phx-victim', dir_fd=detached('devtmpfs'))", {"check": "dev_gone"}),
    ("rename a file of the host's /dev", "d = detached('devtmpfs')\nos.rename('phx-victim', 'phx-moved', src_dir_fd=d, "
     "dst_dir_fd=d)", {"check": "in_dev phx-moved"}),
    ("make a file in the host's /dev", "os.close(os.open('phx-file', os.O_CREAT | os.O_WRONLY, "
     "dir_fd=detached('devtmpfs')))", {"check": "in_dev phx-file"}),
    ("make a disk's node in the host's /dev", "os.mknod('phx-disk', 0o060666, os.makedev(*device(env['disk'])), "
     "dir_fd=detached('devtmpfs'))", {"check": "in_dev phx-disk"}),
    *((f"{name} of a detached devtmpfs", f"os.close(os.open({name!r}, os.O_RDWR, dir_fd=detached('devtmpfs')))")
      for name in ("cuse", "udmabuf", "dma_heap/system", "userfaultfd")),
    promises=WALLS,
)  # fmt: skip

NAMES = rows_of(
    ALL,
    ("netconsole target by a detached configfs", "os.mkdir('netconsole/phx', dir_fd=detached('configfs'))",
     {"check": "netconsole"}),
    ("switch the host's binfmt_misc off, detached", "put('status', '0', detached('binfmt_misc'))", {"check": "binfmt_off"}),
    ("switch a host's binfmt handler off, detached", "put('phxhost', '0', detached('binfmt_misc'))",
     {"check": "binfmt_entry_off"}),
    ("remove a host's binfmt handler, detached", "put('phxhost', '-1', detached('binfmt_misc'))",
     {"check": "binfmt_entry_off"}),
    ("memory types (MTRR)", "put('/proc/mtrr', 'base=0xa0000000 size=0x1000 type=uncachable')", {"check": "mtrr"}),
    ("memory types (MTRR) by a detached procfs", "put('mtrr', 'base=0xa0000000 size=0x1000 type=uncachable', "
     "detached('proc'))", {"check": "mtrr"}),
    ("memory types (MTRR) by a copy of the file's mount",
     "put(f\"/proc/self/fd/{cloned('/proc/mtrr')}\", 'base=0xa0000000 size=0x1000 type=uncachable')", {"check": "mtrr"}),
    ("the kernel's debug messages by name", "put('/proc/dynamic_debug/control', 'file phx-none.c +p')"),
    ("the kernel's debug messages by a copy of the mount", "put('control', 'file phx-none.c +p', "
     "cloned('/proc/dynamic_debug'))"),
    ("the kernel's debug messages by a detached procfs", "put('dynamic_debug/control', 'file phx-none.c +p', "
     "detached('proc'))"),
    ("the kernel's debug messages by a detached debugfs", "put('dynamic_debug/control', 'file phx-none.c +p', "
     "detached('debugfs'))"),
    ("a switch of NFS by name", "put('/proc/sys/sunrpc/rpc_debug', '1')", watch("/proc/sys/sunrpc/rpc_debug")),
    ("a switch of NFS by a detached procfs", "put('sys/sunrpc/rpc_debug', '1', detached('proc'))",
     watch("/proc/sys/sunrpc/rpc_debug")),
    ("a switch of NFS by a copy of the mount", "put('rpc_debug', '1', cloned('/proc/sys/sunrpc'))",
     watch("/proc/sys/sunrpc/rpc_debug")),
    ("write any file of a detached debugfs", "any_file(detached('debugfs'), os.O_WRONLY)"),
    ("write any file of a detached tracefs", "any_file(detached('tracefs'), os.O_WRONLY)"),
    ("write any file of a detached securityfs", "any_file(detached('securityfs'), os.O_WRONLY)"),
    ("end a host's FUSE file system, detached", "t = detached('fusectl')\n"
     "put(listed(t)[-1] + '/abort', '1', t)", {"check": "fuse_aborted"}),
    ("end a host's FUSE file system by a second fusectl", "t = mount('fusectl', '/mnt/f', 'fusectl')\n"
     "put(t + '/' + sorted(os.listdir(t))[-1] + '/abort', '1')", {"check": "fuse_aborted"}),
    ("end a host's FUSE file system by a bound fusectl", "t = mount('/sys/fs/fuse/connections', '/mnt/f', None, BIND)\n"
     "put(t + '/' + sorted(os.listdir(t))[-1] + '/abort', '1')", {"check": "fuse_aborted"}),
    ("end a host's FUSE file system by name", "t = '/sys/fs/fuse/connections'\nos.listdir(t) or mount('fusectl', t, 'fusectl')\n"
     "put(t + '/' + os.listdir(t)[-1] + '/abort', '1')", {"check": "fuse_aborted"}),
    ("a read-only share made writable by a copy of its mount", "t = cloned('/srv/readonly')\n"
     "writable_fd(t)\nput('model', 'phoenix-efficacy', t)", {"check": "read_only_written"}),
    ("a read-only share made writable in place (mount_setattr)", "writable('/srv/readonly')\n"
     "put('/srv/readonly/model', 'phoenix-efficacy')", {"check": "read_only_written", "no_hook":
      "AppArmor has no hook for mount_setattr(2); the share is the container's mount, and " + ADMIN}),
    ("a read-only share made writable by a remount", "mount(None, '/srv/readonly', None, REMOUNT | BIND)\n"
     "put('/srv/readonly/model', 'phoenix-efficacy')", {"check": "read_only_written"}),
    *((f"a read-only share bound to {place} and made writable by a remount of the file system",
       f"mount('/srv/readonly', '{place}', None, BIND)\nmount(None, '{place}', None, REMOUNT)\n"
       f"put('{place}/model', 'phoenix-efficacy')", {"check": "read_only_written"})
      for place in ("/tmp", "/run", "/dev/shm")),
    ("sysfs in a runtime's directory", "mount('sysfs', '/var/lib/docker/x/sys', 'sysfs')\n"
     "put('/var/lib/docker/x/sys/block/vda/queue/read_ahead_kb', '64')", watch("/sys/block/vda/queue/read_ahead_kb")),
    ("sysfs in a runtime's image", "mount('sysfs', '/var/lib/docker/overlay2/x/merged/sys', 'sysfs')\n"
     "put('/var/lib/docker/overlay2/x/merged/sys/power/pm_async', '0')", watch("/sys/power/pm_async")),
    ("read-only sysfs in a runtime's directory, made writable", "m = mount('sysfs', '/var/lib/docker/x/sys', 'sysfs', "
     "RDONLY)\nwritable(m)\nput(m + '/power/pm_async', '0')", watch("/sys/power/pm_async")),
    promises=WALLS,
)  # fmt: skip

READS = rows_of(
    ALL,
    ("read any file of a detached debugfs", "any_file(detached('debugfs'), os.O_RDONLY)", {"accepted": _READING}),
    ("read any file of a detached tracefs", "any_file(detached('tracefs'), os.O_RDONLY)", {"accepted": _READING}),
    ("read any file of a detached securityfs", "any_file(detached('securityfs'), os.O_RDONLY)", {"accepted": _READING}),
    promises=(BASE,),
)  # fmt: skip

OPTIONS = rows_of(
    ALL,
    ("the host's debugfs for all users, by an option", "detached('debugfs', mode='0777')",
     {"check": "debugfs_opened", "no_hook": _NO_OPTIONS}),
    ("no more files in the host's /dev, by an option", "detached('devtmpfs', nr_inodes='77777')",
     {"check": "dev_full", "no_hook": _NO_OPTIONS}),
)  # fmt: skip

PROGRAMS = rows_of(
    "bpf",
    ("take the device cgroup away", "with device_cgroup_detached():\n    pass", {"no_hook": _NO_BPF}),
    ("attach a program to a raw tracepoint", "raw_tracepoint(bpf_program(17))", {"no_hook": _NO_BPF}),
    ("kill a host's process by a program", "p = raw_tracepoint(killer(env['victim_host']))\ntime.sleep(1)",
     {**_V, "check": "victim_gone", "no_hook": _NO_BPF}),
)  # fmt: skip

BORDER = rows_of(
    "ptrace and signals across the border",
    ("have a host's process killed first when memory runs out", "put(f'/proc/{V}/oom_score_adj', '999')",
     {**_V, "check": "victim_sacrificed", "accepted": _OWN_NAME}),
    ("have a host's process killed first, by a detached procfs", "put(f'{V}/oom_score_adj', '999', detached('proc'))",
     {**_V, "check": "victim_sacrificed"}),
    ("forget which pages a host's process used", "put(f'/proc/{V}/clear_refs', '1')", {**_V, "accepted": _OWN_NAME}),
    ("a host's process into a group of the container's", "put(folder('/sys/fs/cgroup/phx') + '/cgroup.procs', str(V))",
     {**_V, "check": "victim_moved"}),
    promises=WALLS,
)  # fmt: skip

UNSTOPPED = rows_of(
    "what no profile can afford to stop",
    ("forge the host's audit records", "netlink(9, 1107, 5, b'phoenix-forged-audit')",
     {"accepted": "denying CAP_AUDIT_WRITE breaks login, sudo and sshd (pam_loginuid)"}),
    ("a lease on a file of a share", "fd = os.open('/srv/share/leased', os.O_RDWR)\nfcntl.fcntl(fd, 1024, 1)",
     {"accepted": "the hook is the lock (`k`), which databases and package managers need on the same paths; "
      "`deny capability lease` does not stop it"}),
    ("a set-user-ID program on a share", "os.chmod(make('/srv/share/suid'), 0o4755)",
     {"check": "suid_shared", "accepted": "AppArmor does not see the mode: mount the share nosuid on the host"}),
    ("module by a congestion control's name", "congestion('westwood')", {"check": "module tcp_westwood",
     "no_hook": "the kernel loads the module itself; AppArmor has no hook for that: kernel.modules_disabled stops it"}),
    ("module by a protocol's number", "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132).close()",
     {"check": "module sctp",
      "no_hook": "the family is allowed, AppArmor sees no protocol before the module is there: kernel.modules_disabled stops it"}),
    ("wait in the kernel's own faults (userfaultfd)", "os.close(call('userfaultfd', 0))",
     {"no_hook": "AppArmor has no hook for userfaultfd(2); it asks for CAP_SYS_PTRACE, which debuggers need"}),
    ("the name of the host's root file system", "fcntl.ioctl(os.open('/srv/share', os.O_RDONLY), 0x41009432, "
     "b'phoenix'.ljust(256, b'\\0'))", {"check": "label", "no_hook": "AppArmor has no hook for ioctl(2); " + ADMIN}),
    promises=OURS,
)  # fmt: skip

ROWS = (
    *DISK, *FILES, *HOSTS_DEV, *NAMES, *READS, *OPTIONS, *BORDER, *UNSTOPPED, *PROGRAMS,
)  # fmt: skip
