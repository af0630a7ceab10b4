"""A trial on a real kernel: what comes through, what does not, and what ends it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from phoenix_hypervisor.lab.booted import Lab
from phoenix_hypervisor.lab.guest_containers import Container
from phoenix_hypervisor.lab.guestlink import Result
from support.lab_host import box

HOME = "/root/trials"
CONFIG = f"{HOME}/phoenix_lxc_configs.json"
TRIED, COPY = "lxc-t-tried", "lxc-trial-950"
SOURCE = """abi <abi/3.0>,
include <tunables/global>
profile lxc-t-tried flags=(attach_disconnected, mediate_deleted) {
  file,
  capability,
  umount,
  network,
  unix,
  signal (receive),
  signal (send) peer=@{profile_name},
  ptrace (trace, read) peer=@{profile_name},
  ptrace (readby, tracedby),
  mount fstype=tmpfs,
  mount options=(make-rslave),
  deny /proc/sysrq-trigger wkl,
  deny capability sys_time,
}
"""
RAMFS = "mkdir -p /mnt/x && mount -t ramfs x /mnt/x && umount /mnt/x"
DANGERS = {
    "second procfs": "mkdir -p /mnt/p && mount -t proc p /mnt/p",
    "second sysfs": "mkdir -p /mnt/s && mount -t sysfs s /mnt/s",
    "bind of /proc": "mkdir -p /mnt/b && mount -o bind /proc /mnt/b",
    "magic key": "echo h > /proc/sysrq-trigger",
    "clock": "date -s 2001-01-01; [ $(date +%Y) = 2001 ]",
    "out of the profile": "printf 'changeprofile unconfined' > /proc/self/attr/current",
    "into a hat": "printf 'changehat 0000000000000001^x' > /proc/self/attr/current",
    "under another profile": "printf 'exec unconfined' > /proc/self/attr/exec",
}


def phoenix(lab: Lab, *words: str) -> Result:
    return lab.run(["phoenix", "--config", CONFIG, *words], timeout=240)


def trial(lab: Lab, *words: str) -> str:
    done = phoenix(lab, "try", "950", *words)
    assert done.ok, done.stdout + done.stderr
    return done.stdout


def verify(lab: Lab) -> tuple[int, list[str]]:
    done = phoenix(lab, "verify", "950", "--json")
    (container,) = json.loads(done.stdout)["containers"]
    found = container["findings"]
    # What is no fault is told of many things; of a trial it is what is asked here.
    return done.rc, [one["code"] for one in found if one["fault"] or one["code"] == "on-trial"]


@pytest.fixture
def tried(lab: Lab) -> Iterator[tuple[Lab, Container]]:
    """Container 950, privileged and with nothing but AppArmor around it, runs under the profile."""
    lab.install_phoenix()
    lab.run(f"rm -rf {HOME} && mkdir -p {HOME}/apparmor /var/lib/lxc", check=True)
    lab.put(f"{HOME}/apparmor/{TRIED}", SOURCE)
    declared = {"950": {"name": "c950", "apparmor_profile": TRIED, "unprivileged": False, "seccomp": False}}
    lab.put(CONFIG, json.dumps({"lxc_configs": declared}))
    container = box(lab, 950, layer="bare", privileged=True)
    done = phoenix(lab, "apply", "950")
    assert done.ok, done.stderr
    assert container.label() == f"{TRIED} (enforce)"
    yield lab, container
    container.stop(kill=True)
    phoenix(lab, "try", "950", "--end")
    container.remove()
    lab.run(f"rm -rf {HOME} /etc/apparmor.d/{TRIED}; printf 'profile {TRIED} {{}}' | apparmor_parser -R")


def test_what_comes_through(tried: tuple[Lab, Container]) -> None:
    lab, container = tried
    assert not container.attach(RAMFS).ok
    trial(lab, TRIED, "--restart")
    assert container.label() == f"{COPY} (enforce)"
    assert (lab.profiles()[COPY], verify(lab)) == ("enforce", (0, ["on-trial"]))
    lab.mark()
    assert container.attach(RAMFS).ok
    assert any("ramfs" in str(one) for one in lab.denials(verdicts=("AUDIT",)))
    through = [name for name, does in DANGERS.items() if container.attach(does).ok]
    assert through == []


def test_its_end_takes_effect_at_once(tried: tuple[Lab, Container]) -> None:
    lab, container = tried
    trial(lab, TRIED, "--restart")
    pid = container.init_pid()
    trial(lab, "--end")
    assert not container.attach(RAMFS).ok and container.init_pid() == pid, "without a restart"
    assert verify(lab) == (3, ["old-label"])
    assert phoenix(lab, "apply", "950", "--restart").ok
    assert (container.label(), verify(lab)) == (f"{TRIED} (enforce)", (0, []))
    assert not container.attach(RAMFS).ok


def test_a_reload_of_its_file_ends_it(tried: tuple[Lab, Container]) -> None:
    """As a boot does, and `systemctl reload apparmor`: the file holds the plain copy."""
    lab, container = tried
    trial(lab, TRIED, "--restart")
    lab.run(["apparmor_parser", "-r", f"/etc/apparmor.d/{COPY}"], check=True)
    assert not container.attach(RAMFS).ok
    assert verify(lab) == (3, ["trial-ended"])
    assert container.stop(kill=True).ok and container.start().ok, "it can be started nevertheless"
    trial(lab, "--end")
    container.stop(kill=True)
    assert phoenix(lab, "apply", "950").ok and verify(lab) == (0, [])


def test_after_its_time_it_is_a_fault(tried: tuple[Lab, Container]) -> None:
    lab, container = tried
    container.stop(kill=True)
    trial(lab, TRIED, "--for", "1s")
    lab.run("sleep 2", check=True)
    assert verify(lab)[1][0] == "trial-overdue"
    trial(lab, "--end")
    assert COPY not in lab.profiles(), "nobody runs under it"
