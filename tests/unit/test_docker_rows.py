"""The Docker suite's pure parts: which combinations are promised, what is kept and shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.lab import rootdisk
from phoenix_hypervisor.lab.cache import Cache
from phoenix_hypervisor.lab.guest_containers import NVIDIA_NODES
from phoenix_hypervisor.lab.qemu import _more_disks

docker = pytest.importorskip("efficacy.docker")


def row(operation: str, verdict: str) -> dict[str, object]:
    place = {"release": "trixie", "disk": "docker-trixie", "kind": "privileged", "profile": "p"}
    return {
        **place,
        "runtime": "runc",
        "versions": {"runc": "1.1.15+ds1-2"},
        "operation": operation,
        "verdict": verdict,
        **({"said": "no\n", "denied": ["DENIED x"]} if verdict == "failed" else {}),
    }


def test_the_promise_is_measured_in_both_kinds_with_both_runtimes_and_every_docker_profile() -> None:
    places = list(docker.places())
    for kind in docker.KINDS:
        assert {p.profile for p in places if p.kind == kind} == set(docker.PROFILES)
        assert {(p.disk, p.runtime) for p in places if p.kind == kind and p.profile == docker.DOCKER} == {
            (disk, runtime) for disk in docker.DISKS for runtime in ("runc", "crun")
        }
    names = {one.name for one in docker.OPERATIONS}
    assert set(docker.SHORT) <= names and len(names) == len(docker.OPERATIONS)
    assert set(docker.DISKS) == set(rootdisk.DISKS)
    assert "nvidia0" in NVIDIA_NODES


def test_a_row_measured_again_replaces_the_old_one(tmp_path: Path) -> None:
    output = tmp_path / "docker.json"
    docker.keep([row("a", "failed"), row("b", "works")], output)
    docker.keep([row("a", "works")], output)
    text = output.read_text()
    assert text.count('"operation": "a"') == 1 and "failed" not in text and '"b"' in text


def test_the_table_says_what_a_failed_row_said_and_what_was_denied() -> None:
    lines = docker.table([row("a", "works"), row("b", "failed")]).splitlines()
    assert [line.split()[-1] for line in lines] == ["works", "failed", "no", "x"]
    assert "1.1.15" in lines[0]


def test_a_disk_that_nobody_knows_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(PhoenixError, match="no root disk 'docker-x'") as error:
        rootdisk.ensure_root_disk(Cache(tmp_path), "docker-x")
    assert "docker-trixie" in str(error.value.hint)


def test_the_hash_follows_the_suite() -> None:
    assert len({rootdisk.recipe_hash(one) for one in rootdisk.DISKS.values()}) == len(rootdisk.DISKS)


def test_further_disks_are_thrown_away_and_may_have_commas() -> None:
    argv = list(_more_disks([Path("/a,b")]))
    assert "file=/a,,b" in argv[1] and "snapshot=on" in argv[1] and argv[3].startswith("virtio-blk-pci")
