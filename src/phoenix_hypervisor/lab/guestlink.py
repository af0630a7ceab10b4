"""What can be asked of a running guest.

Owns the vocabulary: run, put, get, kernel log, denials, features, phoenix itself.  Works the same
over a lab of one's own (`session.Lab`) and over a detached one (`detached.attach`).
Must not start or stop machines.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.lab import logged as log
from phoenix_hypervisor.lab.kernel_dump import FEATURES_DIRECTORY, flatten
from phoenix_hypervisor.lab.wire import Wire

RUN_TIMEOUT = 120.0
"""Seconds that a command in the guest may take, where the caller says nothing."""
GRACE = 30.0
"""Seconds beyond a command's own limit in which the agent must have answered."""
PHOENIX_HOME = "/usr/local/phoenix_hypervisor"


@dataclass(frozen=True, slots=True)
class Result:
    """What a command in the guest left behind.

    Text is UTF-8 with foreign bytes kept as surrogates.  A negative `rc` is the signal that ended
    it.  `unkillable` says that even SIGKILL did not end it within three seconds.
    """

    rc: int
    stdout: str
    stderr: str
    timed_out: bool = False
    unkillable: bool = False

    @property
    def ok(self) -> bool:
        return self.rc == 0 and not self.timed_out


class Guest:
    """A running guest at the other end of a wire."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._since = -1

    def run(
        self,
        command: str | Sequence[str],
        *,
        timeout: float = RUN_TIMEOUT,
        input: bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: str = "/root",
        check: bool = False,
    ) -> Result:
        """Run an argument vector, or a text as a shell script, as root in the guest.

        After `timeout` seconds its whole session is killed.  Standard output and error are files
        in the guest, so that a daemon left behind keeps nobody waiting.  With `check`, PhoenixError
        where it does not end with 0.
        """
        argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
        header: dict[str, object] = {"op": "run", "argv": argv, "timeout": timeout, "cwd": cwd}
        if env:
            header["env"] = dict(env)
        answer, payload = self.wire.request(header, input, timeout=timeout + GRACE)
        middle = int(answer["out"])
        rc = answer.get("rc")
        result = Result(
            rc=-9 if rc is None else int(rc),
            stdout=payload[:middle].decode("utf-8", "surrogateescape"),
            stderr=payload[middle:].decode("utf-8", "surrogateescape"),
            timed_out=bool(answer.get("timed_out")),
            unkillable=bool(answer.get("unkillable")),
        )
        if check and not result.ok:
            what = f"took more than {timeout:.0f} s" if result.timed_out else f"exit {result.rc}"
            said = (result.stderr.strip() or result.stdout.strip())[-2000:]
            raise PhoenixError(f"{' '.join(argv)[:200]}: {what}\n{said}", where="in the lab's guest")
        return result

    def put(self, path: str, data: bytes | str, mode: int = 0o644) -> None:
        """Write a file; its directory is made, and the file appears whole."""
        content = data.encode() if isinstance(data, str) else data
        self.wire.request({"op": "put", "path": path, "mode": mode}, content, timeout=120)

    def get(self, path: str) -> bytes:
        """A file's bytes; works for /proc and /sys too."""
        return self.wire.request({"op": "get", "path": path}, timeout=120)[1]

    def put_tar(self, directory: str, data: bytes) -> None:
        """Unpack an uncompressed tar below `directory`."""
        self.run(["mkdir", "-p", directory], check=True)
        self.run(["tar", "-C", directory, "-xf", "-"], input=data, check=True)

    def kernel_log(self, *, since_mark: bool = True) -> list[log.Record]:
        """The guest's kernel log, from the last `mark` or from its boot."""
        since = self._since if since_mark else -1
        answer, data = self.wire.request({"op": "kmsg", "since": since}, timeout=60)
        if answer.get("lost"):
            raise PhoenixError("the guest's kernel log ran over: denials are missing")
        return list(log.parse_kmsg(data))

    def mark(self) -> None:
        """Forget the kernel log so far, for `kernel_log` and `denials`."""
        records = self.kernel_log()
        if records:
            self._since = records[-1].sequence

    def denials(self, *, verdicts: Sequence[str] = ("DENIED",)) -> list[log.Denial]:
        """AppArmor's denials since the lab started or the last `mark`."""
        return log.denials(self.kernel_log(), verdicts=verdicts)

    def features(self) -> bytes:
        """The running kernel's AppArmor features, in the form that the parser reads."""
        _, data = self.wire.request({"op": "tree", "path": FEATURES_DIRECTORY}, timeout=60)
        return flatten((name, text.encode("latin-1")) for name, text in json.loads(data))

    def profiles(self) -> dict[str, str]:
        """Loaded profile -> mode, as securityfs lists them."""
        text = self.get("/sys/kernel/security/apparmor/profiles").decode("utf-8", "surrogateescape")
        pairs = (line.rpartition(" (") for line in text.splitlines())
        return {name: mode.rstrip(")") for name, _, mode in pairs}

    def label(self, pid: int) -> str:
        """The AppArmor label of a process, as the kernel says it to the host."""
        return self.get(f"/proc/{pid}/attr/current").decode("utf-8", "surrogateescape").strip()

    def install_phoenix(self, source: Path | None = None) -> None:
        """Bring phoenix into the guest, at PHOENIX_HOME, from a checkout or an installation.

        Goes through the agent at every start instead of into the image, so that images and saved
        machines stay valid while phoenix changes.  `phoenix` is on the guest's PATH.
        """
        self.put_tar(PHOENIX_HOME, phoenix_tar(source))


def phoenix_tar(source: Path | None = None) -> bytes:
    """A tar of src/, etc/ and bin/ of the running phoenix, or of the checkout at `source`."""
    package = Path(__file__).resolve().parent.parent
    if source is not None:
        package = source / "src" / "phoenix_hypervisor"
    home = package.parent.parent
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(package, "src/phoenix_hypervisor", filter=_plain_member)
        for name in ("etc", "bin"):
            if package.parent.name == "src" and (home / name).is_dir():
                tar.add(home / name, name, filter=_plain_member)
    return buffer.getvalue()


def _plain_member(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if member.name.endswith((".pyc", "__pycache__")):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
