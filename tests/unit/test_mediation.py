"""What a kernel cannot mediate is read from its feature files, and status says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from phoenix_hypervisor.host.kernel import SECURITYFS, Kernel
from phoenix_hypervisor.host.root import Root
from phoenix_hypervisor.plan.mediation import gaps, read_dump

DUMPS = Path(__file__).parents[2] / "src/phoenix_hypervisor/data/features"
OLD = read_dump((DUMPS / "bookworm-6.1").read_bytes())
NEW = read_dump((DUMPS / "trixie-6.12").read_bytes())


def test_each_generation_lacks_what_it_lacks() -> None:
    assert [g.code for g in gaps(OLD, None)] == ["move_mount", "unix", "userns", "mqueue", "io_uring"]
    assert [g.code for g in gaps(NEW, None)] == ["unix", "mqueue"]
    assert {g.by for g in gaps(NEW, None)} == {"kernel"}


def test_pinned_features_switch_off_what_the_kernel_could() -> None:
    found = {g.code: g.by for g in gaps(NEW, OLD)}
    assert found["userns"] == found["io_uring"] == "pinned features"
    assert "move_mount" not in found  # no rule asks for it: the kernel alone decides


def test_a_kernel_without_a_class_is_said_to_hold_nothing_of_it() -> None:
    without = {path: words for path, words in NEW.items() if not path.startswith("mount/")}
    assert {"mount", "move_mount"} <= {g.code for g in gaps(without, None)}


PROXMOX = read_dump((DUMPS / "proxmox-9-6.17").read_bytes())
OURS = read_dump((Path(__file__).parents[2] / "etc/apparmor/abi/phoenix").read_bytes())


def test_our_abi_leaves_nothing_unmediated_on_proxmoxs_kernel_and_debians_pin_does() -> None:
    assert gaps(PROXMOX, OURS) == []
    assert {g.code: g.by for g in gaps(PROXMOX, NEW)} == {
        "unix": "pinned features",
        "mqueue": "pinned features",
    }


def test_a_kernel_that_has_unix_mediation_of_version_nine_only_does_not_ask_a_policy_of_version_seven() -> (
    None
):
    upstream = {path: words for path, words in PROXMOX.items() if not path.startswith("network/")}
    assert {g.code: g.by for g in gaps(upstream, OURS)} == {"unix": "pinned features"}
    assert gaps(upstream, PROXMOX) == []


@pytest.mark.parametrize("data", [b"", b"no dump", b"file {mask {read\n}\n", b"}", b"a { } }"])
def test_what_is_no_dump_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        read_dump(data)


def test_a_kernels_own_tree_says_the_same_as_its_dump(tmp_path: Path) -> None:
    assert Kernel(Root(str(tmp_path))).features() is None
    top = tmp_path / SECURITYFS.lstrip("/") / "features"
    for path, words in NEW.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(" ".join(sorted(words)) + "\n")
    found = Kernel(Root(str(tmp_path))).features()
    assert found == dict(NEW)
