"""Root file systems of containers that the guest's own Debian cannot give, each as a disk of its own.

Owns what is on them and that they appear whole or not at all. A lab shows them as /dev/vdb and so on
(`Lab(more_disks=)`), `containers.make_container(disk=)` makes a container of one. Must not boot anything.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.lab import build, recipe, tools
from phoenix_hypervisor.lab.cache import Cache, locked
from phoenix_hypervisor.lab.initrd import RootTar

DOCKER_PACKAGES = (
    *("docker.io", "docker-cli", "containerd", "runc", "crun", "iptables"),
    # dockerd asks for apparmor_parser where it sees AppArmor, as on an ordinary server.
    "apparmor",
    *("systemd-sysv", "dbus", "iproute2", "kmod", "procps", "busybox-static"),
)
DOCKER_FILES = {
    "etc/docker/daemon.json": (0o644, b'{"runtimes": {"crun": {"path": "/usr/bin/crun"}}}\n'),
    "etc/hosts": (0o644, b"127.0.0.1 localhost\n"),
}


@dataclass(frozen=True, slots=True)
class RootDisk:
    """One such root file system: `name` names it in the cache, `suite` is the archive's."""

    name: str
    suite: str
    packages: tuple[str, ...]


DISKS = {
    "docker-trixie": RootDisk("docker-trixie", "trixie", DOCKER_PACKAGES),
    # Debian's next release, for its runc (1.3.6 and newer).
    "docker-forky": RootDisk("docker-forky", "forky", DOCKER_PACKAGES),
}


@dataclass(frozen=True, slots=True)
class Made:
    """A finished one: the raw image, and the version of each package on it."""

    disk: Path
    packages: dict[str, str]


def recipe_hash(wanted: RootDisk) -> str:
    """Twelve hex digits over everything of ours that decides what is on the disk."""
    files = {path: (mode, content.decode()) for path, (mode, content) in DOCKER_FILES.items()}
    parts = [recipe.FORMAT, wanted.suite, wanted.packages, recipe.DPKG_OPTIONS, recipe.ROOT_DISK_BYTES, files]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def ensure_root_disk(cache: Cache, name: str, *, progress: build.Progress = build.silent) -> Made:
    """The disk called `name`, made where the cache has none; PhoenixError where that fails."""
    try:
        wanted = DISKS[name]
    except KeyError:
        raise PhoenixError(f"no root disk {name!r}", hint=f"choose one of: {', '.join(DISKS)}") from None
    pointer = f"{name}-{recipe_hash(wanted)}"
    with locked(
        cache.root / f"build-{name}.lock",
        timeout=build.PACKAGES_LIMIT + build.DISK_LIMIT,
        what=f"the build of {name}",
    ):
        if (found := cache.pointed(pointer)) is not None:
            return _load(found)
        tools.require(build=True)
        with cache.workdir(f"build-{name}") as work:
            made = work / "image"
            made.mkdir()
            root_tar = work / "root.tar"
            build.bootstrap(
                wanted.suite, wanted.packages, work, root_tar, files=DOCKER_FILES, progress=progress
            )
            with tarfile.open(root_tar) as tar:
                status = RootTar(tar).read("var/lib/dpkg/status").decode("utf-8", "replace")
            packages = build.installed(status)
            progress(f"making the disk of {name}")
            build.make_disk(work, root_tar, made / "root.ext4")
            (made / "manifest.json").write_text(json.dumps({"version": 1, "packages": packages}) + "\n")
            final = cache.images / f"{name}-{recipe.image_key(recipe_hash(wanted), packages)}"
            cache.publish(made, final)
            cache.point(pointer, final)
            cache.prune(name, final)
            return _load(final)


def _load(path: Path) -> Made:
    try:
        return Made(path / "root.ext4", json.loads((path / "manifest.json").read_bytes())["packages"])
    except (OSError, ValueError, KeyError) as error:
        raise PhoenixError(
            f"not a root disk: {error}", where=str(path), hint="remove it; the next call makes it anew"
        ) from None
