"""Phoenix inside the guest, as on any host: the kernel and LXC say what came of it."""

from __future__ import annotations

import json

import pytest

from phoenix_hypervisor.lab.booted import Lab
from phoenix_hypervisor.plan.lines import variant
from phoenix_hypervisor.profiles.sources import read_sources
from support.hosts import TOP
from support.lab_host import CONFIG, SHIPPED, SMALL, SOURCES, box, declare, phoenix, source, until, verify

SOURCE_NAMES = frozenset(read_sources(str(TOP / "etc/apparmor")).profiles)


def test_setup_loads_what_it_says(ready: Lab) -> None:
    loaded = ready.profiles()
    assert all(loaded[name] == "enforce" for name in SHIPPED)
    assert "changed=0" in phoenix(ready, "setup").stdout
    code, codes = verify(ready)
    assert code == 0, codes
    release = ready.run(["uname", "-r"]).stdout.strip()
    check = phoenix(ready, "check", "--quick")
    assert check.ok and f"the running kernel {release}" in check.stdout


@pytest.mark.parametrize("privileged", [True, False], ids=["privileged", "unprivileged"])
@pytest.mark.parametrize("layer", ["bare", "stock"])
def test_every_shipped_profile_holds_a_container(ready: Lab, layer: str, privileged: bool) -> None:
    names = {str(960 + i): name for i, name in enumerate(SHIPPED)}
    boxes = [box(ready, int(ctid), layer=layer, privileged=privileged) for ctid in names]
    try:
        declare(ready, names)
        done = phoenix(ready, "apply", "--all")
        assert done.ok, done.stdout + done.stderr
        for container in boxes:
            name = variant(names[container.name], not privileged, SOURCE_NAMES)
            assert container.label() == f"{name} (enforce)"
            attached = container.attach("cat /proc/self/attr/current; echo x > /tmp/x && cat /tmp/x")
            assert attached.ok and f"{name} (enforce)" in attached.stdout, attached.stderr
        code, codes = verify(ready)
        assert code == 0, codes
        assert "changed=0" in phoenix(ready, "apply", "--all").stdout
        for container in boxes:
            assert container.stop(kill=True).ok
            assert container.state() == "STOPPED"
    finally:
        for container in boxes:
            container.remove()


def test_the_kernel_holds_a_created_container_to_its_limits(ready: Lab) -> None:
    """What the schema says that a key becomes, LXC takes and the kernel reads so."""
    limits = {"memory_mb": 256, "swap_mb": 64, "cores": 2}
    entry = {"name": "limited", "apparmor_profile": SHIPPED[-1], "template": "busybox", "unprivileged": False}
    ready.put(CONFIG, json.dumps({"lxc_configs": {"980": {**entry, **limits}}}))
    try:
        done = phoenix(ready, "apply", "980")
        assert done.ok, done.stdout + done.stderr
        cgroup = "/sys/fs/cgroup/lxc.payload.980"
        found = {name: ready.get(f"{cgroup}/{name}").decode().strip() for name in LIMITS}
        assert found == LIMITS
    finally:
        ready.run("lxc-stop -n 980 -k; lxc-destroy -n 980")


LIMITS = {"memory.max": "268435456", "memory.swap.max": "67108864", "cpu.max": "200000 100000"}


def test_a_profile_that_is_not_loaded_is_refused_before_lxc(ready: Lab) -> None:
    container = box(ready, 970)
    try:
        ready.put("/etc/apparmor.d/lxc-t-absent", SMALL.format(name="lxc-t-absent", rules=""))
        declare(ready, {"970": "lxc-t-absent"})
        done = phoenix(ready, "apply", "970")
        assert done.rc == 1
        assert "cannot start under lxc-t-absent: the profile is not loaded" in done.stderr
        assert "apparmor.profile" not in ready.get(container.config_path).decode()
        # LXC's own words, which this saves the operator from.
        container.set_profile("lxc-t-absent")
        assert not container.start().ok
    finally:
        container.remove()
        ready.run(["rm", "-f", "/etc/apparmor.d/lxc-t-absent"])


def test_another_prefix_is_refused_by_the_kernel_and_by_us(ready: Lab) -> None:
    ready.put("/tmp/other", SMALL.format(name="other-prefix", rules=""))
    ready.run(["apparmor_parser", "-r", "/tmp/other"], check=True)
    container = box(ready, 971, profile="other-prefix")
    try:
        ready.mark()
        assert not container.start().ok
        assert any(d.operation == "change_profile" for d in ready.denials())
        ready.put(f"{SOURCES}/other-prefix", SMALL.format(name="other-prefix", rules=""))
        done = phoenix(ready, "check", "--quick")
        assert done.rc == 1 and "a profile's name must be lxc-NAME" in done.stderr
    finally:
        container.remove()
        ready.run(["rm", "-f", f"{SOURCES}/other-prefix"])
        ready.run("echo 'profile other-prefix {}' | apparmor_parser -R")


