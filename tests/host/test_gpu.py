"""`phoenix gpu` on directories that hold hosts: which container can open which GPU, and why."""

from __future__ import annotations

from typing import Any

import pytest

from phoenix_hypervisor import Phoenix
from phoenix_hypervisor.engine.requests import GpuRequest
from support import gpus
from support.hosts import DirectoryHost, contents

GPU0 = "dev0: /dev/nvidia0,mode=0666"
BIND1 = "lxc.mount.entry: /dev/nvidia1 dev/nvidia1 none bind,optional,create=file"
ALLOW = "lxc.cgroup2.devices.allow: "
DENY = "lxc.cgroup2.devices.deny: "


@pytest.fixture
def two(host: DirectoryHost) -> DirectoryHost:
    gpus.nvidia(host.root, 2)
    host.declare({})
    return host


def cells(host: DirectoryHost, conf: str) -> dict[int, dict[str, Any]]:
    """What `gpu --json` says of container 801 with that configuration, by GPU."""
    host.conf("801", conf)
    done = host.phoenix("gpu", "--json")
    assert done.code == 0, done.err
    return {one["gpu"]: one for one in done.document["containers"]["801"]["gpus"]}


def shown(cell: dict[str, Any]) -> str:
    return "open" if cell["can_open"] else "make" if cell["can_make"] else ",".join(cell["walls"])


@pytest.mark.parametrize(
    ("lines", "unprivileged", "first", "second"),
    [
        ([], False, "no node,cgroup", "no node,cgroup"),
        ([], True, "no node,user namespace", "no node,user namespace"),
        ([GPU0], False, "open", "no node,cgroup"),
        ([GPU0], True, "open", "no node,user namespace"),
        (["dev0: path=/dev/nvidia1"], False, "no node,cgroup", "open"),
        (["dev0: /dev/nvidia0,mode=0600,uid=1000"], True, "open", "no node,user namespace"),
        ([BIND1], False, "no node,cgroup", "cgroup"),
        ([BIND1], True, "no node,user namespace", "open"),
        ([BIND1, f"{ALLOW}c 195:1 rwm"], False, "no node,cgroup", "open"),
        ([BIND1, f"{ALLOW}c 195:* rwm"], False, "make", "open"),
        ([BIND1, f"{ALLOW}c 195:* rwm", f"{DENY}c 195:0 rwm"], False, "make", "open"),
        ([f"{ALLOW}a"], False, "make", "make"),
        ([f"{ALLOW}a", f"{DENY}c 195:0 rwm"], False, "no node,cgroup", "make"),
        ([f"{ALLOW}a", "lxc.cap.drop: mknod"], False, "make", "make"),
        ([f"{ALLOW}a", "lxc.cap.drop: mknod sys_admin"], False, "no node,capability", "no node,capability"),
        ([f"{ALLOW}a", "lxc.cap.drop: ", "lxc.cap.keep: chown mknod"], False, "make", "make"),
        ([f"{ALLOW}a", "lxc.cap.drop: ", "lxc.cap.keep: chown"], False, "no node,capability", "no node,capability"),
        ([BIND1, f"{DENY}a"], True, "no node,user namespace", "open"),
        ([BIND1, f"{DENY}a", f"{ALLOW}c 1:3 rwm"], True, "no node,user namespace,cgroup", "cgroup"),
        ([BIND1, f"{DENY}c 195:1 rwm"], True, "no node,user namespace", "cgroup"),
        (["lxc.mount.entry: /dev/nvidia1 dev/nvidia1 none bind,optional"], True, "no node,user namespace", "no node,user namespace"),
        (["lxc.mount.entry: /dev/nvidia1 dev/nvidia1 none bind,nodev,create=file"], True, "no node,user namespace", "open"),
        (["lxc.mount.entry: /dev/nvidia1 mnt/gpu none bind"], True, "no node,user namespace", "open"),
        (["lxc.mount.entry: /dev hostdev none rbind,create=dir"], True, "open", "open"),
        (["mp0: /dev,mp=/hostdev"], True, "open", "open"),
        (["lxc.mount.entry: /dev/nvidia1 /elsewhere none bind,create=file"], True, "no node,user namespace", "no node,user namespace"),
        (["lxc.cgroup.devices.allow: c 195:* rwm", "lxc.cgroup.devices.deny: a"], False, "no node,cgroup", "no node,cgroup"),
        (["lxc.mount.entry: /dev/nvidia1 dev/nvidia1 none bind,create=file", "lxc.mount.entry:"], True, "no node,user namespace", "no node,user namespace"),
        (["lxc.idmap: u 0 200000 65536", "lxc.idmap: g 0 200000 65536"], False, "no node,user namespace", "no node,user namespace"),
        ([f"{ALLOW}c 195:1 rwx"], False, "", ""),
    ],
)  # fmt: skip
def test_who_can_open_what(
    two: DirectoryHost, lines: list[str], unprivileged: bool, first: str, second: str
) -> None:
    found = cells(two, gpus.conf(*lines, unprivileged=unprivileged))
    if not first:
        assert (
            found == {}
            and "does not start" in two.phoenix("gpu", "--json").document["containers"]["801"]["error"]
        )
        return
    assert (shown(found[0]), shown(found[1])) == (first, second)


