"""The script that containers may name, so that Phoenix is asked before they start: `Monitoring.hook()`.

Owns putting it there, taking it away, and saying where it is; what it answers is `engine.starting`'s.  It is
ours while it has the bytes that are on record.  Must not make a container name it, nor print.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from enum import StrEnum

from phoenix_hypervisor.containers.hooked import Named, naming
from phoenix_hypervisor.containers.runtime import Hooking, HookPlace
from phoenix_hypervisor.engine.places import program
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.engine.starting import may_start
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.trust import writable_by_others
from phoenix_hypervisor.plan.starts import Start
from phoenix_hypervisor.profiles.records import STATE_DIR, digest
from phoenix_hypervisor.values import dataclass

RECORD = "hook"
"""In /var/lib/phoenix: the script's hash, what containers name, and its path, in one line.  The package's
purge reads it."""


class Condition(StrEnum):
    """What is at the script's place."""

    ABSENT = "absent"
    READY = "ready"
    OLDER = "older"
    """Ours, as another Phoenix or other options made it."""
    NOT_RUN = "not-executable"
    FOREIGN = "foreign"
    """Somebody else's, or ours and edited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooked:
    """The script, and who names it."""

    place: HookPlace
    condition: Condition
    named: tuple[Named, ...]
    """The containers that name it."""
    others: tuple[Named, ...]
    """Containers that name another one, which is left alone."""
    changed: bool = False
    """It was written or removed."""

    @property
    def stranded(self) -> bool:
        """Containers name it, and no file that can be run is there: they do not start."""
        gone = self.condition in (Condition.ABSENT, Condition.NOT_RUN)
        return gone and any(not one.only_kept for one in self.named)


class Hook:
    """The hook of one host."""

    def __init__(self, session: Callable[[], Session]) -> None:
        """`session` looks at the host anew."""
        self._session = session

    def judge(self, name: str) -> Start:
        """Whether a container may start now.  Raises PhoenixError where that cannot be said."""
        return may_start(self._session(), name)

    def status(self) -> Hooked:
        """Where the script is, and which containers name it."""
        session = self._session()
        return _look(session, _recorded_or(session, None))

    def install(self, storage: str | None = None) -> Hooked:
        """Put the script there, or renew it; `storage` is one of Proxmox's.  Raises PhoenixError."""
        session = self._session()
        place = _recorded_or(session, storage)
        chosen = _runtime(session).hook_place(storage) if storage is not None else place
        if chosen.path != place.path:
            text = f"the hook is installed already, as {place.path}"
            raise PhoenixError(text, hint="`phoenix hook remove` first")
        found = _look(session, place)
        if found.condition is Condition.FOREIGN:
            text = "exists with other content that Phoenix did not install"
            hint = "move it away" + ("; or choose --storage NAME" if place.key == "hookscript" else "")
            raise PhoenixError(text, where=session.host.root.shown(place.path), hint=hint)
        why = writable_by_others(session.host.root, place.folder)
        if why is not None:
            where = session.host.root.shown(place.folder)
            raise PhoenixError(why, where=where, hint="chmod o-w it, then check what others put there")
        script = _script(session)
        if found.condition is not Condition.READY:
            _write(session, place.folder, place.file, script, 0o755)
        line = f"{digest(script)} {place.value} {place.path}\n".encode()
        if session.host.read(f"{STATE_DIR}/{RECORD}") != line:
            _write(session, STATE_DIR, RECORD, line, 0o600)
        after = _look(session, place)
        return _changed(after, found.condition is not Condition.READY)

    def remove(self) -> Hooked:
        """Take the script away.  Raises PhoenixError while a container names it: it would not start."""
        session = self._session()
        place = _recorded_or(session, None)
        found = _look(session, place)
        users = [one for one in found.named if not one.only_kept]
        if users and found.condition is not Condition.ABSENT:
            names = ", ".join(f"{one.name} on {one.node}" if one.node else one.name for one in users)
            next_step = "; ".join(place.forget_it.format(ctid=one.name) for one in users[:3])
            raise PhoenixError(
                f"{len(users)} containers name it, and would not start without it: {names}"
                if len(users) > 1
                else f"container {names} names it, and would not start without it",
                where=session.host.root.shown(place.path),
                hint=next_step + ("; and so on" if len(users) > 3 else ""),
            )
        if found.condition is Condition.FOREIGN:
            text = "is not as Phoenix installed it, so it stays"
            raise PhoenixError(text, where=session.host.root.shown(place.path), hint="remove it by hand")
        for folder, name in ((place.folder, place.file), (STATE_DIR, RECORD)):
            directory = session.host.directory(folder)
            if directory is not None:
                with directory:
                    data = directory.read(name)
                    if data is not None:
                        directory.remove(name, before=data)
        return _changed(_look(session, place), found.condition is not Condition.ABSENT)


