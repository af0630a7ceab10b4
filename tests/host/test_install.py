"""`make install`: what an administrator edited there outlives every upgrade."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support.hosts import TOP

PREFIX = "/usr/local/phoenix_hypervisor"
CONFIG = "phoenix_lxc_configs.json"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    top = tmp_path / "checkout"
    top.mkdir()
    for name in ("src", "bin", "etc", "tools", "units"):
        shutil.copytree(TOP / name, top / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(TOP / "requirements.lock", top)
    return top


def _install(checkout: Path, to: Path) -> str:
    done = subprocess.run(
        [checkout / "tools/install", to, PREFIX], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_upgrade_keeps_what_was_edited(checkout: Path, tmp_path: Path) -> None:
    to = tmp_path / "dest"
    etc = to / PREFIX[1:] / "etc"
    assert "kept" not in _install(checkout, to)
    there = {name for name in os.listdir(TOP / "etc") if name != CONFIG}
    assert set(os.listdir(etc)) == {*there, f"{CONFIG}.example"}
    assert "kept" not in _install(checkout, to), "a second time"

    edited = [etc / "apparmor/tunables/phoenix"]
    for path in edited:
        path.write_text(path.read_text() + "\n")
    (etc / "apparmor/lxc-mine").write_text("profile lxc-mine {\n}\n")
    texts = {path: path.read_text() for path in [*edited, etc / "apparmor/lxc-mine"]}
    for name in ("apparmor/tunables/phoenix", "apparmor/lxc-nvidia-gpu-base", "policy_tests/shipped.toml"):
        path = checkout / "etc" / name
        path.write_text("# newer\n" + path.read_text())
    (checkout / "etc/apparmor/lxc-nesting-v1").unlink()
    said = _install(checkout, to)
    assert {path: path.read_text() for path in texts} == texts
    assert f"kept {edited[0]}, which was edited" in said and "lxc-mine" not in said
    for name in ("apparmor/lxc-nvidia-gpu-base", "policy_tests/shipped.toml"):
        assert (etc / name).read_text().startswith("# newer\n")
    assert not (etc / "apparmor/lxc-nesting-v1").exists(), "what is no longer shipped goes, unedited"
    assert f"kept {edited[0]}" in _install(checkout, to), "it stays edited"


def test_accepted_rules_are_kept_and_never_shipped(checkout: Path, tmp_path: Path) -> None:
    to = tmp_path / "dest"
    accepted = to / PREFIX[1:] / "etc/apparmor/accepted"
    (checkout / "etc/apparmor/accepted").mkdir()
    (checkout / "etc/apparmor/accepted/lxc-base").write_text("/of/the/checkout r,\n")
    _install(checkout, to)
    assert not accepted.exists()
    accepted.mkdir()
    (accepted / "lxc-base").write_text("/srv/x r,\n")
    assert "kept /" not in _install(checkout, to)
    assert (accepted / "lxc-base").read_text() == "/srv/x r,\n"


def test_a_live_configuration_is_never_touched(checkout: Path, tmp_path: Path) -> None:
    """Nor is one made: an example that were live would have Phoenix create its containers."""
    to = tmp_path / "dest"
    live = to / PREFIX[1:] / "etc" / CONFIG
    assert CONFIG not in _install(checkout, to) and not live.exists()
    assert (live.parent / f"{CONFIG}.example").read_bytes() == (TOP / "etc" / CONFIG).read_bytes()
    for text, said in (('{"lxc_configs": {}}\n', "kept"), ((TOP / "etc" / CONFIG).read_text(), "left")):
        live.write_text(text)
        inode = live.stat().st_ino
        assert f"{said} {live}" in _install(checkout, to)
        assert (live.read_text(), live.stat().st_ino) == (text, inode)


def test_the_example_of_an_older_installation_is_named(checkout: Path, tmp_path: Path) -> None:
    """Its shipped/ says that it was never edited, although the example is another one now."""
    to = tmp_path / "dest"
    _install(checkout, to)
    for folder in ("etc", "shipped"):
        (to / PREFIX[1:] / folder / CONFIG).write_text('{"lxc_configs": {"950": {}}}\n')
    for _ in range(2):
        assert "which is an example that was never edited, and is live" in _install(checkout, to)
    (to / PREFIX[1:] / "etc" / CONFIG).unlink()
    assert CONFIG not in _install(checkout, to)


def test_the_commands_are_on_the_path(checkout: Path, tmp_path: Path) -> None:
    _install(checkout, tmp_path / "dest")
    found = {p.name: os.readlink(p) for p in (tmp_path / "dest/usr/local/bin").iterdir()}
    assert found == {
        n: f"{PREFIX}/bin/{n}" for n in ("phoenix", "phoenix_orchestrator", "phoenix_orchestrator.sh")
    }


def test_shells_find_the_completion_by_themselves(checkout: Path, tmp_path: Path) -> None:
    _install(checkout, tmp_path / "dest")
    share = tmp_path / "dest/usr/local/share"
    script = f"PATH={TOP}/bin:$PATH; source {share}/bash-completion/completions/phoenix; complete -p phoenix"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert "-F _phoenix_completion phoenix" in done.stdout
    assert (share / "zsh/site-functions/_phoenix").read_text().startswith("#compdef phoenix\n")
    assert "phoenix completion fish" in (share / "fish/vendor_completions.d/phoenix.fish").read_text()


def test_man_finds_a_page_for_each_command(checkout: Path, tmp_path: Path) -> None:
    said = _install(checkout, tmp_path / "dest")
    pages = {path.name for path in (tmp_path / "dest/usr/local/share/man").rglob("*.[15]")}
    assert "no man pages" not in said, "make test installs what they need"
    assert {"phoenix.1", "phoenix-apply.1", "phoenix_orchestrator.1", "phoenix_lxc_configs.5"} <= pages


def test_beside_the_package_nothing_is_installed(checkout: Path, tmp_path: Path) -> None:
    to = tmp_path / "dest"
    packaged = to / "usr/share/phoenix-hypervisor/bin/phoenix"
    packaged.parent.mkdir(parents=True)
    packaged.touch()
    done = subprocess.run(
        [checkout / "tools/install", to, PREFIX], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and "apt-get remove phoenix-hypervisor" in done.stderr
    assert [path for path in to.rglob("*") if path.is_file()] == [packaged]


def test_the_timers_call_what_is_installed(checkout: Path, tmp_path: Path) -> None:
    _install(checkout, tmp_path / "dest")
    units = tmp_path / "dest/usr/local/lib/systemd/system"
    assert {path.name for path in units.iterdir()} == {path.name for path in (TOP / "units").iterdir()}
    for path in units.glob("*.service"):
        assert f"\nExecStart={PREFIX}/bin/phoenix " in path.read_text()
