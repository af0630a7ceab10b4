"""Sources and configuration that somebody signed.

Owns what must be signed, and the private copy of the sources that is compiled: nobody can change a file
between its comparison with the list and its compilation.  What a signature is: `profiles.signed`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping

from phoenix_hypervisor.engine.places import KEYRING
from phoenix_hypervisor.errors import PhoenixError, Problem, UsageError
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.host.trust import require_given, require_own
from phoenix_hypervisor.profiles.prove import files_of_tests
from phoenix_hypervisor.profiles.records import digest
from phoenix_hypervisor.profiles.signed import SignedList, refusal
from phoenix_hypervisor.profiles.sources import ACCEPTED, read_sources

COPIES = "/run/phoenix/signed"
_ARMOR = b"-----BEGIN PGP"


def keyring_of(host: Host, given: str | None) -> str:
    """The keyring that counts: the one that was named, else this host's own.

    Raises UsageError for a file that gpgv cannot take, NotTrusted for one that others can write.
    """
    path = os.path.abspath(host.root.locate(KEYRING) if given is None else given)
    try:
        with open(path, "rb") as file:
            start = file.read(64)
    except OSError as error:
        raise UsageError(f"the keyring cannot be read: {error.strerror}", where=path) from error
    if not start or start.startswith(_ARMOR):
        hint = "`gpg --export KEY > FILE` makes one; `gpg --dearmor` of one in ASCII armour"
        raise UsageError("is not a keyring that gpgv takes", where=path, hint=hint)
    require_given(path)
    return path


class Trusted:
    """What is read in one run, held against the lists that were signed."""

    def __init__(self, host: Host, keyring: str) -> None:
        self._host = host
        self._keyring = keyring
        self._lists: dict[str, SignedList] = {}

    def require(self, files: Mapping[str, bytes], beside: str) -> None:
        """Raise ProblemsError where one of these files is not as the signed list `beside` a path says."""
        problems = self._faults(files, beside)
        if problems:
            raise refusal(problems)

    def copied(self, directory: str, overlay: str, tests: str, others: Iterable[str]) -> str:
        """A private copy of the sources, where it is on this machine.

        They, the accepted rules of an `overlay`, the policy `tests` and the `others` that there are must be
        signed as they are.  Raises ProblemsError for what is not, and for what is signed and missing; nothing
        is written then.
        """
        sources = read_sources(directory, overlay)
        problems: list[Problem] = []
        for path in others:
            problems += self._faults({path: _bytes(path)}, path)
        files: dict[str, bytes] = {}
        for top in filter(None, (directory, overlay)):
            below = {p: data for p, data in sources.files().items() if p.startswith(f"{top}/")}
            problems += self._faults(below, top)
            problems += self._missing(top, below, ACCEPTED if top == overlay else "")
            files |= {os.path.relpath(path, top): data for path, data in below.items()}
        if os.path.isdir(tests):
            both = [pair for optional in (False, True) for pair in files_of_tests(tests, optional=optional)]
            problems += [*self._faults(dict(both), tests), *self._missing(tests, dict(both))]
        if problems:
            raise refusal(problems)
        return self._written(files)

    def _faults(self, files: Mapping[str, bytes], beside: str) -> list[Problem]:
        """What of some files is not as signed; links on the way to `beside` are followed, none below it."""
        folder = os.path.dirname(beside)
        real = os.path.realpath(folder)
        below = {os.path.join(real, os.path.relpath(path, folder)): data for path, data in files.items()}
        return self._list_for(real).problems(below)

    def _missing(self, folder: str, read: Iterable[str], below: str = "") -> list[Problem]:
        """What is signed in a folder, or `below` it, and was not read."""
        top = os.path.dirname(folder)
        real = os.path.realpath(top)
        there = [os.path.join(real, os.path.relpath(path, top)) for path in read]
        named = os.path.join(os.path.basename(folder), below).rstrip("/")
        return self._list_for(real).missing(named, there)

    def _list_for(self, top: str) -> SignedList:
        if top not in self._lists:
            require_given(top)
            self._lists[top] = SignedList(self._host.runner, self._keyring, top)
        return self._lists[top]

    def _written(self, files: Mapping[str, bytes]) -> str:
        """The copy, called by what is in it; one that is there already is taken where it is whole."""
        lines = "".join(f"{digest(data)} {name}\n" for name, data in sorted(files.items()))
        place = f"{COPIES}/{hashlib.sha256(lines.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}"
        for path in (os.path.dirname(COPIES), COPIES, place):
            made = self._host.directory(path, create=True, mode=0o700)
            assert made is not None
            made.close()
            require_own(self._host.root, path)
        top = f"{place}/apparmor"
        for name, data in files.items():
            parent, base = os.path.split(f"{top}/{name}")
            directory = self._host.directory(parent, create=True, mode=0o700)
            assert directory is not None
            with directory:
                now = directory.read(base)
                if now != data:
                    directory.replace(base, data, before=now, mode=0o600)
        real = self._host.root.locate(top)
        if read_sources(real).files().keys() != {os.path.join(real, name) for name in files}:
            raise PhoenixError("holds what was not signed", where=real, hint=f"rm -r {real}")
        return real


def _bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise PhoenixError(f"cannot be read: {error.strerror}", where=path) from error
