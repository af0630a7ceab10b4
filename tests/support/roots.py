"""Small Debian systems in a directory, as nodes that a real Ansible reaches: no kernel, no container."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from phoenix_hypervisor.lab.apt import debian_keyring, debian_mirror

INTO = """#!/bin/sh
# As Ansible calls ssh: the last word is the command.
for word; do :; done
exec env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 chroot '{root}' /bin/sh -c "$word"
"""


class Root:
    """A Debian of `suite` with Python and nothing else, from the mirror that this machine's own apt uses."""

    def __init__(self, folder: Path, suite: str) -> None:
        assert os.geteuid() == 0 and shutil.which("mmdebstrap"), "needs root, and mmdebstrap"
        self.path = folder / suite
        self.ssh = folder / f"ssh-{suite}"
        self.ssh.write_text(INTO.format(root=self.path))
        self.ssh.chmod(0o755)
        keyring = debian_keyring()
        words = ["--variant=minbase", "--include=python3"] + ([f"--keyring={keyring}"] if keyring else [])
        argv = ["mmdebstrap", *words, suite, str(self.path), debian_mirror()]
        subprocess.run(argv, check=True, capture_output=True, timeout=900)
        # A proxy, for one.
        own = subprocess.run(["apt-config", "dump", "Acquire"], check=True, capture_output=True, timeout=60)
        (self.path / "etc/apt/apt.conf.d/90machine").write_bytes(own.stdout)

    def variables(self) -> dict[str, object]:
        """What Ansible must know of it."""
        return {
            "ansible_connection": "ssh",
            "ansible_ssh_executable": str(self.ssh),
            "ansible_ssh_transfer_method": "piped",
            "ansible_python_interpreter": "/usr/bin/python3",
        }

    def run(self, *argv: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """A program inside."""
        words = [
            "env",
            "-i",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL=C.UTF-8",
            "chroot",
            str(self.path),
        ]
        return subprocess.run([*words, *argv], capture_output=True, text=True, timeout=timeout, check=False)

    def installed(self) -> dict[str, str]:
        """The version of each installed package."""
        shown = self.run("dpkg-query", "-W", "-f", "${db:Status-Status} ${Package} ${Version}\n")
        assert shown.returncode == 0, shown.stderr
        rows = [line.split(" ") for line in shown.stdout.splitlines()]
        return {name: version for status, name, version in rows if status == "installed"}
