"""`tools/need`: what `make demo` and `make test` install, and that a Proxmox node keeps its packages.

apt-get is a double that writes down its arguments; dpkg-query and the database are real.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from support.hosts import TOP

NEEDED_BY_NEED = ("sh", "dpkg-query", "mktemp", "tail", "cat", "rm", "ls", "id")
STATUS = """Package: {name}
Status: install ok installed
Priority: optional
Section: admin
Maintainer: nobody
Architecture: amd64
Version: 10.1.2-3
Description: a package
{more}
"""


class Machine:
    """A root with a dpkg database, and a PATH of a few programs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls = root / "apt-calls"
        self.bin = root / "bin"
        self.bin.mkdir()
        (root / "var/lib/dpkg/info").mkdir(parents=True)
        (root / "var/lib/dpkg/updates").mkdir()
        (root / "var/lib/dpkg/status").write_text("")
        for name in NEEDED_BY_NEED:
            found = next(p for d in ("/usr/bin", "/bin") if (p := Path(d, name)).exists())
            (self.bin / name).symlink_to(found)
        self.program("apt-get", f'echo "$@" >>{self.calls}; exit ${{APT_EXIT:-0}}')

    def program(self, name: str, text: str = "exit 0") -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.bin / name).chmod(0o755)

    def installed(self, *names: str) -> None:
        text = "".join(STATUS.format(name=name, more="") for name in names)
        (self.root / "var/lib/dpkg/status").write_text(text)

    def need(self, *packages: str, apt_exit: int = 0) -> subprocess.CompletedProcess[str]:
        environ = {"PATH": str(self.bin), "DPKG_ROOT": str(self.root), "APT_EXIT": str(apt_exit)}
        return subprocess.run(
            [TOP / "tools/need", *packages],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            env=environ,
        )

    def apt(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("sign", ["package", "directory"])
def test_nothing_is_installed_on_a_proxmox_node(machine: Machine, sign: str) -> None:
    if sign == "package":
        machine.installed("proxmox-ve", "pve-manager", "pve-qemu-kvm", "qemu-server")
    else:
        (machine.root / "etc/pve").mkdir(parents=True)
    done = machine.need("python3-no_such_module", "qemu-system-x86", "qemu-utils", "mmdebstrap")
    assert done.returncode == 1
    assert machine.apt() == []
    assert "Proxmox VE node" in done.stderr and "Nothing was installed" in done.stderr
    assert "in a VM" in done.stderr


def test_a_proxmox_node_gets_missing_python_modules_only(machine: Machine) -> None:
    machine.installed("pve-qemu-kvm")
    machine.program("qemu-system-x86_64")
    done = machine.need("qemu-system-x86", "python3-no_such_module")
    assert done.returncode == 0, done.stderr
    assert len(machine.apt()) == 1
    assert machine.apt()[0].endswith(" python3-no_such_module")


def test_a_program_counts_whatever_package_brought_it(machine: Machine) -> None:
    machine.installed("pve-qemu-kvm")
    for name in ("qemu-system-x86_64", "qemu-img", "mmdebstrap"):
        machine.program(name)
    done = machine.need("qemu-system-x86", "qemu-utils", "mmdebstrap")
    assert (done.returncode, done.stdout, done.stderr, machine.apt()) == (0, "", "", [])


@pytest.mark.parametrize("apt_exit", [0, 100])
def test_no_call_of_apt_may_remove_a_package(machine: Machine, apt_exit: int) -> None:
    done = machine.need("mmdebstrap", "cpio", apt_exit=apt_exit)
    assert done.returncode == (1 if apt_exit else 0)
    assert [line for line in machine.apt() if line.startswith("install")]
    assert all("--no-remove" in line for line in machine.apt() if line.startswith("install"))
    assert not [line for line in machine.apt() if not line.startswith(("install", "update"))]


def test_a_user_without_sudo_is_told_to_be_root(machine: Machine) -> None:
    done = machine.need("sudo", "mmdebstrap")
    assert done.returncode == 1
    assert "as root" in done.stderr and machine.apt() == []


@pytest.mark.parametrize("target", ["demo", "test"])
def test_make_on_a_proxmox_node_changes_nothing(machine: Machine, target: str) -> None:
    machine.installed("proxmox-ve", "pve-manager", "pve-qemu-kvm", "qemu-server")
    for name in ("make", "grep", "sed", "awk", "sha256sum", "cut"):
        (machine.bin / name).symlink_to(Path("/usr/bin", name))
    before = sorted(os.listdir(TOP))
    done = subprocess.run(
        ["/usr/bin/make", "-C", TOP, target],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={"PATH": str(machine.bin), "DPKG_ROOT": str(machine.root)},
    )
    assert done.returncode == 2
    assert "This machine is a Proxmox VE node: pve-qemu-kvm is installed." in done.stderr
    assert machine.apt() == [] and sorted(os.listdir(TOP)) == before
