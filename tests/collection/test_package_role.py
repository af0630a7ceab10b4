"""The role `phoenix` on real Debian systems: it installs, upgrades and refuses through the real apt."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.fleet import Fleet
from support.packages import built, make_deb
from support.roots import Root
from support.signing import some_keys

NAME = "phoenix-hypervisor"
EDITED = "# mine\nPHOENIX_ON_UPGRADE=tell\n"
UNREADABLE = "deb http://127.0.0.1:9/ nothing main\n"
VICTIM = """Package: of-somebody-else
Version: 1
Architecture: all
Maintainer: nobody <nobody@example.invalid>
Conflicts: zstd
Description: must not be removed in exchange
"""


class Node:
    """A root, the role, and what a run of it changed."""

    def __init__(self, folder: Path, suite: str) -> None:
        self.root = Root(folder, suite)
        self.fleet = Fleet(folder / "fleet", {suite: self.root.variables()}, timeout=560)
        self.playbook = folder / "play.yml"

    def play(self, *words: str, **variables: object) -> tuple[int, int, str]:
        """Its exit code, `changed=`, and what it printed."""
        role = {"hosts": "phoenix", "gather_facts": False, "roles": [{"role": "phoenix.hypervisor.phoenix"}]}
        self.playbook.write_text(json.dumps([{**role, "vars": variables}]))
        done = self.fleet.run("ansible-playbook", "-i", str(self.fleet.inventory), str(self.playbook), *words)
        text = done.stdout + done.stderr
        recap = text.partition("PLAY RECAP")[2]
        return done.returncode, int(recap.partition("changed=")[2].split()[0]), text


def _with(package: Path, folder: Path, version: str, **fields: str) -> Path:
    """The same package as another version, with other lines in its control file."""
    top = folder / version
    subprocess.run(["dpkg-deb", "-R", package, top], check=True, timeout=60)
    control = top / "DEBIAN/control"
    lines = control.read_text().splitlines()
    said = {"Version": version, **fields}
    kept = [f"{k}: {said[k]}" if (k := line.partition(":")[0]) in said else line for line in lines]
    control.write_text("\n".join(kept) + "\n")
    return built(top)


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_deb(tmp_path_factory.mktemp("deb"))


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_the_role_on_a_debian(tmp_path: Path, package: Path, suite: str) -> None:
    node = Node(tmp_path, suite)
    root = node.root
    assert not list((root.path / "var/lib/apt/lists").glob("*Packages*")), "it must refresh them"
    before = root.installed()
    code, changed, text = node.play("--check", "--diff", phoenix_package=str(package))
    assert code == 0 and changed > 0, text
    assert root.installed() == before and not (root.path / "var/cache/phoenix-hypervisor").exists()

    # From nothing, with a repository that cannot be read.
    (root.path / "etc/apt/sources.list.d/broken.list").write_text(UNREADABLE)
    code, changed, text = node.play(phoenix_package=str(package))
    print(text)
    assert code == 0 and changed > 0, text
    here = root.installed()
    assert set(before) < set(here)
    assert {NAME, "apparmor", "python3-click", "python3-jsonschema", "python3-rich"} <= set(here)
    assert root.run("phoenix", "--version").stdout == f"phoenix {here[NAME]}\n"
    assert not list((root.path / "etc/apparmor.d").glob("lxc-*base*")), "no profile changes"
    for words in ([], ["--check"]):
        code, changed, text = node.play(*words, phoenix_package=str(package))
        assert (code, changed) == (0, 0), text

    # An upgrade.
    (root.path / "etc/default/phoenix").write_text(EDITED)
    later = _with(package, tmp_path, "99.0")
    code, changed, text = node.play("--check", phoenix_package=str(later))
    assert code == 0 and changed > 0 and root.installed() == here, text
    code, changed, text = node.play(phoenix_package=str(later))
    print(text)
    assert code == 0 and root.installed() == {**here, NAME: "99.0"}, text
    assert (root.path / "etc/default/phoenix").read_text() == EDITED
    assert node.play(phoenix_package=str(later))[:2] == (0, 0)

    # What would take something else away, and what is older.
    (tmp_path / "victim/DEBIAN").mkdir(parents=True)
    (tmp_path / "victim/DEBIAN/control").write_text(VICTIM)
    (root.path / "tmp/victim.deb").write_bytes(built(tmp_path / "victim").read_bytes())
    assert root.run("dpkg", "-i", "/tmp/victim.deb").returncode == 0
    here = root.installed()
    needs: dict[str, Any] = {"Depends": "python3:any, zstd"}
    for refused in (_with(package, tmp_path, "99.1", **needs), package):
        code, _, text = node.play(phoenix_package=str(refused))
        print(text)
        assert code != 0 and root.installed() == here, text


@pytest.mark.parametrize("suite", ["trixie"])
def test_the_role_makes_a_node_ask_for_signatures(tmp_path: Path, package: Path, suite: str) -> None:
    """Debian 13 has no gpgv unless it is asked for."""
    node = Node(tmp_path, suite)
    assert "gpgv" not in node.root.installed()
    (tmp_path / "site/apparmor").mkdir(parents=True)
    (tmp_path / "site/phoenix_lxc_configs.json").write_text('{"lxc_configs": {}}\n')
    with some_keys() as keys:
        wish: dict[str, object] = {
            "phoenix_package": str(package),
            "phoenix_keyring": str(keys.ring("fleet")),
            "phoenix_configuration": str(tmp_path / "site"),
        }
        code, _, text = node.play("--check", **wish)
        assert code == 0 and not (node.root.path / "etc/phoenix_hypervisor").exists(), text
        code, _, text = node.play(**wish)
        assert code == 0 and "gpgv" in node.root.installed(), text
        assert node.play(**wish)[:2] == (0, 0)
        ring = node.root.path / "etc/phoenix_hypervisor/require-signed.gpg"
        assert ring.read_bytes() == keys.ring("fleet").read_bytes()
        asked = node.root.run("phoenix", "plan")
        assert asked.returncode == 1 and "there is no SHA256SUMS" in asked.stderr, asked.stderr
