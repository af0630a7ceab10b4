"""The lab itself: a real AppArmor kernel, real LXC, and no answer invented on the way."""

from __future__ import annotations

import itertools
import time
from importlib import resources

import pytest

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.lab.booted import Lab
from phoenix_hypervisor.lab.guest_containers import make_container
from phoenix_hypervisor.lab.recipe import packaged_features, release_named
from phoenix_hypervisor.lab.tools import Tool
from support.lab_demand import demand_tools
from support.lab_host import until

PROFILE = """\
#include <tunables/global>
profile {name} flags=(attach_disconnected,mediate_deleted) {{
  file,
  capability,
  network,
  mount,
  umount,
  pivot_root,
  signal,
  ptrace,
  unix,
  audit deny /proc/sysrq-trigger rwklx,
  audit deny /dev/nvidiactl rwklm,
}}
"""


def load(lab: Lab, name: str) -> None:
    lab.put(f"/etc/apparmor.d/{name}", PROFILE.format(name=name))
    lab.run(["apparmor_parser", "-r", "-W", f"/etc/apparmor.d/{name}"], check=True)


def test_kernel_enforces_apparmor(lab: Lab) -> None:
    assert lab.get("/sys/module/apparmor/parameters/enabled").strip() == b"Y"
    assert "apparmor" in lab.get("/sys/kernel/security/lsm").decode().split(",")
    assert lab.profiles()["lxc-container-default-cgns"] == "enforce"
    assert lab.profiles()["/usr/bin/lxc-start"] == "enforce"


def test_packaged_features_are_this_kernels(lab: Lab) -> None:
    assert lab.features() == packaged_features(lab.release)
    assert resources.files("phoenix_hypervisor").joinpath("data", "features").is_dir()


def test_parser_cache_made_at_build_is_for_this_kernel(lab: Lab) -> None:
    names = lab.run("cat /var/cache/apparmor/*/.features").stdout.encode()
    assert names == packaged_features(lab.release)


def test_guest_is_the_release(lab: Lab) -> None:
    text = lab.get("/etc/os-release").decode()
    # A release in the making has no number yet, and unstable goes by the name of testing.
    assert f'VERSION_ID="{lab.release.version}"' in text or (lab.release.moving and "forky" in text)


def test_dependencies_of_phoenix_are_there(lab: Lab) -> None:
    done = lab.run(["python3", "-c", "import click, fastjsonschema, jsonschema, rich"])
    assert done.ok, done.stderr


def test_phoenix_is_brought_in(lab: Lab) -> None:
    done = lab.run(
        ["python3", "-c", "import phoenix_hypervisor as p; print(p.__file__)"],
        env={"PYTHONPATH": "/usr/local/phoenix_hypervisor/src"},
    )
    assert done.stdout.startswith("/usr/local/phoenix_hypervisor/src/"), done.stderr


def test_run_gives_exit_code_and_both_streams(lab: Lab) -> None:
    done = lab.run("cat; echo err >&2; exit 7", input=b"in\xff\n")
    assert (done.rc, done.stdout, done.stderr) == (7, "in\udcff\n", "err\n")


def test_run_is_bounded_and_ends_the_whole_session(lab: Lab) -> None:
    started = time.monotonic()
    done = lab.run("sleep 987 & sleep 987", timeout=1)
    assert done.timed_out and not done.ok and not done.unkillable
    assert time.monotonic() - started < 200
    until(lab, "! grep -qa '^sleep.98[7]' /proc/[0-9]*/cmdline", "one of its processes lives on", 60)


def test_a_daemon_left_behind_keeps_nobody_waiting(lab: Lab) -> None:
    started = time.monotonic()
    assert lab.run("setsid sleep 600 & echo done").stdout == "done\n"
    assert time.monotonic() - started < 200


def test_missing_program_is_an_error(lab: Lab) -> None:
    with pytest.raises(PhoenixError, match="no-such-program"):
        lab.run(["no-such-program"])


