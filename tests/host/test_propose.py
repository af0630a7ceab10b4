"""`phoenix import --propose`: which profile fits, why, what it would lose, and what keeps a container privileged.

Asked of the shipped profiles, as the real parser compiles them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from support.hosts import TOP, DirectoryHost, LiveHost, Result, snapshot
from support.shipped import takes_optional

UNPRIVILEGED = "arch: amd64\nhostname: {}\nunprivileged: 1\nrootfs: local-zfs:subvol-1-disk-0,size=8G\n"
PRIVILEGED = UNPRIVILEGED.replace("unprivileged: 1\n", "")


@pytest.fixture
def bare(host: DirectoryHost) -> DirectoryHost:
    shutil.copytree(TOP / "etc/apparmor", host.sources, dirs_exist_ok=True)
    return host


@pytest.fixture
def running(live: LiveHost) -> LiveHost:
    shutil.copytree(TOP / "etc/apparmor", live.sources, dirs_exist_ok=True)
    return live


def proposals(host: DirectoryHost) -> dict[str, dict[str, Any]]:
    result = host.phoenix("import", "--propose", "--json")
    assert result.code == 0, result
    return {one["ctid"]: one for one in result.document["proposals"]}


def proposed(host: DirectoryHost, conf: str) -> dict[str, Any]:
    host.conf("101", conf)
    return proposals(host)["101"]


def run(host: LiveHost, ctid: str, *commands: str) -> Path:
    """Start a container with these processes; its root, as its init sees it."""
    for number, command in enumerate(commands):
        pid = int(ctid) * 100 + number
        host.process(pid, f"/lxc/{ctid}/ns", "unconfined", nspid=f"{pid} {number + 1}")
        (host.root / f"proc/{pid}/comm").write_text(f"{command}\n")
    root = host.root / f"proc/{ctid}00/root"
    (root / "etc").mkdir(parents=True)
    return root


# Which profile fits ------------------------------------------------------------------------------


FITS = (
    (UNPRIVILEGED, "lxc-base"),
    (PRIVILEGED, "lxc-base"),
    (UNPRIVILEGED + "features: nesting=1\n", "lxc-base"),
    (UNPRIVILEGED + "features: nesting=1,keyctl=1\n", "lxc-nvidia-gpu-docker"),
    (UNPRIVILEGED + "features: fuse=1,nesting=1\n", "lxc-base"),
    (UNPRIVILEGED + "dev0: /dev/nvidia0\ndev1: /dev/nvidiactl\n", "lxc-nvidia-gpu-base"),
    (UNPRIVILEGED + "lxc.mount.entry: /dev/dri/card0 dev/dri/card0 none bind\n", "lxc-nvidia-gpu-base"),
    (UNPRIVILEGED + "dev0: /dev/net/tun\n", "lxc-base"),
)


def all_of(host: DirectoryHost, confs: Iterable[str]) -> list[dict[str, Any]]:
    """One look at many containers: the profiles are compiled once."""
    for number, conf in enumerate(confs, 101):
        host.conf(str(number), conf)
    return list(proposals(host).values())


def test_the_strictest_profile_that_refuses_nothing(bare: DirectoryHost) -> None:
    found = all_of(bare, (conf for conf, _ in FITS))
    for one, (conf, profile) in zip(found, FITS, strict=True):
        assert (one["declared"]["apparmor_profile"], one["loses"]) == (profile, []), conf


def test_a_container_that_mounts_shares(bare: DirectoryHost) -> None:
    """lxc-gpu-docker-storage allows it, on parsers before 4.1 in its own places only."""
    one = proposed(bare, PRIVILEGED + "features: mount=nfs;cifs\n")
    assert one["declared"]["apparmor_profile"] == "lxc-gpu-docker-storage"
    if takes_optional():
        assert one["loses"] == []
    else:
        assert [lost["what"] for lost in one["loses"]] == ["mount cifs", "mount nfs"]
        assert one["loses"][0]["question"].startswith("mount ") and one["loses"][0]["line"].startswith(
            "features"
        )


def test_what_runs_in_it(running: LiveHost) -> None:
    for ctid in ("101", "102", "103"):
        running.conf(ctid, UNPRIVILEGED.format("x"))
    run(running, "101", "systemd", "dockerd", "containerd-shim")
    run(running, "102", "systemd", "nginx", "sshd", "bash")
    run(running, "103", "systemd", "lxc-start")
    found = proposals(running)
    profiles = {ctid: one["declared"]["apparmor_profile"] for ctid, one in found.items()}
    assert profiles == {"101": "lxc-nvidia-gpu-docker", "102": "lxc-base", "103": "lxc-nesting-v1"}
    notes = [found[ctid]["declared"]["note"] for ctid in profiles]
    assert "Docker (containerd-shim, dockerd)" in notes[0]
    assert notes[1].endswith("runs nginx") and "LXC in LXC (lxc-start)" in notes[2]


def test_what_lies_in_its_root(running: LiveHost) -> None:
    """Links are not followed: a container makes its own."""
    for ctid in ("101", "102", "103"):
        running.conf(ctid, UNPRIVILEGED + "features: nesting=1,keyctl=1\n")
    (run(running, "101", "systemd") / "var/lib/docker").mkdir(parents=True)
    root = run(running, "102", "systemd")
    (root / "var/lib").mkdir(parents=True)
    (root / "var/lib/docker").symlink_to("/data/docker")
    (run(running, "103", "systemd") / "var/lib").mkdir(parents=True)
    found = proposals(running)
    assert [found[ctid]["evidence"]["uses"] for ctid in ("101", "102", "103")] == [["docker"], ["docker"], []]
    assert found["103"]["declared"]["apparmor_profile"] == "lxc-base", (
        "somebody could look, and there is none"
    )


def test_a_stopped_container_whose_root_lxc_keeps(running: LiveHost) -> None:
    running.conf("101", UNPRIVILEGED)
    for folder in ("etc", "var/lib/docker"):
        (running.root / "var/lib/lxc/101/rootfs" / folder).mkdir(parents=True)
    one = proposals(running)["101"]
    assert (one["evidence"]["signs"], one["evidence"]["seen"]) == (
        [{"use": "docker", "sign": "/var/lib/docker"}],
        True,
    )


def test_what_it_mounted_itself(running: LiveHost) -> None:
    """Not what the host mounted and the configuration binds in."""
    bound = "mp0: /mnt/pve/nas,mp=/data\nlxc.mount.entry: /mnt/pve/b srv/b none bind\n"
    for ctid in ("101", "102"):
        running.conf(ctid, PRIVILEGED + bound)
        run(running, ctid, "systemd")
    given = "nas:/a /data nfs4 rw 0 0\nnas:/a /data/deep nfs4 rw 0 0\nnas:/b /srv/b cifs rw 0 0\nx / ext4 rw 0 0\n"
    (running.root / "proc/10100/mounts").write_text(given + "nas:/c /mnt/c\\040d nfs4 rw 0 0\n")
    (running.root / "proc/10200/mounts").write_text(given)
    found = proposals(running)
    assert found["101"]["keeps_privileged"] == [{"kind": "mount", "line": "nfs4 is mounted at /mnt/c d"}]
    assert found["101"]["declared"]["apparmor_profile"] == "lxc-gpu-docker-storage"
    assert found["102"]["keeps_privileged"] == [] and found["102"]["make_unprivileged"]


# What keeps it privileged ------------------------------------------------------------------------------


KEEPING = {
    "features: mount=nfs;cifs": "mount",
    "lxc.mount.auto: proc:rw sys:rw": "settings",
    "lxc.cgroup2.devices.allow: a": "devices",
    "lxc.cgroup2.devices.allow: b 8:16 rwm": "devices",
    "lxc.cap.drop:": "capabilities",
    "lxc.cap.keep: sys_module": "capabilities",
    "lxc.apparmor.raw: mount fstype=nfs4,": "raw",
}
NOT_KEEPING = (
    "",
    "features: nesting=1,keyctl=1,fuse=1",
    "dev0: /dev/net/tun",
    "lxc.cap.drop: sys_time",
    "mp0: /srv/a,mp=/a",
)


def test_what_keeps_it_privileged(bare: DirectoryHost) -> None:
    found = all_of(bare, (f"{PRIVILEGED}{line}\n" for line in KEEPING))
    shown = bare.phoenix("import", "--propose").out
    for one, (line, kind) in zip(found, KEEPING.items(), strict=True):
        assert {(kept["kind"], kept["line"]) for kept in one["keeps_privileged"]} == {(kind, line)}
        assert (one["make_unprivileged"], one["look_first"]) == ([], [])
        assert f"kept privileged by `{line}`" in shown


def test_how_it_becomes_unprivileged_where_nothing_keeps_it(bare: DirectoryHost) -> None:
    found = all_of(bare, (f"{PRIVILEGED}{line}\n" for line in NOT_KEEPING))
    shown = bare.phoenix("import", "--propose").out
    for one, line in zip(found, NOT_KEEPING, strict=True):
        ctid = one["ctid"]
        assert one["keeps_privileged"] == []
        assert one["make_unprivileged"] == [
            f"vzdump {ctid} --mode stop --dumpdir /var/tmp",
            f"pct restore NEWID /var/tmp/vzdump-lxc-{ctid}-*.tar* --unprivileged 1 --storage local-zfs",
        ]
        assert any("/srv/a " in text for text in one["look_first"]) is line.startswith("mp0")
        assert all(command in shown for command in one["make_unprivileged"])


def test_an_unprivileged_one_is_told_nothing_of_that(bare: DirectoryHost) -> None:
    one = proposed(bare, UNPRIVILEGED + "features: mount=nfs\nlxc.cap.drop:\n")
    assert (one["keeps_privileged"], one["make_unprivileged"]) == ([], [])
    assert "privileged by" not in bare.phoenix("import", "--propose").out


# It only looks ---------------------------------------------------------------------------------------


def test_nothing_is_written(bare: DirectoryHost) -> None:
    bare.conf("101", PRIVILEGED)
    bare.conf("102", "arch: amd64\n[x\n")
    before = snapshot(bare.folder)
    result = bare.phoenix("import", "--propose")
    assert snapshot(bare.folder) == before
    assert result.code == 3 and "nothing was written" in result.out
    bare.declare({"101": "generated"})
    declared = snapshot(bare.folder)
    assert bare.phoenix("import", "--propose", "--json").code == 3
    assert snapshot(bare.folder) == declared


@pytest.mark.parametrize("words", [("--merge",), ("--output", "-"), ("--all-nodes",)])
def test_it_goes_alone(bare: DirectoryHost, words: tuple[str, ...]) -> None:
    result: Result = bare.phoenix("import", "--propose", *words)
    assert (result.code, "goes alone" in result.err) == (2, True)


def test_what_cannot_be_read_is_left_out(running: LiveHost) -> None:
    running.conf("101", UNPRIVILEGED)
    path = running.conf("102", PRIVILEGED)
    path.unlink()
    os.mkdir(path)
    result = running.phoenix("import", "--propose", "--json")
    assert result.code == 3 and [n["target"] for n in result.document["left_out"]] == ["container 102"]
    assert [one["ctid"] for one in result.document["proposals"]] == ["101"]


def test_without_our_profiles_there_is_none_to_propose(host: DirectoryHost) -> None:
    host.source("lxc-of-a-site")
    one = proposed(host, UNPRIVILEGED)
    assert (one["declared"], one["loses"]) == ({}, [])
    assert "none is there" in host.phoenix("import", "--propose").out


def test_a_configuration_that_an_import_leaves_out_is_left_out_here_too(bare: DirectoryHost) -> None:
    """No advice to back up and restore a container whose configuration nobody can be sure of."""
    bare.conf("101", PRIVILEGED.format("odd") + "[bad header]\n")
    bare.conf("102", UNPRIVILEGED.format("web"))
    result = bare.phoenix("import", "--propose", "--json")
    assert result.code == 3
    assert [one["ctid"] for one in result.document["proposals"]] == ["102"]
    (note,) = result.document["left_out"]
    assert (note["code"], note["target"]) == ("conf-unusable", "container 101")
    assert bare.phoenix("import", "--json", "--output", "-").document["left_out"] == [note]
