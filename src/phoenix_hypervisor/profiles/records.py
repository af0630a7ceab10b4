"""What Phoenix installed and loaded, on record.

Owns /var/lib/phoenix/manifest.json: for each installed file the hashes that are ours,
for each profile the closure last loaded.  A file whose bytes it does not know is
somebody else's.  Before a change both the old and the new hash are recorded, so that a
run killed in between is still recognised as ours.  Must not know how anything is done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.host.trust import owned_by_us, require_own
from phoenix_hypervisor.plan.actions import (
    PROFILE_KEY,
    Action,
    AdoptFile,
    AssignLines,
    InstallFile,
    LineChange,
    LoadProfile,
    ReloadService,
    RemoveFile,
    Stays,
    UnloadProfile,
    is_device_key,
)
from phoenix_hypervisor.plan.entries import JOURNAL_DIR
from phoenix_hypervisor.values import TYPE_CHECKING, assert_never, dataclass, field, replace

if TYPE_CHECKING:
    from typing import Any

STATE_DIR = "/var/lib/phoenix"
COMPILED_DIR = f"{STATE_DIR}/compiled"
MAX_COMPILED = 16 * 1024 * 1024
"""Bytes of a compiled profile; ours take 20 to 500 kB.  A larger one is not proven, so that each one
can be read again, and a journal takes several."""
BACKUP_DIR = f"{STATE_DIR}/replaced"
LISTENING = f"{STATE_DIR}/listening.json"
"""There while `phoenix denials --listen` makes the kernel log more (`engine.listening`)."""
TRIALS_DIR = f"{STATE_DIR}/trials"
"""Of trials that have begun (`plan.trials`)."""
_NAME = "manifest.json"


def digest(data: bytes) -> str:
    """The hash by which the manifest knows a file."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What was installed, loaded and assigned by us."""

    files: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Accepted hashes by host path."""
    loaded: Mapping[str, str] = field(default_factory=dict)
    """Closure last loaded, by profile name."""
    assigned: Mapping[str, str | None] = field(default_factory=dict)
    """The line's value that Phoenix last wrote, by CTID; None: no line."""
    lines: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What Phoenix wrote beside the profile line, by CTID and key."""
    optional: Mapping[str, Any] = field(default_factory=dict)
    """What the parser said of the optional includes: {key, accepted, words}."""

    def owns(self, path: str, data: bytes) -> bool:
        return digest(data) in self.files.get(path, ())

    def announced(self, actions: Iterable[Action]) -> Manifest:
        """With the new hashes beside the old ones; the same object where no file changes."""
        changes = [action for action in actions if isinstance(action, InstallFile)]
        files = {path: list(hashes) for path, hashes in self.files.items()} if changes else {}
        for action in changes:
            hashes = files.setdefault(action.path, [])
            for data in (action.before, action.after):
                if data is not None and digest(data) not in hashes:
                    hashes.append(digest(data))
        return replace(self, files=files) if changes else self

    def noted(self, actions: Iterable[Action]) -> Manifest | None:
        """With what was done on record; None where none of it is the manifest's business."""
        lines = {ctid: dict(values) for ctid, values in self.lines.items()}
        edit = _Edit(dict(self.files), dict(self.loaded), dict(self.assigned), lines)
        concerned = [action for action in actions if edit.note(action)]
        if not concerned:
            return None
        return replace(self, files=edit.files, loaded=edit.loaded, assigned=edit.assigned, lines=edit.lines)

    def to_bytes(self) -> bytes:
        document = {
            "version": 1,
            "files": {path: list(hashes) for path, hashes in self.files.items()},
            "loaded": dict(self.loaded),
            "assigned": dict(self.assigned),
            **({"lines": {k: dict(v) for k, v in self.lines.items()}} if self.lines else {}),
            "optional": dict(self.optional),
        }
        return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()


def compiled(host: Host, name: str) -> bytes | None:
    """The compiled policy that Phoenix last loaded for profile `name`.  Raises PhoenixError."""
    return host.read(f"{COMPILED_DIR}/{name}", MAX_COMPILED)


def open_records(host: Host) -> list[tuple[str, str]]:
    """Our records that others could have written: path and why.  Then none of them says anything."""
    found = []
    for path in _records(host):
        why = owned_by_us(host.root, path)
        if why is not None:
            found.append((host.root.shown(path), why))
    return found


def require_own_records(host: Host) -> None:
    """Raise NotTrusted where others could have written our records."""
    for path in _records(host):
        require_own(host.root, path)


def _records(host: Host) -> list[str]:
    names: list[str] = []
    with suppress(PhoenixError):
        directory = host.directory(COMPILED_DIR)
        if directory is not None:
            with directory:
                names = sorted(directory.names())
    places = [STATE_DIR, JOURNAL_DIR, COMPILED_DIR, BACKUP_DIR, TRIALS_DIR, f"{STATE_DIR}/{_NAME}"]
    return [*places, *(f"{COMPILED_DIR}/{name}" for name in names)]


