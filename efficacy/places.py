"""The combinations in which operations are run: kinds of container, layers, profiles.

Owns their names, which belong together, and what a container's config says of each.  Must not run anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from efficacy.rows import BASE, DOCKER, NESTING, OURS, STORAGE

TOP = Path(__file__).parents[1]
SOURCES = TOP / "etc" / "apparmor"
KINDS = ("privileged", "unprivileged")
SECCOMP = "stock+seccomp"
LAYERS = ("bare", "stock", SECCOMP)
PROFILES = ("unconfined", "generated", "generated+nesting", "lxc-container-default-cgns", *OURS)
COMPANION = "/run/phoenix-efficacy/seccomp"
"""In the guest: the seccomp companion of the layer that has one."""
SHARE = """\
lxc.mount.entry = /var/lib/phoenix-efficacy/share srv/share none bind,create=dir
lxc.mount.entry = /var/lib/phoenix-efficacy/readonly srv/readonly none bind,ro,create=dir
lxc.mount.entry = /dev/nvidia3 dev/nvidia3 none bind,create=file
lxc.mount.entry = /dev/nvidia4 dev/nvidia4 none bind,create=file
lxc.mount.entry = /dev/fuse dev/fuse none bind,optional,create=file
lxc.init.cmd = /bin/sleep infinity
"""
SEQUENCE = ("unconfined", BASE, "generated", DOCKER, STORAGE, NESTING)
"""What says most comes first."""


@dataclass(frozen=True, slots=True)
class Place:
    """One combination."""

    kind: str
    layer: str
    profile: str

    @property
    def privileged(self) -> bool:
        return self.kind == "privileged"

    @property
    def assigned(self) -> str:
        """The profile that the container gets: an unprivileged one gets a variant where there is one."""
        variant = f"{self.profile}-unprivileged"
        return variant if not self.privileged and (SOURCES / variant).is_file() else self.profile

    @property
    def reference(self) -> str:
        """The layer whose unconfined container says what succeeds without a profile."""
        return "stock" if self.layer == SECCOMP else self.layer

    @property
    def swept(self) -> bool:
        """Whether it says anything: elsewhere whole file systems may be mounted or bound anywhere."""
        return self.profile in ("generated", BASE, DOCKER, STORAGE)

    def key(self, release: str) -> str:
        return f"{release}/{self.kind}/{self.layer}/{self.profile}"

    def config(self) -> str:
        """Lines of the container's config beside its layer's."""
        text = SHARE
        if self.profile not in ("generated", "lxc-container-default-cgns"):
            # Beside a named profile Phoenix writes it for containers with nesting=1, as Proxmox's dialog makes them.
            text += "lxc.apparmor.allow_nesting = 1\n"
        if self.layer != "bare" and self.privileged:
            text += "lxc.cgroup2.devices.allow = c 10:229 rwm\n"
        if self.layer == SECCOMP:
            text += f"lxc.seccomp.profile = {COMPANION}\n"
        return text

    @property
    def line(self) -> str:
        """The value of lxc.apparmor.profile."""
        return "generated" if self.profile.startswith("generated") else self.assigned


def places(
    kinds: tuple[str, ...] = KINDS, layers: tuple[str, ...] = LAYERS, profiles: tuple[str, ...] = PROFILES
) -> list[Place]:
    """In the order in which they are run; the seccomp companion goes with privileged containers of ours."""
    order = sorted(profiles, key=lambda name: SEQUENCE.index(name) if name in SEQUENCE else len(SEQUENCE))
    found = [Place(kind, layer, profile) for kind in kinds for layer in layers for profile in order]
    return [
        one
        for one in found
        if one.layer != SECCOMP or (one.privileged and one.profile in (BASE, DOCKER, STORAGE))
    ]
