"""Where host paths really are.

Owns the root prefix: a host path such as `/etc/pve/lxc` becomes a real path below
the root directory, with every symbolic link on the way resolved inside the root, as
`chroot` would.  Must not read or write anything but link targets.
"""

from __future__ import annotations

import os
import stat

from phoenix_hypervisor.errors import PhoenixError, UsageError

_MAX_LINKS = 40
"""As the kernel's MAXSYMLINKS."""


class Root:
    """A directory that stands for `/`."""

    def __init__(self, base: str = "/") -> None:
        if not os.path.isdir(base):
            raise UsageError("--root is not a directory", where=base)
        self.base = os.path.realpath(base)
        self.is_live = self.base == "/"
        """True for the running system itself; False for a directory host."""

    def locate(self, path: str, *, follow_last: bool = True) -> str:
        """The real path of host path `path`; it need not exist.

        Links are followed inside the root: an absolute target starts at the root again and
        `..` stops there, so no path leaves it.  Raises PhoenixError for a loop of links.
        """
        if self.is_live:
            parent, name = os.path.split(path)
            return os.path.realpath(path) if follow_last else os.path.join(os.path.realpath(parent), name)
        pending = [part for part in path.split("/") if part not in ("", ".")][::-1]
        done: list[str] = []
        links = 0
        while pending:
            part = pending.pop()
            if part == "..":
                if done:
                    done.pop()
                continue
            here = os.path.join(self.base, *done, part)
            if pending or follow_last:
                try:
                    is_link = stat.S_ISLNK(os.lstat(here).st_mode)
                except OSError:
                    is_link = False
                if is_link:
                    links += 1
                    if links > _MAX_LINKS:
                        raise PhoenixError("too many symbolic links", where=path)
                    target = os.readlink(here)
                    if target.startswith("/"):
                        done.clear()
                    pending += [p for p in target.split("/") if p not in ("", ".")][::-1]
                    continue
            done.append(part)
        return os.path.join(self.base, *done)

    def shown(self, path: str) -> str:
        """`path` as messages name it: with the root before it when that is not `/`."""
        return path if self.is_live else self.base + path
