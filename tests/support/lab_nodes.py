"""Lab guests as nodes of a fleet: reached by ssh, with one container each, and one small profile."""

from __future__ import annotations

import json
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

from phoenix_hypervisor.lab.booted import Lab
from phoenix_hypervisor.lab.cache import Cache
from phoenix_hypervisor.lab.guest_containers import Container, make_container
from phoenix_hypervisor.lab.rootdisk import RootDisk, ensure_root_disk
from support.lab_host import SMALL

HOME = "/etc/phoenix_hypervisor"
CONFIG = f"{HOME}/phoenix_lxc_configs.json"
SSHD = RootDisk("sshd-trixie", "trixie", ("openssh-server",), {})
"""Where the guests' sshd comes from: the lab's own image has none."""
NETWORK = """
modprobe virtio_net
for card in /sys/class/net/e*; do name=${card##*/}; done
ip link set "$name" up && ip address add 10.0.2.15/24 dev "$name"
"""
START = """
mkdir -p /mnt /run/sshd && mount -o ro /dev/vdb /mnt
cp -an /mnt/usr/. /usr/ && cp -an /mnt/etc/ssh /etc/
grep -q ^sshd: /etc/passwd || echo 'sshd:x:999:65534::/run/sshd:/usr/sbin/nologin' >> /etc/passwd
chmod 700 /root/.ssh && ssh-keygen -A
/usr/sbin/sshd -o UsePAM=no -o PermitRootLogin=yes
"""


def declare(lab: Lab, profiles: dict[str, str], sources: dict[str, str]) -> None:
    """The profile of each container, and rules by the profile's name."""
    for name, rules in sources.items():
        lab.put(f"{HOME}/apparmor/{name}", SMALL.format(name=name, rules=rules))
    entries = {ctid: {"name": f"c{ctid}", "apparmor_profile": p} for ctid, p in profiles.items()}
    lab.put(CONFIG, json.dumps({"lxc_configs": entries}))


class LabNode(Lab):
    """One guest; `container` is its container 101."""

    def __init__(self, name: str, key: Path, disk: Path) -> None:
        # Bound for as long as the guest lives, and nobody listens: so no other process is given this port, and
        # QEMU, which sets the same option, can listen there.
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(("127.0.0.1", 0))
        self.port = int(self._held.getsockname()[1])
        self.name, self.key = name, key
        super().__init__("trixie", phoenix=True, more_disks=[disk], ssh_port=self.port)
        self.container: Container

    def close(self) -> None:
        super().close()
        self._held.close()

    def make_ready(self) -> None:
        """Sshd, an empty configuration, and a container that is not started yet."""
        self.run(NETWORK, check=True)
        self.put("/root/.ssh/authorized_keys", self.key.with_suffix(".pub").read_bytes(), 0o600)
        self.run(START, check=True, timeout=300)
        self.put("/etc/hostname", f"{self.name}\n")
        # Nothing that was shipped is compiled: under emulation that takes minutes.
        self.run(["mkdir", "-p", f"{HOME}/policy_tests", f"{HOME}/apparmor"], check=True)
        self.container = make_container(self, 101, profile="unconfined")

    def variables(self) -> dict[str, object]:
        """What Ansible must know of it."""
        return {
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
            "ansible_python_interpreter": "/usr/bin/python3",
            "phoenix_config": CONFIG,
        }

    def files(self) -> dict[str, bytes]:
        """What Phoenix writes outside of its own records."""
        places = "/etc/apparmor.d/lxc-t-* /var/lib/lxc/*/config /var/lib/phoenix/seccomp/*"
        listed = self.run(f"ls -d {places} 2>/dev/null").stdout.split()
        return {path: self.get(path) for path in listed}


def three_nodes(stack: ExitStack, folder: Path) -> dict[str, LabNode]:
    """Three guests that are up, one after the other."""
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, timeout=30)
    disk = ensure_root_disk(Cache(), SSHD, progress=lambda text: print(text, flush=True)).disk
    nodes = {name: LabNode(name, key, disk) for name in ("pve1", "pve2", "pve3")}
    for node in nodes.values():
        stack.enter_context(node)
        node.make_ready()
    return nodes
