"""`phoenix migrate-check` between real kernels: each reason once, made as it comes about."""

from __future__ import annotations

import json

from phoenix_hypervisor.lab.booted import Lab
from phoenix_hypervisor.lab.guest_containers import make_container
from support.lab_host import phoenix
from support.lab_nodes import CONFIG, HOME, declare

ONE = "  deny /etc/one w,\n"
SECCOMP = "/var/lib/phoenix/seccomp/privileged"
GPU = "lxc.mount.entry = /dev/nvidia-uvm dev/nvidia-uvm none bind,optional,create=file\n"
RULE = "lxc.cgroup2.devices.allow = c 511:* rwm\n"


def _made(release: str, name: str) -> Lab:
    """A guest with the profile applied to its container 101."""
    lab = Lab(release, phoenix=True)
    lab.start()
    lab.put("/etc/hostname", f"{name}\n")
    lab.run(["mkdir", "-p", f"{HOME}/policy_tests"], check=True)
    lab.run("rm -f /dev/nvidia-uvm; mknod /dev/nvidia-uvm c 511 0", check=True)
    make_container(lab, 101, profile="unconfined", extra=GPU + RULE)
    declare(lab, {"101": "lxc-t-one"}, {"lxc-t-one": ONE})
    done = phoenix(lab, "apply", "--all", "--no-start", "--config", CONFIG)
    assert done.ok, done.stderr
    return lab


def _facts(lab: Lab, *words: str) -> str:
    done = phoenix(lab, "facts", "--json", "--config", CONFIG, *words)
    assert done.ok, done.stderr
    return done.stdout


def _against(here: Lab, facts: str, *words: str) -> tuple[int, list[str], list[str]]:
    """The exit code, the reasons, the notes."""
    here.put("/root/facts.json", facts)
    node = json.loads(facts)["node"]
    asked = ("migrate-check", "101", node, "--facts", "/root/facts.json", "--json", "--config", CONFIG)
    done = phoenix(here, *asked, *words)
    assert done.rc in (0, 3), done.stderr
    document = json.loads(done.stdout)
    reasons, warnings = ([one["code"] for one in document[key]] for key in ("reasons", "warnings"))
    return done.rc, reasons, warnings


def test_each_reason_against_a_move(lab_tools: None) -> None:
    here, there, old = _made("trixie", "pve1"), _made("trixie", "pve2"), _made("bookworm", "pve3")
    try:
        same = _facts(there)
        assert _against(here, same) == (0, [], [])
        # Older than a second here too, whatever the two clocks make of it.
        here.run("sleep 3", check=True)
        assert _against(here, same, "--max-age", "1s")[1] == ["migrate-facts-old"]

        loaded = "/etc/apparmor.d/lxc-t-one"
        there.run(["apparmor_parser", "-R", loaded], check=True)
        assert _against(here, _facts(there))[:2] == (3, ["migrate-profile-missing"])
        there.run(["apparmor_parser", "-r", "-C", loaded], check=True)
        assert "migrate-not-enforced" in _against(here, _facts(there))[1]
        by_hand = f"sed 's/one/other/; s/lxc-t-other/lxc-t-one/' {loaded} | apparmor_parser -r"
        there.run(by_hand, check=True)
        assert _against(here, _facts(there))[1] == ["migrate-policy-differs"]
        there.run(["apparmor_parser", "-r", loaded], check=True)
        assert _against(here, _facts(there))[0] == 0

        there.run(f"mv {SECCOMP} {SECCOMP}.aside", check=True)
        assert _against(here, _facts(there))[1] == ["migrate-seccomp-missing"]
        there.run(f"cp {SECCOMP}.aside {SECCOMP} && echo '# other' >> {SECCOMP}", check=True)
        assert _against(here, _facts(there))[1] == ["migrate-seccomp-differs"]
        there.run(f"mv {SECCOMP}.aside {SECCOMP}", check=True)

        there.run("rm /dev/nvidia-uvm", check=True)
        assert _against(here, _facts(there))[1] == ["migrate-gpu-missing"]
        there.run("mknod /dev/nvidia-uvm c 236 0", check=True)
        assert _against(here, _facts(there))[1] == ["migrate-gpu-number"]
        there.run("rm /dev/nvidia-uvm; mknod /dev/nvidia-uvm c 511 0", check=True)

        there.run(
            "mkdir -p /etc/pve/nodes/pve2/lxc && ln -s nodes/pve2 /etc/pve/local && ln -s nodes/pve2/lxc /etc/pve/lxc"
        )
        assert "migrate-other-runtime" in _against(here, _facts(there, "--runtime", "proxmox"))[1]
        there.run("rm -r /etc/pve", check=True)
        # Stands in for a boot with apparmor=0.
        enabled = "/sys/module/apparmor/parameters/enabled"
        there.run(f"echo N > /run/off && mount --bind /run/off {enabled}", check=True)
        there.run("umount /sys/kernel/security", check=True)
        assert "migrate-no-apparmor" in _against(here, _facts(there))[1]

        # Debian 12 as it is: an older kernel, an older LXC, another parser.
        code, reasons, warnings = _against(here, _facts(old))
        assert code == 3 and set(reasons) == {"migrate-runtime-older", "migrate-not-mediated"}
        assert warnings == ["migrate-compiled-otherwise"]
        # Loaded by hand: no copy of ours, and these kernels hash differently.
        old.run(by_hand, check=True)
        assert "migrate-policy-unknown" in _against(here, _facts(old))[1]
    finally:
        for lab in (here, there, old):
            lab.close()
