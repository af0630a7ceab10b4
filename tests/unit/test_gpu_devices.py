"""Which `devN` lines an assignment asks for, and the smallest change that brings them."""

from __future__ import annotations

import pytest

from phoenix_hypervisor.gpu.assignment import changes, line_for, needed
from phoenix_hypervisor.gpu.hardware import Assigned, Gpu, Hardware, Node, Slice, assigned

CAPS = "/dev/nvidia-caps/nvidia-cap"
SLICE = Slice(name="1/0", nodes=(f"{CAPS}14", f"{CAPS}15"))
GPUS = (
    Gpu(
        number=0,
        vendor="nvidia",
        needs="/dev/nvidia0",
        also=("/dev/dri/card0",),
        uuid="GPU-a",
        slices=(SLICE,),
    ),
    Gpu(number=1, vendor="nvidia", needs="/dev/nvidia1", uuid="GPU-b"),
    Gpu(number=2, vendor="amd", needs="/dev/dri/renderD129", also=("/dev/dri/card1",)),
)
THERE = (
    "/dev/nvidia0",
    "/dev/nvidia1",
    "/dev/dri/renderD129",
    "/dev/nvidiactl",
    "/dev/nvidia-uvm",
    "/dev/kfd",
)
HOST = Hardware(
    gpus=GPUS,
    nodes={
        path: Node(path=path, number=("c", 1, n), mode=0o666, uid=0, gid=0) for n, path in enumerate(THERE)
    },
)
CTL, UVM = "/dev/nvidiactl,mode=0666", "/dev/nvidia-uvm,mode=0666"


@pytest.mark.parametrize(
    ("words", "nodes"),
    [
        ((), ()),
        (("none",), ()),
        (("1",), ("/dev/nvidia1", "/dev/nvidiactl", "/dev/nvidia-uvm")),
        (("GPU-b",), ("/dev/nvidia1", "/dev/nvidiactl", "/dev/nvidia-uvm")),
        (("0",), ("/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm", *SLICE.nodes)),
        (("0/1/0",), ("/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm", *SLICE.nodes)),
        (("2",), ("/dev/dri/renderD129", "/dev/kfd")),
        (("all",), ("/dev/nvidia0", "/dev/nvidia1", "/dev/dri/renderD129", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/kfd", *SLICE.nodes)),
    ],
)  # fmt: skip
def test_the_nodes_that_an_assignment_needs(words: tuple[str, ...], nodes: tuple[str, ...]) -> None:
    assert needed(assigned(words, HOST), HOST) == nodes


@pytest.mark.parametrize("word", ["7", "GPU-c", "0/9", "0/1/9", "7/1/0", "MIG-x", ""])
def test_a_word_that_means_nothing_here_is_named(word: str) -> None:
    assert assigned(("1", word), HOST) == Assigned(gpus=(GPUS[1],), unknown=(word,))


def test_numbers_are_those_of_whole_gpus_and_of_slices() -> None:
    assert assigned(("1", "GPU-a/1/0"), HOST).numbers == {0, 1}
    assert HOST.gpu(5) is None and HOST.owner("/dev/dri/card1") is GPUS[2] and HOST.owner("/dev/kfd") is None


@pytest.mark.parametrize(
    ("now", "words", "changed"),
    [
        ({}, ("1",), {"dev0": line_for("/dev/nvidia1"), "dev1": CTL, "dev2": UVM}),
        ({"dev1": "/dev/x"}, ("1",), {"dev0": line_for("/dev/nvidia1"), "dev2": CTL, "dev3": UVM}),
        ({"dev0": "/dev/nvidia0,gid=4", "dev1": CTL, "dev2": UVM}, ("1",), {"dev0": "/dev/nvidia1,gid=4"}),
        ({"dev0": "/dev/nvidia1", "dev1": CTL, "dev2": UVM}, ("1",), {}),
        ({"dev0": "/dev/nvidia1", "dev1": CTL, "dev2": UVM}, (), {"dev0": None, "dev1": None, "dev2": None}),
        ({"dev10": CTL, "dev2": UVM, "dev9": "/dev/nvidia1"}, (), {"dev2": None, "dev9": None, "dev10": None}),
        ({"dev0": "/dev/nvidia1", "dev1": CTL, "dev2": UVM, "dev3": f"{CAPS}1"}, ("1",), {"dev3": None}),
        ({"dev0": CTL, "dev1": UVM, "dev2": f"{CAPS}1", "dev3": f"{CAPS}2,mode=0444", "dev4": "/dev/nvidia0"}, ("0/1/0",),
         {"dev2": f"{CAPS}14", "dev3": f"{CAPS}15,mode=0444"}),
        ({"dev0": "/dev/dri/card0", "dev1": CTL, "dev2": UVM, "dev3": "/dev/nvidia0", "dev4": f"{CAPS}14", "dev5": f"{CAPS}15"}, ("0",), {}),
        ({"dev0": "/dev/dri/card0"}, (), {"dev0": None}),
        ({"dev0": f"{CAPS}1,mode=0444", "dev1": CTL, "dev2": UVM}, ("1",), {"dev0": line_for("/dev/nvidia1")}),
        ({"dev0": "/dev/dri/renderD999", "dev1": "nonsense"}, (), {}),
        ({"dev0": "/dev/nvidia1", "dev1": "/dev/nvidia1", "dev2": CTL, "dev3": UVM}, ("1",), {"dev1": None}),
        ({"dev10": "/dev/nvidia1", "dev9": "/dev/nvidia1", "dev2": CTL, "dev3": UVM}, ("1",), {"dev10": None}),
        ({"dev0": "/dev/nvidia0", "dev1": UVM}, ("2",), {"dev0": "/dev/dri/renderD129", "dev1": "/dev/kfd,mode=0666"}),
    ],
)  # fmt: skip
def test_the_smallest_change(
    now: dict[str, str], words: tuple[str, ...], changed: dict[str, str | None]
) -> None:
    found = changes(now, assigned(words, HOST), HOST)
    assert {line.key: line.value for line in found} == changed
    assert [line.old for line in found] == [now.get(line.key) for line in found]
    assert [int(line.key[3:]) for line in found] == sorted(int(line.key[3:]) for line in found)


def test_there_are_256_lines() -> None:
    full = {f"dev{number}": f"/dev/x{number}" for number in range(256)}
    assert changes(full, assigned(("1",), HOST), HOST) == ()
    del full["dev255"]
    (only,) = changes(full, assigned(("1",), HOST), HOST)
    assert only.key == "dev255" and only.value == line_for("/dev/nvidia1")
    assert line_for(f"{CAPS}14") == f"{CAPS}14"
