"""Which runtime a host has, whatever state it is in."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from phoenix_hypervisor.containers.runtimes import registry
from phoenix_hypervisor.host.process import ProcessRunner, ReplacingRunner
from support.hosts import CREATION, DOUBLES, LiveHost, snapshot
from support.killed import killed

GENERATED = "lxc.arch = amd64\nlxc.apparmor.profile = generated\n"


@pytest.fixture
def down(live: LiveHost) -> LiveHost:
    """A Proxmox host that was applied, and whose pve-cluster is stopped since."""
    live.source("lxc-a")
    live.conf("101")
    live.declare({"101": "lxc-a"})
    assert live.apply("--all", "--no-start").code == 0
    _stop(live)
    return live


def _stop(live: LiveHost) -> None:
    (live.root / "etc/pve").rename(live.root / "pve.away")
    (live.root / "etc/pve").mkdir()
    generated = live.root / "var/lib/lxc/101/config"
    generated.parent.mkdir(parents=True, exist_ok=True)
    generated.write_text(GENERATED)


def test_proxmox_without_its_file_system_is_not_taken_for_plain_lxc(down: LiveHost) -> None:
    before = snapshot(down.root, without=("double",))
    with down.recorded() as argvs:
        for words in (("plan",), ("verify",), ("status",), ("setup",), ("apply", "--all"), ("rollback",)):
            result = down.phoenix(*words)
            assert result.code == 1, (words, result)
            assert "pve-cluster is not running: /etc/pve is empty" in result.err
            assert "systemctl status pve-cluster" in result.err
    assert not [a for a in argvs if a[0].startswith("lxc-") or a[0] == "pct"]
    assert snapshot(down.root, without=("double",)) == before
    assert down.phoenix("history").code == 0
    assert down.phoenix("check").code == 0


def test_plain_lxc_can_be_forced(down: LiveHost) -> None:
    assert down.phoenix("--runtime", "lxc", "apply", "--all", "--no-start").code == 0
    assert "profile = lxc-a" in (down.root / "var/lib/lxc/101/config").read_text()


def test_nothing_is_recovered_meanwhile(live: LiveHost) -> None:
    """A configuration that cannot be seen is not one that is as before."""
    live.source("lxc-a")
    before = live.conf("101").read_bytes()
    live.declare({"101": {"apparmor_profile": "lxc-a", "start": False}})
    with killed("end", 0):
        live.apply()
    _stop(live)
    assert "pve-cluster is not running" in live.phoenix("setup").err
    (live.root / "etc/pve").rmdir()
    (live.root / "pve.away").rename(live.root / "etc/pve")
    live.config.write_text("{")
    assert "recovered" in live.phoenix("setup").out
    assert (live.lxc / "101.conf").read_bytes() == before


class _NothingInstalled(ProcessRunner):
    """Whatever this machine has, no program of a runtime is found."""

    def find(self, program: str) -> str | None:
        return None if program in {kind.program for kind in registry.kinds()} else super().find(program)


@pytest.fixture
def bare(live: LiveHost) -> LiveHost:
    """A machine on which no container runtime was ever installed."""
    shutil.rmtree(live.root / "etc/pve")
    environment = {**os.environ, "PHOENIX_DOUBLE_ROOT": str(live.root)}
    doubles = {"apparmor_parser": [str(DOUBLES / "apparmor_parser")]}
    live.host.runner = ReplacingRunner(_NothingInstalled(environment), doubles)
    live.source("lxc-a")
    live.declare({"950": {**CREATION, "gpu_assignment": "none"}})
    return live


def test_a_host_without_any_runtime_says_so(bare: LiveHost) -> None:
    said = "neither Proxmox VE (pct) nor plain LXC (lxc-start) is installed"
    for words in (("plan",), ("apply", "--all"), ("apply", "950")):
        result = bare.phoenix(*words)
        assert result.code == 1 and said in result.err, result
        assert "is a Proxmox volume" not in result.err
    assert not (bare.installed / "lxc-a").exists()
    setup = bare.phoenix("setup")
    assert setup.code == 0 and said in setup.out
    assert said in bare.phoenix("status").out
    verify = bare.phoenix("verify", "--json")
    assert verify.code == 3
    assert "no-runtime" in [finding["code"] for finding in verify.document["host"]["findings"]]


@pytest.mark.parametrize("program", ["pct", "lxc-start"])
def test_either_program_is_a_runtime(bare: LiveHost, program: str) -> None:
    """Wherever it is: a plain LXC host has no /var/lib/lxc before its first container."""
    inner = bare.host.runner
    bare.host.runner = ReplacingRunner(inner, {program: ["/bin/sh"]})
    assert "neither" not in bare.phoenix("status").out


@pytest.mark.parametrize("path", ["usr/sbin/pct", "usr/bin/pct", "usr/share/perl5/PVE/LXC.pm"])
def test_what_says_proxmox(live: LiveHost, path: str) -> None:
    live.source("lxc-a")
    live.declare({})
    shutil.rmtree(live.root / "etc/pve")
    assert live.phoenix("status").code == 0, "a plain host"
    sign: Path = live.root / path
    sign.parent.mkdir(parents=True)
    sign.write_text("")
    assert "pve-cluster is not running" in live.phoenix("status").err
