"""What a container loses or risks under a profile: computed, told once, and silent at rest.

The questions are asked of what the real parser makes of the sources.
"""

from __future__ import annotations

import shlex
import shutil
from typing import Any

import pytest

from support.hosts import CREATION, TOP, DirectoryHost, LiveHost, Result
from support.shipped import takes_optional

UNPRIVILEGED = "arch: amd64\nunprivileged: 1\n"
WALL = ("file,", "capability,", "network,")
FREE = ("file,", "capability,", "mount,", "umount,", "pivot_root,", "change_profile -> lxc-a,")


@pytest.fixture
def one(host: DirectoryHost) -> DirectoryHost:
    host.source("lxc-a", *WALL)
    host.declare({"101": "lxc-a"})
    return host


def warned(result: Result) -> dict[str, dict[str, Any]]:
    """The warnings of a plan or an apply by code, each with its data."""
    assert result.code in (0, 3), result
    return {note["code"]: note["data"] for note in result.document["warnings"]}


def planned(host: DirectoryHost, conf: str, *rules: str) -> dict[str, dict[str, Any]]:
    if rules:
        host.source("lxc-a", *rules)
    host.conf("101", conf)
    return warned(host.phoenix("plan", "--json"))


def lost(host: DirectoryHost, conf: str, *rules: str) -> list[str]:
    found = planned(host, conf, *rules).get("features-lost", {"asked": []})
    return [one["what"] for one in found["asked"]]


# Told once, and in full to who looks ---------------------------------------------------------


def test_it_is_told_once_and_status_shows_it_in_full(one: DirectoryHost) -> None:
    one.conf("101", "features: mount=nfs;cifs\nlxc.apparmor.raw: mount fstype=nfs4,\n[before]\narch: amd64\n")
    first = one.apply()
    for said in ("mounts of cifs, nfs", "lxc.apparmor.raw", "nfs4", "before (no line)"):
        assert said in first.out, said
    again = one.apply()
    assert (again.code, len(again.out.splitlines()), again.err) == (0, 1, "")
    assert one.phoenix("plan").out == "nothing to change: the host is as declared\n"
    overview, whole = one.phoenix("status"), one.phoenix("status", "101")
    assert overview.code == whole.code == 0
    for said in ("features-lost", "raw-rules-inert", "snapshot-differs"):
        assert said not in overview.out and said in whole.out, said
    assert warned(one.apply("--all", "--no-start", "--json")) == {}


def test_storage_over_the_network_is_asked_of_the_shipped_profiles(host: DirectoryHost) -> None:
    """On parsers before 4.1 lxc-gpu-docker-storage allows it in the places of shared storage only."""
    shutil.copytree(TOP / "etc/apparmor", host.sources, dirs_exist_ok=True)
    host.source("lxc-site", "file,", "mount fstype=(nfs, nfs4, cifs),")
    refuses, allows = "lxc-gpu-docker-storage", "lxc-site"
    if takes_optional():
        refuses, allows = "lxc-nvidia-gpu-docker", "lxc-gpu-docker-storage"
    host.conf("101", "features: mount=nfs;cifs\n")
    host.conf("102", "features: mount=nfs;cifs\n")
    host.declare({"101": refuses, "102": allows})
    result = host.apply("--all", "--no-start", "--json")
    found = [n for n in result.document["warnings"] if n["code"] == "features-lost"]
    assert [(n["target"], n["data"]["profile"]) for n in found] == [("container 101", refuses)]
    assert [one["what"] for one in found[0]["data"]["asked"]] == ["mount cifs", "mount nfs"]
    assert {one["line"] for one in found[0]["data"]["asked"]} == {"features: mount=nfs;cifs"}
    again = host.apply()
    assert (again.code, len(again.out.splitlines())) == (0, 1)


