"""Doing to profiles what a plan says.

Owns the performers for install, adopt, load, unload, remove, reload and sweep.  Each does
one action and returns it as it was done.  Must not decide whether: the plan did.  An
action that takes another back (`takes_back`) leaves alone what is as wanted already.
"""

from __future__ import annotations

import os
from typing import assert_never

from phoenix_hypervisor.errors import LeftAlone, PhoenixError
from phoenix_hypervisor.host.files import ChangedMeanwhile, Directory
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.plan.actions import (
    AdoptFile,
    InstallFile,
    LoadProfile,
    ProfileAction,
    ReloadService,
    RemoveFile,
    SweepFile,
    UnloadProfile,
)
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.labels import carriers
from phoenix_hypervisor.plan.model import profile as target_of
from phoenix_hypervisor.profiles import records
from phoenix_hypervisor.profiles.drift import CACHE_DIRS, proven
from phoenix_hypervisor.profiles.includes import APPARMOR_D
from phoenix_hypervisor.profiles.parser import Parser
from phoenix_hypervisor.values import replace

PROFILE_MODE = 0o644
RELOAD_TIMEOUT = 600.0


class ProfileSteps:
    """Performers over one host; `parser` compiles what is installed, without our sources."""

    def __init__(self, host: Host, parser: Parser) -> None:
        self._host = host
        self._parser = parser

    def perform(self, action: ProfileAction) -> ProfileAction:
        """Do one action; returns it as it was done.  Raises PhoenixError."""
        match action:
            case InstallFile():
                return self.install(action)
            case RemoveFile():
                return self.remove(action)
            case SweepFile():
                return self.sweep(action)
            case LoadProfile():
                return self.load(action)
            case UnloadProfile():
                return self.unload(action)
            case ReloadService():
                return self.reload_service(action)
            case AdoptFile():
                return action  # Only the manifest changes, at the end.
            case _:
                assert_never(action)

    def _directory(self, path: str) -> Directory:
        directory = self._host.directory(path, create=True)
        assert directory is not None
        return directory

    # Files ------------------------------------------------------------------------

    def install(self, action: InstallFile) -> InstallFile:
        parent, name = os.path.split(action.path)
        with self._directory(parent) as directory:
            current = directory.read(name)
            if current == action.after:
                return replace(action, before=current)
            if action.foreign and action.before is not None:
                self._keep(action.path, action.before)
            # Before the file: what fails after it could not be undone.
            if action.profile is not None:
                self._drop_cache(action.profile)
            mode, owner = PROFILE_MODE, None
            if action.after_stat is not None:
                words = action.after_stat.split()
                mode, owner = int(words[0], 8), (int(words[1]), int(words[2]))
            directory.replace(name, action.after, before=action.before, mode=mode, owner=owner)
        return action

    def remove(self, action: RemoveFile) -> RemoveFile:
        assert action.before is not None
        parent, name = os.path.split(action.path)
        directory = self._host.directory(parent)
        if directory is None:
            return replace(action, before=None)
        with directory:
            current = directory.read(name)
            if current is None:
                return replace(action, before=None)
            if current != action.before:
                raise ChangedMeanwhile(directory.where(name))
            if action.foreign:
                self._keep(action.path, action.before)
            if action.profile is not None:
                self._drop_cache(action.profile)
            directory.remove(name, before=action.before)
        return action

    def _keep(self, path: str, data: bytes) -> None:
        """A copy of somebody else's file that the operator let us replace or remove."""
        name = f"{os.path.basename(path)}.{records.digest(data)[:12]}"
        with self._directory(records.BACKUP_DIR) as directory:
            if directory.read(name) != data:
                directory.replace(name, data, before=directory.read(name), mode=0o600)

    def _drop_cache(self, profile: str) -> None:
        """Remove boot-time cache entries of a changed profile, whatever their mtime says."""
        for path in CACHE_DIRS:
            top = self._host.directory(path)
            if top is None:
                continue
            with top:
                folders = [name for name in top.names() if not name.startswith(".")]
            for folder in folders:
                try:
                    inner = self._host.directory(f"{path}/{folder}")
                except PhoenixError:
                    continue
                if inner is not None:
                    with inner:
                        if inner.lstat(profile) is not None:
                            inner.remove(profile)

    def sweep(self, action: SweepFile) -> SweepFile:
        parent, name = os.path.split(action.path)
        with self._directory(parent) as directory:
            if directory.lstat(name) is not None:
                directory.remove(name)
        return action

    # The kernel -------------------------------------------------------------------

    def load(self, action: LoadProfile) -> LoadProfile:
        """Load the proven output, and read back that the kernel has it."""
        name = action.target
        if action.takes_back and self._kernel_is_away():
            # Nothing of it is loaded; the next boot loads what the files say.
            if action.after is not None:
                self._set_copy(name, action.after)
            return action
        if action.takes_back and not action.replaces and name in (self._host.kernel.loaded_profiles() or {}):
            return action  # It was never unloaded.
        if action.takes_back and action.after is not None and proven(self._host, name, action.after):
            # The load that is undone was refused: another refusal must not leave us unfinished.
            self._set_copy(name, action.after)
            return action
        blob = action.after if action.after is not None else self._compile_installed(name)
        old = self._copy(name)
        self._set_copy(name, blob)
        try:
            self._parser.load(action.processes[0], name)
            if name not in (self._host.kernel.loaded_profiles() or {}):
                raise PhoenixError(
                    "the load reported success but the kernel does not list it", where=f"profile {name}"
                )
        except PhoenixError:
            # The copy is what a later undo loads: it must stay the policy that is in the kernel.
            self._set_copy(name, old)
            raise
        if action.takes_back:
            self._set_copy(name, action.after)
        return replace(action, after=blob)

    def _kernel_is_away(self) -> bool:
        return not (self._host.is_live and self._host.kernel.has_apparmor())

    def _compile_installed(self, name: str) -> bytes:
        """What the file of a profile compiles to: it is back, and no other copy is known."""
        if not self._host.exists(f"{APPARMOR_D}/{name}"):
            raise LeftAlone(Code.POLICY_UNKNOWN, target_of(name))
        return self._parser.compile(self._host.root.locate(f"{APPARMOR_D}/{name}"), optional=False)[0]

    def _copy(self, name: str) -> bytes | None:
        return records.compiled(self._host, name)

    def _set_copy(self, name: str, blob: bytes | None) -> None:
        old = self._copy(name)
        if old == blob:
            return
        with self._directory(records.COMPILED_DIR) as directory:
            if blob is None:
                directory.remove(name)
            else:
                directory.replace(name, blob, before=old, mode=0o600)

    def unload(self, action: UnloadProfile) -> UnloadProfile:
        name = action.target
        if name in (self._host.kernel.loaded_profiles() or {}) and not self._kernel_is_away():
            pids = carriers(self._host.kernel.labels(), name)
            if pids:
                raise LeftAlone(Code.STAYS_LOADED, target_of(name), {"pids": tuple(pids[:5])})
            self._parser.unload(name)
        self._set_copy(name, action.after)
        return action

    def reload_service(self, action: ReloadService) -> ReloadService:
        argv = action.processes[0]
        if action.takes_back and self._kernel_is_away():
            return action
        done = self._host.runner.run(argv, timeout=RELOAD_TIMEOUT)
        if not done.ok:
            raise PhoenixError(
                f"ended with {done.returncode}: {done.words()}",
                where=" ".join(argv),
                hint="`journalctl -u apparmor.service -n 50` names the file",
            )
        loaded = self._host.kernel.loaded_profiles() or {}
        missing = [name for name in action.closures if name not in loaded]
        if missing:
            raise PhoenixError(
                f"reported success but the kernel does not list {', '.join(missing)}",
                where=" ".join(argv),
                hint='look for a link in /etc/apparmor.d/disable, or use "reload": "changed"',
            )
        for name in action.closures:
            # What the service compiled is not our copy; a later undo must not load that.
            self._set_copy(name, None)
        return action
