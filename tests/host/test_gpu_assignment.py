"""GPUs as assigned: what is found where a container has others, and `devN` lines that follow `gpu_assignment`."""

from __future__ import annotations

from typing import Any

import pytest

from phoenix_hypervisor.plan.recorded import document, read_action
from support import gpus
from support.hosts import DirectoryHost, LiveHost, contents, told, world

SHARED = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
OF_ONE = [f"dev{number}: /dev/{name},mode=0666" for number, name in enumerate(("nvidia0", *SHARED))]
BIND0 = "lxc.mount.entry: /dev/nvidia0 dev/nvidia0 none bind,optional,create=file"
ALLOW = "lxc.cgroup2.devices.allow: "


def declare(host: DirectoryHost, assignment: str | None, **more: Any) -> None:
    gpu = {} if assignment is None else {"gpu_assignment": assignment}
    host.declare({"101": {"apparmor_profile": "generated", "start": False, **gpu, **more}})


@pytest.fixture
def two(host: DirectoryHost) -> DirectoryHost:
    host.source("lxc-a")
    gpus.nvidia(host.root, 2)
    return host


def found(host: DirectoryHost) -> dict[str, dict[str, Any]]:
    """What `verify` finds of container 101, by code."""
    done = host.phoenix("verify", "--json")
    (one,) = done.document["containers"]
    assert (done.code == 3) is any(f["fault"] for f in one["findings"]), done.out
    return {f["code"]: f for f in one["findings"]}


@pytest.mark.parametrize(
    ("assignment", "lines", "unprivileged", "codes"),
    [
        ("0", OF_ONE, True, {}),
        ("0", OF_ONE, False, {}),
        ("none", [], False, {}),
        (gpus.UUID.format(0), OF_ONE, False, {}),
        ("all", [*OF_ONE, "dev7: /dev/nvidia1,mode=0666"], False, {}),
        ("0", [], False, {"gpu-not-open": "dev0: /dev/nvidia0,mode=0666"}),
        ("1", OF_ONE, False, {"gpu-not-open": "dev5: /dev/nvidia1,mode=0666", "gpu-open": None}),
        ("none", OF_ONE, False, {"gpu-open": None}),
        ("0", [BIND0], False, {"gpu-not-open": f"{ALLOW}c 195:0 rw"}),
        ("0", [BIND0, f"{ALLOW}c 195:* rwm"], False, {"gpu-open": None}),
        ("0", [BIND0, f"{ALLOW}c 195:* rwm"], True, {}),
        ("7", [], False, {"gpu-unknown": None}),
        ("0", [*OF_ONE, "dev6: /dev/nvidia5"], False, {"gpu-node-missing": None}),
        ("0", ["dev0: /dev/nvidia0"], True, {"gpu-root-only": "dev0: /dev/nvidia0,mode=0666"}),
        ("0", ["dev0: /dev/nvidia0,gid=44"], True, {}),
        ("0", ["dev0: /dev/nvidia0,mode=0600"], False, {"gpu-root-only": "dev0: /dev/nvidia0,mode=0666"}),
    ],
)  # fmt: skip
def test_what_is_not_as_assigned(
    two: DirectoryHost, assignment: str, lines: list[str], unprivileged: bool, codes: dict[str, str | None]
) -> None:
    two.conf("101", gpus.conf(*lines, unprivileged=unprivileged))
    declare(two, assignment)
    seen = found(two)
    assert {code: f["data"].get("write") for code, f in seen.items()} == codes
    plan = two.phoenix("plan", "--json").document
    assert {code for code, _ in told(plan["warnings"])} == {c for c, f in seen.items() if f["fault"]}


def test_what_nobody_assigned_is_told_and_no_fault(two: DirectoryHost) -> None:
    two.conf("101", gpus.conf(*OF_ONE))
    declare(two, None)
    assert [(code, f["fault"]) for code, f in found(two).items()] == [("gpu-open", False)]
    assert two.phoenix("verify").code == 0 and "gpu-open" in two.phoenix("status").out


def test_a_stale_major_number_is_told_with_the_new_line(two: DirectoryHost) -> None:
    bind = "lxc.mount.entry: /dev/nvidia-uvm dev/nvidia-uvm none bind,optional,create=file"
    rules = [f"{ALLOW}c 195:* rwm", f"{ALLOW}c 508:* rwm"]
    two.conf("101", gpus.conf(BIND0, bind, *rules))
    declare(two, "all")
    stale = found(two)["gpu-number-stale"]["data"]
    assert stale == {"line": rules[1], "node": "/dev/nvidia-uvm", "write": f"{ALLOW}c 510:* rwm"}
    two.conf("101", gpus.conf(BIND0, bind, rules[0], f"{ALLOW}c 510:* rwm"))
    assert "gpu-number-stale" not in found(two)


