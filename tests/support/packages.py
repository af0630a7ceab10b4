"""The Debian package, as tests change and build it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from support.hosts import TOP

SHARE = "usr/share/phoenix-hypervisor/etc/apparmor"


def make_deb(out: Path) -> Path:
    """The package as `make deb` builds it: lintian must have nothing to say."""
    assert shutil.which("dpkg-buildpackage") and shutil.which("dh") and shutil.which("lintian"), (
        "make apt-test"
    )
    done = subprocess.run([TOP / "tools/deb", out], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("built "), f"lintian: {done.stdout}"
    (found,) = out.glob("*.deb")
    return found


def only_base(package: Path, top: Path) -> Path:
    """The same with the profiles for ordinary containers alone: under emulation each takes seconds to compile."""
    subprocess.run(["dpkg-deb", "-R", package, top], check=True, timeout=60)
    for path in [*(top / SHARE).glob("lxc-*"), *(top / SHARE / "if-parser-accepts").glob("lxc-*")]:
        if not path.name.startswith("lxc-base"):
            path.unlink()
    return built(top)


def built(top: Path) -> Path:
    """The package of an unpacked tree, beside it."""
    out = top.parent / f"{top.name}.deb"
    command = ["dpkg-deb", "--root-owner-group", "-b", str(top), str(out)]
    subprocess.run(command, check=True, timeout=60, stdout=subprocess.DEVNULL)
    return out