def read(host: Host) -> tuple[Manifest, bytes | None]:
    """The manifest and its bytes (None where there is none yet)."""
    path = f"{STATE_DIR}/{_NAME}"
    data = host.read(path)
    if data is None:
        return Manifest(), None
    return parse(data, host.root.shown(path)), data


def parse(data: bytes, where: str) -> Manifest:
    """Read a manifest's bytes.  Raises PhoenixError, naming `where`, for anything else."""
    try:
        document = json.loads(data)
        if document["version"] != 1:
            raise ValueError(f"version {document['version']}")
        files = {str(k): [str(h) for h in v] for k, v in document["files"].items()}
        loaded = {str(k): str(v) for k, v in document["loaded"].items()}
        assigned = {str(k): v if v is None else str(v) for k, v in document.get("assigned", {}).items()}
        lines = {
            str(ctid): {str(key): str(value) for key, value in values.items()}
            for ctid, values in document.get("lines", {}).items()
        }
        optional = {str(k): v for k, v in document.get("optional", {}).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PhoenixError(
            f"cannot be read ({error}): Phoenix no longer knows which profiles are its own",
            where=where,
            hint="move it away; then `phoenix setup` adopts files that equal the sources and reports others",
        ) from error
    return Manifest(files=files, loaded=loaded, assigned=assigned, lines=lines, optional=optional)


def save(host: Host, manifest: Manifest, before: bytes | None) -> bytes:
    """Write it when it differs from `before`; returns the bytes now on disk."""
    after = manifest.to_bytes()
    if after == before:
        return after
    directory = host.directory(STATE_DIR, create=True, mode=0o700)
    assert directory is not None
    with directory:
        directory.replace(_NAME, after, before=before, mode=0o600)
    return after


@dataclass(slots=True)
class _Edit:
    """A manifest's records while they are being brought up to date."""

    files: dict[str, Sequence[str]]
    loaded: dict[str, str]
    assigned: dict[str, str | None]
    lines: dict[str, dict[str, str]]

    def note(self, action: Action) -> bool:
        """Record one action that was done; False where it is none of the manifest's business."""
        match action:
            case InstallFile(returns=True):
                self.files.pop(action.path, None)
            case InstallFile() | AdoptFile():
                self.files[action.path] = (digest(action.after),)
            case RemoveFile():
                self.files.pop(action.path, None)
                if action.profile is not None:
                    self.loaded.pop(action.profile, None)
            case LoadProfile(closure=str(closure)):
                self.loaded[action.target] = closure
            case LoadProfile() | UnloadProfile():
                self.loaded.pop(action.target, None)
            case ReloadService():
                self.loaded.update(action.closures)
            case AssignLines():
                for line in action.lines:
                    self._note_line(action.target, line)
            case Stays():
                return False
            case _:
                assert_never(action)
        return True

    def _note_line(self, ctid: str, line: LineChange) -> None:
        """Beside the profile line only what Phoenix wrote counts, so only that goes again with its reason."""
        if line.key == PROFILE_KEY:
            self.assigned[ctid] = line.value
            return
        if is_device_key(line.key):
            return
        values = self.lines.setdefault(ctid, {})
        if line.value is None:
            values.pop(line.key, None)
        else:
            values[line.key] = line.value
        if not values:
            del self.lines[ctid]


class Keeper:
    """The manifest around one transaction: `before` is what it was when that began."""

    def __init__(self, host: Host, manifest: Manifest, before: bytes | None) -> None:
        self._host = host
        self._manifest = manifest
        self._before = before
        self._on_disk = before

    @classmethod
    def resumed(cls, host: Host, before: bytes | None) -> Keeper:
        """For a transaction that another run began with the manifest `before`."""
        keeper = cls(host, parse(before, "the journal") if before is not None else Manifest(), before)
        keeper._on_disk = read(host)[1]
        return keeper

    def announce(self, actions: Iterable[Action]) -> None:
        """Record the new hashes beside the old ones, before any file changes.

        A run killed after this still knows both as its own.
        """
        expected = self._manifest.announced(actions)
        if expected is not self._manifest:
            self._on_disk = save(self._host, expected, self._on_disk)

    def settle(self, effective: Sequence[Action]) -> None:
        """Record what it was at first, plus the actions that count."""
        noted = self._manifest.noted(effective)
        if noted is not None:
            self._on_disk = save(self._host, noted, self._on_disk)
        elif self._on_disk != self._before:
            self._restore()

    def _restore(self) -> None:
        directory = self._host.directory(STATE_DIR, create=True, mode=0o700)
        assert directory is not None
        with directory:
            if self._before is None:
                directory.remove(_NAME)
            else:
                directory.replace(_NAME, self._before, before=self._on_disk, mode=0o600)
        self._on_disk = self._before
