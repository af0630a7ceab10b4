"""Which runtime a host has, whatever state it is in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.hosts import LiveHost, snapshot
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