def test_a_failed_load_puts_files_and_kernel_back(ready: Lab) -> None:
    for name in ("lxc-t-one", "lxc-t-two"):
        source(ready, name, "  deny /etc/one r,\n")
    assert phoenix(ready, "setup").ok
    container = box(ready, 972, profile="lxc-t-one")
    try:
        assert container.start().ok
        assert container.attach("echo readable > /probe").ok
        for name in ("lxc-t-one", "lxc-t-two"):
            source(ready, name, "  deny /probe r,\n")
        before = ready.run("cat /etc/apparmor.d/lxc-t-*").stdout
        # The real parser, but the second load fails: nothing but the exit code is made up.
        ready.put(
            "/tmp/parser",
            '#!/bin/sh\ncase "$*" in *--replace*lxc-t-two) echo refused >&2; exit 1;; esac\nexec apparmor_parser "$@"\n',
            0o755,
        )
        done = phoenix(ready, "setup", "--parser", "/tmp/parser")
        assert done.rc == 1 and "refused" in done.stderr and "as before" in done.stderr
        assert ready.run("cat /etc/apparmor.d/lxc-t-*").stdout == before
        assert container.attach("cat /probe").stdout.strip() == "readable"
        assert phoenix(ready, "setup").ok
        assert not container.attach("cat /probe").ok, "a replaced profile confines at once"
    finally:
        container.remove()


def test_restart_onto_another_profile_and_retirement(ready: Lab) -> None:
    old = SMALL.format(name="lxc-t-old", rules="")
    ready.put("/etc/apparmor.d/lxc-t-old", old)
    ready.run(["apparmor_parser", "-r", "/etc/apparmor.d/lxc-t-old"], check=True)
    container = box(ready, 973, profile="lxc-t-old")
    try:
        assert container.start().ok
        declare(
            ready, {"973": "lxc-nvidia-gpu-base"}, deprecated_profiles={"lxc-t-old": "lxc-nvidia-gpu-base"}
        )
        refused = phoenix(ready, "setup")
        assert refused.rc == 1 and "still assigned to container 973" in refused.stderr
        done = phoenix(ready, "apply", "973")
        assert done.ok, done.stderr
        assert "restart needed: it runs under lxc-t-old (enforce)" in done.stdout
        assert "deprecated, kept" in done.stdout and "lxc-t-old" in ready.profiles()
        code, codes = verify(ready)
        assert code == 3 and codes["973"] == ["old-label"]
        done = phoenix(ready, "apply", "973", "--restart")
        assert done.ok, done.stderr
        assert container.label() == "lxc-nvidia-gpu-base (enforce)"
        # Retired in the run that made it unused, or in the next: never while a process carries it.
        assert phoenix(ready, "apply", "973").ok
        assert "lxc-t-old" not in ready.profiles()
        assert not ready.run(["test", "-e", "/etc/apparmor.d/lxc-t-old"]).ok
        assert verify(ready)[0] == 0
    finally:
        container.remove()


def test_verify_sees_what_runs_otherwise(ready: Lab) -> None:
    container = box(ready, 974)
    try:
        declare(ready, {"974": "lxc-nvidia-gpu-docker"})
        assert phoenix(ready, "apply", "974").ok
        assert verify(ready, "974")[0] == 0
        # Attached later: it gets the profile too.
        ready.run("lxc-attach -n 974 -- sleep 300 >/dev/null 2>&1 &")
        # Until lxc-attach has become the command, what it attaches is unconfined in the container's cgroup.
        sleeps = r"grep -lax 'sleep.300.' /proc/[0-9]*/cmdline"
        until(ready, f"{sleeps} > /dev/null", "nothing is attached")
        attached = int(ready.run(sleeps).stdout.split("/")[2])
        assert ready.label(attached) == "lxc-nvidia-gpu-docker (enforce)"
        assert verify(ready, "974")[0] == 0
        # An unconfined process inside a confined container.
        pid = container.init_pid()
        ready.run(
            f"rm -f /tmp/stray; cg=/sys/fs/cgroup$(cut -d: -f3 /proc/{pid}/cgroup); "
            'sh -c "echo \\$\\$ > /tmp/stray; echo \\$\\$ > $cg/cgroup.procs; '
            f'exec nsenter -t {pid} -m -u -i sleep 301" >/dev/null 2>&1 &',
            check=True,
        )
        until(ready, 'grep -qax "sleep.301." /proc/$(cat /tmp/stray)/cmdline', "no stray process")
        code, codes = verify(ready, "974")
        assert code == 3 and codes["974"] == ["stray-process"], codes
        ready.run("kill -9 $(cat /tmp/stray)", check=True)
        until(ready, '! grep -q "^State:.[^Z]" /proc/$(cat /tmp/stray)/status', "the stray process lives on")
        assert verify(ready, "974")[0] == 0
        # Complain mode refuses nothing, and a removed profile leaves processes unconfined.
        ready.run("apparmor_parser -r -C /etc/apparmor.d/lxc-nvidia-gpu-docker", check=True)
        code, codes = verify(ready, "974")
        assert code == 3 and "complain" in codes["lxc-nvidia-gpu-docker"] and "complain" in codes["974"]
        ready.run("echo 'profile lxc-nvidia-gpu-docker {}' | apparmor_parser -R", check=True)
        code, codes = verify(ready, "974")
        assert code == 3 and "not-loaded" in codes["lxc-nvidia-gpu-docker"]
        assert codes["974"] == ["old-label"]
        assert phoenix(ready, "apply", "974", "--restart").ok
        assert verify(ready, "974")[0] == 0
    finally:
        container.remove()
