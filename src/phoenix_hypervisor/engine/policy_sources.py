"""Where policy comes from: names and files in, compiled policy out.

Owns where a policy comes from: a shipped source, an installed one, what
is loaded, a file.  Needs no configuration where only files are named.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING

from phoenix_hypervisor.engine.places import belonging, config_for_policy, overlay
from phoenix_hypervisor.engine.policy_files import MAX_POLICY, read_file, require_content, shown
from phoenix_hypervisor.engine.policy_requests import Given, Operand
from phoenix_hypervisor.engine.session import Session
from phoenix_hypervisor.errors import UsageError
from phoenix_hypervisor.host.files import Directory
from phoenix_hypervisor.host.policyfs import raw_policy
from phoenix_hypervisor.host.trust import require_given
from phoenix_hypervisor.host.zstd import decompress
from phoenix_hypervisor.plan.declared import is_ctid
from phoenix_hypervisor.policy.names import profile_names
from phoenix_hypervisor.policy.packed import plain
from phoenix_hypervisor.profiles.features import asks as kernel_asks
from phoenix_hypervisor.profiles.features import kernel as kernel_named
from phoenix_hypervisor.profiles.includes import APPARMOR_D, is_skipped
from phoenix_hypervisor.profiles.installed import loaded_through
from phoenix_hypervisor.profiles.parser import COMPILE_TIMEOUT, Parser
from phoenix_hypervisor.profiles.prove import files_of_tests
from phoenix_hypervisor.profiles.records import compiled
from phoenix_hypervisor.profiles.sources import (
    ACCEPTED,
    INCLUDE_DIRS,
    OPTIONAL,
    Sources,
    includes_accepted,
    read_sources,
    to_probe,
    without_accepted,
)
from phoenix_hypervisor.values import dataclass

if TYPE_CHECKING:
    from phoenix_hypervisor.policy.sockets import Asks

    _Included = tuple[str, bytes] | list[tuple[str, bytes]] | None

PLACES = ("shipped", "installed", "loaded")


@dataclass(frozen=True, slots=True)
class Origin:
    """A source with what belongs to its place: what compiles it, and where its includes are."""

    path: str
    text: bytes
    compile: Callable[..., bytes]
    """From a text to what it compiles to; `timeout`: seconds."""
    include: Callable[[str], _Included]


class PolicySources:
    """The door from names, files and bytes to compiled policy; every method raises PhoenixError."""

    def __init__(self, session: Session, config: str | None = None) -> None:
        """`config`: the configuration that counts; None: the one that questions about policy are about."""
        self._session = session
        self._given = config
        self._parsers: dict[tuple[str, str], tuple[Parser, bool]] = {}
        self._of_installed: Parser | None = None

    # Files ------------------------------------------------------------------------

    def read(self, operand: Operand) -> bytes:
        """The bytes of a file that the caller named, or that it gave."""
        if isinstance(operand, Given):
            return self._checked(operand.data, shown(operand.name))
        return self._checked(read_file(operand), operand)

    def _checked(self, data: bytes, where: str) -> bytes:
        require_content(data, where)
        return self._plain(data)

    def _plain(self, data: bytes) -> bytes:
        return plain(data, partial(decompress, self._session.host.runner))

    def is_file(self, path: str) -> bool:
        """Whether the caller's word is a file rather than a name."""
        # A pipe counts as well: a shell's <(apparmor_parser ...) is one.
        return os.path.exists(path) and not os.path.isdir(path)

    def is_program(self, path: str, data: bytes) -> bool:
        """Whether a file is a program rather than a source: profiles are often called after one.

        A script's first line is a comment to the parser as well, so a profile of that name must be there.
        """
        return b"\0" in data or (data.startswith(b"#!") and self._is_profile(path))

    def write(self, path: str, data: bytes) -> None:
        """Replace a file of the caller's by compiled policy."""
        parent, name = os.path.split(os.path.abspath(path))
        if not os.path.isdir(parent) or not name:
            raise UsageError("parent directory does not exist", where=path)
        with Directory(parent, parent, parent) as directory:
            directory.replace(name, data, before=directory.read(name, MAX_POLICY), mode=0o644)

    # Compiling --------------------------------------------------------------------

    def compile(self, text: bytes, where: str, *, timeout: float = COMPILE_TIMEOUT) -> bytes:
        """Compile a source text, our includes first, for the features in force, in `timeout` seconds."""
        parser, optional = self._parser(where)
        return parser.compile_text(text, where, optional=optional, timeout=timeout)

    def _parser(self, where: str) -> tuple[Parser, bool]:
        """The parser for a source: includes beside it count, else those of the configuration."""
        beside = os.path.dirname(os.path.abspath(where))
        if os.path.basename(beside) == OPTIONAL:
            beside = os.path.dirname(beside)  # they include what stands beside the plain ones
        folder = self._source_dir
        if _is_installed(beside) or not os.path.isfile(where):
            beside = folder
        elif any(os.path.isdir(os.path.join(beside, kind)) for kind in INCLUDE_DIRS):
            folder = beside
        if (folder, beside) not in self._parsers:
            settings = self._session.settings
            more = () if beside == folder else (beside,)
            laid_over = self._overlay if folder == self._source_dir else ""
            parser = Parser(
                self._session.host,
                folder,
                executable=settings.parser,
                features=settings.features,
                more=more,
                overlay=laid_over,
            )
            self._parsers[folder, beside] = (parser, _accepted(parser, folder))
        return self._parsers[folder, beside]

    @cached_property
    def _config(self) -> str | None:
        return self._given or config_for_policy(self._session.host, self._session.settings.config)

    def _beside(self, name: str) -> str:
        """A directory of the operator's, checked to be nobody else's to write; empty for none."""
        path = belonging(self._session.host, self._config, name)
        if path:
            require_given(path)
        return path

    @cached_property
    def _source_dir(self) -> str:
        return self._beside("apparmor")

    @cached_property
    def _overlay(self) -> str:
        return overlay(self._config)

    @cached_property
    def _sources(self) -> Sources | None:
        """The shipped sources; None where nothing says where they are."""
        return read_sources(self._source_dir, self._overlay) if self._source_dir else None

    def asks(self) -> Asks:
        """How the kernel that is compiled for asks about sockets."""
        return kernel_asks(self._session.host, self._session.settings.features)

    def kernel(self) -> str:
        """The kernel that answers hold for: a packed list's name, a feature file, or the running one."""
        used = (*(parser for parser, _ in self._parsers.values()), self._of_installed)
        major = next((parser.version[0] for parser in used if parser is not None), None)
        return kernel_named(self._session.host, self._session.settings.features, major)

    def kernel_names(self) -> list[str]:
        """Names of /dev, /proc and /sys that kernels have; numbers are `[0-9]*`."""
        package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        with open(os.path.join(package, "data/names/kernel"), encoding="ascii") as file:
            return file.read().split()

    def compiler(self) -> tuple[str, str]:
        """What compiles: the parser's version and the features, in words."""
        parser = self._parser("")[0]
        return ".".join(map(str, parser.version)), parser.features.shown

    # Names ------------------------------------------------------------------------

    def profile_named(self, word: str) -> str:
        """The profile that `word` names: itself, or that of a container, by CTID or by name."""
        if ":" in word or "/" in word or (not is_ctid(word) and self._is_profile(word)):
            return word
        from phoenix_hypervisor.engine.profile_of import profile_of

        return profile_of(self._session, word) or word

    def _is_profile(self, name: str) -> bool:
        """Whether some place has it, told without compiling."""
        host, file = self._session.host, _file_name(name)
        if name in self.shipped() or name in (host.kernel.loaded_profiles() or ()):
            return True
        return bool(file) and (host.exists(f"{APPARMOR_D}/{file}") or compiled(host, file) is not None)

    def blob(self, name: str) -> bytes:
        """`NAME`, or `shipped:NAME`, `installed:NAME`, `loaded:NAME` to say which."""
        place, _, rest = name.partition(":")
        if place in PLACES and rest:
            finders = {"shipped": self._shipped, "installed": self._from_installed, "loaded": self._loaded}
            found = finders[place](rest)
            if found is None:
                raise UsageError(f"no profile {rest} is {place}")
            return found
        for find in (self._shipped, self._from_installed, self._loaded):
            found = find(name)
            if found is not None:
                return found
        if os.path.isfile(name):
            text = "is neither a source nor compiled policy, and no profile is called so"
            raise UsageError(text, where=name)
        raise self._unknown(name, "shipped, installed or loaded")

    def _unknown(self, name: str, places: str) -> UsageError:
        if os.path.isdir(name):
            return UsageError("is a directory", where=name, hint="name a file in it, or a profile")
        return UsageError(f"{name} is neither a file nor a {places} profile", hint=self._near(name))

    def _near(self, name: str) -> str:
        """The name that was probably meant, and those that are shipped."""
        from difflib import get_close_matches

        loaded = self._session.host.kernel.loaded_profiles() or ()
        close = get_close_matches(name, {*self.shipped(), *loaded}, 1)
        meant = f"did you mean {close[0]}? " if close else ""
        return f"{meant}shipped: {', '.join(self.shipped()) or 'none'}"

    def _shipped(self, name: str) -> bytes | None:
        if self._sources is None or name not in self._sources.profiles:
            return None
        path, text = self.source(name)
        return self.compile(text, path)

    def _installed(self, name: str) -> tuple[str, bytes] | None:
        """The file that is called so, else the one that it is loaded through; and what it compiles to."""
        own = _file_name(name)
        named = self._installed_file(own)
        if named is not None and name in profile_names(named):
            return own, named
        file = loaded_through(self._session.host, self._installed_parser, name)
        found = named if file is None else self._installed_file(file)
        return None if found is None else (file or own, found)

    def _from_installed(self, name: str) -> bytes | None:
        found = self._installed(name)
        return None if found is None else found[1]

    def _installed_file(self, file: str) -> bytes | None:
        text = self._session.host.read(f"{APPARMOR_D}/{file}") if file else None
        path = self._session.host.root.locate(f"{APPARMOR_D}/{file}")
        return None if text is None else self._installed_parser.compile_text(text, path, optional=False)

    @property
    def _installed_parser(self) -> Parser:
        if self._of_installed is None:
            self._of_installed = self._session.parser_of_installed()
        return self._of_installed

    def _loaded(self, name: str) -> bytes | None:
        """What the kernel gives of it, else the copy that Phoenix loaded."""
        host = self._session.host
        name = _file_name(name)
        if not name:
            return None
        data = raw_policy(host.root, name, MAX_POLICY)
        return compiled(host, name) if data is None else self._plain(data)

    def source(self, name: str) -> tuple[str, bytes]:
        """File and text of a shipped profile."""
        sources = self._sources
        if sources is None or name not in sources.profiles:
            raise self._unknown(name, "shipped")
        found = sources.find(name, optional=self._parser(sources.directory + "/x")[1])
        assert found is not None  # it is among the profiles
        if f"{ACCEPTED}/{name}" not in sources.includes:
            return found[0], without_accepted(name, found[1])
        return found

    def takes_accepted(self, name: str) -> bool:
        """Whether the source of a shipped profile has a place for accepted rules."""
        found = self._sources
        return found is not None and includes_accepted(name, found.profiles[name])

    def origin(self, path: str, text: bytes) -> Origin:
        """A source of the caller's, or a shipped one."""
        return Origin(
            path, text, partial(self.compile, where=path), lambda include: self.include(include, path)
        )

    def origin_of(self, word: str) -> Origin:
        """The source of a shipped profile, else the one that an installed profile comes from."""
        name = bare_name(word).partition("//")[0]
        place = word.partition(":")[0] if bare_name(word) != word else ""
        if place in ("", "shipped") and name in self.shipped():
            return self.origin(*self.source(name))
        found = self._installed(name) if place in ("", "installed") else None
        if found is None:
            raise self._unknown(bare_name(word), "shipped or installed")
        path = f"{APPARMOR_D}/{found[0]}"
        where = self._session.host.root.locate(path)
        compile = partial(self._installed_parser.compile_text, where=where, optional=False)
        installed = (self._session.host.root.locate(APPARMOR_D),)
        text = self._session.host.read(path) or b""
        return Origin(where, text, compile, lambda include: self._included(include, installed))

    def include(self, path: str, where: str = "") -> _Included:
        """File and text of an include of the source at `where`; of a directory, those of its files.

        Looked for as the parser does, ours first; None for what is not there.
        """
        parser, optional = self._parser(where or self._source_dir + "/x")
        folders = (*parser.include_dirs(optional=optional), self._session.host.root.locate(APPARMOR_D))
        return self._included(path, folders)

    def _included(self, path: str, folders: Sequence[str]) -> _Included:
        if path.startswith("/"):
            path, folders = path[1:], (self._session.host.root.locate("/"),)
        for folder in folders:
            real = os.path.normpath(os.path.join(folder, path))
            if os.path.isfile(real):
                return real, read_file(real)
            if os.path.isdir(real):
                files = [
                    os.path.join(real, name) for name in sorted(os.listdir(real)) if not is_skipped(name)
                ]
                return [(file, read_file(file)) for file in files if os.path.isfile(file)]
        return None

    def is_own(self, file: str) -> bool:
        """Whether a file is ours rather than the distribution's."""
        path = os.path.abspath(file)
        return any(path.startswith(place + os.sep) for place in (self._source_dir, self._overlay) if place)

    def shipped(self) -> Sequence[str]:
        """The names of the shipped profiles."""
        return sorted(self._sources.profiles) if self._sources is not None else ()

    def tests(self) -> Sequence[tuple[str, bytes]]:
        """The policy tests beside the configuration: file and content."""
        folder = self._beside("policy_tests")
        optional = self._sources is not None and self._parser(self._sources.directory + "/x")[1]
        return files_of_tests(folder, optional=optional) if folder else ()


