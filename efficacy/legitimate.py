"""Operations that must go on.  One row each; see rows.py for what a row says.

GPU rows use the lab's stand-ins: nodes without a driver (opening them ends in ENXIO or ENODEV where
it is allowed), /dev/nvidia3, which is zero-filled memory that can be mapped, and /dev/nvidia4, which
answers an ioctl.  Docker's rows do what containerd and runc do, in their order; the real Docker is
another matter (docs/efficacy.md).
"""

from __future__ import annotations

from efficacy.rows import BASE, DOCKER, NESTING, OURS, STORAGE, Row

WITH_DOCKER = (DOCKER, STORAGE, NESTING)
WITH_STORAGE = (STORAGE, NESTING)


def _rows(klass: str, promises: tuple[str, ...], *rows: tuple[str, str]) -> tuple[Row, ...]:
    return tuple(Row(klass=klass, name=name, do=do, promises=promises, dangerous=False) for name, do in rows)


GPU = _rows(
    "gpu",
    OURS,
    ("open nvidia0", "opened('/dev/nvidia0')"),
    ("open nvidia1", "opened('/dev/nvidia1')"),
    ("open nvidiactl", "opened('/dev/nvidiactl')"),
    ("open nvidia-uvm", "opened('/dev/nvidia-uvm')"),
    ("open nvidia-uvm-tools", "opened('/dev/nvidia-uvm-tools')"),
    ("open nvidia-modeset", "opened('/dev/nvidia-modeset')"),
    ("open a MIG capability", "opened('/dev/nvidia-caps/nvidia-cap2', os.O_RDONLY)"),
    ("list the GPU's nodes", "assert 'nvidia0' in os.listdir('/dev') and os.stat('/dev/nvidiactl').st_rdev"),
    ("map a GPU's memory shared", "device_map('/dev/nvidia3')"),
    ("map a GPU's memory privately", "device_map('/dev/nvidia3', mmap.MAP_PRIVATE)"),
    ("ioctl on a GPU's node", "fd = os.open('/dev/nvidia4', os.O_RDWR)\nfcntl.ioctl(fd, 0x80045200, bytes(4))"),
    ("poll a GPU's node", "fd = os.open('/dev/nvidia4', os.O_RDWR)\np = select.poll()\np.register(fd)\np.poll(10)"),
    ("pinned host memory", "m = mmap.mmap(-1, 1 << 20)\n"
     "a = ctypes.addressof(ctypes.c_char.from_buffer(m))\ncall('mlock', a, 1 << 20)"),
    ("all memory locked", "call('mlockall', 1)"),
    ("unlimited locked memory", "import resource\nresource.setrlimit(8, (1 << 24, 1 << 24))"),
    ("code made at run time", "m = mmap.mmap(-1, 4096, prot=7)\nm[:1] = b'\\xc3'\n"
     "ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()"),
    ("libraries from /opt", "import shutil, glob\nfolder('/opt/cuda')\n"
     "s = [p for p in glob.glob('/usr/lib/x86_64-linux-gnu/lib*.so*') if 'libz.' in p or 'libm.so' in p][0]\n"
     "shutil.copy(s, '/opt/cuda/libcudart.so')\nctypes.CDLL('/opt/cuda/libcudart.so')"),
    ("programs from /tmp", "import shutil\nshutil.copy('/bin/true', '/tmp/kernel')\nrun('/tmp/kernel')"),
    ("memfd as shared buffer", "fd = os.memfd_create('b')\nos.ftruncate(fd, 4096)\nmmap.mmap(fd, 4096)[:2] = b'ab'"),
    ("program from a memfd", "fd = os.memfd_create('p', 0)\nos.write(fd, open('/bin/true', 'rb').read())\n"
     "child(lambda: run(f'/proc/self/fd/{fd}')) if False else None\n"
     "pid = os.fork()\nif pid == 0: os.execve(fd, ['true'], {})\nassert os.waitpid(pid, 0)[1] == 0"),
    ("POSIX shared memory", "make('/dev/shm/nccl-x', bytes(4096))\nfd = os.open('/dev/shm/nccl-x', os.O_RDWR)\n"
     "mmap.mmap(fd, 4096)[:2] = b'ab'\nos.unlink('/dev/shm/nccl-x')"),
    ("System V shared memory", "i = call('shmget', 0, 4096, 0o1600)\nassert call('shmat', i, 0, 0)\ncall('shmctl', i, 0, None)"),
    ("descriptors over a unix socket", "a, b = socket.socketpair()\n"
     "socket.send_fds(a, [b'x'], [os.open('/dev/nvidia3', os.O_RDWR)])\nassert socket.recv_fds(b, 9, 1)[1]"),
    ("abstract unix socket", "s = socket.socket(socket.AF_UNIX)\ns.bind('\\0phoenix-x')\ns.listen()\n"
     "socket.socket(socket.AF_UNIX).connect('\\0phoenix-x')"),
    ("TCP to oneself", "run('/bin/ip', 'link', 'set', 'lo', 'up')\n"
     "s = socket.create_server(('127.0.0.1', 0))\n"
     "socket.create_connection(s.getsockname(), 5).close()"),
    ("memory of a sibling (NCCL, UCX)", "b = ctypes.create_string_buffer(b'nccl')\npid = os.fork()\n"
     "if pid == 0: time.sleep(5); os._exit(0)\n"
     "assert memory(pid, ctypes.addressof(b), 4) == 'nccl'\nos.kill(pid, 9)"),
    ("debug one's own process (cuda-gdb)", "pid = os.fork()\nif pid == 0: time.sleep(5); os._exit(0)\n"
     "attached(pid)\nptrace(17, pid)\nos.kill(pid, 9)"),
    ("topology of the machine", "assert os.listdir('/sys/devices/system/cpu') and os.listdir('/sys/bus/pci/devices')"
     "\nget('/sys/devices/system/cpu/online')"),
    ("facts of the machine", "for n in ('cpuinfo', 'meminfo', 'self/maps', 'self/status', 'version', 'stat'):\n"
     "    assert get('/proc/' + n)\nget('/proc/sys/vm/overcommit_memory')\nget('/proc/sys/kernel/ns_last_pid') "
     "if False else None"),
    ("drivers' information", "os.listdir('/proc/driver')\nos.listdir('/sys/module')\nget('/sys/class/net/lo/mtu')"),
    ("CPU affinity and priority", "os.sched_setaffinity(0, {0})\nos.nice(1)\nos.setpriority(0, 0, 0)"),
    ("real-time scheduling", "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))\n"
     "os.sched_setscheduler(0, 0, os.sched_param(0))"),
    ("memory policy (NUMA)", "call('set_mempolicy', 0, None, 0)"),
    ("signal one's children", "pid = os.fork()\nif pid == 0: time.sleep(5); os._exit(0)\nos.kill(pid, 15)\n"
     "assert os.waitpid(pid, 0)[1] == 15"),
    ("models on local disk", "make('/root/models/a.safetensors', bytes(1 << 16), 0o644)\n"
     "mmap.mmap(os.open('/root/models/a.safetensors', os.O_RDONLY), 0, prot=1)[:4]"),
)  # fmt: skip

