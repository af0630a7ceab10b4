"""The Debian package on a real kernel: installed, upgraded, triggered, removed, purged; confined all the while."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_hypervisor.lab.booted import Lab
from phoenix_hypervisor.lab.guestlink import Result
from support.lab_host import HOME, box, phoenix
from support.packages import SHARE, built

NAME = "phoenix-hypervisor"
CONFIG = "/etc/phoenix_hypervisor/phoenix_lxc_configs.json"
BIN, ASIDE = "/usr/local/bin/phoenix", "/root/aside"
"""The lab's own command."""
HOOK = "/etc/lxc/phoenix-hook"
OTHER = "abstractions/of-the-distribution"
CONTROL = """Package: of-the-distribution
Version: {version}
Architecture: all
Maintainer: nobody <nobody@example.invalid>
Description: an abstraction that the operator's site rules include
"""


@pytest.fixture(scope="session")
def later(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A later version, in which lxc-base says something else."""
    top = tmp_path_factory.mktemp("later") / "tree"
    subprocess.run(["dpkg-deb", "-R", small, top], check=True, timeout=60)
    control = top / "DEBIAN/control"
    control.write_text(control.read_text().replace("Version: ", "Version: 99."))
    for path in (top / SHARE / "lxc-base", top / SHARE / "if-parser-accepts/lxc-base"):
        path.write_text(path.read_text().replace("\n}\n", "\n  deny /etc/of-a-later-version w,\n}\n"))
    return built(top)


def _distribution(folder: Path, version: int, rule: str) -> Path:
    top = folder / f"v{version}"
    (top / "DEBIAN").mkdir(parents=True)
    (top / "DEBIAN/control").write_text(CONTROL.format(version=version))
    (top / "etc/apparmor.d/abstractions").mkdir(parents=True)
    (top / "etc/apparmor.d" / OTHER).write_text(rule)
    return built(top)


@pytest.fixture
def bare(lab: Lab) -> Iterator[Lab]:
    """A guest without Phoenix."""
    lab.run(f"rm -rf {HOME} /var/lib/phoenix /etc/phoenix_hypervisor; mv {BIN} {ASIDE}", check=True)
    try:
        yield lab
    finally:
        lab.run(
            f"dpkg --purge {NAME} of-the-distribution; rm -rf /etc/phoenix_hypervisor /etc/apparmor.d/local/lxc-base"
        )
        lab.run(f"test ! -e {ASIDE} || mv {ASIDE} {BIN}", check=True)
        lab.install_phoenix()


def _dpkg(lab: Lab, *words: str, path: Path | None = None) -> Result:
    if path is not None:
        lab.put("/tmp/one.deb", path.read_bytes())
        words = (*words, "/tmp/one.deb")
    return lab.run(["dpkg", *words], timeout=300)


def _ours(lab: Lab) -> list[str]:
    """What of Phoenix lies in the guest."""
    places = "/etc /usr /var /run /lib/systemd"
    found = lab.run(f"find {places} -path '*hoenix*' 2>/dev/null; ls /etc/apparmor.d")
    lines = [line for line in found.stdout.splitlines() if not re.search("phoenix-lab|zoneinfo", line)]
    return [line for line in lines if line.startswith(("/etc", "/usr", "/var", "/run", "/lib", "lxc-base"))]


def test_confined_before_during_and_after(bare: Lab, small: Path, later: Path, tmp_path: Path) -> None:
    done = _dpkg(bare, "-i", path=small)
    assert done.ok, done.stdout + done.stderr
    assert not bare.run("ls /etc/apparmor.d | grep -E '^lxc-(base|gpu|nvidia|nesting)'").ok, (
        "dpkg installs no profile"
    )
    assert "phoenix" in phoenix(bare, "--version").stdout
    container = box(bare, 901, profile="unconfined")
    try:
        assert container.start().ok
        done = phoenix(bare, "import")
        assert done.ok, done.stdout + done.stderr
        document = json.loads(bare.get(CONFIG))
        document["lxc_configs"]["901"].update(apparmor_profile="lxc-base")
        document["lxc_configs"]["901"].pop("lines", None)
        edited = json.dumps(document, indent=3)
        bare.put(CONFIG, edited)
        bare.put("/etc/default/phoenix", "# mine\nPHOENIX_ON_UPGRADE=tell\n")
        assert phoenix(bare, "setup").ok
        done = phoenix(bare, "apply", "--all", "--restart")
        assert done.ok, done.stdout + done.stderr
        assert phoenix(bare, "verify").ok
        assert phoenix(bare, "hook", "install").ok
        bare.run(f"echo 'lxc.hook.pre-start = {HOOK}' >> {container.config_path}", check=True)
        installed = bare.get("/etc/apparmor.d/lxc-base")

        done = _dpkg(bare, "--force-confold", "-i", path=later)
        assert done.ok, done.stdout + done.stderr
        assert "profiles are as they were" in done.stdout and "ok=" in done.stdout
        assert bare.get("/etc/apparmor.d/lxc-base") == installed, "an upgrade tells, and changes no profile"
        assert bare.get(CONFIG).decode() == edited
        assert bare.get("/etc/default/phoenix").startswith(b"# mine")
        assert container.label() == "lxc-base (enforce)"
        planned = phoenix(bare, "setup", "--dry-run")
        assert "of-a-later-version" in planned.stdout, planned.stdout

        assert _dpkg(bare, "-i", path=_distribution(tmp_path, 1, "  deny /etc/one w,\n")).ok
        bare.put("/etc/apparmor.d/local/lxc-base", f"include <{OTHER}>\n")
        assert phoenix(bare, "setup").ok and phoenix(bare, "verify").ok
        done = _dpkg(bare, "-i", path=_distribution(tmp_path, 2, "  deny /etc/two w,\n"))
        assert done.ok, done.stdout + done.stderr
        assert "changed lxc-base" in done.stdout, done.stdout + done.stderr
        assert (
            "/etc/two" in done.stdout and "/etc/one" in done.stdout and "nothing was changed" in done.stdout
        )

        done = _dpkg(bare, "-r", NAME)
        assert done.ok and "containers stay confined" in done.stdout
        assert container.label() == "lxc-base (enforce)"
        assert f"the hook {HOOK} stays" in done.stdout and container.config_path in done.stdout
        container.stop(kill=True)
        assert container.start().ok, "the hook is asked, and there is no Phoenix"
        assert container.label() == "lxc-base (enforce)"
        # dpkg takes its own file away before it asks whether the rest may go.
        kept = [path for path in _ours(bare) if path != "/etc/default/phoenix"]
        done = _dpkg(bare, "--purge", NAME)
        assert not done.ok and "lxc-base: a process runs under it" in done.stderr, done.stderr
        assert "/var/lib/lxc/901/config names it" in done.stderr
        assert _ours(bare) == kept and container.label() == "lxc-base (enforce)"

        container.stop(kill=True)
        container.set_profile(None)
        bare.run(f"sed -i '/lxc.seccomp.profile/d; /lxc.hook/d' {container.config_path}", check=True)
        done = _dpkg(bare, "--purge", NAME)
        assert done.ok, done.stdout + done.stderr
        assert _ours(bare) == ["/etc/phoenix_hypervisor", CONFIG], (
            "the operator's own file is nobody else's to remove"
        )
        assert not any(name.startswith("lxc-base") for name in bare.profiles())
    finally:
        container.stop(kill=True)
        container.remove()


def test_beside_make_install_it_refuses(bare: Lab, package: Path) -> None:
    bare.run(["mv", ASIDE, BIN], check=True)
    bare.install_phoenix()
    done = _dpkg(bare, "-i", path=package)
    assert not done.ok and "two installations would fight" in done.stderr.lower()
    assert not bare.run(["test", "-e", "/usr/share/phoenix-hypervisor"]).ok
