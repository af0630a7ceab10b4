"""What `phoenix gpu` says of a container is what a kernel does: real containers, stand-in nodes, both kernels.

No driver answers: opening a node gives ENXIO or ENODEV where it is let through, EACCES or EPERM where not.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from phoenix_hypervisor.lab.booted import Lab
from phoenix_hypervisor.lab.guest_containers import Container, make_container
from support.gpu_cases import Case, cases
from support.lab_host import declare, phoenix

PROBE = (Path(__file__).parent / "guest/gpu_probe.py").read_bytes()
NODES = {"0": (195, 0), "1": (195, 1), "2": (195, 2), "3": (195, 3)}
"""By the GPU's number."""
STOPPED = (errno.EACCES, errno.EPERM)
FIRST = 1000


def nodes(lab: Lab) -> None:
    lab.run(
        "cd /dev; for n in 0 1 2 3; do test -e nvidia$n || mknod -m 666 nvidia$n c 195 $n; done;"
        "chmod 660 nvidia2 nvidia3; chown root:104 nvidia3; mkdir -p dri;"
        "test -e dri/renderD128 || mknod -m 666 dri/renderD128 c 226 128",
        check=True,
    )


def paths(case: Case) -> list[list[object]]:
    """Where each GPU's node may be inside, with its number."""
    found: list[list[object]] = []
    for number in range(4):
        found += [[f"{place}/nvidia{number}", 195, number] for place in ("/dev", "/hostdev")]
    found += [["/mnt/gpu", 195, 0], ["/outside/gpu", 195, 0]]
    return [*found, ["/dev/dri/renderD128", 226, 128], ["/hostdev/dri/renderD128", 226, 128]]


def answers(lab: Lab, container: Container, case: Case) -> dict[str, tuple[bool, bool]]:
    """By GPU, whether the container opens its node through a line, and whether it makes and opens one."""
    order = json.dumps(paths(case)).encode()
    argv = [
        "lxc-attach",
        "-n",
        container.name,
        "--clear-env",
        "--",
        "/usr/bin/python3",
        "-I",
        "-S",
        "/probe.py",
    ]
    said = lab.run(argv, input=order, timeout=60, check=True).stdout
    found: dict[str, tuple[bool, bool]] = {}
    for path, (both, reads, writes, *ways) in json.loads(said).items():
        number = "4" if "render" in path else path[-1] if path[-1].isdigit() else "0"
        opens = any(code not in (-1, *STOPPED) for code in (both, reads, writes))
        makes = any(code not in (-2, *STOPPED) for code in ways)
        old = found.get(number, (False, False))
        found[number] = (old[0] or opens, old[1] or makes)
    return found


def test_phoenix_gpu_agrees_with_the_kernel(ready: Lab, tell: Callable[[str], None]) -> None:
    nodes(ready)
    ready.put("/tmp/probe.py", PROBE)
    table = cases()
    assert len(table) >= 80
    declare(ready, {})
    boxes: list[Container] = []
    asked: list[tuple[str, Case, dict[str, tuple[bool, bool]]]] = []
    wrong = []
    for number, (case, privileged) in enumerate(table):
        ctid = str(FIRST + number)
        lines = "\n".join((*case.lines, *PYTHON))
        box = make_container(
            ready, ctid, layer=case.layer, privileged=privileged, profile="unconfined", extra=lines
        )
        started = box.start()
        assert started.ok, (case, privileged, started.stderr)
        try:
            asked.append((ctid, case, answers(ready, box, case)))
        finally:
            box.stop(kill=True)
        boxes.append(box)
    document = json.loads(phoenix(ready, "gpu", "--json").stdout)
    for (ctid, case, real), (_, privileged) in zip(asked, table, strict=True):
        cells: dict[str, Any] = {str(one["gpu"]): one for one in document["containers"][ctid]["gpus"]}
        for gpu, (opens, makes) in real.items():
            ours = cells[gpu]["can_open"], cells[gpu]["can_make"]
            if ours != (opens, makes):
                kind = "privileged" if privileged else "unprivileged"
                wrong.append(f"{ctid} {kind} {case} GPU {gpu}: kernel {(opens, makes)}, phoenix {ours}")
    for box in boxes:
        box.remove()
    answered = sum(len(real) for _, _, real in asked)
    tell(f"{ready.release.name}: {len(table)} configurations, {answered} answers, {len(wrong)} differ")
    assert not wrong, "\n".join(wrong)


PYTHON = (
    "lxc.mount.entry = /usr usr none rbind,ro,optional",
    "lxc.mount.entry = /lib lib none rbind,ro,optional,create=dir",
    "lxc.mount.entry = /lib64 lib64 none rbind,ro,optional,create=dir",
    "lxc.mount.entry = /tmp/probe.py probe.py none bind,create=file",
)
"""The guest's own Python, for the probe."""