@pytest.mark.parametrize(
    "name", ["nvidia-caps/nvidia-cap1", "nvidia-caps/nvidia-cap2", "nvidia-nvswitchctl", "nvidia-nvswitch0"]
)
def test_nodes_that_administer_the_host_must_reach_no_tenant(host: DirectoryHost, name: str) -> None:
    host.source("lxc-a")
    gpus.nvidia(host.root, 1, slices=(0,))
    for switch in ("nvidia-nvswitchctl", "nvidia-nvswitch0"):
        gpus.node(host.root, f"/dev/{switch}")
    host.conf("101", gpus.conf(*OF_ONE, f"dev5: /dev/{name}"))
    declare(host, "0")
    assert found(host)["gpu-admin-node"]["data"]["path"] == f"/dev/{name}"
    assert (
        f"{name.replace('/nvidia-cap1', '/config').replace('/nvidia-cap2', '/monitor').rstrip('0')}: 101"
        in host.phoenix("gpu").out
    )


@pytest.mark.parametrize(
    ("word", "valid"),
    [
        ("none", True), ("all", True), ("0", True), ("0,12", True), (gpus.UUID.format(3), True), ("0/1", True), ("0/1/0", True),
        (f"MIG-{gpus.UUID.format(3)}/1/0", True), ("MIG-00000000-0000-4000-8000-000000000000", True), (f"1,{gpus.UUID.format(3)}", True),
        ("0,", False), ("gpu0", False), ("0,none", False), ("all,0", False), ("../0", False), ("0 1", False), ("", False),
    ],
)  # fmt: skip
def test_which_words_an_assignment_takes(two: DirectoryHost, word: str, valid: bool) -> None:
    two.conf("101")
    declare(two, word)
    assert (two.phoenix("check", "--quick").code == 0) is valid


# devN lines -------------------------------------------------------------------------


def applied(host: DirectoryHost) -> str:
    done = host.apply("101", "--no-start")
    assert done.code == 0, done.err
    return (host.lxc / "101.conf").read_text()


def test_dev0_follows_the_assignment_and_a_rollback_gives_every_byte_back(two: DirectoryHost) -> None:
    before = (
        gpus.conf("dev0: /dev/nvidia0,mode=0666", *OF_ONE[1:]) + "\n[snap]\nmemory: 512\ndev0: /dev/nvidia0\n"
    )
    path = two.conf("101", before)
    declare(two, "1", manage_gpus=True)
    assert "line-beside" in found(two)
    shown = two.phoenix("plan", "101")
    assert (
        "set dev0 to /dev/nvidia1,mode=0666 (was /dev/nvidia0,mode=0666)" in shown.out
        and path.read_text() == before
    )
    after = applied(two)
    assert after == before.replace("dev0: /dev/nvidia0,mode", "dev0: /dev/nvidia1,mode", 1)
    assert found(two) == {}
    again = two.apply("101", "--no-start")
    assert again.recap["changed"] == 0 and path.read_text() == after
    assert two.phoenix("rollback").code == 0
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("lines", "assignment", "expected"),
    [
        ([], "0", OF_ONE),
        (OF_ONE, "none", []),
        (OF_ONE, "0", OF_ONE),
        (["dev3: /dev/nvidia0,gid=44,mode=0660"], "1", ["dev3: /dev/nvidia1,gid=44,mode=0660"]),
        (["dev0: /dev/ttyUSB0", "dev1: /dev/nvidia0"], "none", ["dev0: /dev/ttyUSB0"]),
        (["dev0: /dev/ttyUSB0"], "1", ["dev0: /dev/ttyUSB0", "dev1: /dev/nvidia1,mode=0666"]),
        (["dev0: /dev/nvidia0", "dev1: /dev/nvidia0"], "0,1", ["dev0: /dev/nvidia0", "dev1: /dev/nvidia1"]),
        (["dev0: path=/dev/nvidia0,mode=0666"], "0", ["dev0: path=/dev/nvidia0,mode=0666"]),
    ],
)  # fmt: skip
def test_the_smallest_change_of_devn_lines(
    two: DirectoryHost, lines: list[str], assignment: str, expected: list[str]
) -> None:
    two.conf("101", gpus.conf(*lines))
    declare(two, assignment, manage_gpus=True)
    after = applied(two).splitlines()
    devices = [line for line in after if line.startswith("dev")]
    # The nodes that all GPUs share come beside those of the test's own.
    assert [
        line for line in devices if line in expected or not any(name in line for name in SHARED)
    ] == expected
    assert [line for line in after if not line.startswith("dev")] == gpus.conf().splitlines()