# What is asked for ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "rules", "whats"),
    [
        ("features: mount=nfs", WALL, ["mount nfs"]),
        ("features: mount=nfs", (*WALL, "mount fstype=nfs -> /mnt/models/,"), ["mount nfs"]),
        ("features: mount=nfs", (*WALL, "mount fstype=nfs,"), []),
        ("features: mount=overlay", WALL, ["mount overlay"]),
        ("features: fuse=1", WALL, ["fuse"]),
        ("features: fuse=1", (*WALL, "mount fstype=fuse,"), []),
        ("features: fuse=1", (*WALL, "mount fstype=fuse,", "deny /dev/fuse w,"), ["fuse"]),
        ("features: mknod=1", WALL, []),
        ("features: mknod=1", (*WALL, "deny capability mknod,"), ["mknod"]),
        ("features: keyctl=1", WALL, []),
        ("features: nesting=1", WALL, ["docker", "lxc", "services"]),
        ("features: nesting=1", FREE, []),
        ("features: nesting=0,fuse=0", WALL, []),
        ("dev0: /dev/net/tun", WALL, []),
        ("dev0: /dev/net/tun,mode=0666", (*WALL, "deny /dev/net/tun rw,"), ["device /dev/net/tun"]),
        ("dev1: path=/dev/kvm", (*WALL, "deny /dev/kvm rw,"), ["device /dev/kvm"]),
        ("lxc.mount.entry: /dev/net/tun dev/net/tun none bind,create=file", (*WALL, "deny /dev/net/* rw,"), ["device /dev/net/tun"]),
        ("lxc.mount.entry: /dev/dri dev/dri none bind,optional,create=dir", (*WALL, "deny /dev/dri/** rw,"), ["device /dev/dri/any"]),
        ("lxc.mount.entry: /srv/a srv/a none bind", (*WALL, "deny /srv/** rw,"), []),
        ("lxc.cgroup2.devices.allow: c 10:200 rwm", (*WALL, "deny /dev/net/tun rw,"), ["device /dev/net/tun"]),
        ("lxc.cgroup.devices.allow = c 195:* rwm", (*WALL, "deny /dev/nvidia* rw,"), ["device /dev/nvidia0"]),
        ("lxc.cgroup2.devices.allow: c 240:1 rwm", (*WALL, "deny /dev/** rw,"), []),
        ('lxc.mount.auto: "proc:rw sys:rw"', (*WALL, "deny /proc/sys/** w,"), ["proc:rw"]),
        ("lxc.mount.auto = proc:rw sys:rw cgroup:rw", (*WALL, "deny /sys/** w,"), ["sys:rw"]),
        ("lxc.mount.auto: proc:mixed", (*WALL, "deny /proc/sys/** w,"), []),
    ],
)  # fmt: skip
def test_what_is_asked_for_is_asked_of_the_compiled_profile(
    one: DirectoryHost, line: str, rules: tuple[str, ...], whats: list[str]
) -> None:
    assert lost(one, f"{UNPRIVILEGED}{line}\n", *rules) == whats


def test_a_line_below_a_snapshot_asks_for_nothing(one: DirectoryHost) -> None:
    assert lost(one, f"{UNPRIVILEGED}[old]\nfeatures: mount=nfs\ndev0: /dev/x\n", "deny /dev/** rw,") == []


def test_the_order_of_features_means_nothing(one: DirectoryHost) -> None:
    said = set()
    for features in ("nesting=1,fuse=1,mount=nfs;cifs", "mount=cifs;nfs,fuse=1,nesting=1"):
        one.conf("101", f"{UNPRIVILEGED}features: {features}\n")
        said.add(one.phoenix("plan").out.replace(features, ""))
    assert len(said) == 1


def test_the_next_step_is_a_question_that_can_be_asked(one: DirectoryHost) -> None:
    one.conf("101", f"{UNPRIVILEGED}features: mount=nfs\n")
    (note,) = one.phoenix("plan", "--json").document["warnings"]
    assert note["hint"].startswith("`phoenix policy query lxc-a ")
    words = note["hint"].strip("`").split()[1:]
    assert one.phoenix(*words).code == 3


def test_what_others_compile_cannot_be_asked(host: DirectoryHost) -> None:
    (host.installed / "lxc-other").write_text("profile lxc-other { file, }\n")
    host.declare({"101": "lxc-other"})
    found = planned(host, f"{UNPRIVILEGED}features: mount=nfs\nlxc.cgroup2.devices.allow: a\n")
    assert (found["features-lost"]["known"], list(found)) == (False, ["features-lost"])


def test_what_is_to_be_created_is_told_too(live: LiveHost) -> None:
    live.source("lxc-a", *WALL, "deny /dev/nvidia0 rw,")
    (live.root / "dev").mkdir()
    (live.root / "dev/nvidia0").touch()
    entry = {**CREATION, "apparmor_profile": "lxc-a", "features": "mount=nfs", "gpu_assignment": "0"}
    live.declare({"950": entry})
    found = warned(live.phoenix("plan", "--json"))
    assert [one["what"] for one in found["features-lost"]["asked"]] == ["mount nfs", "device /dev/nvidia0"]


# What counts no more, what opens more than the profile says --------------------------------------


