"""Configurations of Proxmox's of every kind, for whatever must take all of them.

`CORPUS` is by name: the files of tests/data/confs, and every way to write a profile line crossed
with what may stand around it.
"""

from __future__ import annotations

import json
from itertools import product
from typing import Any

from phoenix_hypervisor.containers.seccomp import COMMON, COMPANION
from support.hosts import TOP, DirectoryHost

RULES = b"2\ndenylist\nreject_force_umount\n[all]\nkexec_load errno 1\n"
PVE = "arch: amd64\nhostname: {}\nmemory: 512\nunprivileged: 1\n"
"""An ordinary container; its host name is to be filled in."""

PROFILE_LINES = {
    "none": "",
    "ours": "lxc.apparmor.profile: lxc-a\n",
    "equals": "lxc.apparmor.profile = lxc-a\n",
    "tight": "lxc.apparmor.profile:lxc-a \n",
    "quoted": 'lxc.apparmor.profile: "lxc-a"\n',
    "several": "lxc.apparmor.profile: lxc-b\nlxc.apparmor.profile: lxc-a\n",
    "twice": "lxc.apparmor.profile: lxc-a\nlxc.apparmor.profile: lxc-a\n",
    "variant": "lxc.apparmor.profile: lxc-a-unprivileged\n",
    "generated": "lxc.apparmor.profile: generated\n",
    "unconfined": "lxc.apparmor.profile: unconfined\n",
    "unconfined-quoted": "lxc.apparmor.profile: 'unconfined'\n",
    "unchanged": "lxc.apparmor.profile: unchanged\n",
    "stock": "lxc.apparmor.profile: lxc-container-default-with-nesting\n",
    "foreign": "lxc.apparmor.profile: lxc-of-somebody-else\n",
    "no-lxc": "lxc.apparmor.profile: docker-default\n",
    "stack": "lxc.apparmor.profile: lxc-a//&:lxc-x:unconfined\n",
    "umlaut": "lxc.apparmor.profile: lxc-\u00e4\n",
}
KINDS = {"unprivileged": "unprivileged: 1\n", "privileged": "", "said-privileged": "unprivileged: 0\n"}
FEATURES = {
    "": "",
    "nesting": "features: nesting=1\n",
    "mount": "features: mount=nfs;cifs,fuse=1,nesting=1\n",
}
BESIDE = {
    "nesting": "lxc.apparmor.allow_nesting: 1\n",
    "nesting-off": "lxc.apparmor.allow_nesting = 0\n",
    "nesting-twice": "lxc.apparmor.allow_nesting: 0\nlxc.apparmor.allow_nesting: 1\n",
    "seccomp": f"lxc.seccomp.profile: {COMPANION}\n",
    "seccomp-own": "lxc.seccomp.profile: /etc/my.seccomp\n",
    "raw": "lxc.apparmor.raw: mount fstype=nfs4,\nlxc.cap.drop: \n",
}
AROUND = {
    "locked": "arch: amd64\nlock: backup\nmemory: 512\n",
    "template": "arch: amd64\ntemplate: 1\n",
    "snapshots": "arch: amd64\nlxc.apparmor.profile: lxc-a\nunprivileged: 1\n\n[before]\nmemory: 1\nsnaptime: 1\n"
    "\n[later]\nlxc.apparmor.profile: unconfined\n",
    "pending": "hostname: a\n\n[pve:pending]\nmemory: 1024\nlxc.apparmor.profile: unconfined\n",
    "pending-settings": "hostname: a\nlxc.apparmor.profile: lxc-a\n\n[pve:pending]\nmemory: 1024\n",
    "pending-env": "hostname: a\n\n[pve:pending]\nlxc.environment.runtime: A=1\n",
    "include": "lxc.include: /etc/other.conf\nunprivileged: 1\n",
    "crlf": "arch: amd64\r\nlxc.apparmor.profile: lxc-a\r\nunprivileged: 1\r\nmemory: 512\r\n",
    "no-newline": "arch: amd64\nlxc.apparmor.profile: lxc-a\nunprivileged: 1\nmemory: 512",
    "empty": "",
    "comment": "#lxc.apparmor.profile%3A x\n# hostname: not\narch: amd64\n",
    "unparsable": "this is nothing\nUpper: 1\n lxc.apparmor.profile: x\nhostname: b\n",
    "first-line": "lxc.apparmor.profile: lxc-a\n",
    "duplicate-keys": "memory: 256\nmemory: 1024\nhostname: a\nhostname: b\n",
    "special": "memory: 512\n\n[special:fleecing]\nimages: x\n",
}
"""What is neither a line of ours nor a kind; `special` is malformed, and so left out."""
NETWORKS = (
    "net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:{0:02X},ip=10.1.0.{0}/24,gw=10.1.0.1,type=veth\n",
    "net0: name=eth0,bridge=vmbr0,ip=dhcp,ip6=auto,tag=20,firewall=1,mtu=1400\n"
    "net1: name=eth1,bridge=vmbr1,ip6=fd00::{0}/64,gw6=fd00::1\nnet9: name=eth9,bridge=vmbr9\n",
    "net0: name=eth0,bridge=vmbr0,rate=5,ip=dhcp\nnet1: name=eth1\n",
    "net0: name=eth0,bridge=vmbr0,ip=10.9.9.9/24,hwaddr=02:00:00:00:00:01\n",
    "net0: name=eth0,bridge=vmbr0,ip=10.300.0.1/24,gw=x,hwaddr=01:00:00:00:00:00,tag=5000\n",
)
STORAGE = (
    "rootfs: local-lvm:vm-{1}-disk-0,size=16G\nmp0: local-lvm:subvol-{1}-disk-1,mp=/data,size=8G,backup=1\n",
    "rootfs: local:{1}/vm-{1}-disk-0.raw,size=1536M\nmp0: /srv/media,mp=/media,ro=1\nmp9: tank:vol,mp=/x\n",
    "rootfs: /tank/x\nmp0: /mnt,mp=/mnt,mountoptions=noatime;discard\nmp1: /mnt/a b,mp=/c d\nmp2: x\n",
)
MACHINE = (
    "hostname: web-{1}\ncores: 4\nmemory: 4096\nswap: 0\nonboot: 1\ntags: a;b_c,d\n",
    "hostname: under_score\ncores: 0\nmemory: 15\nswap: x\nonboot: yes\ntags: a b;-c\nhookscript: l:s/h\n",
    "dev0: /dev/nvidia1,gid=44\ndev1: path=/dev/nvidiactl\ndev2: /dev/dri/renderD128\n",
    "lxc.cgroup2.devices.allow: c 195:* rwm\n"
    "lxc.mount.entry: /dev/nvidia0 dev/nvidia0 none bind,optional,create=file\n"
    "lxc.mount.entry: /dev/nvidia-uvm dev/nvidia-uvm none bind,optional,create=file\n",
    "lxc.mount.entry: /dev/nvidia0 dev/nvidia1 none bind\nlxc.mount.entry: /srv srv none bind 0 0\n",
)


