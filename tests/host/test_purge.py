"""The package's postrm, run on a directory: what a purge removes, and what is somebody else's."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from support.hosts import TOP

PROFILE = "abi <abi/phoenix>,\nprofile lxc-a {\n  include <abstractions/phoenix/x>\n}\n"


class Removed:
    """A host from which the package was removed, with one profile of ours and what it includes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ours = {
            "etc/apparmor.d/abstractions/phoenix/x": "  /etc/hosts r,\n",
            "etc/apparmor.d/lxc-a": PROFILE,
        }
        for name, text in self.ours.items():
            self.put(name, text)
        noted = [f"{hashlib.sha256(t.encode()).hexdigest()} {root / n}\n" for n, t in self.ours.items()]
        self.put("var/lib/phoenix/installed-files", "".join(noted))
        self.put("var/lib/phoenix/manifest.json", '{"files": {}}')
        (root / "run/phoenix").mkdir(parents=True)

    def put(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    told = ""
    """What the removal said."""

    def prerm(self) -> None:
        done = self._run("prerm", "remove")
        assert done.returncode == 0, done.stderr
        self.told = done.stdout

    def purge(self) -> subprocess.CompletedProcess[str]:
        return self._run("postrm", "purge")

    def _run(self, script: str, word: str) -> subprocess.CompletedProcess[str]:
        text = (TOP / f"debian/phoenix-hypervisor.{script}").read_text()
        for top in ("etc", "var", "run", "proc", "sys"):
            text = text.replace(f"/{top}/", f"{self.root}/{top}/")
        text = text.replace("find /etc", f"find {self.root}/etc")
        return subprocess.run(
            ["sh", "-c", text, script, word], capture_output=True, text=True, timeout=60, check=False
        )

    def left(self) -> set[str]:
        return {str(p.relative_to(self.root)) for p in self.root.rglob("*") if p.is_file()}


@pytest.fixture
def removed(tmp_path: Path) -> Removed:
    return Removed(tmp_path)


def test_nothing_of_ours_is_left(removed: Removed) -> None:
    done = removed.purge()
    assert (done.returncode, done.stderr, removed.left()) == (0, "", set())


@pytest.mark.parametrize("conf", ["etc/pve/lxc/101.conf", "var/lib/lxc/101/config"])
def test_what_a_container_names_is_not_removed(removed: Removed, conf: str) -> None:
    removed.put(conf, "lxc.apparmor.profile = lxc-a\n")
    before = removed.left()
    done = removed.purge()
    assert done.returncode == 1 and "lxc-a: " in done.stderr and removed.left() == before


@pytest.mark.parametrize("value", ['"lxc-a"', "lxc-b//&lxc-a", "lxc-a\r", "\tlxc-a"])
def test_however_a_container_names_it(removed: Removed, value: str) -> None:
    removed.put("etc/pve/lxc/101.conf", f"arch: amd64\nlxc.apparmor.profile:{value}\n")
    assert removed.purge().returncode == 1


def test_another_profile_whose_name_begins_so_is_none_of_ours(removed: Removed) -> None:
    removed.put("etc/pve/lxc/101.conf", "lxc.apparmor.profile: lxc-a-unprivileged\n")
    assert removed.purge().returncode == 0


def test_a_proxmox_node_whose_configurations_cannot_be_read(removed: Removed) -> None:
    removed.put("var/lib/pve-cluster/config.db", "")
    before = removed.left()
    done = removed.purge()
    assert done.returncode == 1 and "pve-cluster is not running" in done.stderr and removed.left() == before


def test_what_the_profile_of_somebody_else_includes_stays(removed: Removed) -> None:
    removed.put("etc/apparmor.d/lxc-mine", PROFILE.replace("lxc-a", "lxc-mine"))
    done = removed.purge()
    assert done.returncode == 0 and "lxc-mine" in done.stderr
    assert removed.left() == {"etc/apparmor.d/lxc-mine", "etc/apparmor.d/abstractions/phoenix/x"}


def test_an_edited_profile_stays_with_what_it_includes(removed: Removed) -> None:
    removed.put("etc/apparmor.d/lxc-a", PROFILE + "# mine\n")
    assert removed.purge().returncode == 0
    assert removed.left() == set(removed.ours)


HOOK = "var/lib/vz/snippets/phoenix"


@pytest.mark.parametrize(
    ("conf", "text", "kept"),
    [
        ("etc/pve/lxc/101.conf", "memory: 512\n", False),
        ("etc/pve/lxc/101.conf", "hookscript: local:snippets/mine\n", False),
        ("etc/pve/lxc/101.conf", "hookscript: local:snippets/phoenix\n", True),
        ("etc/pve/lxc/101.conf", "memory: 512\n\n[snap]\nhookscript: local:snippets/phoenix\n", True),
        ("var/lib/lxc/101/config", "lxc.hook.pre-start = /etc/lxc/phoenix-hook\n", True),
        ("var/lib/lxc/101/config", "lxc.hook.pre-start = /etc/lxc/another\n", False),
        ("etc/pve/nowhere", "", True),
    ],
    ids=["unnamed", "another", "named", "snapshot", "lxc", "lxc another", "no cluster"],
)
def test_the_hook_stays_while_a_container_names_it(
    removed: Removed, conf: str, text: str, kept: bool
) -> None:
    """Without it that container would not start, and without Phoenix it lets every start through."""
    value = "/etc/lxc/phoenix-hook" if "lxc/101/" in conf else "local:snippets/phoenix"
    place = value[1:] if value.startswith("/") else HOOK
    removed.put(place, "#!/bin/sh\n")
    known = hashlib.sha256(b"#!/bin/sh\n").hexdigest()
    removed.put("var/lib/phoenix/hook", f"{known} {value} {removed.root / place}\n")
    removed.put(conf, text.replace("/etc/lxc", f"{removed.root}/etc/lxc") if kept else text)
    if value.startswith("/"):
        removed.put("var/lib/phoenix/hook", f"{known} {removed.root}{value} {removed.root / place}\n")
    removed.prerm()
    done = removed.purge()
    assert done.returncode == 0, done.stderr
    assert (removed.root / place).exists() is kept
    assert (place in done.stderr) is kept
    if kept and text:
        assert str(removed.root / conf) in done.stderr and str(removed.root / conf) in removed.told
    assert not (removed.root / "var/lib/phoenix").exists()


def test_an_edited_hook_stays(removed: Removed) -> None:
    removed.put(HOOK, "#!/bin/sh\n# mine\n")
    removed.put("etc/pve/lxc/101.conf", "")
    removed.put("var/lib/phoenix/hook", f"{'0' * 64} local:snippets/phoenix {removed.root / HOOK}\n")
    assert removed.purge().returncode == 0 and (removed.root / HOOK).exists()


def test_what_phoenix_once_replaced_stays(removed: Removed) -> None:
    removed.put("var/lib/phoenix/replaced/lxc-old", "profile lxc-old {}\n")
    done = removed.purge()
    assert done.returncode == 0 and "/var/lib/phoenix/replaced" in done.stderr
    assert removed.left() == {"var/lib/phoenix/replaced/lxc-old"}
