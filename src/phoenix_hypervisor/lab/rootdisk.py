"""Root file systems of containers that the guest's own Debian cannot give, each as a disk of its own.

Owns what is on them and that they appear whole or not at all. A lab shows them as /dev/vdb and so on
(`Lab(more_disks=)`), `containers.make_container(disk=)` makes a container of one. Must not boot anything.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.lab import build, recipe, tools
from phoenix_hypervisor.lab.cache import Cache, locked
from phoenix_hypervisor.lab.initrd import RootTar

DOCKER_PACKAGES = (
    *("docker.io", "docker-cli", "containerd", "runc", "crun", "iptables"),
    *("podman", "netavark", "aardvark-dns", "nftables"),
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
    """One such root file system: `name` names it in the cache, `suite` is the archive's.

    `files` are path -> (mode, content), written after the packages; then `setup`, a shell script, is run
    inside the new root.
    """

    name: str
    suite: str
    packages: tuple[str, ...]
    files: Mapping[str, tuple[int, bytes]] = field(default_factory=lambda: DOCKER_FILES)
    setup: str = ""


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
    files = {path: (mode, content.decode()) for path, (mode, content) in wanted.files.items()}
    parts: list[object] = [recipe.FORMAT, wanted.suite, wanted.packages, recipe.DPKG_OPTIONS]
    parts += [recipe.ROOT_DISK_BYTES, files]
    if wanted.setup:
        parts.append(wanted.setup)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def ensure_root_disk(
    cache: Cache, wanted: str | RootDisk, *, progress: build.Progress = build.silent
) -> Made:
    """The disk `wanted` (or the one of `DISKS` of that name), made where the cache has none.

    PhoenixError where that fails.
    """
    if isinstance(wanted, str):
        if wanted not in DISKS:
            hint = f"choose one of: {', '.join(DISKS)}"
            raise PhoenixError(f"no root disk {wanted!r}", hint=hint)
        wanted = DISKS[wanted]
    name = wanted.name
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
            hooks: tuple[str, ...] = ()
            if wanted.setup:
                script = work / "setup"
                script.write_text(wanted.setup)
                hooks = (f"upload {script} /setup", 'chroot "$1" sh -e /setup', 'rm -f "$1/setup"')
            build.bootstrap(
                wanted.suite,
                wanted.packages,
                work,
                root_tar,
                files=wanted.files,
                hooks=hooks,
                progress=progress,
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