SYSTEM = _rows(
    "system",
    OURS,
    ("install a package", "make('/tmp/p/DEBIAN/control', 'Package: phx\\nVersion: 1\\nArchitecture: all\\n"
     "Maintainer: a <a@b.c>\\nDescription: x\\n', 0o644)\nmake('/tmp/p/opt/phx/run', '#!/bin/sh\\n')\n"
     "make('/tmp/p/DEBIAN/postinst', '#!/bin/sh\\nchown daemon /opt/phx/run\\n')\n"
     "run('/usr/bin/dpkg-deb', '-b', '/tmp/p', '/tmp/p.deb')\nrun('/usr/bin/dpkg', '-i', '/tmp/p.deb')"),
    ("become another user", "pid = os.fork()\nif pid == 0: os.setgroups([]); os.setgid(1); os.setuid(1); os._exit(0)\n"
     "assert os.waitpid(pid, 0)[1] == 0"),
    ("owners, modes and capabilities of files", "f = make('/tmp/own')\nos.chown(f, 1, 1)\nos.chmod(f, 0o4755)\n"
     "os.setxattr(f, 'security.capability', bytes.fromhex('0100000200040000000000000000000000000000'))"),
    ("host name", "unshare(NEWUTS)\nsocket.sethostname('gpu1')"),
    ("network interface and address", "run('/bin/ip', 'link', 'set', 'lo', 'up')\n"
     "run('/bin/ip', 'addr', 'replace', '10.9.9.9/32', 'dev', 'lo')"),
    ("network settings", "put('/proc/sys/net/ipv4/ip_forward', '1')"),
    ("privileged ports", "socket.create_server(('127.0.0.1', 80)).close()"),
    ("ping", "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close()"),
    ("tmpfs in /tmp", "mount('tmpfs', '/tmp', 'tmpfs', NOSUID | NODEV)"),
    ("tmpfs in /run", "mount('tmpfs', '/run/user/0', 'tmpfs', NOSUID | NODEV)"),
    ("message queues", "mount('mqueue', '/dev/mqueue', 'mqueue')"),
    ("unmount", "mount('tmpfs', '/run/u', 'tmpfs')\numount('/run/u')"),
    ("private mounts of a service", "call('mount', None, b'/', None, SLAVE | REC, None)"),
    ("log in on a terminal", "import pty\na, b = os.openpty()\nassert os.ttyname(b)"),
    ("FIFO and socket files", "folder('/tmp/ff')\nos.mkfifo('/tmp/ff/fifo' + str(os.getpid()))"),
    ("locks, links, renames", "f = make('/tmp/lk/a')\nfcntl.flock(os.open(f, os.O_RDWR), 2)\n"
     "os.path.exists('/tmp/lk/b') and os.unlink('/tmp/lk/b')\nos.link(f, '/tmp/lk/b')\nos.rename(f, '/tmp/lk/c')"),
    ("a shell pipeline", "assert run('/bin/sh', '-c', 'ls / | wc -l').strip()"),
)  # fmt: skip

