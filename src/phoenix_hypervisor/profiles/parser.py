"""apparmor_parser, the only judge of profile sources.

Owns its argument vectors and what its words mean.  Must not write to /etc/apparmor.d and
must not decide what is loaded when.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.profiles.sources import OPTIONAL
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    # What compiles is imported where something is compiled: a run that changes nothing needs none of it.
    from phoenix_hypervisor.host.process import Completed
    from phoenix_hypervisor.policy.sockets import Asks
    from phoenix_hypervisor.profiles.features import Features

COMPILE_TIMEOUT = 300.0
COMPRESSES = (5, 0, 2)
"""From this version on the parser compresses for some kernels, and can be told not to."""
_VERSION = rb"version (\d+)\.(\d+)(?:\.(\d+))?"
# Said on a kernel without AppArmor, where nothing of it matters to a compile.
_HARMLESS = (b"Cache read/write disabled", b"Warning: unable to find a suitable fs in /proc/mounts")


def _content(path: str) -> bytes | None:
    """The bytes of a source, or of an include that the parser names; None where there is no such file."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


class ProofError(PhoenixError):
    """A source does not compile: where is `file`, the message the parser's own words."""


class Parser:
    """One apparmor_parser with the features that it compiles for."""

    def __init__(
        self,
        host: Host,
        source_dir: str,
        *,
        executable: str | None = None,
        features: str | None = None,
        more: tuple[str, ...] = (),
        overlay: str = "",
    ) -> None:
        """`overlay`: where accepted rules lie, if not in `source_dir`; `more`: include directories behind."""
        self._host = host
        self._source_dir = source_dir
        self._executable = "apparmor_parser" if executable is None else executable
        self._override = features
        self._more = more
        self._overlay = overlay
        self._version: tuple[int, int, int] | None = None
        self._features: Features | None = None
        self._asks: Asks | None = None

    @property
    def version(self) -> tuple[int, int, int]:
        """Of the parser; asked once."""
        if self._version is None:
            done = self._host.runner.run([self._executable, "--version"], timeout=30)
            match = re.search(_VERSION, done.stdout + done.stderr)
            if not done.ok or match is None:
                raise PhoenixError(f"{self._executable} does not say its version: {done.words()}")
            self._version = (int(match[1]), int(match[2]), int(match[3] or 0))
        return self._version

    @property
    def features(self) -> Features:
        if self._features is None:
            from phoenix_hypervisor.profiles.features import choose

            self._features = choose(self._host, self.version[0], self._override)
        return self._features

    @property
    def asks(self) -> Asks:
        """How the kernel that it compiles for asks about sockets."""
        if self._asks is None:
            from phoenix_hypervisor.profiles.features import asks

            self._asks = asks(self._host, self._override)
        return self._asks

    def identity(self) -> list[object]:
        """What changes when another parser is installed: path, size and mtime of the binary."""
        from phoenix_hypervisor.host.process import find_program

        path = find_program(self._executable) or self._executable
        try:
            info = os.stat(path)
        except OSError:
            return [path]
        return [path, info.st_size, info.st_mtime_ns]

    def include_dirs(self, *, optional: bool) -> tuple[str, ...]:
        """Where includes are looked for before the host's own; the first that has one wins."""
        if not self._source_dir:
            return self._more
        # An optional file stands in place of the plain one.
        before = (os.path.join(self._source_dir, OPTIONAL),) if optional else ()
        first = (self._overlay,) if self._overlay else ()
        return (*first, *before, self._source_dir, *self._more)

    def compile_argv(self, path: str, *, optional: bool) -> tuple[str, ...]:
        """The process that compiles the source at `path` to standard output."""
        include = [word for folder in self.include_dirs(optional=optional) for word in ("--Include", folder)]
        return (
            self._executable,
            *self.features.arguments,
            *include,
            *(("--zstd-compress-level=none",) if self.version >= COMPRESSES else ()),
            "--skip-kernel-load",
            "--skip-cache",
            "--stdout",
            path,
        )

    def compile(self, path: str, *, optional: bool) -> tuple[bytes, list[str]]:
        """The compiled policy of one source, and the parser's warnings.

        Raises ProofError with the parser's words, which name file and line.
        """
        done = self._host.runner.run(self.compile_argv(path, optional=optional), timeout=COMPILE_TIMEOUT)
        self._judge(done, path)
        return self._plain(done, path), self._warnings(done)

    def compile_text(
        self, text: bytes, where: str, *, optional: bool, timeout: float = COMPILE_TIMEOUT
    ) -> bytes:
        """The compiled policy of a source text; `where` names it in messages.

        Raises ProofError with the parser's words, TooSlowError after `timeout` seconds.
        """
        argv = self.compile_argv(where, optional=optional)[:-1]
        done = self._host.runner.run(argv, input=text, timeout=timeout)
        if self._failed(done) is not None and _content(where) == text:
            # From standard input a fault in an include has a line and no file.
            again = self._host.runner.run([*argv, where], timeout=COMPILE_TIMEOUT)
            done = done if f" in profile {where} at line" in again.words() else again
        self._judge(done, where, text)
        return self._plain(done, where)

    def _plain(self, done: Completed, where: str) -> bytes:
        """What was compiled, decompressed where the parser compressed it all the same.

        The kernel takes both, and hashes the decompressed profile.
        """
        if not done.stdout:
            raise ProofError("compiles to nothing: it defines no profile", where=where)
        from functools import partial

        from phoenix_hypervisor.host.zstd import decompress
        from phoenix_hypervisor.policy.packed import plain

        return plain(done.stdout, partial(decompress, self._host.runner))

    def accepts_optional(self, profiles: Sequence[str], includes: Sequence[str]) -> tuple[bool, str]:
        """Whether the parser takes these optional files (`sources.to_probe`); if not, its words.

        Profiles are only parsed, with all they include: that is where a word or flag is unknown.
        """
        argv = [*self.compile_argv("/dev/stdin", optional=True)][:-1]
        lines = "".join(f"  include <{name}>\n" for name in includes)
        text = f"profile lxc-phoenix-probe {{\n{lines}}}\n".encode()
        done = self._host.runner.run(argv, input=text, timeout=COMPILE_TIMEOUT)
        if profiles and self._failed(done) is None:
            paths = [os.path.join(self._source_dir, OPTIONAL, name) for name in profiles]
            # One action at a time: --names in place of --stdout, which stands last.
            done = self._host.runner.run([*argv[:-1], "--names", *paths], timeout=COMPILE_TIMEOUT)
        return self._failed(done) is None, done.words()

    def names(self, paths: Sequence[str]) -> list[str]:
        """The profile names that the files at real `paths` define, with repeats.

        Raises ProofError when the parser cannot read one of them.
        """
        if not paths:
            return []
        argv = [self._executable, *self.features.arguments, "--names", "--skip-cache", *paths]
        done = self._host.runner.run(argv, timeout=COMPILE_TIMEOUT)
        self._judge(done, paths[0] if len(paths) == 1 else self._host.root.shown("/etc/apparmor.d"))
        return done.stdout.decode("utf-8", "surrogateescape").split("\n")[:-1]

    def load_argv(self, blob: str) -> tuple[str, ...]:
        """The process that loads the compiled policy at `blob`."""
        return (self._executable, "--binary", "--replace", "--skip-cache", blob)

    def unload_argv(self) -> tuple[str, ...]:
        """The process that unloads the profile named on its standard input."""
        return (self._executable, "--remove")

    def load(self, argv: Sequence[str], name: str) -> None:
        done = self._host.runner.run(argv, timeout=COMPILE_TIMEOUT)
        failure = self._failed(done)
        if failure is not None:
            raise PhoenixError(
                f"the kernel or the parser refused it: {failure}",
                where=f"profile {name}",
                hint="`dmesg | grep -i apparmor` may say more",
            )

    def unload(self, name: str) -> None:
        text = f"profile {name} {{\n}}\n".encode()
        done = self._host.runner.run(self.unload_argv(), input=text, timeout=COMPILE_TIMEOUT)
        failure = self._failed(done)
        if failure is not None:
            raise PhoenixError(f"could not be unloaded: {failure}", where=f"profile {name}")

    @staticmethod
    def _failed(done: Completed) -> str | None:
        # Some versions say "parser error" and still exit 0.
        if done.ok and b"parser error" not in done.stderr.lower():
            return None
        return done.words() or f"exit {done.returncode} without a message"

    def _judge(self, done: Completed, path: str, text: bytes | None = None) -> None:
        """Raise ProofError where it failed, with the cure; `text`: the source that stands for `path`."""
        failure = self._failed(done)
        if failure is None:
            return
        from phoenix_hypervisor.profiles.cures import cure

        def read(name: str) -> str | None:
            data = text if name == path and text is not None else _content(name)
            return None if data is None else data.decode("utf-8", "replace")

        raise ProofError(failure, where=path, hint=cure(failure, path, self.version, read))

    @staticmethod
    def _warnings(done: Completed) -> list[str]:
        lines = [line for line in done.stderr.split(b"\n") if line.strip()]
        return [line.decode("utf-8", "replace") for line in lines if not line.startswith(_HARMLESS)]
