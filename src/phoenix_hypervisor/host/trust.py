"""Whether what stands in a place can be acted upon.

Owns the question who else could have put it there: by the mode, by the owner, and by the
directories that a path, with its links followed, runs through.  Must not know what the
places mean, nor change them.
"""

from __future__ import annotations

import os
import stat

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.files import open_to_others
from phoenix_hypervisor.host.root import Root


class NotTrusted(PhoenixError):
    """Others could have written what is about to be acted upon; nothing was changed."""


def writable_by_others(root: Root, path: str) -> str | None:
    """Why others decide what stands at host path `path`; None where they do not, or it is missing.

    Its own mode, and that of every directory on the way: who may rename there may put another
    one in its place.  The sticky bit does not help: what is removed one day is made by others
    the next.  What may not be looked at is left to whoever reads it.
    """
    try:
        real = root.locate(path)
    except PhoenixError:
        return None
    place = real
    while place != root.base and place != "/":
        try:
            writable = open_to_others(os.stat(place))
        except OSError:
            writable = None
        if writable is not None:
            return writable if place == real else f"lies in {place}, which {writable}"
        place = os.path.dirname(place)
    return None


def owned_by_us(root: Root, path: str) -> str | None:
    """As `writable_by_others`, for what Phoenix alone writes: nobody else's, and no group's but our own."""
    found = writable_by_others(root, path)
    if found is not None:
        return found
    try:
        info = os.stat(root.locate(path))
    except (OSError, PhoenixError):
        return None
    if info.st_uid not in (0, os.geteuid()):
        return f"belongs to uid {info.st_uid}"
    if info.st_mode & stat.S_IWGRP and info.st_gid not in (0, os.getegid()):
        return f"can be written by group {info.st_gid} (mode {stat.S_IMODE(info.st_mode):04o})"
    return None


def require_own(root: Root, path: str) -> None:
    """Raise NotTrusted unless `path` is missing or ours alone."""
    found = owned_by_us(root, path)
    if found is not None:
        shown = root.shown(path)
        hint = f"check what others put there, then `chown root {shown}; chmod go-w {shown}`"
        raise NotTrusted(found, where=shown, hint=hint)


def check_operator_path(path: str) -> str | None:
    """Why others decide what a path of the operator's holds: it, or the directory that it lies in.

    Both as named and with links followed.  The owner is not asked: root works on files of a
    user's own checkout.  None where it is missing.
    """
    real = os.path.realpath(path)
    for place in dict.fromkeys((real, os.path.dirname(path), os.path.dirname(real))):
        try:
            writable = open_to_others(os.stat(place))
        except OSError:
            continue
        if writable is not None:
            return writable if place == real else f"lies in {place}, which {writable}"
    return None


def require_given(path: str) -> None:
    """Raise NotTrusted where `check_operator_path` says why."""
    found = check_operator_path(path)
    if found is not None:
        raise NotTrusted(found, where=path, hint="chmod o-w it, or move all of it to a place of its own")
