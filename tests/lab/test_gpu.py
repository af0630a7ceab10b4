"""What `phoenix gpu` says of a container is what a kernel does: real containers, stand-in nodes, both kernels.

No driver answers: opening a node gives ENXIO or ENODEV where it is let through, EACCES or EPERM where not.
"""

from __future__ import annotations

import errno
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from phoenix_hypervisor.lab.booted import Lab
from phoenix_hypervisor.lab.guest_containers import LXC_PATH, container_config, make_container
from support.gpu_cases import BOTH, A, Case, cases
from support.lab_host import SMALL, declare, phoenix

GUEST = Path(__file__).parent / "guest"
STOPPED = (errno.EACCES, errno.EPERM)
FIRST = 1000
BATCH = 8
"""Containers that one order to the guest starts, one after the other."""
USUALLY = 12
"""Of the configurations; each takes seconds to start under emulation."""
ROOTS = {True: "990", False: "991"}
"""The container whose root all privileged ones use, and the others."""
PYTHON = (
    "lxc.mount.entry = /usr usr none rbind,ro,optional",
    "lxc.mount.entry = /lib lib none rbind,ro,optional,create=dir",
    "lxc.mount.entry = /lib64 lib64 none rbind,ro,optional,create=dir",
    "lxc.mount.entry = /tmp/gpu_probe.py probe.py none bind,create=file",
)
"""The guest's own Python, for the probe."""


def make_nodes(lab: Lab) -> None:
    lab.run(
        "cd /dev; for n in 0 1 2 3; do test -e nvidia$n || mknod -m 666 nvidia$n c 195 $n; done;"
        "chmod 660 nvidia2 nvidia3; chown root:104 nvidia3; mkdir -p dri;"
        "test -e dri/renderD128 || mknod -m 666 dri/renderD128 c 226 128",
        check=True,
    )


def order() -> list[list[object]]:
    """Where each GPU's node may be inside, with its number."""
    found: list[list[object]] = []
    for number in range(4):
        found += [[f"{place}/nvidia{number}", 195, number] for place in ("/dev", "/hostdev")]
    found += [["/mnt/gpu", 195, 0], ["/outside/gpu", 195, 0]]
    return [*found, ["/dev/dri/renderD128", 226, 128], ["/hostdev/dri/renderD128", 226, 128]]


def config(name: str, case: Case, privileged: bool) -> str:
    lines = "\n".join((*case.lines, *PYTHON))
    text = container_config(name, layer=case.layer, privileged=privileged, profile="unconfined", extra=lines)
    return text.replace(f"{LXC_PATH}/{name}/rootfs", f"{LXC_PATH}/{ROOTS[privileged]}/rootfs")


def answers(said: dict[str, list[int]]) -> dict[str, tuple[bool, bool]]:
    """By GPU, whether the container opens its node through a line, and whether it makes and opens one."""
    found: dict[str, tuple[bool, bool]] = {}
    for path, (both, reads, writes, *ways) in said.items():
        number = "4" if "render" in path else path[-1] if path[-1].isdigit() else "0"
        opens = any(code not in (-1, *STOPPED) for code in (both, reads, writes))
        makes = any(code not in (-2, *STOPPED) for code in ways)
        old = found.get(number, (False, False))
        found[number] = (old[0] or opens, old[1] or makes)
    return found


def chosen(names: list[str]) -> list[str]:
    """All of them where PHOENIX_GPU_TABLE is set (`make gpu-table`); else some, always the same."""
    return names if os.environ.get("PHOENIX_GPU_TABLE") else sorted(random.Random(16).sample(names, USUALLY))


