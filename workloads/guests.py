"""The guests' root file systems: Debians full of ordinary services, with systemd, OpenRC, or runit as init.

Owns the packages, the few settings that let the services stand side by side, and nothing that would make a
check succeed: units are as Debian ships them.  Built once a release by `lab.rootdisk`.  Must not know profiles.
"""

from __future__ import annotations

from typing import Literal

from phoenix_hypervisor.lab.rootdisk import RootDisk

Init = Literal["systemd", "openrc", "runit"]
INITS: tuple[Init, ...] = ("systemd", "openrc", "runit")

ADDRESS, GATEWAY = "10.9.0.2", "10.9.0.1"
"""Of the container and of the bridge on its host."""

_COMMON = (
    *("openssh-server", "openssh-client", "cron", "nginx", "rsyslog", "redis-server"),
    *("iproute2", "iputils-ping", "procps", "psmisc", "kmod", "busybox-static", "curl", "python3"),
)
_FEW = ("systemd-sysv", "dbus", "libpam-systemd", "systemd-resolved")
_SYSTEMD = (
    *("systemd-sysv", "dbus", "libpam-systemd", "systemd-resolved", "systemd-timesyncd", "polkitd"),
    *("apache2", "php-fpm", "postgresql", "mariadb-server", "memcached", "mosquitto"),
    *("postfix", "bind9", "bind9-dnsutils", "unbound", "dnsmasq", "logrotate", "sudo"),
    *("bindfs", "sshfs", "fuse3", "wireguard-tools", "iptables", "nftables", "bubblewrap"),
    *(
        "docker.io",
        "containerd",
        "runc",
        "podman",
        "crun",
        "fuse-overlayfs",
        "uidmap",
        "slirp4netns",
        "passt",
    ),
    *("lxc", "lxcfs", "systemd-container", "nfs-kernel-server", "nfs-common", "strace", "e2fsprogs"),
    *("attr", "acl", "libcap2-bin", "python3-venv", "netcat-openbsd", "tcpdump", "rsync", "xz-utils"),
)
_FILES: dict[str, tuple[int, bytes]] = {
    "etc/hosts": (0o644, b"127.0.0.1 localhost\n::1 localhost ip6-localhost\n"),
    "etc/hostname": (0o644, b"guest\n"),
    "etc/fstab": (0o644, b""),
    "etc/cron.d/workloads": (0o644, b"* * * * * root date > /run/cron-ran\n"),
}
_SYSTEMD_FILES: dict[str, tuple[int, bytes]] = {
    **_FILES,
    "etc/systemd/network/eth0.network": (
        0o644,
        f"[Match]\nName=eth0\n[Network]\nAddress={ADDRESS}/24\nGateway={GATEWAY}\nDHCP=no\n".encode(),
    ),
    "etc/systemd/resolved.conf.d/workloads.conf": (
        0o644,
        b"[Resolve]\nDNS=127.0.0.1\nDomains=~.\nLLMNR=no\nMulticastDNS=no\n",
    ),
    "etc/apache2/ports.conf": (0o644, b"Listen 8080\n"),
    "etc/apache2/sites-available/000-default.conf": (
        0o644,
        b"<VirtualHost *:8080>\nDocumentRoot /var/www/html\n</VirtualHost>\n",
    ),
    "etc/bind/named.conf.options": (
        0o644,
        b'options { directory "/var/cache/bind"; listen-on { 127.0.0.1; }; listen-on-v6 { none; };\n'
        b"dnssec-validation no; recursion yes; };\n",
    ),
    "etc/bind/named.conf.local": (
        0o644,
        b'zone "workloads.test" { type master; file "/etc/bind/db.workloads"; };\n',
    ),
    "etc/bind/db.workloads": (
        0o644,
        b"$TTL 60\n@ IN SOA ns.workloads.test. root.workloads.test. 1 60 60 60 60\n"
        b"@ IN NS ns.workloads.test.\nns IN A 127.0.0.1\nwww IN A 10.1.2.3\n",
    ),
    "etc/unbound/unbound.conf.d/workloads.conf": (
        0o644,
        b'server:\n interface: 127.0.0.1@5335\n local-zone: "unbound.test." static\n'
        b' local-data: "unbound.test. A 10.1.2.3"\n',
    ),
    "etc/dnsmasq.d/workloads.conf": (
        0o644,
        b"port=5354\nbind-interfaces\nlisten-address=127.0.0.1\nno-resolv\naddress=/dnsmasq.test/10.1.2.3\n",
    ),
}
# A user of a container has no identifiers above 65535.
_USER = """
useradd -m -s /bin/bash -u 1000 worker
printf 'worker:10000:50000\\n' > /etc/subuid
cp /etc/subuid /etc/subgid
echo hello from nginx > /var/www/html/index.html
mkdir -p /var/www/html /root/.ssh
chmod 700 /root/.ssh
rm -f /etc/machine-id
: > /etc/machine-id
"""
# Container engines are started by their own checks, so that a boot is a boot of ordinary services; what is
# the host's part here (NFS server, lxcfs) is not the guest's.
_SYSTEMD_SETUP = f"""{_USER}
systemctl enable systemd-networkd systemd-resolved
for unit in docker.service docker.socket containerd.service podman.service podman.socket podman-auto-update.timer \\
  podman-restart.service podman-clean-transient.service lxc.service lxc-net.service lxc-monitord.service lxcfs.service \\
  nfs-server.service nfs-kernel-server.service rpcbind.service rpcbind.socket nfs-blkmap.service nfs-client.target; do
  systemctl disable "$unit" 2>/dev/null || true
done
# Two of the packages' own pieces want to be the system's resolver.
systemctl disable unbound-resolvconf.service named-resolvconf.service 2>/dev/null || true
ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
"""
_OPENRC = ("openrc", "sysvinit-core", "initscripts")
_RUNIT = ("runit-init", "runit")


def disk(suite: str, init: Init, *, few: bool = False) -> RootDisk:
    """The root file system of this release with this init; with `few`, a small one for the checks of that mark."""
    if few:
        packages = (*_COMMON, *_FEW)
        return RootDisk(f"workloads-few-{suite}", suite, packages, _SYSTEMD_FILES, _SYSTEMD_SETUP)
    if init == "systemd":
        more = () if suite == "bookworm" else ("docker-cli",)
        packages = (*_COMMON, *_SYSTEMD, *more)
        return RootDisk(f"workloads-systemd-{suite}", suite, packages, _SYSTEMD_FILES, _SYSTEMD_SETUP)
    packages = (*_COMMON, *(_OPENRC if init == "openrc" else _RUNIT))
    return RootDisk(f"workloads-{init}-{suite}", suite, packages, _FILES, _USER)
