"""The ABI that every shipped profile pins: it is installed, counted, and changes nothing for Debian's kernels."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from phoenix_hypervisor.plan.mediation import read_dump
from support.hosts import TOP, DirectoryHost
from support.shipped import ETC, NAMES, PIN, compile_text, text_of

DUMPS = TOP / "src/phoenix_hypervisor/data/features"
PINNED = "/usr/share/apparmor-features/features"


def test_every_shipped_profile_pins_the_abi_before_anything_else() -> None:
    paths = sorted(ETC.rglob("lxc-*"))
    assert {path.name for path in paths} == set(NAMES)
    for path in paths:
        lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
        assert lines[0] == PIN, path


@pytest.mark.parametrize("kernel", ["bookworm-6.1", "trixie-6.12"])
@pytest.mark.parametrize("name", NAMES)
def test_for_debians_kernels_the_pin_changes_not_one_byte(name: str, kernel: str) -> None:
    text, dump = text_of(name), str(DUMPS / kernel)
    bare = compile_text(text.replace(PIN, "", 1), kernel=dump, pins=PINNED)
    assert compile_text(text, kernel=dump, pins=PINNED) == bare


def test_the_abi_names_what_the_rules_are_written_for() -> None:
    found = read_dump((ETC / "abi/phoenix").read_bytes())
    assert {"network/af_unix", "network_v8/af_mask", "mount/mask", "ipc/posix_mqueue"} <= found.keys()
    assert "userns_create" in found["namespaces/mask"]
    # No rule speaks of D-Bus, and no rule would mean: refused.
    assert not [path for path in found if path.startswith("dbus")]


def test_the_abi_is_installed_before_the_profiles_and_an_edit_of_it_counts(host: DirectoryHost) -> None:
    shutil.copytree(ETC, host.sources, dirs_exist_ok=True)
    host.declare({})
    assert host.phoenix("setup").code == 0
    installed = host.installed / "abi/phoenix"
    assert installed.read_bytes() == (ETC / "abi/phoenix").read_bytes()
    assert host.phoenix("setup").recap["changed"] == 0
    source = host.sources / "abi/phoenix"
    source.write_bytes(source.read_bytes().replace(b"posix_mqueue", b"posix_other"))
    done = host.phoenix("plan", "--json")
    proofs = [words for words in done.document["proofs"] if "--stdout" in words]
    assert [Path(words[-1]).name for words in proofs] == NAMES
    assert host.phoenix("setup").code == 0
    assert b"posix_other" in installed.read_bytes()
