"""Running other programs.

Owns every process the package starts: argument vectors only (never a shell), a
predictable environment (`LC_ALL=C`), closed standard input, and a bound on time.
Must not know what the programs mean.  Tests pass another `Runner` that maps, say,
`pct` to a test double.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from phoenix_hypervisor.errors import PhoenixError, TooSlowError
from phoenix_hypervisor.values import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from subprocess import Popen
    from typing import Protocol
else:
    Protocol = object

DEFAULT_TIMEOUT = 600.0
"""Seconds; `pct create` unpacks a template, which takes minutes on slow storage."""


SAID_LINES, SAID_LENGTH = 20, 4000
"""Lines and characters of what a program said that a message shows."""
_NOISE = (
    r"mke2fs |Discarding device blocks|Creating (filesystem|journal)|Filesystem UUID|Superblock backups"
    r"|Allocating group tables|Writing (inode tables|superblocks)|[\s\d,]+$"
)
"""mke2fs and how far it has come: Proxmox prints it in front of why a creation failed."""

GRACE = 8.0
"""Seconds between SIGTERM and SIGKILL."""


@dataclass(frozen=True, slots=True)
class Completed:
    """What a finished process left behind."""

    argv: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: bytes

    @property
    def ok(self) -> bool:
        return self.returncode == 0

    def words(self) -> str:
        """What the program said on standard error, else on standard output, shortened for a message."""
        return shortened(self.stderr.strip() or self.stdout.strip())


def shortened(said: bytes) -> str:
    """The end of what a program said: SAID_LINES, without what only tells how far making a file system
    has come; how many lines there were before is said in front.
    """
    text = said.decode("utf-8", "replace")
    lines = [line for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if not re.match(_NOISE, line)] or lines
    shown = telling[-SAID_LINES:]
    while len(shown) > 1 and sum(map(len, shown)) > SAID_LENGTH:
        del shown[0]
    left_out = len(lines) - len(shown)
    more = [f"({left_out} more {'line' if left_out == 1 else 'lines'} before)"] if left_out else []
    return "\n".join([*more, *(line[-SAID_LENGTH:] for line in shown)])


SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Where administrators' programs are: cron's PATH and an ordinary user's name none of them."""


def search_path(environment: Mapping[str, str] | None = None) -> str:
    """PATH, with the sbin directories that it lacks after it."""
    given = os.get_exec_path(environment)
    return os.pathsep.join([*given, *(folder for folder in SBIN if folder not in given)])


def find_program(name: str, environment: Mapping[str, str] | None = None) -> str | None:
    """Where a program is, as running it would find it; None where it is missing."""
    import shutil

    return shutil.which(name, path=search_path(environment))


class Runner(Protocol):
    """Runs one program to its end."""

    def run(
        self, argv: Sequence[str], *, input: bytes | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> Completed:
        """Run `argv`; a non-zero exit is the caller's to judge.

        Raises PhoenixError where the program is missing or exceeds `timeout` seconds.
        """
        ...

    def find(self, program: str) -> str | None:
        """Where `run` would find a program; None where it is missing."""
        ...


class ProcessRunner:
    """The real one."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = dict(environment) if environment is not None else None

    def _env(self) -> dict[str, str]:
        env = dict(os.environ if self._environment is None else self._environment)
        for name in [n for n in env if n == "LANG" or n == "LANGUAGE" or n.startswith("LC_")]:
            del env[name]
        env["LC_ALL"] = "C"
        env["PATH"] = search_path(env)
        return env

    def find(self, program: str) -> str | None:
        return find_program(program, self._environment)

    def run(
        self, argv: Sequence[str], *, input: bytes | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> Completed:
        import subprocess

        args = [os.fspath(a) for a in argv]
        try:
            process = subprocess.Popen(
                args,
                stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._env(),
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise PhoenixError(
                f"{args[0]} is not installed", hint="`phoenix doctor` names the package"
            ) from error
        except OSError as error:
            raise PhoenixError(f"cannot run {args[0]}: {error.strerror}") from error
        try:
            out, err = process.communicate(input, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            if process.poll() is not None:
                # It has ended; something that it started keeps the pipes open.
                out, err = error.stdout or b"", error.stderr or b""
                _close(process)
                return Completed(tuple(args), process.returncode, out, err)
            _end(process)
            raise TooSlowError(
                f"{' '.join(args[:3])} did not finish within {timeout:.0f} s and was ended"
            ) from None
        except BaseException:
            _end(process)
            raise
        return Completed(tuple(args), process.returncode, out, err)


def _end(process: Popen[bytes]) -> None:
    """End a process and what it started, politely at first.

    `pct` passes SIGTERM on to its worker, which lives in a session of its own and then cleans up
    (PVE::RESTEnvironment::fork_worker, which allows it 5 s); killed at once, it would leave that working on.
    """
    import signal
    import subprocess
    from contextlib import suppress

    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    # The rest of its session, so that no grandchild keeps a lock or a pipe.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    _close(process)


def _close(process: Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


class ReplacingRunner:
    """Runs some programs under another name: `{"pct": ["/path/to/double"]}`."""

    def __init__(self, inner: Runner, replacements: Mapping[str, Sequence[str]]) -> None:
        self._inner = inner
        self._replacements = dict(replacements)

    def find(self, program: str) -> str | None:
        return self._inner.find(self._replacements.get(program, [program])[0])

    def run(
        self, argv: Sequence[str], *, input: bytes | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> Completed:
        head = self._replacements.get(argv[0], [argv[0]])
        done = self._inner.run([*head, *argv[1:]], input=input, timeout=timeout)
        return Completed(tuple(argv), done.returncode, done.stdout, done.stderr)