def _changed(found: Hooked, changed: bool) -> Hooked:
    from phoenix_hypervisor.values import replace

    return replace(found, changed=changed)


def _runtime(session: Session) -> Hooking:
    runtime = session.runtime
    if not isinstance(runtime, Hooking):
        raise PhoenixError(f"runtime {session.runtime.name} has no hooks")
    return runtime


def _recorded(session: Session) -> tuple[str, str, str] | None:
    """Hash, value and path of what was installed."""
    data = session.host.read(f"{STATE_DIR}/{RECORD}")
    words = (data or b"").decode("utf-8", "replace").rstrip("\n").split(" ", 2)
    return (words[0], words[1], words[2]) if len(words) == 3 else None


def _recorded_or(session: Session, storage: str | None) -> HookPlace:
    """Where it was installed; else where it would go."""
    runtime, recorded = _runtime(session), _recorded(session)
    if recorded is not None:
        known = recorded[1].partition(":snippets/")[0] if ":snippets/" in recorded[1] else None
        place = runtime.hook_place(known)
        if place.path == recorded[2]:
            return place
    return runtime.hook_place(storage)


def _look(session: Session, place: HookPlace) -> Hooked:
    runtime = session.runtime
    runtime.require()
    found = naming(runtime, place)
    return Hooked(
        place=place,
        condition=_condition(session, place),
        named=tuple(one for one in found if one.value == place.value),
        others=tuple(one for one in found if one.value != place.value and not one.only_kept),
    )


def _condition(session: Session, place: HookPlace) -> Condition:
    directory = session.host.directory(place.folder)
    if directory is None:
        return Condition.ABSENT
    with directory:
        info = directory.lstat(place.file)
        data = None if info is None else directory.read(place.file)
    if info is None or data is None:
        return Condition.ABSENT
    recorded = _recorded(session)
    if data == _script(session):
        return Condition.READY if info.st_mode & 0o100 else Condition.NOT_RUN
    ours = recorded is not None and recorded[2] == place.path and recorded[0] == digest(data)
    return Condition.OLDER if ours else Condition.FOREIGN


def _script(session: Session) -> bytes:
    """The script for this host: where Phoenix is, and the options that it is to be called with."""
    path = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data", "hook.sh")
    with open(path, encoding="utf-8") as file:
        text = "#!/bin/sh\n" + file.read()
    words, settings = program(), session.settings
    given = (("--config", settings.config), ("--runtime", settings.runtime))
    options = [
        word
        for name, value in given
        if value is not None
        # It is run from another directory.
        for word in (name, os.path.abspath(value) if name == "--config" else value)
    ]
    for mark, value in (
        ("@FILE@", shlex.quote(words[0])),
        ("@PROGRAM@", shlex.join(words)),
        ("@OPTIONS@", "".join(f"{shlex.quote(word)} " for word in options)),
    ):
        text = text.replace(mark, value)
    return text.encode()


def _write(session: Session, folder: str, name: str, data: bytes, mode: int) -> None:
    private = folder == STATE_DIR
    directory = session.host.directory(folder, create=True, mode=0o700 if private else 0o755)
    assert directory is not None
    with directory:
        directory.replace(name, data, before=directory.read(name), mode=mode)