DOCKERS = _rows(
    "docker",
    WITH_DOCKER,
    ("overlayfs for an image", "image_root()"),
    ("image layers of containerd", "image_root('/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/1')"),
    ("docker run", "docker_run()"),
    ("docker run with a shell", "docker_run(('/bin/sh', '-c', 'ls /proc/self && cat /etc/hostname'))"),
    ("docker run --device /dev/nvidia0", "def gpu(m):\n    make(m + '/dev/nvidia0')\n"
     "    mount('/dev/nvidia3', m + '/dev/nvidia0', None, BIND)\n"
     "docker_run(('/bin/sh', '-c', 'head -c 4 /dev/nvidia0'), gpu)"),
    ("docker run --gpus, libraries bound read-only", "def libs(m):\n    folder(m + '/run/cuda')\n"
     "    mount('/usr/lib', m + '/run/cuda', None, BIND | REC)\n"
     "    mount(None, m + '/run/cuda', None, REMOUNT | BIND | RDONLY | NOSUID | NODEV)\ndocker_run(extra=libs)"),
    ("docker run -v volume", "folder('/var/lib/docker/volumes/v/_data')\n"
     "docker_run(extra=lambda m: mount('/var/lib/docker/volumes/v/_data', m + '/data', None, BIND | REC))"),
    ("docker run -v directory", "make('/srv/models/a')\n"
     "docker_run(('/bin/ls', '/data/a'), lambda m: mount('/srv/models', m + '/data', None, BIND | REC))"),
    ("docker run --tmpfs", "docker_run(extra=lambda m: mount('tmpfs', m + '/tmp', 'tmpfs', NOSUID | NODEV))"),
    ("resolv.conf and hosts of a container", "make('/var/lib/docker/containers/x/hosts', b'', 0o644)\n"
     "docker_run(extra=lambda m: (make(m + '/etc/hosts'), "
     "mount('/var/lib/docker/containers/x/hosts', m + '/etc/hosts', None, BIND | REC)))"),
    ("docker build", "m = image_root()\nmake(m + '/opt/built', 'x')\n"
     "run('/bin/tar', '-C', '/var/lib/docker/overlay2/phoenix/upper', '-cf', '/tmp/layer.tar', '.')\numount(m, 2)"),
    ("docker exec", "pid = os.fork()\nif pid == 0: unshare(NEWUTS | NEWNS); time.sleep(5); os._exit(0)\n"
     "time.sleep(0.3)\nsetns(os.open(f'/proc/{pid}/ns/uts', os.O_RDONLY), NEWUTS)\n"
     "setns(os.open(f'/proc/{pid}/ns/mnt', os.O_RDONLY), NEWNS)\nrun('/bin/true')"),
    ("docker stop", "pid = os.fork()\nif pid == 0: os.setsid(); time.sleep(9); os._exit(0)\nos.kill(pid, 9)\n"
     "os.waitpid(pid, 0)"),
    ("network namespace kept by Docker", "make('/run/docker/netns/x')\nunshare(NEWNET)\n"
     "mount('/proc/thread-self/ns/net', '/run/docker/netns/x', None, BIND)\numount('/run/docker/netns/x', 2)"),
    ("bridge", "unshare(NEWNET)\nlink('bridge', 'br0')"),
    ("two containers on a bridge", "unshare(NEWNET)\nlink('bridge', 'br0')\n"
     "run('/bin/ip', 'link', 'add', 'v0', 'type', 'veth', 'peer', 'name', 'v1')\n"
     "run('/bin/ip', 'link', 'set', 'v0', 'master', 'br0', 'up')\n"
     "run('/bin/ip', 'link', 'add', 'w0', 'type', 'veth', 'peer', 'name', 'w1')\n"
     "run('/bin/ip', 'link', 'set', 'w0', 'master', 'br0', 'up')"),
    ("NAT rules", "nat_table()"),
    ("forwarding", "put('/proc/sys/net/ipv4/ip_forward', '1')\nput('/proc/sys/net/ipv4/conf/all/forwarding', '1')"),
    ("unprivileged ports, by a detached procfs (runc 1.2.8 and later)",
     "unshare(NEWNET)\ntry:\n    put('sys/net/ipv4/ip_unprivileged_port_start', '0', detached('proc'))\n"
     "except OSError as fault:\n    if fault.errno not in (1, 38): raise\n"  # without fsopen it takes /proc, as runc does
     "    put('/proc/sys/net/ipv4/ip_unprivileged_port_start', '0')"),
    ("limits of a container", "c = mount('cgroup2', folder('/run/containerd/cg'), 'cgroup2')\n"
     "g = folder(c + '/phx')\nassert os.listdir(g)\nos.rmdir(g)"),
    ("container's seccomp filter", "call('prctl', 38, 1, 0, 0, 0)\nf = struct.pack('HBBI', 6, 0, 0, 0x7fff0000)\n"
     "b = ctypes.create_string_buffer(f)\ncall('seccomp', 1, 0, struct.pack('HxxxxxxQ', 1, ctypes.addressof(b)))"),
    ("fuse-overlayfs", "fd = os.open('/dev/fuse', os.O_RDWR)\nmount('fuse-overlayfs', '/var/lib/containers/f', "
     "'fuse.fuse-overlayfs', NOSUID | NODEV, f'fd={fd},rootmode=40000,user_id=0,group_id=0')"),
    ("device nodes of a container", "m = image_root()\nmount('tmpfs', m + '/dev', 'tmpfs', NOSUID)\n"
     "make(m + '/dev/zero')\nmount('/dev/zero', m + '/dev/zero', None, BIND)"),
    ("rootless container's user namespace", "child(lambda: user_namespace(NEWNET | NEWPID))"),
    ("read-only root of a container", "def ro(m):\n    mount(None, m + '/usr', None, REMOUNT | BIND | RDONLY)\n"
     "docker_run(extra=ro)"),
)  # fmt: skip