def test_without_the_key_devices_stay(two: DirectoryHost) -> None:
    two.conf("101", gpus.conf(*OF_ONE))
    declare(two, "1")
    assert applied(two) == gpus.conf(*OF_ONE)


def test_raw_lines_are_kept_and_named(two: DirectoryHost) -> None:
    two.conf("101", gpus.conf(BIND0, f"{ALLOW}c 195:* rwm"))
    declare(two, "1", manage_gpus=True)
    plan = two.phoenix("plan", "--json").document
    (kept,) = [one for one in plan["warnings"] if one["code"] == "gpu-raw-kept"]
    assert kept["data"]["lines"] == [BIND0, f"{ALLOW}c 195:* rwm"]
    assert applied(two).startswith(gpus.conf(BIND0, f"{ALLOW}c 195:* rwm"))


def test_slices_get_their_own_capability_nodes_and_no_others(host: DirectoryHost) -> None:
    host.source("lxc-a")
    gpus.nvidia(host.root, 2, slices=(0,))
    host.conf("101", gpus.conf())
    declare(host, "0/1/0", manage_gpus=True)
    caps = [line for line in applied(host).splitlines() if "caps" in line]
    assert caps == ["dev5: /dev/nvidia-caps/nvidia-cap14", "dev6: /dev/nvidia-caps/nvidia-cap15"]
    done = host.phoenix("gpu", "--json").document["containers"]["101"]["gpus"][0]
    assert done["slices"] == {"1": True, "1/0": True, "2": False, "2/0": False}


@pytest.mark.parametrize(
    ("conf", "code"),
    [
        (gpus.conf("lock: backup"), "locked"),
        (gpus.conf() + "\n[1x]\ndev0: /dev/nvidia0\n", "conf-unusable"),
        (gpus.conf() + "\n[pve:pending]\ndev0: /dev/nvidia0\n", "gpu-pending"),
        (gpus.conf() + "\n[pve:pending]\ndelete: dev0\n", "gpu-pending"),
    ],
)
def test_what_stands_in_the_way_is_refused_before_anything_is_written(
    two: DirectoryHost, conf: str, code: str
) -> None:
    two.conf("101", conf)
    declare(two, "1", manage_gpus=True)
    before = contents(two.lxc)
    done = two.phoenix("apply", "101", "--no-start", "--json")
    assert done.code == 1 and code in [found for found, _ in done.problems]
    assert contents(two.lxc) == before


def test_a_gpu_that_is_not_there_is_refused(two: DirectoryHost) -> None:
    two.conf("101", gpus.conf(*OF_ONE))
    declare(two, "0,7", manage_gpus=True)
    done = two.phoenix("apply", "101", "--no-start", "--json")
    assert done.code == 1 and [code for code, _ in done.problems] == ["gpu-unknown"]
    assert (two.lxc / "101.conf").read_text() == gpus.conf(*OF_ONE)


@pytest.mark.parametrize("ending", [b"\r\n", b"\n"], ids=["CRLF", "LF"])
@pytest.mark.parametrize("final", [True, False], ids=["newline", "no newline"])
def test_line_endings_and_every_other_byte_stay(two: DirectoryHost, ending: bytes, final: bool) -> None:
    text = b"#note: dev0: /dev/nvidia0\narch: amd64\ndev0: /dev/nvidia0  \nmemory: 512\nhostname: box"
    data = text.replace(b"\n", ending) + ending * final
    path = two.conf("101", data)
    declare(two, "1", manage_gpus=True)
    applied(two)
    after = path.read_bytes()
    kept = [line for line in after.split(b"\n") if not line.startswith(b"dev")]
    assert kept == [
        line for line in (data if final else data + ending).split(b"\n") if not line.startswith(b"dev0: ")
    ]
    assert b"dev0: /dev/nvidia1" in after and b"#note: dev0: /dev/nvidia0" in after
    assert all(line.endswith(b"\r") for line in after.split(b"\n")[:-1]) is (ending == b"\r\n")
    assert two.phoenix("rollback").code == 0 and path.read_bytes() == data


