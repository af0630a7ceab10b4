"""The suite's side of the lab: profiles and programs into the guest, one combination in one container.

Owns what goes over.  Must not know operations or claims.
"""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from efficacy.places import COMPANION, SOURCES, Place
from efficacy.rows import Row
from phoenix_hypervisor.containers.seccomp import COMMON, render
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.lab.guest_containers import make_container
from phoenix_hypervisor.lab.guestlink import Guest
from phoenix_hypervisor.lab.tools import path_of

HERE = Path(__file__).parent
GUEST = "/run/phoenix-efficacy"
LIMIT = 900.0
"""Seconds for all operations of one combination."""
SWEEP_LIMIT = 480.0
COMPILE = r"""
set -e
cd /run/profiles
optional=/run/profiles.optional
rm -rf "$optional"
cp -r . "$optional"
rm -rf "$optional/if-parser-accepts"
cp -r if-parser-accepts/. "$optional"
rm -rf if-parser-accepts
# As Phoenix decides: what is optional counts where the parser takes all of it.
cp -r /etc/apparmor.d /run/apparmor.d.before
for d in "$optional"/*/; do cp -r "$d" /etc/apparmor.d/; done
chosen=$optional
for p in "$optional"/$wanted; do
  apparmor_parser -QK "$p" >/dev/null 2>&1 || { chosen=/run/profiles; break; }
done
if [ "$chosen" = /run/profiles ]; then
  rm -rf /etc/apparmor.d
  cp -r /run/apparmor.d.before /etc/apparmor.d
  for d in */; do cp -r "$d" /etc/apparmor.d/; done
fi
cd "$chosen"
for p in $wanted; do
  start=$(date +%s%N)
  apparmor_parser -QK -o /run/blob "$p" 2>/run/err || { cat /run/err >&2; exit 1; }
  end=$(date +%s%N)
  apparmor_parser -rB /run/blob
  echo "$p $(( (end - start) / 1000000 )) $(stat -c %s /run/blob) $(sha256sum < /run/blob)"
done
"""


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def lab_answers(lab: Guest) -> bool:
    try:
        return bool(lab.run(["true"], timeout=20).ok)
    except PhoenixError:
        return False


def install_profiles(lab: Guest, wanted: str = "lxc-*") -> dict[str, Any]:
    """Our profiles into the guest's kernel by the guest's own parser; milliseconds, bytes and hash of each.

    `wanted` is a shell pattern of profile names: the emulated compiler is slow.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(SOURCES, ".")
    lab.run(["rm", "-rf", "/run/profiles"], check=True)
    lab.put_tar("/run/profiles", buffer.getvalue())
    said = lab.run(f"wanted={shlex.quote(wanted)}\n{COMPILE}", timeout=300, check=True).stdout
    found = {}
    for line in said.splitlines():
        name, took, size, digest, _ = line.split()
        found[name] = {"milliseconds_emulated": int(took), "bytes": int(size), "sha256": digest}
    return found


def install_targets(lab: Guest, vmlinuz: bytes, seccomp: Path | None) -> None:
    """What operations aim at and the guest cannot make itself, the programs of both sides, the seccomp companion."""
    lab.put("/var/lib/phoenix-efficacy/disk2", disk_with_secret())
    lab.put("/var/lib/phoenix-efficacy/share/vmlinuz", vmlinuz)
    lab.run("mkdir -p /var/lib/phoenix-efficacy/readonly", check=True)
    # Containers lie on overlays here; as on a disk, a directory of theirs can be renamed.
    lab.run("modprobe overlay && echo Y > /sys/module/overlay/parameters/redirect_dir", check=True)
    lab.put(f"{GUEST}/inside.pyz", program("inside", "perform"))
    lab.put(f"{GUEST}/outside.pyz", program("outside", "run"))
    install_companion(lab, seccomp)


def install_companion(lab: Guest, seccomp: Path | None) -> None:
    """The rules for the layer that has them: a file of the caller's, or what Phoenix renders for this guest."""
    lab.put(COMPANION, seccomp.read_bytes() if seccomp else render(lab.get(COMMON)))


def program(side: Literal["inside", "outside"], module: str) -> bytes:
    """The modules of one side as a program that Python runs (a zip file), with what both sides share."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in (
            *HERE.glob(f"{side}/*.py"),
            *(HERE / name for name in ("__init__.py", "syscalls.py", "knobs.py")),
        ):
            archive.writestr(f"efficacy/{path.relative_to(HERE)}", path.read_text())
        archive.writestr("__main__.py", f"from efficacy.{side}.{module} import main\nmain()\n")
    return buffer.getvalue()


def disk_with_secret() -> bytes:
    """A small ext4 image with the host's secret in it; the guest itself has no mke2fs."""
    with tempfile.TemporaryDirectory() as folder:
        tree, image = Path(folder) / "tree", Path(folder) / "image"
        tree.mkdir()
        (tree / "secret").write_text("phoenix-the-hosts-secret")
        with image.open("wb") as file:
            file.truncate(1 << 20)
        options = ["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", str(tree)]
        subprocess.run([path_of("mke2fs"), *options, str(image)], check=True, timeout=60)
        return image.read_bytes()


def combination(lab: Guest, number: int, place: Place, rows: Sequence[Row], *, sweep: bool) -> dict[str, Any]:
    """Every operation in one fresh container, and the sweep; `failed` says why where there is no answer."""
    box = make_container(
        lab, number, layer="bare" if place.layer == "bare" else "stock", privileged=place.privileged,
        rootfs="debian", profile=place.line, nvidia=True, extra=place.config(),
    )  # fmt: skip
    order = {
        "container": box.name,
        "upper": "",
        "limit": LIMIT,
        "rows": [row.as_order() for row in rows],
        "sweep": sweep,
    }
    try:
        done = lab.run(
            ["python3", "-I", "-S", f"{GUEST}/outside.pyz"],
            input=json.dumps(order).encode(),
            timeout=LIMIT + SWEEP_LIMIT + 120,
        )
        if not done.ok:
            return {"failed": f"exit {done.rc}: {done.stderr[-1500:]}"}
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer
    finally:
        box.remove()