STORAGES = _rows(
    "storage",
    WITH_STORAGE,
    ("read and write shared models", "make('/mnt/shared/models/a', 'x', 0o644)\nget('/mnt/shared/models/a')"),
    ("bind shared storage", "folder('/mnt/shared/models')\nmount('/mnt/shared/models', '/srv/m', None, BIND)"),
    ("rbind shared storage", "folder('/mnt/shared/models')\nmount('/mnt/shared', '/opt/m', None, BIND | REC)"),
    ("docker run -v shared storage", "make('/mnt/shared/models/a', 'x', 0o644)\n"
     "docker_run(('/bin/ls', '/data/a'), lambda m: mount('/mnt/shared/models', m + '/data', None, BIND | REC))"),
)  # fmt: skip

NESTED = _rows(
    "nesting",
    (NESTING,),
    ("nested LXC's root", "folder('/var/lib/lxc/n/rootfs/usr')\nmount('/var/lib/lxc/n/rootfs', "
     "folder('/usr/lib/x86_64-linux-gnu/lxc/rootfs'), None, BIND | REC)"),
    ("nested container", "def box():\n    call('mount', None, b'/', None, SLAVE | REC, None)\n"
     "    r = '/usr/lib/x86_64-linux-gnu/lxc/rootfs'\n    mount('t', r, 'tmpfs')\n"
     "    for n in ('proc', 'sys', 'usr'): folder(r + '/' + n)\n"
     "    mount('proc', r + '/proc', 'proc')\n    mount('sysfs', r + '/sys', 'sysfs')\n"
     "    mount('/usr', r + '/usr', None, BIND | REC)\n    pivot(r)\n"
     "    run('/usr/bin/true') if os.path.exists('/lib64') else None\n"
     "def start():\n    unshare(NEWNS | NEWPID | NEWUTS | NEWIPC)\n    child(box)\nchild(start)"),
    ("systemd: PrivateTmp=", "folder('/tmp/systemd-private-x/tmp')\nmount('/tmp/systemd-private-x/tmp', '/tmp', "
     "None, BIND | REC)"),
    ("systemd: ProtectSystem=", "mount('/usr', '/usr', None, BIND | REC)\n"
     "mount(None, '/usr', None, REMOUNT | BIND | RDONLY)"),
    ("systemd: a service's own root", "r = folder('/run/systemd/mount-rootfs')\n"
     "mount('/', r, None, BIND | REC)\ncall('mount', text(r), b'/', None, MOVE, None) if False else None"),
    ("systemd: ProtectProc=", "mount('proc', '/proc', 'proc', NOSUID | NODEV | NOEXEC, 'hidepid=2')"),
)  # fmt: skip


