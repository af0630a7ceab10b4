"""Generated hosts: always the same, for a given size."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

PROFILE = """include <tunables/global>
profile {name} flags=(attach_disconnected, mediate_deleted) {{
  include <abstractions/base>
  file,
  network,
  capability,
  deny /{{,**/}}sysrq-trigger wklx,
  deny @{{PROC}}/sys/kernel/** wl,
  /srv/{index}/** rwk,
}}
"""

CONF = """#container {ctid}
arch: amd64
cores: 4
features: keyctl=1
hostname: ct{ctid}
memory: 2048
net0: name=eth0,bridge=vmbr0,ip=dhcp,type=veth
ostype: ubuntu
rootfs: local-zfs:subvol-{ctid}-disk-0,size=16G
swap: 512
unprivileged: 1
lxc.cgroup2.devices.allow: c 195:* rwm
lxc.mount.entry: /dev/nvidia0 dev/nvidia0 none bind,optional,create=file

[pve:pending]
memory: 4096

[before]
arch: amd64
cores: 2
hostname: ct{ctid}
memory: 1024
lxc.apparmor.profile: unconfined
snaptime: 1756800000
"""


def add_gpus(host: Path, count: int) -> None:
    """NVIDIA GPUs, as the driver shows them; plain files stand for nodes."""
    nodes = [f"nvidia{number}" for number in range(count)]
    (host / "dev").mkdir()
    for name in (*nodes, "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset"):
        (host / "dev" / name).touch()
    for number in range(count):
        place = host / f"proc/driver/nvidia/gpus/0000:{number + 1:02x}:00.0"
        place.mkdir(parents=True)
        uuid = f"GPU-{number:08x}-0000-4000-8000-000000000000"
        text = f"Model: \t NVIDIA A100\nGPU UUID: \t {uuid}\nBus Location: \t {place.name}\n"
        (place / "information").write_text(f"{text}Device Minor: \t {number}\n")
    (host / "proc/devices").write_text("Character devices:\n195 nvidia\n510 nvidia-uvm\n\nBlock devices:\n")


def build(top: Path, containers: int, profiles: int) -> Path:
    """A host directory `top`/host with its configuration in the default place."""
    host = top / "host"
    shutil.rmtree(host, ignore_errors=True)
    etc = host / "usr/local/phoenix_hypervisor/etc"
    lxc = host / "etc/pve/nodes/bench/lxc"
    for path in (etc / "apparmor", lxc, host / "etc/apparmor", host / "usr/share"):
        path.mkdir(parents=True)
    (host / "etc/pve/lxc").symlink_to("nodes/bench/lxc")
    (host / "etc/pve/local").symlink_to("nodes/bench")
    shutil.copytree("/etc/apparmor.d", host / "etc/apparmor.d", symlinks=True)
    shutil.copy("/etc/apparmor/parser.conf", host / "etc/apparmor/parser.conf")
    shutil.copytree("/usr/share/apparmor-features", host / "usr/share/apparmor-features")
    names = [f"lxc-bench-{index:03}" for index in range(profiles)]
    for index, name in enumerate(names):
        (etc / "apparmor" / name).write_text(PROFILE.format(name=name, index=index))
    entries = {}
    for index in range(containers):
        ctid = str(1000 + index)
        special = "unconfined" if index % 10 == 9 else names[index % profiles]
        entries[ctid] = {
            "name": f"ct{ctid}",
            "apparmor_profile": special,
            "memory_mb": 2048,
            "cores": 4,
            "template": "local:vztmpl/debian-12.tar.zst",
            "storage_pool": "local-zfs",
            "storage_size_gb": 16,
            "network_config": {"name": "eth0", "bridge": "vmbr0", "ip": "dhcp"},
            "features": "keyctl=1",
            "mac_address": f"52:54:00:{index >> 16 & 255:02X}:{index >> 8 & 255:02X}:{index & 255:02X}",
            "unprivileged": True,
        }
        (lxc / f"{ctid}.conf").write_text(CONF.format(ctid=ctid))
    (etc / "phoenix_lxc_configs.json").write_text(json.dumps({"lxc_configs": entries}, indent=1))
    return host