def _corpus() -> dict[str, bytes]:
    found = {path.stem: path.read_bytes() for path in sorted((TOP / "tests/data/confs").glob("*.conf"))}
    for (line, kind), (features, text) in product(product(PROFILE_LINES, KINDS), FEATURES.items()):
        head = f"arch: amd64\n{text}{KINDS[kind]}{PROFILE_LINES[line]}"
        found[f"{line}-{kind}-{features}"] = head.encode()
    for (name, beside), kind, line in product(
        BESIDE.items(), KINDS, ("none", "ours", "unconfined", "quoted")
    ):
        text = f"{FEATURES['nesting']}{KINDS[kind]}{PROFILE_LINES[line]}{beside}"
        found[f"{name}-beside-{kind}-{line}"] = text.encode()
    found |= {name: text.encode() for name, text in AROUND.items()}
    found["not-utf-8"] = b"hostname: \xff\nlxc.apparmor.profile: lxc-a\n#\xfe\n"
    for number, parts in enumerate(product(NETWORKS, STORAGE)):
        text = "".join(parts) + "unprivileged: 1\n"
        found[f"devices-{number}"] = text.format(number + 2, "{ctid}").encode()
    for number, text in enumerate(MACHINE):
        found[f"machine-{number}"] = text.format(0, "{ctid}").encode()
    return found


CORPUS = _corpus()
"""`{ctid}` stands for the container's id."""

LEFT_OUT = ("special",)
"""What no edit is safe in, so that it cannot be declared."""


def numbered(first: int = 1000) -> dict[str, tuple[str, bytes]]:
    """The corpus by CTID: its name, and the bytes with that CTID in them."""
    return {
        str(ctid): (name, data.replace(b"{ctid}", str(ctid).encode()))
        for ctid, (name, data) in enumerate(CORPUS.items(), first)
    }


def prepared(host: DirectoryHost) -> DirectoryHost:
    """Sources beside the configuration, one with a variant, and what the companion is made from."""
    for name in ("lxc-a", "lxc-a-unprivileged", "lxc-b"):
        host.source(name)
    common = host.root / COMMON[1:]
    common.parent.mkdir(parents=True, exist_ok=True)
    common.write_bytes(RULES)
    return host


def imported(host: DirectoryHost) -> dict[str, Any]:
    """The entries of the configuration, by CTID."""
    found = json.loads(host.config.read_text())["lxc_configs"]
    assert isinstance(found, dict)
    return found