def test_files_go_both_ways_whole(lab: Lab) -> None:
    data = bytes(range(256)) * 8192
    lab.put("/tmp/new/blob", data, 0o640)
    assert lab.get("/tmp/new/blob") == data
    assert lab.run(["stat", "-c", "%a", "/tmp/new/blob"]).stdout == "640\n"


def test_clock_is_right_after_continuing(lab: Lab) -> None:
    assert abs(float(lab.run(["date", "+%s.%N"]).stdout) - time.time()) < 30


@pytest.mark.parametrize(
    ("rootfs", "layer", "privileged"),
    list(itertools.product(["busybox", "debian"], ["bare", "stock"], [True, False])),
)
def test_container_in_every_combination(lab: Lab, rootfs: str, layer: str, privileged: bool) -> None:
    load(lab, "lxc-lab-open")
    container = make_container(
        lab,
        900,
        layer=layer,  # type: ignore[arg-type]
        privileged=privileged,
        rootfs=rootfs,  # type: ignore[arg-type]
        profile="lxc-lab-open",
        nvidia=True,
    )
    try:
        started = container.start()
        assert started.ok, started.stderr
        assert container.label() == "lxc-lab-open (enforce)"
        assert container.state() == "RUNNING"
        init = "systemd" if rootfs == "debian" else "init"
        # Systemd is `init` until it has given itself its name.
        named = f"[ $(cat /proc/{container.init_pid()}/comm) = {init} ]"
        until(lab, named, f"its init does not become {init}", 60)
        inside = container.attach("cat /proc/self/attr/current; id -u; cat /proc/1/comm")
        assert inside.stdout.split("\n") == ["lxc-lab-open (enforce)", "0", init, ""], inside.stderr
        shifted = lab.run(["stat", "-c", "%u", f"/proc/{container.init_pid()}"]).stdout
        assert shifted == ("0\n" if privileged else "100000\n")
        # No driver behind the node: what fails then is the driver, or AppArmor before it.
        assert "No such device" in container.attach("cat < /dev/nvidia0").stderr
        assert "Permission denied" in container.attach("cat < /dev/nvidiactl").stderr
        assert any(d.name == "/dev/nvidiactl" and d.profile == "lxc-lab-open" for d in lab.denials())
        assert container.stop(kill=rootfs == "debian").ok
        assert container.state() == "STOPPED"
    finally:
        container.remove()


def test_denial_has_its_fields(lab: Lab) -> None:
    load(lab, "lxc-lab-open")
    lab.run(["aa-exec", "-p", "lxc-lab-open", "--", "sh", "-c", "cat < /proc/sysrq-trigger"])
    denial = next(d for d in lab.denials() if d.name == "/proc/sysrq-trigger")
    assert (denial.operation, denial.profile, denial.verdict) == ("open", "lxc-lab-open", "DENIED")
    assert denial.requested == "r" and denial.fields["comm"] == "sh"
    lab.mark()
    assert lab.denials() == []


def test_profile_that_is_not_loaded_keeps_a_container_from_starting(lab: Lab) -> None:
    container = make_container(lab, 901, profile="lxc-lab-absent")
    try:
        started = container.start()
        assert not started.ok
        assert "lxc-lab-absent" in started.stderr
        assert container.state() == "STOPPED"
    finally:
        container.remove()


def test_unknown_release_names_the_known() -> None:
    with pytest.raises(PhoenixError, match="trixie"):
        release_named("potato")


def test_missing_tools_skip_here_and_fail_in_a_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = (Tool("qemu-system-x86_64", "qemu-system-x86", "runs the guest"),)
    monkeypatch.setenv("CI", "")
    with pytest.raises(pytest.skip.Exception, match=r"apt-get install .*qemu-system-x86"):
        demand_tools(absent)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"apt-get install .*qemu-system-x86"):
        demand_tools(absent)
    demand_tools(())
