"""Checks: mounts, namespaces, the network, the kernel's interfaces, containers in the container, GPUs.

Owns their rows.  What only a privileged container may do on any host is marked by its kinds.
"""

from __future__ import annotations

from workloads.checks import BASE, DOCKER, OURS, STORAGE, Check
from workloads.guests import GATEWAY, Init

FILES, SPACES, LINKS, KERNEL = "mounts", "namespaces and sandboxes", "the network", "the kernel's interfaces"
INSIDE, GPU, TREES = "containers in the container", "GPUs", "building software"
ALL: tuple[Init, ...] = ("systemd", "openrc", "runit")
WALLS = tuple(f"{name}/privileged" for name in (BASE, DOCKER, STORAGE))
"""Where the profile is the wall."""
REMOUNTS = "a remount changes the file system itself, which may be the host's"
ENGINES = "containers inside need nodes and mounts that lxc-nvidia-gpu-docker is for"
OVERLAID = "/var/lib/workloads"
"""A directory on the host's own disk, as a Proxmox container's whole root is; the lab's root is an overlay."""

_OVERLAY = "d=$(mktemp -d {at}/o.XXXX); mkdir $d/l $d/upper $d/work $d/m; echo low > $d/l/f\n" \
    "mount -t overlay w -o lowerdir=$d/l,upperdir=$d/upper,workdir=$d/work $d/m\n" \
    "trap 'umount $d/m' EXIT; echo high > $d/m/f; grep high $d/upper/f; rm $d/m/f; test ! -e $d/m/f"  # fmt: skip
_IMAGE = """
if [ ! -f /srv/image.tar ]; then
  i=/srv/image; mkdir -p $i/bin $i/etc $i/tmp; cp /bin/busybox $i/bin/
  for a in sh ls cat echo sleep touch; do ln -sf busybox $i/bin/$a; done
  echo root:x:0:0::/:/bin/sh > $i/etc/passwd; tar -C $i -cf /srv/image.tar .
fi
"""
_BWRAP = "bwrap --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 " \
    "--proc /proc --dev /dev --tmpfs /tmp --unshare-all --die-with-parent"  # fmt: skip
_FLATPAK = (
    "bwrap --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 "
    "--proc /proc --dev /dev --tmpfs /tmp --tmpfs /run --dir /run/user/1000 --dir /var/tmp --ro-bind /etc /run/host/etc "
    "--ro-bind /sys/block /sys/block --ro-bind /sys/bus /sys/bus --ro-bind /sys/class /sys/class "
    "--ro-bind /sys/dev /sys/dev --ro-bind /sys/devices /sys/devices --bind /home/worker /home/worker "
    "--unshare-user --unshare-pid --unshare-ipc --die-with-parent"
)
_NESTED = f"""
n={OVERLAID}/nested; mkdir -p $n/rootfs; cd $n/rootfs
mkdir -p bin dev etc proc run sbin sys tmp root; cp /bin/busybox bin/; for a in sh sleep echo; do ln -sf busybox bin/$a; done
printf '%s\\n' 'lxc.include = /usr/share/lxc/config/common.conf' "lxc.rootfs.path = dir:$n/rootfs" 'lxc.uts.name = n' \\
  'lxc.net.0.type = empty' 'lxc.apparmor.profile = unchanged' 'lxc.init.cmd = /bin/sleep 300' > $n/config
trap 'lxc-stop -k -P {OVERLAID} -n nested' EXIT
systemd-run -q --scope -p Delegate=yes lxc-start -P {OVERLAID} -n nested -f $n/config -l WARN -o /dev/stderr
lxc-attach -P {OVERLAID} -n nested -- /bin/echo hello | grep hello
"""
TREE = (
    "linux/arch/x86/kernel/cpu/common.c linux/kernel/sched/core.c linux/kernel/Makefile linux/mm/Kconfig "
    "linux/fs/proc/base.c linux/fs/proc/Makefile linux/fs/sysfs/dir.c linux/drivers/block/loop.c "
    "linux/drivers/power/state.c linux/tools/testing/selftests/vm/config linux/tools/testing/selftests/vm/settings "
    "linux/Documentation/admin-guide/sysrq.rst linux/drivers/tty/sysrq.c linux/drivers/scsi/scsi.c "
    "linux/include/uapi/linux/uevent.h linux/security/apparmor/Kconfig linux/sound/core/control.c "
    "node_modules/proc/index.js node_modules/sys/kernel/index.js node_modules/kernel/config "
    "node_modules/class/net/index.js node_modules/firmware/acpi/tables.json node_modules/module/x/parameters/a.json "
    "venv/lib/sys/kernel/x.py venv/lib/sys/class/leds/a venv/lib/debug/x venv/trace venv/options/a"
)
"""Names of a Linux source tree, of node_modules and of a Python environment."""
SWITCHES = (
    "core_pattern release_agent uevent sysrq-trigger mtrr wakeup sda power/state bus/usb/devices/list proc/irq/1/smp_affinity "
    "proc/sys/vm/drop_caches sys/module/a/parameters/b fs/ext4/sda/x"
)
"""Names of the kernel's own switches."""


