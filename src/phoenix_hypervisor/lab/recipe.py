"""What an image is made of, and the hash that names it.

Owns the releases, their package lists, the guest's own files and the recipe hash.
Must not run anything nor look at the machine: the same checkout gives the same recipe everywhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.libraries import libraries

FORMAT = 1
"""Raise it where a change of the builder's code changes what the image holds."""

PACKAGES = (
    "linux-image-cloud-amd64",
    "apparmor",
    "lxc",
    "busybox-static",
    "kmod",
    "systemd-sysv",
    "iproute2",
    "python3",
)
"""With the libraries that Phoenix needs, as the distribution packages them: `packages`."""


def packages() -> tuple[str, ...]:
    """What the guest's system is made of."""
    return (*PACKAGES, *(f"python3-{name}" for name in libraries()))


DPKG_OPTIONS = (
    "path-exclude=/usr/share/doc/*",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/info/*",
    # Our initrd is two files; the distribution's takes ten seconds longer to boot and as long to make.
    "path-exclude=/etc/kernel/postinst.d/initramfs-tools",
)

ROOT_MODULES = ("virtio_pci", "virtio_blk", "virtio_console", "crc32c_generic", "ext4")
"""What the root disk and the agent's port need; each release builds other parts of it in.  ext4
asks for crc32c by its algorithm's name, so modules.dep does not say that it needs it."""

PASSING_MODULES = frozenset({"crc32c_generic"})
"""Those of ROOT_MODULES that newer kernels (7.x) lack, because they need none of it any more."""

STOCK_PROFILES = ("lxc-containers", "usr.bin.lxc-start")
"""Compiled into the parser's cache at build, loaded by the guest's init."""

ROOT_DISK_BYTES = 4 << 30
"""Of the guest's disk; sparse, so that only what is used costs anything."""


@dataclass(frozen=True, slots=True)
class Release:
    """One Debian release that a lab can run."""

    name: str
    version: int
    """What /etc/os-release says, or will say once it is stable."""
    features: str
    """File name of the packaged feature dump of its kernel."""
    generation: str
    """The Proxmox VE release of the same AppArmor and LXC generation."""
    moving: bool = False
    """Its packages change from day to day: what was measured once says less, and it may not build at all."""


RELEASES = {
    "trixie": Release("trixie", 13, "trixie-6.12", "Proxmox VE 9"),
    "bookworm": Release("bookworm", 12, "bookworm-6.1", "Proxmox VE 8"),
    "forky": Release("forky", 14, "forky-7.2", "the next Proxmox VE", moving=True),
    "sid": Release("sid", 14, "forky-7.2", "the one after", moving=True),
}
DEFAULT_RELEASE = "trixie"


def release_named(name: str) -> Release:
    """The release called `name`; PhoenixError where there is none."""
    try:
        return RELEASES[name]
    except KeyError:
        raise PhoenixError(
            f"no lab for release {name!r}", hint=f"choose one of: {', '.join(RELEASES)}"
        ) from None


@cache
def guest_file(name: str) -> bytes:
    """A file of `lab/guest/`, as it goes into the image."""
    return resources.files("phoenix_hypervisor.lab").joinpath("guest", name).read_bytes()


def packaged_features(release: Release) -> bytes:
    """The feature dump of the release's kernel."""
    return resources.files("phoenix_hypervisor").joinpath("data", "features", release.features).read_bytes()


def image_files(release: Release) -> dict[str, tuple[int, bytes]]:
    """What the recipe adds to the packages: path in the image -> (mode, content)."""
    wrapper = (
        b'#!/bin/sh\nPYTHONPATH=/usr/local/phoenix_hypervisor/src exec python3 -m phoenix_hypervisor "$@"\n'
    )
    return {
        "usr/lib/phoenix-lab/init": (0o755, guest_file("init")),
        "usr/lib/phoenix-lab/agent.py": (0o644, guest_file("agent.py")),
        "usr/local/bin/phoenix": (0o755, wrapper),
        "etc/hostname": (0o644, f"phoenix-lab-{release.name}\n".encode()),
        "etc/hosts": (0o644, f"127.0.0.1 localhost phoenix-lab-{release.name}\n".encode()),
        "etc/subuid": (0o644, b"root:100000:65536\n"),
        "etc/subgid": (0o644, b"root:100000:65536\n"),
    }


def recipe_hash(release: Release) -> str:
    """Twelve hex digits over everything of ours that decides what the image holds."""
    parts = {
        "format": FORMAT,
        "release": release.name,
        "packages": packages(),
        "dpkg": DPKG_OPTIONS,
        "profiles": STOCK_PROFILES,
        "disk": ROOT_DISK_BYTES,
        "modules": ROOT_MODULES,
        "features": hashlib.sha256(packaged_features(release)).hexdigest(),
        "initrd": hashlib.sha256(guest_file("initrd-init")).hexdigest(),
        "files": {
            path: (mode, hashlib.sha256(content).hexdigest())
            for path, (mode, content) in image_files(release).items()
        },
    }
    return _digest(parts)


def image_key(recipe: str, packages: Mapping[str, str]) -> str:
    """Names an image: the recipe and the exact version of every package in it."""
    return _digest({"recipe": recipe, "packages": dict(sorted(packages.items()))})


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