def test_others_who_change_the_file_meanwhile_lose_nothing(live: LiveHost) -> None:
    live.source("lxc-a")
    gpus.nvidia(live.root, 2)
    path = live.conf("101", gpus.conf(*OF_ONE))
    declare(live, "1", manage_gpus=True)
    assert live.apply("101", "--no-start").code == 0
    path.write_text(path.read_text().replace("memory: 512", "memory: 1024"))
    assert live.phoenix("rollback").code == 0
    assert path.read_text() == gpus.conf(*OF_ONE).replace("memory: 512", "memory: 1024")
    assert live.apply("101", "--no-start").code == 0
    changed = path.read_text().replace("dev0: /dev/nvidia1", "dev0: /dev/sda")
    path.write_text(changed)
    refused = live.phoenix("rollback")
    assert refused.code == 1 and path.read_text() == changed


def test_a_failure_later_gives_the_lines_back(live: LiveHost) -> None:
    live.source("lxc-a")
    gpus.nvidia(live.root, 2)
    for ctid in ("101", "102"):
        live.conf(ctid, gpus.conf(*OF_ONE))
    entry = {"apparmor_profile": "lxc-a", "gpu_assignment": "1", "manage_gpus": True}
    live.declare({"101": entry, "102": entry})
    assert live.phoenix("setup").code == 0
    before = world(live)
    live.fail(pct_start=2)
    assert live.apply("--all").code == 1
    assert world(live)[1] == before[1]


def test_a_running_container_gets_its_devices_with_the_next_start(live: LiveHost) -> None:
    live.source("lxc-a")
    gpus.nvidia(live.root, 2)
    live.conf("101", gpus.conf(*OF_ONE))
    entry = {"apparmor_profile": "lxc-a", "gpu_assignment": "0", "manage_gpus": True}
    live.declare({"101": entry})
    assert live.apply("--all").code == 0
    live.declare({"101": {**entry, "gpu_assignment": "1"}})
    plan = live.phoenix("plan", "--json").document
    assert [code for code, _ in told(plan["skipped"])] == ["gpu-next-start"]
    with live.recorded() as argvs:
        assert live.apply("--all", "--restart").code == 0
    assert ("pct", "reboot", "101") in argvs


def test_plain_lxc_has_no_such_lines(host: DirectoryHost) -> None:
    host.source("lxc-a")
    gpus.nvidia(host.root, 1)
    gpus.write(host.root, "/var/lib/lxc/101/config", "lxc.uts.name = box\n")
    declare(host, "0", manage_gpus=True)
    done = host.phoenix("--runtime", "lxc", "plan", "--json")
    assert "gpu-not-managed" in [code for code, _ in told(done.document["warnings"])]


def test_a_journal_restores_devices_only() -> None:
    from phoenix_hypervisor.plan.actions import AssignLines, LineChange

    def action(key: str, value: str | None) -> AssignLines:
        line = LineChange(key=key, value=value, old=None)
        return AssignLines(target="101", path="/etc/pve/lxc/101.conf", before=b"a", after=b"b", lines=(line,))

    good = action("dev0", "/dev/nvidia0,mode=0666")
    assert read_action(document(good)) == good
    for key, value in (
        ("dev0", "/etc/passwd"),
        ("dev0", "/dev/a\nlxc.x: y"),
        ("dev", "/dev/a"),
        ("dev1000", "/dev/a"),
    ):
        with pytest.raises(ValueError):
            read_action(document(action(key, value)))


def test_a_profile_that_refuses_the_assigned_gpu_is_named(two: DirectoryHost) -> None:
    two.source("lxc-a", "/etc/hosts r,")
    two.conf("101", gpus.conf(*OF_ONE, profile="lxc-a"))
    two.declare({"101": {"apparmor_profile": "lxc-a", "start": False, "gpu_assignment": "0"}})
    assert found(two)["gpu-not-open"]["data"] == {"gpu": 0, "walls": ["profile"], "write": None}


def test_a_source_that_does_not_compile_leaves_the_look_at_gpus_alone(two: DirectoryHost) -> None:
    two.source("lxc-a", "this is no rule")
    two.conf("101", gpus.conf(*OF_ONE, profile="lxc-a"))
    two.declare({"101": {"apparmor_profile": "lxc-a", "start": False, "gpu_assignment": "0"}})
    assert two.phoenix("status").code == 0
    assert two.phoenix("verify", "--json").document["containers"][0]["findings"] == []
    done = two.phoenix("gpu", "--json").document["containers"]["101"]
    assert not done["profile_known"] and done["gpus"][0]["can_open"]
    assert "counts as no wall" in two.phoenix("gpu").out