def made(names: str) -> str:
    """Makes, writes, renames and removes files of these names below a home directory."""
    return f"""
cd /home/worker; rm -rf src; mkdir src; cd src; bad=
for f in {names}; do
  {{ mkdir -p "$(dirname $f)" && echo a > $f && echo b >> $f && mv $f $f.new && mv $f.new $f && rm $f; }} 2>/dev/null ||
    bad="$bad $f"
done
cd ..; rm -rf src; [ -z "$bad" ] || {{ echo "refused:$bad" >&2; false; }}
"""


ROWS = (
    Check("bind mount", FILES, "mkdir -p /srv/a /srv/b; echo x > /srv/a/f; mount --bind /srv/a /srv/b; grep x /srv/b/f; "
          "umount /srv/b", inits=ALL, few=True),
    Check("bind mount, read-only", FILES, "mkdir -p /srv/a /srv/b; mount --bind -o ro /srv/a /srv/b; "
          "r=0; touch /srv/b/f 2>/dev/null && r=1; umount /srv/b; exit $r"),
    Check("recursive bind mount", FILES, "mkdir -p /srv/r; mount --rbind /home /srv/r; test -d /srv/r/worker; "
          "umount /srv/r"),
    Check("mount --move", FILES, "unshare -m --propagation private sh -ec 'mkdir -p /srv/a /srv/b; mount -t tmpfs w /srv/a; "
          "touch /srv/a/f; mount --move /srv/a /srv/b; test -f /srv/b/f'"),
    Check("tmpfs", FILES, "mkdir -p /srv/t; mount -t tmpfs -o size=10m w /srv/t; touch /srv/t/x; umount /srv/t", inits=ALL),
    Check("tmpfs, size changed", FILES, "mkdir -p /srv/t; mount -t tmpfs -o size=10m w /srv/t; "
          "mount -o remount,size=20m w /srv/t; findmnt -no OPTIONS /srv/t | grep size=20; umount /srv/t",
          forbids=WALLS, purpose=REMOUNTS),
    Check("tmpfs, made read-only", FILES, "mkdir -p /srv/t; mount -t tmpfs w /srv/t; mount -o remount,ro w /srv/t; "
          "r=0; touch /srv/t/x 2>/dev/null && r=1; umount /srv/t; exit $r",
          forbids=WALLS, purpose=REMOUNTS),
    Check("/dev/shm enlarged", FILES, "mount -o remount,size=700m shm /dev/shm; findmnt -no OPTIONS /dev/shm | grep size=7"),
    Check("overlay on tmpfs", FILES, "mkdir -p /srv/t; mount -t tmpfs w /srv/t; (" + _OVERLAY.format(at="/srv/t")
          + "); umount /srv/t"),
    Check("overlay on the disk", FILES, _OVERLAY.format(at=OVERLAID)),
    Check("overlay by a user", FILES, "su - worker -c 'unshare -Urm sh -ec \"mount -t tmpfs w /mnt; cd /mnt; mkdir l upper work m; "
          "mount -t overlay o -o userxattr,lowerdir=l,upperdir=upper,workdir=work m; echo a > m/f; cat upper/f\"'"),
    Check("mqueue", FILES, "mkdir -p /srv/q; mount -t mqueue w /srv/q; umount /srv/q"),
    Check("hugetlbfs", FILES, "mkdir -p /srv/h; mount -t hugetlbfs w /srv/h; umount /srv/h",
          kinds=("privileged",)),
    Check("devpts of one's own", FILES, "mkdir -p /srv/p; mount -t devpts -o newinstance,ptmxmode=666 w /srv/p; umount /srv/p"),
    Check("bindfs", FILES, "mkdir -p /srv/a /srv/f; echo x > /srv/a/f; bindfs /srv/a /srv/f; grep x /srv/f/f; "
          "fusermount3 -u /srv/f || umount /srv/f"),
    Check("bindfs by a user", FILES, "su - worker -c 'mkdir -p a f; echo x > a/f; bindfs --no-allow-other a f; grep x f/f; fusermount3 -u f'"),
    Check("sshfs", FILES, "[ -f /root/.ssh/id ] || ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id\n"
          "cp /root/.ssh/id.pub /root/.ssh/authorized_keys; mkdir -p /srv/s\n"
          "sshfs -o IdentityFile=/root/.ssh/id,StrictHostKeyChecking=no root@127.0.0.1:/etc /srv/s; grep root /srv/s/passwd; "
          "umount /srv/s", limit=60),
    Check("NFS", FILES, f"mkdir -p /mnt/shared; mount -t nfs4 {GATEWAY}:/ /mnt/shared; grep nfs /mnt/shared/hello; "
          "umount /mnt/shared", limit=60, kinds=("privileged",),
          forbids=(BASE, DOCKER), purpose="storage over the network is what lxc-gpu-docker-storage is for"),
    # In a namespace of its own: taking a shared tree away again would take the container's own with it.
    Check("chroot with proc, sys and dev", FILES, "r=/srv/root2; mkdir -p $r/bin $r/proc $r/sys $r/dev; cp /bin/busybox $r/bin/\n"
          "unshare -m --propagation slave sh -ec 'cd /srv/root2; mount -t proc proc proc; mount --rbind /sys sys; "
          "mount --rbind /dev dev; chroot . /bin/busybox test -c /dev/null; chroot . /bin/busybox cat /proc/self/comm'"),

    Check("mount namespace", SPACES, "unshare -m sh -ec 'mount -t tmpfs w /mnt; touch /mnt/x'; test ! -e /mnt/x", inits=ALL),
    Check("own /proc in a PID namespace", SPACES, "unshare --pid --fork --mount-proc sh -ec 'test $$ = 1; ps -e > /dev/null'",
          inits=ALL, few=True),
    Check("user namespace by a user", SPACES, "su - worker -c 'unshare -Ur id -u' | grep -x 0"),
    Check("a browser's sandbox", SPACES, "su - worker -c 'unshare -Urpn --fork --mount-proc true'"),
    Check("time namespace", SPACES, "unshare --time --boottime 1000 true", kinds=("privileged",)),
    Check("bubblewrap", SPACES, f"{_BWRAP} /bin/true"),
    Check("bubblewrap by a user", SPACES, f"su - worker -c '{_BWRAP} /bin/true'"),
    Check("flatpak's way", SPACES, f"su - worker -c '{_FLATPAK} /bin/sh -ec \"test -d /sys/class; touch /home/worker/x\"'"),

    Check("ip netns", LINKS, "ip netns add w; ip netns exec w ip link set lo up; ip netns exec w ping -c 1 127.0.0.1; "
          "ip netns del w"),
    Check("veth and bridge", LINKS, "ip link add wb type bridge; ip link add wv0 type veth peer name wv1; "
          "ip link set wv0 master wb; ip link del wv0; ip link del wb", inits=ALL),
    Check("tun", LINKS, "ip tuntap add dev wtun mode tun; ip link set wtun up; ip link del wtun"),
    Check("WireGuard", LINKS, "ip link add wg0 type wireguard; wg genkey > /root/wgkey; wg set wg0 private-key /root/wgkey "
          "listen-port 51820; ip link set wg0 up; wg show wg0 | grep 51820; ip link del wg0"),
    Check("firewall (nftables, iptables)", LINKS, "nft add table inet w; nft list tables | grep 'inet w'; nft delete table inet w; "
          "iptables -t nat -A POSTROUTING -s 10.5.0.0/24 -j MASQUERADE; iptables -t nat -F POSTROUTING"),
    Check("tcpdump", LINKS, "(sleep 2; ping -c 3 127.0.0.1 >/dev/null) & timeout 20 tcpdump -i lo -c 1 -n icmp"),
    Check("sysctl of the network", LINKS, "sysctl -w net.ipv4.ip_forward=1", inits=ALL),

    Check("AF_ALG", KERNEL, "python3 -c 'import socket as s; a=s.socket(s.AF_ALG, s.SOCK_SEQPACKET, 0); "
          "a.bind((\"hash\", \"sha256\")); c=a.accept()[0]; c.sendall(b\"x\"); print(len(c.recv(64)))' | grep 32",
          forbids=OURS, purpose="it loads modules by name; Proxmox's own rules stop it in unprivileged containers"),
    Check("chattr +i", KERNEL, f"touch {OVERLAID}/i; chattr +i {OVERLAID}/i; chattr -i {OVERLAID}/i; rm {OVERLAID}/i",
          kinds=("privileged",), forbids=(f"{BASE}/privileged",), purpose="files on a share that the host cannot remove"),
    Check("file capabilities", KERNEL, "cp /bin/busybox /srv/cap; setcap cap_net_raw+ep /srv/cap; getcap /srv/cap | grep net_raw"),
    Check("mknod", KERNEL, "rm -f /srv/null; mknod /srv/null c 1 3", kinds=("privileged",), forbids=(f"{BASE}/privileged",),
          purpose="a node of one's own reaches the host's disks"),
    Check("POSIX message queue", KERNEL, "python3 -c 'import ctypes; l=ctypes.CDLL(\"librt.so.1\", use_errno=True); "
          "assert l.mq_open(b\"/w\", 0o102, 0o600, None) >= 0, ctypes.get_errno(); l.mq_unlink(b\"/w\")'"),
    Check("memfd, executed", KERNEL, "python3 -c 'import os; f=os.memfd_create(\"w\"); os.write(f, open(\"/bin/busybox\", "
          "\"rb\").read()); os.execve(f, [\"busybox\", \"true\"], {})'"),
    Check("strace", KERNEL, "strace -f -o /dev/null true"),
    Check("io_uring", KERNEL, "python3 -c 'import ctypes; l=ctypes.CDLL(None, use_errno=True); b=ctypes.create_string_buffer(120); "
          "assert l.syscall(425, 4, b) >= 0, ctypes.get_errno()'"),
    Check("oom_score_adj", KERNEL, "echo 500 > /proc/self/oom_score_adj; choom -n 300 -p $$"),
    Check("renice and real time", KERNEL, "nice -n -5 true; chrt -f 10 true", kinds=("privileged",)),
    Check("cgroup of one's own", KERNEL, "systemd-run -q --wait --pipe -p Delegate=yes sh -ec "
          "'c=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup); mkdir $c/sub; echo 0 > $c/sub/cgroup.procs; "
          "grep -q /sub /proc/self/cgroup'"),
    Check("reads of /proc and /sys", KERNEL, "cat /proc/cpuinfo /proc/meminfo /proc/stat /proc/net/dev /proc/self/maps "
          "/proc/sys/kernel/osrelease /sys/class/net/lo/mtu /sys/devices/system/cpu/online /proc/self/smaps_rollup > /dev/null",
          inits=ALL),

    Check("names of source trees, node_modules, venv", TREES, made(TREE), inits=ALL),
    Check("names of the kernel's switches at home", TREES, made(SWITCHES), inits=ALL,
          forbids=OURS, purpose="switches of the host are closed under every name"),
    Check("python -m venv", TREES, "su - worker -c 'rm -rf v; python3 -m venv --without-pip v; v/bin/python -c 1; rm -rf v'",
          limit=60),
    Check("dpkg installs a package", TREES, "d=/srv/pkg; mkdir -p $d/DEBIAN $d/usr/share/w; touch $d/usr/share/w/f\n"
          "printf 'Package: w\\nVersion: 1\\nArchitecture: all\\nMaintainer: w\\nDescription: w\\n' > $d/DEBIAN/control\n"
          "dpkg-deb -b $d /srv/w.deb; dpkg -i /srv/w.deb; test -f /usr/share/w/f; dpkg -r w", limit=60, inits=ALL),
    Check("rsync and tar of a system tree", TREES, "mkdir -p /srv/copy; rsync -aAX /etc/ /srv/copy/; "
          "tar -C / -cJf /srv/etc.tar.xz etc/systemd; mkdir -p /srv/xt; tar -C /srv/xt -xf /srv/etc.tar.xz", limit=60),

    Check("Docker", INSIDE, f"{_IMAGE}systemctl start docker; docker import /srv/image.tar w; "
          "docker run --rm w echo hello | grep hello", limit=150, forbids=(f"{BASE}/privileged",), purpose=ENGINES),
    Check("docker build", INSIDE, "mkdir -p /srv/build; cd /srv/build; printf 'FROM w\\nRUN echo built > /tmp/f\\n' > Dockerfile\n"
          "DOCKER_BUILDKIT=0 docker build -t built .; docker run --rm built cat /tmp/f | grep built", limit=120,
          forbids=(f"{BASE}/privileged",), purpose=ENGINES),
    Check("podman", INSIDE, f"{_IMAGE}podman import -q /srv/image.tar w; podman run --rm --network none w echo hello | grep hello",
          limit=90, forbids=(f"{BASE}/privileged",), purpose=ENGINES),
    Check("podman by a user", INSIDE, f"{_IMAGE}loginctl enable-linger worker; install -d -o worker -m 700 /var/lib/.local/share\n"
          f"su - worker -c 'p=\"podman --root /var/lib/.local/share/containers/storage --cgroup-manager cgroupfs\"; $p import -q /srv/image.tar w; "
          "$p run --rm --network none --cgroups=disabled w echo hello' | grep hello", limit=120,
          forbids=(f"{BASE}/privileged",), purpose=ENGINES),
    Check("LXC in LXC", INSIDE, _NESTED, limit=60,
          forbids=(f"{BASE}/privileged", f"{DOCKER}/privileged", f"{STORAGE}/privileged"),
          purpose="nested system containers are what lxc-nesting-v1 is for"),

    Check("a GPU's node", GPU, "cat /dev/nvidia0 2>&1 | grep 'No such device'", inits=ALL),
    Check("the NVIDIA hook's binds", GPU, "cp /bin/busybox /usr/lib/x86_64-linux-gnu/libcuda.so.1\n"
          "l=/usr/lib/x86_64-linux-gnu/libcuda.so.1; mount --bind $l $l; mount -o remount,bind,ro,nosuid,nodev $l; umount $l"),
)  # fmt: skip