def test_phoenix_gpu_agrees_with_the_kernel(lab: Lab, tell: Callable[[str], None]) -> None:
    lab.install_phoenix()
    make_nodes(lab)
    for name in ("gpu_probe.py", "gpu_rounds.py"):
        lab.put(f"/tmp/{name}", (GUEST / name).read_bytes())
    table = {str(FIRST + number): found for number, found in enumerate(cases())}
    assert len(table) >= 80
    table = {name: table[name] for name in chosen(list(table))}
    declare(lab, {})
    roots = [make_container(lab, ctid, privileged=kind, profile="unconfined") for kind, ctid in ROOTS.items()]
    real: dict[str, Any] = {}
    names = list(table)
    try:
        for start in range(0, len(names), BATCH):
            rounds = [
                {"name": name, "config": config(name, *table[name]), "order": order()}
                for name in names[start : start + BATCH]
            ]
            argv = ["python3", "-I", "-S", "/tmp/gpu_rounds.py"]
            done = lab.run(argv, input=json.dumps(rounds).encode(), timeout=1800, check=True)
            real.update(json.loads(done.stdout.splitlines()[-1]))
        document = json.loads(phoenix(lab, "gpu", "--json").stdout)
    finally:
        for root in roots:
            root.remove()
        lab.run([*("rm", "-rf"), *(f"{LXC_PATH}/{name}" for name in names)])
    wrong = []
    asked = 0
    for name, (case, privileged) in table.items():
        kind = "privileged" if privileged else "unprivileged"
        fault = document["containers"][name]["error"]
        if "error" in real[name] or fault is not None:
            asked += 1
            if ("error" in real[name]) is not (fault is not None):
                wrong.append(f"{name} {kind} {case}: kernel {real[name]}, phoenix {fault}")
            continue
        cells = {str(one["gpu"]): one for one in document["containers"][name]["gpus"]}
        for gpu, theirs in answers(real[name]).items():
            ours = (cells[gpu]["can_open"], cells[gpu]["can_make"])
            asked += 1
            if ours != theirs:
                wrong.append(f"{name} {kind} {case} GPU {gpu}: kernel {theirs}, phoenix {ours}")
    tell(f"{lab.release.name}: {len(table)} configurations, {asked} answers, {len(wrong)} differ")
    assert not wrong, "\n".join(wrong)


HOME = "/root/scope"
OPENS = "for n in 0 1; do ( : <> /dev/nvidia$n ) 2>&1; done; mknod /tmp/x c 195 1 && ( : <> /tmp/x ) 2>&1"


def test_a_scoped_container_cannot_open_anothers_node_by_name(lab: Lab) -> None:
    """Even with the device cgroup open; the base profile stays for who did not ask for a variant."""
    lab.install_phoenix()
    make_nodes(lab)
    lab.put(f"{HOME}/apparmor/lxc-t-gpu", SMALL.format(name="lxc-t-gpu", rules=""))
    lab.run(["mkdir", "-p", f"{HOME}/policy_tests"], check=True)
    entry = {"name": "box", "apparmor_profile": "lxc-t-gpu", "unprivileged": False, "seccomp": False}
    scoped = {**entry, "gpu_assignment": "0", "scope_gpus": True}
    declared = {"985": scoped, "986": entry, "987": {**scoped, "name": "box-2", "unprivileged": True}}
    lab.put(f"{HOME}/phoenix_lxc_configs.json", json.dumps({"lxc_configs": declared}))
    extra = "\n".join((*BOTH, f"{A}a"))
    boxes = [make_container(lab, ctid, privileged=ctid != "987", extra=extra) for ctid in declared]
    config = ("--config", f"{HOME}/phoenix_lxc_configs.json")
    try:
        done = phoenix(lab, *config, "apply", "--all")
        assert done.ok, done.stdout + done.stderr
        labels = [box.label() for box in boxes]
        assert labels == [
            f"{name} (enforce)" for name in ("lxc-t-gpu-gpus-0", "lxc-t-gpu", "lxc-t-gpu-gpus-0")
        ]
        said = [box.attach(OPENS).stdout.splitlines() for box in boxes]
        opened = [["No such device" in line for line in lines] for lines in said]
        # By another name the first opens it all the same: it can make the node, and the cgroup lets it through.
        assert opened == [[True, False, True], [True, True, True], [True, False]], said
        document = json.loads(phoenix(lab, *config, "gpu", "--json").stdout)["containers"]
        ours = [[(c["can_open"], c["can_make"]) for c in document[box.name]["gpus"][:2]] for box in boxes]
        assert ours == [[(True, True), (False, True)], [(True, True)] * 2, [(True, False), (False, False)]]
        check = phoenix(lab, *config, "check", "--quick")
        assert check.ok and "container 985" in check.stdout and "only the device cgroup" in check.stdout
    finally:
        for box in boxes:
            box.remove()
