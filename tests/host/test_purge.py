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
        self.put("var/lib/phoenix/manifest.json", "{}")
        (root / "run/phoenix").mkdir(parents=True)

    def put(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def purge(self) -> subprocess.CompletedProcess[str]:
        text = (TOP / "debian/phoenix-hypervisor.postrm").read_text()
        for top in ("etc", "var", "run", "proc", "sys"):
            text = text.replace(f"/{top}/", f"{self.root}/{top}/")
        text = text.replace("find /etc", f"find {self.root}/etc")
        return subprocess.run(
            ["sh", "-c", text, "postrm", "purge"], capture_output=True, text=True, timeout=60, check=False
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


def test_what_the_profile_of_somebody_else_includes_stays(removed: Removed) -> None:
    removed.put("etc/apparmor.d/lxc-mine", PROFILE.replace("lxc-a", "lxc-mine"))
    done = removed.purge()
    assert done.returncode == 0 and "lxc-mine" in done.stderr
    assert removed.left() == {"etc/apparmor.d/lxc-mine", "etc/apparmor.d/abstractions/phoenix/x"}


def test_an_edited_profile_stays_with_what_it_includes(removed: Removed) -> None:
    removed.put("etc/apparmor.d/lxc-a", PROFILE + "# mine\n")
    assert removed.purge().returncode == 0
    assert removed.left() == set(removed.ours)


def test_what_phoenix_once_replaced_stays(removed: Removed) -> None:
    removed.put("var/lib/phoenix/replaced/lxc-old", "profile lxc-old {}\n")
    done = removed.purge()
    assert done.returncode == 0 and "/var/lib/phoenix/replaced" in done.stderr
    assert removed.left() == {"var/lib/phoenix/replaced/lxc-old"}
