"""The containers' host: what a Proxmox node has beside a kernel, made in the lab's guest.

Owns the bridge, modules, cgroup options, lxcfs, the NFS server, and how profiles get into the kernel.  What of a
node is not there is told in docs/workloads.md.  Must not know checks.
"""

from __future__ import annotations

from pathlib import Path

from efficacy.labside import install_profiles

from phoenix_hypervisor.containers.seccomp import COMMON, render
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.lab.guestlink import Guest
from workloads.cell import SECCOMP
from workloads.guests import GATEWAY

MODULES = (
    "overlay bridge veth br_netfilter nf_tables nft_compat nft_chain_nat xt_MASQUERADE xt_addrtype xt_conntrack "
    "fuse tun wireguard af_alg algif_hash nfs nfsv4 nfsd dummy loop"
)
# A host with systemd mounts cgroup2 with these; the lab's own init does not (docs/internals/lab.md).
CGROUP = """
mount -o remount,nsdelegate,memory_recursiveprot /sys/fs/cgroup
for c in $(cat /sys/fs/cgroup/cgroup.controllers); do echo +$c > /sys/fs/cgroup/cgroup.subtree_control || true; done
"""
NETWORK = f"""
mkdir -p /dev/net && [ -e /dev/net/tun ] || mknod -m 666 /dev/net/tun c 10 200
[ -e /dev/fuse ] || mknod -m 666 /dev/fuse c 10 229
chmod 666 /dev/fuse /dev/net/tun
ip link add vmbr0 type bridge && ip addr add {GATEWAY}/24 dev vmbr0 && ip link set vmbr0 up
"""
# LXC's common.conf binds some of these into every container, so that its own mount units find them mounted.
MOUNTS = """
mountpoint -q /sys/fs/fuse/connections || mount -t fusectl fusectl /sys/fs/fuse/connections
mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug
mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing
mkdir -p /dev/hugepages; mountpoint -q /dev/hugepages || mount -t hugetlbfs hugetlbfs /dev/hugepages
mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf
"""
# The guest's root brings the programs that the lab's image lacks.
PROGRAMS = "d=/run/workloads/programs; export LD_LIBRARY_PATH=$d/usr/lib/x86_64-linux-gnu:$d/usr/lib/x86_64-linux-gnu/lxcfs\n"
LXCFS = """
mkdir -p $d /var/lib/lxcfs /usr/share/lxcfs
mount -t ext4 -o ro,noload DEVICE $d
cp -r $d/usr/share/lxcfs/. /usr/share/lxcfs/
mkdir -p /usr/share/lxc/config/common.conf.d
cp $d/usr/share/lxc/config/common.conf.d/00-lxcfs.conf /usr/share/lxc/config/common.conf.d/
$d/usr/bin/lxcfs /var/lib/lxcfs >/run/workloads/lxcfs.log 2>&1 </dev/null &
i=0
while [ ! -e /var/lib/lxcfs/proc/meminfo ]; do
  i=$((i+1)); [ $i -lt 20 ] || { cat /run/workloads/lxcfs.log >&2; exit 1; }; sleep 0.5
done
"""
NFS = """
mkdir -p /run/workloads/share /var/lib/nfs/v4recovery /run/rpc_pipefs /etc/exports.d
touch /etc/exports /var/lib/nfs/etab /var/lib/nfs/rmtab
echo hello from nfs > /run/workloads/share/hello
mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd
$d/usr/sbin/exportfs -i -o rw,fsid=0,no_subtree_check,no_root_squash,insecure '*:/run/workloads/share'
$d/usr/sbin/rpc.mountd >/run/workloads/nfs.log 2>&1 </dev/null
echo '+4 +4.1 +4.2 -3' > /proc/fs/nfsd/versions || true
echo 'tcp 2049' > /proc/fs/nfsd/portlist
echo 2 > /proc/fs/nfsd/threads
"""


def prepare(lab: Guest) -> None:
    """Give the lab's guest what a node has of itself: bridge, modules, mounts, options of cgroup2."""
    lab.run(f"mkdir -p /run/workloads; modprobe -a {MODULES} 2>/dev/null; true", check=True)
    # Rules that say `deny` are silent otherwise, and a failed check would have no reason.
    lab.run("printf noquiet > /sys/module/apparmor/parameters/audit", check=True)
    lab.run(f"set -e\n{CGROUP}{NETWORK}{MOUNTS}", check=True)


def add_programs(lab: Guest, device: str) -> list[str]:
    """Start lxcfs and an NFS server; what could not be had, in words.

    `device` is the disk of the guest's root file system with systemd, which brings them.
    """
    missing = []
    for what, script in (("lxcfs", LXCFS.replace("DEVICE", device)), ("an NFS server", NFS)):
        done = lab.run(f"set -e\n{PROGRAMS}{script}", timeout=60)
        if not done.ok:
            missing.append(f"{what}: {(done.stderr or done.stdout).strip()[-300:]}")
    return missing


def install(
    lab: Guest, sources: list[Path], includes: list[Path], seccomp: Path | None, wanted: str = "lxc-*"
) -> list[str]:
    """The shipped profiles into the kernel, then further sources; names of the profiles that are loaded.

    `wanted` is a shell pattern of the shipped ones to take.

    `seccomp` stands in for the companion that Phoenix renders for privileged containers.
    `includes` are directories whose files become abstractions/phoenix/ for `sources`; PhoenixError where a
    source does not compile.
    """
    install_profiles(lab, wanted)
    for directory in includes:
        for path in sorted(directory.iterdir()):
            lab.put(f"/etc/apparmor.d/abstractions/phoenix/{path.name}", path.read_bytes())
    for source in sources:
        place = f"/run/workloads/{source.name}"
        lab.put(place, source.read_bytes())
        lab.run(["apparmor_parser", "-rK", place], timeout=120, check=True)
    own = render(lab.get(COMMON)) if seccomp is None else seccomp.read_bytes()
    lab.put(SECCOMP, own)
    loaded = sorted(lab.profiles())
    if not loaded:
        raise PhoenixError("no profile is loaded in the lab's guest")
    return loaded