def test_raw_rules_stop_to_count_under_a_named_profile(one: DirectoryHost) -> None:
    conf = (
        "lxc.apparmor.profile: generated\nlxc.apparmor.raw: mount fstype=nfs4,\nlxc.apparmor.raw = umount,\n"
    )
    data = planned(one, UNPRIVILEGED + conf)["raw-rules-inert"]
    assert data == {"profile": "lxc-a", "rules": ["mount fstype=nfs4,", "umount,"]}
    one.declare({"101": {"apparmor_profile": "unconfined"}})
    assert "raw-rules-inert" not in planned(one, UNPRIVILEGED + conf)


@pytest.mark.parametrize(
    ("rules", "open"), [(FREE, True), (WALL, False), ((*FREE, "deny /**/sys/vm/* w,"), False)]
)
def test_a_profile_that_is_no_wall_in_a_privileged_container(
    one: DirectoryHost, rules: tuple[str, ...], open: bool
) -> None:
    assert ("made-for-unprivileged" in planned(one, "arch: amd64\n", *rules)) is open
    assert "made-for-unprivileged" not in planned(one, UNPRIVILEGED)


def test_which_of_the_shipped_ones_are_no_wall(host: DirectoryHost) -> None:
    shutil.copytree(TOP / "etc/apparmor", host.sources, dirs_exist_ok=True)
    names = ["lxc-nesting-v1", "lxc-base-unprivileged", "lxc-base", "lxc-nvidia-gpu-docker"]
    for ctid in range(101, 105):
        host.conf(str(ctid))
    host.declare(dict(zip(map(str, range(101, 105)), names, strict=True)))
    notes = host.phoenix("plan", "--json").document["warnings"]
    told = [n["data"]["profile"] for n in notes if n["code"] == "made-for-unprivileged"]
    assert told == names[:2]
    # Their rules for parsers before 4.1 cannot let systemd's roots be made and hold the wall.
    without = [n["data"]["profile"] for n in notes if n["code"] == "sandboxes-lost"]
    assert without == ([] if takes_optional() else names[2:])


def test_services_with_a_sandbox_in_a_privileged_container(one: DirectoryHost) -> None:
    data = planned(one, "arch: amd64\n", *WALL)["sandboxes-lost"]
    query = ["policy", "query", "lxc-a", *shlex.split(data["question"])]
    assert (data["profile"], one.phoenix(*query).code) == ("lxc-a", 3)
    assert "logind" in one.phoenix("plan").out
    assert "sandboxes-lost" not in planned(one, UNPRIVILEGED)
    # Said already, with the line that asks for it.
    assert set(planned(one, "features: nesting=1\n")) == {"features-lost"}
    assert "sandboxes-lost" not in planned(one, "arch: amd64\n", *FREE)


@pytest.mark.parametrize("line", ["lxc.cgroup2.devices.allow: a", "lxc.cgroup.devices.allow = a *:* rwm"])
@pytest.mark.parametrize("mknod", [True, False])
def test_a_line_that_opens_every_device(one: DirectoryHost, line: str, mknod: bool) -> None:
    rules = WALL if mknod else (*WALL, "deny capability mknod,")
    data = planned(one, f"arch: amd64\n{line}\n", *rules)["all-devices"]
    assert (data["profile"], data["mknod"]) == ("lxc-a", mknod)
    assert "all-devices" not in planned(one, f"{UNPRIVILEGED}{line}\n")
    assert "all-devices" not in planned(one, "arch: amd64\nlxc.cgroup2.devices.allow: c 10:200 rwm\n")


def test_snapshots_that_bring_back_another_line(one: DirectoryHost) -> None:
    conf = f"{UNPRIVILEGED}[aa]\narch: amd64\n[bb]\nlxc.apparmor.profile: lxc-a\n[cc]\nlxc.apparmor.profile: lxc-b\n"
    data = planned(one, conf)["snapshot-differs"]
    assert data == {"profile": "lxc-a", "snapshots": [["aa", None], ["cc", "lxc-b"]]}


def test_an_unconfined_line_that_goes_means_confinement(one: DirectoryHost) -> None:
    one.declare({"101": {"apparmor_profile": "unconfined"}})
    assert "becomes-confined" in planned(one, f"{UNPRIVILEGED}lxc.apparmor.profile: unconfined\n")
    shown = one.phoenix("plan").out
    assert "from its next start on it is confined" in shown and "unconfined_means" in shown
    assert "becomes-confined" not in planned(one, f"{UNPRIVILEGED}lxc.apparmor.profile: lxc-old\n")
    assert planned(one, UNPRIVILEGED) == {}
    one.declare({"101": {"apparmor_profile": "unconfined"}}, unconfined_means="explicit-line")
    assert planned(one, f"{UNPRIVILEGED}lxc.apparmor.profile: unconfined\n") == {}
