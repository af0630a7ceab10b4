"""What the guests' own parsers make of the shipped profiles for Proxmox's kernels.

This machine has one parser; Proxmox VE 9 has that of the trixie guest.  The guest compiles, the answers are
worked out here.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from phoenix_hypervisor.lab.booted import Lab
from phoenix_hypervisor.plan.mediation import read_dump
from phoenix_hypervisor.policy.assertions import run_tests
from phoenix_hypervisor.policy.reader import read_policy
from phoenix_hypervisor.policy.sockets import Asks, asks
from phoenix_hypervisor.profiles.features import PACKED, packed, same_lists
from phoenix_hypervisor.profiles.prove import read_tests
from support.shipped import NAMES, TOP

PROXMOX = [names[0] for names in same_lists(name for name in PACKED if name.startswith("proxmox"))]
TAKEN = [name for name in NAMES if not name.startswith("lxc-base")]
"""lxc-base differs from its twin in GPUs only (tests/host/test_profiles.py)."""
BARE = "lxc-nesting-v1"
"""Compiled without its pin as well: a small one, because the guest is emulated."""
COMPILE = """set -e
cd /usr/local/phoenix_hypervisor
rm -rf /tmp/kernels && mkdir /tmp/kernels
top=$PWD/etc/apparmor
include="-I $top/if-parser-accepts -I $top"
for kernel in {kernels}; do
  for name in {names}; do
    source=$top/if-parser-accepts/$name
    [ -e $source ] || source=$top/$name
    apparmor_parser -QKS --kernel-features src/phoenix_hypervisor/data/features/$kernel \\
      $include $source > /tmp/kernels/$kernel.$name
  done
  sed '/^abi /d' $top/{bare} | apparmor_parser -QKS \\
    --kernel-features src/phoenix_hypervisor/data/features/$kernel $include > /tmp/kernels/$kernel.bare
done
tar -C /tmp/kernels -cf /tmp/kernels.tar .
"""


@pytest.mark.slow
def test_on_proxmoxs_kernels_the_shipped_profiles_hold_as_parser_4_compiles_them(
    labs: Callable[[str], Lab], tell: Callable[[str], None]
) -> None:
    lab = labs("trixie")
    script = COMPILE.format(kernels=" ".join(PROXMOX), names=" ".join(TAKEN), bare=BARE)
    lab.run(script, check=True, timeout=1200)
    tests = read_tests(str(TOP / "etc/policy_tests"), optional=True)
    sizes = []
    with tarfile.open(fileobj=io.BytesIO(lab.get("/tmp/kernels.tar"))) as archive:
        for kernel in PROXMOX:
            path = packed(kernel)
            assert path is not None
            how = asks(read_dump(Path(path).read_bytes()))
            assert how is Asks.PROTOCOL
            for name in TAKEN:
                blob = _member(archive, f"{kernel}.{name}")
                sizes.append(len(blob))
                profile = read_policy(blob).profiles[0]
                assert run_tests(tests, {name: profile}, how).failures == (), (kernel, name)
            bare = read_policy(_member(archive, f"{kernel}.bare")).profiles[0]
            failed = {failure.test.name for failure in run_tests(tests, {BARE: bare}, how).failures}
            assert "unix sockets are made and used" in failed, kernel
    assert max(sizes) <= 2 * 1024 * 1024, "the budget for kernels with permstable32"
    tell(f"compiled by parser 4.1 for {len(PROXMOX)} kernels of Proxmox: {min(sizes)} to {max(sizes)} bytes")


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    opened = archive.extractfile(f"./{name}")
    assert opened is not None
    return opened.read()
