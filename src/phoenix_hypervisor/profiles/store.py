"""The profile store: sources on one side, /etc/apparmor.d and the kernel on the other.

Owns reading both into `FileState` and `ProfileState`.  Reads only, and changes nothing that it
was given; `profiles.prove` compiles and `profiles.install` writes.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping

from phoenix_hypervisor.containers.seccomp import COMMON, COMPANION, render
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.files import TEMPORARY, Directory
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.plan.model import FileState, Note, Ownership, ProfileState
from phoenix_hypervisor.profiles import records
from phoenix_hypervisor.profiles.drift import StaleCache, differing, known_policy, stale_caches, switched_off
from phoenix_hypervisor.profiles.includes import APPARMOR_D, Closures
from phoenix_hypervisor.profiles.open_places import open_places
from phoenix_hypervisor.profiles.parser import Parser
from phoenix_hypervisor.profiles.sources import ACCEPTED, Sources, to_probe, without_accepted
from phoenix_hypervisor.values import TYPE_CHECKING, replace

if TYPE_CHECKING:
    from typing import Any

MAX_INSTALLED = 4 * 1024 * 1024


class Store:
    """One look at sources, installed files, manifest and kernel."""

    def __init__(self, host: Host, sources: Sources, parser: Parser, *, recorded: bool = True) -> None:
        """`recorded` False: without the manifest, which root alone may read."""
        self.host = host
        self.sources = sources
        self.parser = parser
        self._recorded = recorded
        nothing: tuple[records.Manifest, bytes | None] = (records.Manifest(), None)
        self.manifest, self.manifest_bytes = records.read(host) if recorded else nothing
        self.loaded = host.kernel.loaded_profiles()
        self._optional: Mapping[str, Any] = self.manifest.optional
        self._accepted: tuple[bool, str] | None = None
        self._directories: dict[str, Directory | None] = {}

    # What is wanted ---------------------------------------------------------------

    def optional_accepted(self) -> tuple[bool, str]:
        """Whether the host's parser takes the optional files, all or none, and its words if not.

        Asked once for each parser and content: what the manifest remembers is taken.
        """
        if not self.sources.optional:
            return True, ""
        if self._accepted is None:
            self._accepted = self._ask_about_optional()
        return self._accepted

    def _ask_about_optional(self) -> tuple[bool, str]:
        key = self._optional_key()
        if self._optional.get("key") != key:
            accepted, words = self.parser.accepts_optional(*to_probe(self.sources.optional_read()))
            self._optional = {"key": key, "accepted": accepted, "words": words}
        return bool(self._optional["accepted"]), str(self._optional["words"])

    def to_record(self) -> records.Manifest:
        """The manifest, with what the parser was asked meanwhile."""
        return replace(self.manifest, optional=self._optional)

    def _optional_key(self) -> str:
        """Changes with the optional files and with the parser's binary."""
        content = {name: records.digest(data) for name, data in self.sources.optional_read().items()}
        return records.digest(json.dumps([content, self.parser.identity()], sort_keys=True).encode())

    def wanted(self) -> dict[str, tuple[str, bytes]]:
        """Every file that belongs into /etc/apparmor.d: its source path and bytes, by name."""
        return self.sources.chosen(optional=self.optional_accepted()[0])

    def compile(self, profile: ProfileState) -> tuple[bytes, list[str]]:
        """The compiled policy of a profile's source, and the parser's warnings.

        Raises ProofError with the parser's words, which name file and line.
        """
        optional = self.optional_accepted()[0] and bool(self.sources.optional)
        if profile.name in self.sources.made_of:
            text = self.wanted()[profile.name][1]
            return self.parser.compile_text(text, profile.source, optional=optional), []
        kept = f"{ACCEPTED}/{profile.name}"
        if kept in self.sources.includes or not self.host.exists(f"{APPARMOR_D}/{kept}"):
            return self.parser.compile(profile.source, optional=optional)
        # The parser would take the accepted rules that are still installed, and are none any more.
        text = without_accepted(profile.name, self.wanted()[profile.name][1])
        return self.parser.compile_text(text, profile.source, optional=optional), []

    # What is there ----------------------------------------------------------------

    def files(self) -> list[FileState]:
        """Includes first: a profile must never be installed before what it includes."""
        wanted = self.wanted()
        order = sorted(wanted, key=lambda name: (name in self.sources.profiles, name))
        companion = self.companion()
        first = [] if companion is None else [companion]
        return first + [self._file(name, *wanted[name]) for name in order]

    def companion(self) -> FileState | None:
        """The seccomp companion made of this host's common.seccomp; None where LXC has none here."""
        common = self.host.read(COMMON)
        if common is None:
            return None
        installed = self.host.read(COMPANION)
        try:
            data = render(common)
        except ValueError as error:
            fault = f"{COMMON} cannot be extended: {error}"
            return FileState(
                path=COMPANION,
                source=COMMON,
                wanted=b"",
                installed=installed,
                ownership=Ownership.OURS,
                recorded=False,
                fault=fault,
            )
        ours = installed is not None and self.manifest.owns(COMPANION, installed)
        ownership = Ownership.ABSENT if installed is None else Ownership.OURS if ours else Ownership.FOREIGN
        recorded = self.manifest.files.get(COMPANION) == [records.digest(data)]
        return FileState(
            path=COMPANION,
            source=COMMON,
            wanted=data,
            installed=installed,
            ownership=ownership,
            recorded=recorded,
        )

    def _file(self, name: str, source: str, data: bytes) -> FileState:
        path = f"{APPARMOR_D}/{name}"
        installed, fault = None, None
        try:
            installed = self.read_installed(name)
        except PhoenixError as error:
            fault = error.message
        if installed is None:
            ownership = Ownership.ABSENT
        else:
            # Without the manifest nobody knows.
            ours = self.manifest.owns(path, installed) or not self._recorded
            ownership = Ownership.OURS if ours else Ownership.FOREIGN
        recorded = list(self.manifest.files.get(path, ())) == [records.digest(data)]
        profile = name if name in self.sources.profiles else None
        owner = self.stat_installed(name) if ownership is Ownership.FOREIGN else None
        return FileState(
            path=path,
            source=source,
            wanted=data,
            installed=installed,
            ownership=ownership,
            recorded=recorded,
            profile=profile,
            fault=fault,
            stat=owner,
        )

    def _directory(self, relative: str) -> Directory | None:
        if relative not in self._directories:
            self._directories[relative] = self.host.directory(os.path.join(APPARMOR_D, relative).rstrip("/"))
        return self._directories[relative]

    def read_installed(self, name: str) -> bytes | None:
        """The bytes of /etc/apparmor.d/NAME, or None."""
        parent, base = os.path.split(name)
        directory = self._directory(parent)
        return None if directory is None else directory.read(base, MAX_INSTALLED)

    def stat_installed(self, name: str) -> str | None:
        """`MODE UID GID` of /etc/apparmor.d/NAME, the mode octal."""
        parent, base = os.path.split(name)
        directory = self._directory(parent)
        info = None if directory is None else directory.lstat(base)
        return None if info is None else f"{stat.S_IMODE(info.st_mode):04o} {info.st_uid} {info.st_gid}"

    def profiles(self) -> list[ProfileState]:
        """Each shipped profile with the hash of all it is made of."""
        wanted = self.wanted()
        closures = Closures(self.include)
        found = []
        for name in sorted(self.sources.profiles):
            path, data = wanted[name]
            closure, included = closures.of(data)
            own = tuple(f"{APPARMOR_D}/{one}" for one in (name, *included) if one in wanted)
            mode = None if self.loaded is None else self.loaded.get(name)
            found.append(
                ProfileState(
                    name=name,
                    source=path,
                    closure=closure,
                    loaded_closure=self.manifest.loaded.get(name),
                    mode=mode,
                    # A live kernel that lists no profiles has none; a directory says nothing.
                    kernel_known=self._recorded and (self.loaded is not None or self.host.is_live),
                    includes=own,
                    differs=self._differs(name) if mode is not None else None,
                )
            )
        return found

    def _differs(self, name: str) -> str | None:
        return differing(self.host, name, self.compiled(name)) if self._recorded else None

    def include(self, path: str) -> bytes | list[str] | None:
        """An include as a compile would find it: our sources first, then the host's files."""
        wanted = self.wanted_include(path)
        if wanted is not None:
            return wanted
        if path.startswith(f"{ACCEPTED}/"):
            return None  # what is still installed is to go
        return self.host.content(f"{APPARMOR_D}/{path}")

    def wanted_include(self, path: str) -> bytes | None:
        found = self.sources.find(path, optional=self.optional_accepted()[0])
        return None if found is None or path in self.sources.profiles else found[1]

    def load_argv(self, name: str) -> tuple[str, ...]:
        """The process that loads the compiled copy of profile `name`."""
        return self.parser.load_argv(self.host.root.locate(f"{records.COMPILED_DIR}/{name}"))

    def compiled(self, name: str) -> bytes | None:
        """The compiled policy that Phoenix last loaded for profile `name`."""
        return records.compiled(self.host, name)

    def in_kernel(self, name: str) -> bytes | None:
        """What the kernel has of profile `name`, where that is known."""
        return known_policy(self.host, name, (self.loaded or {}).get(name))

    def open_places(self) -> list[Note]:
        """As the function of that name, with the places of what is to be installed."""
        companion = [COMPANION] if self.host.exists(COMPANION) else []
        return open_places(self.host, [*companion, *(f"{APPARMOR_D}/{name}" for name in self.wanted())])

    def no_longer_accepted(self) -> list[FileState]:
        """Installed files of accepted rules that have no source any more, and are ours."""
        gone = f"{APPARMOR_D}/{ACCEPTED}/"
        names = [path.removeprefix(f"{APPARMOR_D}/") for path in self.manifest.files if path.startswith(gone)]
        states = [self._file(name, "", b"") for name in sorted(names) if name not in self.sources.includes]
        return [one for one in states if one.ownership is Ownership.OURS]

    # Left behind ------------------------------------------------------------------

    def leftovers(self) -> list[str]:
        """Temporary files that a killed run left where Phoenix installs and keeps its records."""
        own = {records.STATE_DIR, records.COMPILED_DIR, records.BACKUP_DIR, os.path.dirname(COMPANION)}
        places = sorted({os.path.dirname(name) for name in self.wanted()} | {""} | own)
        found = []
        for place in places:
            directory = self._directory(place)
            for name in sorted(directory.names()) if directory is not None else ():
                if TEMPORARY.match(name):
                    found.append(os.path.join(APPARMOR_D, place, name))
        return found

    def caches(self) -> list[StaleCache]:
        """Boot-time cache entries that were not made from the files as they are now."""
        return stale_caches(self.host, self.sources.profiles, self.compiled) if self._recorded else []

    def switched_off(self) -> list[tuple[str, str]]:
        """Profile and path of each entry that keeps the boot from enforcing one of ours."""
        return switched_off(self.host, self.sources.profiles)

    def not_shipped(self) -> list[str]:
        """Files that Phoenix installed and that have no source any more."""
        wanted = {f"{APPARMOR_D}/{name}" for name in self.wanted()}
        return [
            path
            for path in sorted(set(self.manifest.files) - wanted)
            if self.host.exists(path)
            and os.path.dirname(path) == APPARMOR_D
            # A trial's own copy goes with the trial.
            and not self.host.exists(f"{records.TRIALS_DIR}/{path.rpartition('-')[2]}.json")
        ]

    def close(self) -> None:
        for directory in self._directories.values():
            if directory is not None:
                directory.close()
        self._directories.clear()