def _below_home(name: str) -> tuple[str, str]:
    return (f"write {name} below a home", f"make('/root/tree/{name}', b'x', 0o644)\nget('/root/tree/{name}')\n"
            f"os.rename('/root/tree/{name}', '/root/tree/{name}.old')\nos.unlink('/root/tree/{name}.old')")  # fmt: skip


SWITCHES = _rows(
    "names like the kernel's",
    (NESTING,),
    *(_below_home(name) for name in (
        "sys/kernel/panic", "proc/sys/vm/overcommit_memory", "module/x/parameters/debug", "bus/pci/drivers/x",
        "drivers/scsi/scsi", "devices/platform/a", "block/sda", "power/state", "uevent", "wakeup",
    )),
)  # fmt: skip
"""Names of switches of the machine: a profile may close them under every name."""

TREES = _rows(
    "names like the kernel's",
    (BASE,),
    *(_below_home(name) for name in (
        "kernel/sched/core.c", "kernel/Makefile", "kernel/events/core", "vm/config", "tools/testing/selftests/vm/settings",
        "fs/ext4/super.c", "irq/1", "node_modules/fs/promises", "class/net", "firmware/acpi/tables/x", "debug/sched/features",
        "core_pattern.c", "sys/kernel/index.js", "proc/index.js", "module/x/parameters/a.json",
    )),
    ("unpack, list and remove a tree of such names", "import tarfile, io\nb = io.BytesIO()\n"
     "t = tarfile.open(fileobj=b, mode='w')\n"
     "for n in ('linux/kernel/a.c', 'linux/mm/b.c', 'linux/fs/proc/c.c', 'linux/drivers/block/d.c', 'nm/sys/kernel/e.js'):\n"
     "    i = tarfile.TarInfo(n)\n    i.size = 1\n    t.addfile(i, io.BytesIO(b'x'))\n"
     "t.close()\nmake('/root/t.tar', b.getvalue(), 0o644)\nfolder('/root/t')\n"
     "run('/bin/tar', '-C', '/root/t', '-xf', '/root/t.tar')\nrun('/bin/rm', '-r', '/root/t')"),
)  # fmt: skip

OWN = _rows(
    "system",
    (NESTING,),
    ("POSIX message queue", "call('mq_open', b'phx', 0o102, 0o600, None)\ncall('mq_unlink', b'phx')"),
    ("bind a directory of one's own", "make('/srv/own/a')\nmount('/srv/own', '/opt/own', None, BIND)\nget('/opt/own/a')"),
    ("overlay of one's own", "for n in ('l', 'upper', 'work'): folder('/srv/ov/' + n)\n"
     "mount('t', '/srv/ov', 'tmpfs')\nfor n in ('l', 'upper', 'work'): folder('/srv/ov/' + n)\n"
     "mount('o', '/mnt/ov', 'overlay', 0, 'lowerdir=/srv/ov/l,upperdir=/srv/ov/upper,workdir=/srv/ov/work')\nmake('/mnt/ov/a')"),
    ("FUSE file system of one's own", "fd = os.open('/dev/fuse', os.O_RDWR)\nmount('x', '/mnt/fuse', 'fuse.x', "
     "NOSUID | NODEV, f'fd={fd},rootmode=40000,user_id=0,group_id=0')\numount('/mnt/fuse', 2)"),
    ("procfs of a PID namespace of one's own", "def box():\n    mount('proc', '/proc', 'proc', NOSUID | NODEV | NOEXEC)\n"
     "    assert os.listdir('/proc')\ndef start():\n    unshare(NEWNS | NEWPID)\n    child(box)\nchild(start)"),
    ("tmpfs by the new interface", "attach(detached('tmpfs'), '/mnt/tmp')"),
    ("names of network namespaces (ip netns)", "run('/bin/ip', 'netns', 'add', 'phx')\nrun('/bin/ip', 'netns', 'del', 'phx')"),
    ("enlarge /dev/shm", "mount(None, '/dev/shm', None, REMOUNT | NOSUID | NODEV, 'size=300m')"),
)  # fmt: skip

ROWS = (*GPU, *SYSTEM, *SWITCHES, *TREES, *OWN, *DOCKERS, *STORAGES, *NESTED)