def test_mode_and_owner_stop_an_unprivileged_container(two: DirectoryHost) -> None:
    gpus.node(two.root, "/dev/nvidia1", 0o660)
    assert shown(cells(two, gpus.conf(BIND1, unprivileged=True))[1]) == "mode"
    mapped = ["lxc.idmap: u 0 100000 65536", "lxc.idmap: g 0 100000 1000", "lxc.idmap: g 1000 0 1"]
    assert shown(cells(two, gpus.conf(BIND1, *mapped, unprivileged=True))[1]) == "open", "its group is mapped"


def test_the_profile_is_asked_by_the_name_inside(two: DirectoryHost) -> None:
    two.source("lxc-a", "file,", "capability,", "deny /dev/nvidia1 rw,")
    two.source("lxc-none", "/etc/** r,")
    two.declare({})
    found = cells(two, gpus.conf(BIND1, unprivileged=True, profile="lxc-a"))
    assert shown(found[1]) == "profile"
    inside = BIND1.replace("dev/nvidia1 none", "dev/other none")
    assert shown(cells(two, gpus.conf(inside, unprivileged=True, profile="lxc-a"))[1]) == "open"
    # A name is no wall for who can make a node: it can be called anything.
    found = cells(two, gpus.conf(BIND1, f"{ALLOW}a", profile="lxc-a"))
    assert shown(found[1]) == "make"
    drop = "lxc.cap.drop: sys_admin"
    found = cells(two, gpus.conf(f"{ALLOW}a", drop, profile="lxc-none"))
    assert shown(found[1]) == "no node,profile" and shown(found[0]) == "no node,profile"
    done = two.phoenix("gpu", "--explain", "801", "1")
    assert "lxc-none lets no node be made" in done.out and "if profile falls" in done.out


def test_explain_names_the_line_or_each_wall(two: DirectoryHost) -> None:
    two.conf("801", gpus.conf(GPU0))
    let_in = two.phoenix("gpu", "--explain", "801", "0")
    assert let_in.code == 0 and "can open it" in let_in.out and GPU0 in let_in.out
    stopped = two.phoenix("gpu", "--explain", "801", gpus.UUID.format(1))
    for words in ("cannot open it", "wall: no node", "wall: cgroup", "if no node falls", "if cgroup falls"):
        assert words in stopped.out
    document = two.phoenix("gpu", "--explain", "801", "1", "--json").document
    (node,) = document["explained"]["nodes"]
    assert node["remaining"] == {"no node": ["cgroup"], "cgroup": []}, "it can make the node then"
    wrong = two.phoenix("gpu", "--explain", "801", "7")
    assert wrong.code == 2 and "GPUs: 0, 1" in wrong.err
    assert two.phoenix("gpu", "--explain", "999", "0").code == 1


def test_lines_without_effect_and_what_nobody_looks_into_are_told(two: DirectoryHost) -> None:
    hook = "lxc.hook.mount: /usr/share/lxc/hooks/nvidia"
    two.conf("801", gpus.conf(f"{ALLOW}c 195:* rwm", hook, "lxc.cgroup.devices.allow: a", unprivileged=True))
    one = two.phoenix("gpu", "--json").document["containers"]["801"]
    assert one["inert"] == [f"{ALLOW}c 195:* rwm", "lxc.cgroup.devices.allow: a"] and one["unseen"] == [hook]
    assert "does nothing" in two.phoenix("gpu").out and "may bring more" in two.phoenix("gpu").out


def test_eight_gpus_with_slices_and_other_vendors(host: DirectoryHost) -> None:
    gpus.nvidia(host.root, 8, slices=(2, 5))
    gpus.drm(host.root, 0, "0x1a03", "0000:c0:00.0", render=False)
    gpus.drm(host.root, 1, "0x1002", "0000:c1:00.0")
    gpus.drm(host.root, 2, "0x8086", "0000:00:02.0")
    gpus.drm(host.root, 3, "0x10de", gpus.bus(7))
    gpus.node(host.root, "/dev/kfd", 0o660)
    caps = ["dev1: /dev/nvidia-caps/nvidia-cap54,mode=0444", "dev2: /dev/nvidia-caps/nvidia-cap55,mode=0444"]
    host.conf("801", gpus.conf("dev0: /dev/nvidia2,mode=0666", *caps))
    host.conf("802", gpus.conf("dev0: /dev/dri/renderD131,gid=104", unprivileged=True))
    host.conf(
        "803", gpus.conf("dev0: /dev/dri/renderD129,gid=104", "dev1: /dev/kfd,gid=104", unprivileged=True)
    )
    host.declare({})
    document = host.phoenix("gpu", "--json").document
    assert [(g["gpu"], g["vendor"]) for g in document["gpus"]] == [
        *((number, "nvidia") for number in range(8)), (8, "intel"), (9, "amd")
    ]  # fmt: skip
    first, second = document["gpus"][2], document["gpus"][7]
    assert [one["slice"] for one in first["slices"]] == ["1", "1/0", "2", "2/0"]
    assert second["nodes"] == ["/dev/nvidia7", "/dev/dri/card3", "/dev/dri/renderD131"]
    found = document["containers"]
    assert found["801"]["gpus"][2]["slices"] == {"1": True, "1/0": True, "2": False, "2/0": False}
    assert found["802"]["gpus"][7]["can_open"] and not found["802"]["gpus"][7]["works"]
    assert [g["gpu"] for g in found["803"]["gpus"] if g["can_open"]] == [9]
    kinds = {one["path"]: (one["kind"], one["containers"]) for one in document["shared"]}
    assert (
        kinds["/dev/kfd"] == ("kfd", ["803"])
        and kinds["/dev/nvidia-caps/nvidia-cap1"][0] == "nvidia-caps/config"
    )


