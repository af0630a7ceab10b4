"""A signed list of files: who signed it, and whether files are as it says.

Owns the form of the list (as sha256sum(1) writes it), asking gpgv(1) about its signature, and comparing bytes
with it.  Must not read the files that it is about: their bytes come in, so that what was compared is what is
used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

from phoenix_hypervisor.errors import PhoenixError, Problem, ProblemsError
from phoenix_hypervisor.host.files import Directory
from phoenix_hypervisor.host.process import Runner
from phoenix_hypervisor.plan.fault_codes import Fault
from phoenix_hypervisor.profiles.records import digest

LIST = "SHA256SUMS"
SIGNATURES = (f"{LIST}.asc", f"{LIST}.sig", f"{LIST}.gpg")
"""Its detached signature has one of these names."""
MAX_LIST = 4 * 1024 * 1024
_LINE = re.compile(r"([0-9a-f]{64}) [ *](?:\./)?([^\\\0]+)")
_STATUS = re.compile(rb"(?m)^\[GNUPG:\] ([A-Z_]+)(?: ([^\n]*))?$")
_AGAINST = {
    "BADSIG": "the signature is of another text: the list was changed after it was signed",
    "EXPSIG": "the signature has expired",
    "EXPKEYSIG": "the key has expired",
    "REVKEYSIG": "the key was revoked",
    "NO_PUBKEY": "it was made by a key that is not in the keyring",
    "ERRSIG": "the signature cannot be checked",
    "NODATA": "the file holds no signature",
}
"""By gpgv's status, why a signature does not count.  gpgv exits with 0 for a key that has expired."""


def refusal(problems: Iterable[Problem]) -> ProblemsError:
    """What is raised where files are not signed as it was asked for."""
    return ProblemsError("refused: not signed as required, and nothing was changed", problems)


class SignedList:
    """The files of one directory that somebody signed."""

    def __init__(self, runner: Runner, keyring: str, top: str) -> None:
        """Raises ProblemsError where there is no list, or none that a key in `keyring` signed."""
        self.top = top
        with Directory(top, top, top) as directory:
            data = directory.read(LIST, MAX_LIST)
            present = [name for name in SIGNATURES if directory.lstat(name) is not None]
        place = os.path.join(top, LIST)
        if data is None or not present:
            missing = LIST if data is None else f"signature of {LIST}"
            hint = f"docs/guide/signing.md: `sha256sum FILE... > {LIST}; gpg --armor --detach-sign {LIST}`"
            raise refusal([Problem(f"there is no {missing}", place, hint=hint, code=Fault.NOT_SIGNED)])
        why = _judge(runner, keyring, os.path.join(top, present[0]), data)
        if why is not None:
            text = f"{present[0]}: {why}"
            hint = "sign the list anew, or find out who changed it; do not leave the check out"
            raise refusal([Problem(text, place, hint=hint, code=Fault.SIGNATURE_BAD)])
        self._hashes = _read(data, place)

    def problems(self, files: Mapping[str, bytes]) -> list[Problem]:
        """What is not as signed, of the bytes of `files` by their paths on this machine."""
        found = []
        for path, data in sorted(files.items()):
            signed = self._hashes.get(os.path.relpath(path, self.top))
            if signed is None:
                hint = "add it to the list and sign that anew, or take it away"
                found.append(Problem("is not in the signed list", path, hint=hint, code=Fault.UNSIGNED_FILE))
            elif signed != digest(data):
                hint = "put the signed file back, or sign the list anew"
                found.append(Problem("is not what was signed", path, hint=hint, code=Fault.SIGNED_OTHERWISE))
        return found

    def missing(self, folder: str, read: Iterable[str]) -> list[Problem]:
        """What is signed below `folder` of the top, and was not among the paths that were `read`."""
        there = {os.path.relpath(path, self.top) for path in read}
        return [
            Problem(
                "is signed and missing",
                os.path.join(self.top, name),
                hint="put it back, or sign a list without it",
                code=Fault.SIGNED_MISSING,
            )
            for name in sorted(self._hashes)
            if name.startswith(f"{folder}/") and name not in there
        ]


def _judge(runner: Runner, keyring: str, signature: str, data: bytes) -> str | None:
    """Why the signature does not count; None: a key of the keyring made it, of just these bytes."""
    if runner.find("gpgv") is None:
        raise PhoenixError("gpgv is not installed", where="--require-signed", hint="apt install gpgv")
    argv = ["gpgv", "--status-fd", "1", "--weak-digest", "SHA1", "--keyring", keyring, signature, "-"]
    done = runner.run(argv, input=data, timeout=60)
    said = {match[1].decode() for match in _STATUS.finditer(done.stdout)}
    for status, why in _AGAINST.items():
        if status in said:
            return why
    if not done.ok or not {"GOODSIG", "VALIDSIG"} <= said:
        return f"gpgv does not take it: {done.words()}"
    return None


def _read(data: bytes, place: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None or ".." in match[2].split("/") or match[2].startswith("/"):
            text, hint = "is not a line of sha256sum(1) with a path below this directory", "write it anew"
            raise refusal([Problem(text, place, line=number, hint=hint, code=Fault.NOT_SIGNED)])
        if found.setdefault(match[2], match[1]) != match[1]:
            text = f"names {match[2][:200]} twice, with different hashes"
            raise refusal([Problem(text, place, line=number, hint="write it anew", code=Fault.NOT_SIGNED)])
    return found
