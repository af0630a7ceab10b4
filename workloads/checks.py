"""The form of one check, and all of them: one command each, sorted by what a user would miss.

Owns the row.  To add a check, add one row to services.py, sandboxes.py or systems.py; nothing else has to change.
Must not know how checks are run.
"""

from __future__ import annotations

from dataclasses import dataclass

from workloads.guests import Init

BASE = "lxc-nvidia-gpu-base"
DOCKER = "lxc-nvidia-gpu-docker"
STORAGE = "lxc-gpu-docker-storage"
NESTING = "lxc-nesting-v1"
OURS = (BASE, DOCKER, STORAGE, NESTING)
KINDS = ("privileged", "unprivileged")

PRELUDE = """\
up() { for u in "$@"; do systemctl is-active -q "$u" || { systemctl status --no-pager -n 4 "$u" >&2; return 1; }; done; }
box() { systemd-run -q --wait --pipe --collect "$@"; }
eventually() { n=$1; shift; i=0; until "$@"; do i=$((i+1)); [ "$i" -lt "$n" ] || return 1; sleep 1; done; }
"""
"""Shell functions that every check may use: services are up; a command as a service; a command in time."""


@dataclass(frozen=True, slots=True)
class Check:
    """One command of a user: a shell script (`set -e`), run as root in the booted container.

    It passed where it ended with 0 within `limit` seconds (of an emulated machine).
    """

    name: str
    missed: str
    """What a user would miss: the heading it stands under."""
    do: str
    limit: int = 60
    forbids: tuple[str, ...] = ()
    """Profiles that are there to forbid it: PROFILE, or PROFILE/KIND."""
    purpose: str = ""
    """Why they forbid it."""
    kinds: tuple[str, ...] = KINDS
    """Kinds of container in which a kernel allows it to anybody."""
    inits: tuple[Init, ...] = ("systemd",)
    few: bool = False
    """Whether it is among the few that `make test` runs."""

    def forbidden(self, profile: str, kind: str) -> bool:
        """Whether this profile exists to stop it in this kind of container."""
        return profile in self.forbids or f"{profile}/{kind}" in self.forbids
