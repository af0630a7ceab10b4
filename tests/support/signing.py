"""Keys that gpg makes, and configurations that are signed by them."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PAST = "20200101T000000"


class Keys:
    """A home of gpg, a folder that nobody else may read, with three keys, and a keyring of each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("fleet", "other"):
            self.gpg("--quick-generate-key", f"{name} <{name}@example.org>", "ed25519", "sign", "never")
        self.gpg("--quick-generate-key", "old <old@example.org>", "ed25519", "sign", "2020-06-01", at=PAST)
        for name in ("fleet", "other", "old"):
            self.gpg("--output", str(self.ring(name)), "--export", f"{name}@example.org")

    def ring(self, name: str) -> Path:
        return self.folder / f"{name}.gpg"

    def gpg(self, *words: str, at: str | None = None) -> None:
        when = ["--faked-system-time", at] if at else []
        argv = ["gpg", "--batch", "--yes", "--quiet", "--no-tty", "--passphrase", "", "--pinentry-mode"]
        subprocess.run(
            [*argv, "loopback", "--homedir", str(self.folder), *when, *words],
            check=True,
            capture_output=True,
            timeout=60,
        )

    def sign(self, path: Path, name: str = "fleet", *more: str, at: str | None = None) -> Path:
        signature = path.with_name(f"{path.name}.sig")
        who = ["--local-user", f"{name}@example.org", "--output", str(signature)]
        self.gpg(*who, *more, "--detach-sign", str(path), at=at)
        return signature


@contextmanager
def some_keys() -> Iterator[Keys]:
    """Keys for as long as the block lasts."""
    # gpg-agent's socket needs a short path.
    with tempfile.TemporaryDirectory(prefix="phoenix-keys-", dir="/tmp") as folder:
        try:
            yield Keys(Path(folder))
        finally:
            subprocess.run(["gpgconf", "--homedir", folder, "--kill", "all"], check=False, timeout=30)


def listing(folder: Path) -> str:
    """The list of all that there is, as sha256sum writes it."""
    names = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("SHA256SUMS"))
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n" for path in names
    )


def sign_all(folder: Path, keys: Keys, name: str = "fleet", *more: str, at: str | None = None) -> None:
    """Write that list, and sign it."""
    path = folder / "SHA256SUMS"
    path.write_text(listing(folder))
    keys.sign(path, name, *more, at=at)