def test_without_any_driver(host: DirectoryHost) -> None:
    host.conf("801")
    host.declare({})
    assert "no GPU" in host.phoenix("gpu").out
    assert host.phoenix("gpu", "--json").document["gpus"] == []
    gpus.nvidia(host.root, 1, driver=False)
    (only,) = host.phoenix("gpu", "--json").document["gpus"]
    assert only["uuid"] is None and only["node"] == "/dev/nvidia0"


def test_plain_lxc_reads_what_is_included(host: DirectoryHost) -> None:
    gpus.nvidia(host.root, 2)
    share = "/usr/share/lxc/config"
    gpus.write(
        host.root,
        f"{share}/common.conf",
        f"lxc.cgroup2.devices.deny = a\nlxc.cgroup2.devices.allow = c 1:3 rwm\nlxc.include = {share}/common.conf.d/\n",
    )
    gpus.write(host.root, f"{share}/common.conf.d/x.conf", "lxc.cgroup2.devices.allow = c 195:1 rwm\n")
    gpus.write(host.root, f"{share}/common.conf.d/x.txt", "lxc.cgroup2.devices.allow = a\n")
    lines = f"lxc.include = {share}/common.conf\nlxc.mount.entry = /dev/nvidia1 dev/nvidia1 none bind,create=file\n"
    gpus.write(host.root, "/var/lib/lxc/801/config", lines)
    done = host.phoenix("--runtime", "lxc", "gpu", "--json")
    (zero, one) = done.document["containers"]["801"]["gpus"]
    assert (
        shown(zero) == "no node,cgroup"
        and one["by"][1] == f"lxc.cgroup2.devices.allow = c 195:1 rwm ({share}/common.conf.d/x.conf)"
    )


def test_it_fits_80_columns_and_lists_those_without_once(
    host: DirectoryHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    gpus.nvidia(host.root, 16)
    for number in range(200):
        line = [f"dev0: /dev/nvidia{number},mode=0666"] if number < 16 else []
        host.conf(str(800 + number), gpus.conf(*line, hostname=f"machine-with-a-rather-long-name-{number}"))
    host.declare({})
    done = host.phoenix("gpu")
    assert done.code == 0
    matrix = done.out[done.out.index("Who can") : done.out.index("X can open")]
    assert all(len(line) <= 80 for line in matrix.splitlines())
    assert "cannot open any GPU (184): 816-999" in done.out


def test_the_python_method_returns_the_same_and_writes_nothing(two: DirectoryHost) -> None:
    two.conf("801", gpus.conf(GPU0))
    two.conf("802")
    before = contents(two.folder)
    found = Phoenix(str(two.root), str(two.config)).gpu(GpuRequest(ctids=("801",)))
    assert list(found.openings) == ["801"] and [one.can_open for one in found.openings["801"].gpus] == [
        True,
        False,
    ]
    assert contents(two.folder) == before


@pytest.mark.parametrize(
    ("lines", "unprivileged", "remaining"),
    [
        ([], True, {"no node": [], "user namespace": []}),
        ([], False, {"no node": ["cgroup"], "cgroup": []}),
        ([f"{DENY}c 195:1 rwm"], True, {"no node": ["cgroup"], "user namespace": ["cgroup"], "cgroup": ["no node", "user namespace"]}),
        (["lxc.cap.drop: mknod sys_admin"], False, {"no node": ["cgroup"], "capability": ["cgroup"], "cgroup": ["no node", "capability"]}),
        ([BIND1], False, {"cgroup": []}),
        ([BIND1, f"{DENY}c 195:1 rwm"], True, {"cgroup": []}),
    ],
)  # fmt: skip
def test_which_walls_remain_if_one_falls(
    two: DirectoryHost, lines: list[str], unprivileged: bool, remaining: dict[str, list[str]]
) -> None:
    two.conf("801", gpus.conf(*lines, unprivileged=unprivileged))
    (node,) = two.phoenix("gpu", "--explain", "801", "1", "--json").document["explained"]["nodes"]
    assert node["remaining"] == remaining