def bare_name(word: str) -> str:
    """`NAME` without the place that may stand before it: `installed:NAME`."""
    place, _, rest = word.partition(":")
    return rest if place in PLACES and rest else word


def _file_name(profile: str) -> str:
    """What /etc/apparmor.d and securityfs call `/usr/bin/man`: usr.bin.man; empty for no file's name."""
    name = profile.removeprefix("/").replace("/", ".")
    return "" if name.startswith(".") else name


def _is_installed(folder: str) -> bool:
    """A directory such as /etc/apparmor.d finds its includes by itself."""
    named = os.path.realpath(folder).endswith(APPARMOR_D)
    return named or os.path.isfile(os.path.join(folder, "tunables/global"))


def _accepted(parser: Parser, folder: str) -> bool:
    """Whether the parser takes the optional files of a source directory."""
    top = os.path.join(folder, OPTIONAL) if folder else ""
    optional: dict[str, bytes] = {}
    for here, _, names in os.walk(top):
        with Directory(here, here, here) as directory:
            found = {name: directory.read(name) for name in names if not name.startswith(".")}
        optional |= {
            os.path.relpath(os.path.join(here, n), top): d for n, d in found.items() if d is not None
        }
    return bool(optional) and parser.accepts_optional(*to_probe(optional))[0]
