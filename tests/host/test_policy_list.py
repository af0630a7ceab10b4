"""`policy list` on what the real apparmor_parser makes, and for which kernel policy is asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.hosts import DirectoryHost

FEATURES = "/usr/share/apparmor-features/features"
pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(
        not any(os.access(f"{d}/apparmor_parser", os.X_OK) for d in ("/sbin", "/usr/sbin"))
        or not Path(FEATURES).exists(),
        reason="apparmor_parser is not installed",
    ),
]


def prepare(host: DirectoryHost, text: bytes = b"profile lxc-t {\n  file,\n}\n") -> None:
    host.declare({})
    (host.sources / "lxc-t").write_bytes(text)


def test_answers_say_for_which_kernel(host: DirectoryHost) -> None:
    prepare(host)
    blob = str(host.folder / "blob")
    assert host.phoenix("policy", "compile", "lxc-t", "-o", blob).code == 0
    for name, said in (("proxmox-9", "proxmox-9-6.17"), ("debian-12", "debian-12"), (FEATURES, FEATURES)):
        for words in (("query", "lxc-t", "userns"), ("list", "lxc-t"), ("diff", "lxc-t", blob)):
            options = ("--features", name, "policy", *words)
            assert host.phoenix("--json", *options).document["kernel"] == said
            assert f"for the kernel: {said}\n" in host.phoenix(*options).out


def test_a_mistyped_kernel_is_answered_with_the_near_ones(host: DirectoryHost) -> None:
    prepare(host)
    result = host.phoenix("--features", "proxmox-19", "policy", "query", "lxc-t", "userns")
    assert result.code == 2
    assert "--features is neither a file nor a packed list" in result.err
    assert "did you mean proxmox-9" in result.err
    assert "debian-12, debian-13" in result.err
