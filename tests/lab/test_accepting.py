"""From a real denial to a rule that lets it through, on real kernels; and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from phoenix_hypervisor.lab.booted import Lab
from phoenix_hypervisor.lab.guest_containers import Container
from support.lab_host import SOURCES, box, declare, phoenix, until

LONG = 900.0
KEPT = ("lxc-base", "lxc-base-unprivileged")
OTHER = "profile lxc-t-other flags=(attach_disconnected) {\n  file, capability, network, signal, ptrace, unix,\n}\n"
INSIDE = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def mount(source, target, fstype, data=None):
    os.makedirs(target, exist_ok=True)
    failed = libc.mount(source.encode(), target.encode(), fstype.encode(), 0, data and data.encode())
    return ctypes.get_errno() if failed else 0
def write(path, text):
    try:
        with open(path, "w") as file:
            file.write(text)
    except OSError as error:
        return error.errno
    return 0
def signal():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if open(f"/proc/{pid}/cmdline").read() == "sleep\\0" + "7654\\0":
                os.kill(int(pid), 15)
                return 0
        except PermissionError as error:
            return error.errno
        except OSError:
            pass
    return -1
print(eval(sys.argv[1]))
"""
BEGIN = """
import os
with open("/proc/self/attr/exec", "w") as file:
    file.write("exec lxc-t-other")
os.execv("/bin/sleep", ["sleep", "7654"])
"""
NFS = "mount('10.9.9.9:/x', '/mnt/nas', 'nfs4', 'addr=10.9.9.9,clientaddr=10.9.9.1')"
EACCES, EPERM = 13, 1


def inside(container: Container, expression: str) -> int:
    done = container.attach(["python3", "-I", "-c", INSIDE, expression], timeout=LONG)
    assert done.ok, done.stderr
    return int(done.stdout)


@pytest.fixture
def container(lab: Lab) -> Iterator[Container]:
    """A container under lxc-base, and a process of another profile that it can see; few profiles, to be quick."""
    lab.install_phoenix()
    keep = " ".join(f"! -name {name}" for name in KEPT)
    places = f"{SOURCES} {SOURCES}/if-parser-accepts"
    # What no profile takes any more is tried by itself, where its variables are not known.
    docker = f"{SOURCES}/if-parser-accepts/abstractions/phoenix/docker-detached"
    lab.run(
        f"find {places} -maxdepth 1 -type f {keep} -delete; rm -rf {SOURCES}/accepted {docker}", check=True
    )
    declare(lab, {"311": "lxc-base"})
    made = box(lab, 311, rootfs="debian", layer="bare")
    done = phoenix(lab, "apply", "311", timeout=LONG)
    assert done.ok, done.stdout + done.stderr
    lab.put("/tmp/other", OTHER)
    lab.run("apparmor_parser -r /tmp/other", check=True, timeout=LONG)
    lab.put("/tmp/other.py", BEGIN)
    lab.run(
        f"setsid nsenter -t {made.init_pid()} -p -- python3 /tmp/other.py >/tmp/other.out 2>&1 </dev/null &",
        check=True,
    )
    until(lab, "grep -qax 'sleep.7654.' /proc/[0-9]*/cmdline", "the process of another profile is not there")
    yield made
    made.stop(kill=True)
    made.remove()
    lab.run(f"rm -rf {SOURCES}/accepted; apparmor_parser -R /tmp/other")
    lab.install_phoenix()


def denied(lab: Lab) -> dict[str, dict[str, Any]]:
    """The denials of the container, by what they are about."""
    done = phoenix(lab, "denials", "311", "--json", timeout=LONG)
    assert done.rc == 3, done.stdout + done.stderr
    return {one["object"]: one for one in json.loads(done.stdout)["denials"] if one["trusted"]}


@pytest.mark.slow
def test_from_a_refused_mount_to_one_that_is_let_through(lab: Lab, container: Container) -> None:
    assert container.label() == "lxc-base (enforce)"
    assert inside(container, NFS) == EACCES
    assert inside(container, "mount('proc', '/srv/p', 'proc')") == EACCES
    assert (
        inside(container, "write('/proc/self/attr/apparmor/current', 'changeprofile unconfined')") == EACCES
    )
    assert inside(container, "signal()") == EACCES, lab.get("/tmp/other.out")
    lab.run("printf noquiet > /sys/module/apparmor/parameters/audit", check=True)
    try:
        assert inside(container, "write('/proc/sysrq-trigger', 'h')") == EACCES
    finally:
        lab.run("printf normal > /sys/module/apparmor/parameters/audit", check=True)

    found = denied(lab)
    by = {(one["operation"], one["verdict"], one["code"]): one for one in found.values()}
    offered = next(one for one in found.values() if "10.9.9.9" in one["object"])
    assert offered["verdict"] == "offered", by
    assert (offered["ctid"], offered["profile"], offered["operation"]) == ("311", "lxc-base", "mount")
    assert offered["proposal"]["rule"] == "mount fstype=nfs4 options=(rw) 10.9.9.9:/x -> /mnt/nas/,"
    refused = {one["operation"]: one["reason"] for one in found.values() if one["verdict"] == "refused"}
    second = next(one for one in found.values() if "/srv/p" in one["object"])
    assert second["verdict"] == "refused", by
    assert "second procfs" in second["reason"] or "procfs and sysfs" in second["reason"], by
    assert "other profiles" in refused["change_profile"] or "no way out" in refused["change_profile"], by
    assert refused["signal"].startswith("other labels"), by
    assert "deny rule" in refused["open"] and "sysrq-trigger" in found["/proc/sysrq-trigger"]["object"], by

    failed = phoenix(lab, "accept", second["id"], timeout=LONG)
    assert failed.rc == 1 and "nothing was accepted" in failed.stderr
    done = phoenix(lab, "accept", offered["id"], timeout=LONG)
    assert done.ok, done.stdout + done.stderr
    assert offered["id"] in lab.get(f"{SOURCES}/accepted/lxc-base").decode()
    assert inside(container, NFS) == EACCES, "nothing is loaded yet"
    plan = phoenix(lab, "plan", "311", timeout=LONG)
    assert "+mount fstype=nfs4" in plan.stdout and "lxc-base opens" in plan.stdout, plan.stdout + plan.stderr
    done = phoenix(lab, "apply", "311", timeout=LONG)
    assert done.ok, done.stdout + done.stderr
    assert inside(container, NFS) not in (EACCES, EPERM), "the kernel's next answer is about the network"
    assert inside(container, "mount('proc', '/srv/p', 'proc')") == EACCES
