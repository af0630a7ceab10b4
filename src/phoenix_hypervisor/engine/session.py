"""Where the rooms meet.

Owns building host, configuration, profile store and runtime from the settings, once and
only when asked for.  Composition, no decisions.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cached_property

from phoenix_hypervisor.config.load import load_config
from phoenix_hypervisor.config.schema import MAX_SCHEMA, SCHEMA_NAME, Schema, packaged_schema
from phoenix_hypervisor.containers.current import Containers
from phoenix_hypervisor.containers.runtimes.registry import kind_named, kind_of, none_installed
from phoenix_hypervisor.containers.seccomp import COMMON, COMPANION
from phoenix_hypervisor.engine.places import (
    KEYRING,
    belonging,
    beside,
    find_config,
    no_configuration,
    overlay,
)
from phoenix_hypervisor.engine.results import Refused
from phoenix_hypervisor.engine.settings import HostSettings
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.host.trust import require_given, writable_by_others
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.declared import ContainerSpec, Desired
from phoenix_hypervisor.plan.facts import KernelArgv
from phoenix_hypervisor.plan.model import Note
from phoenix_hypervisor.profiles import records
from phoenix_hypervisor.profiles.includes import APPARMOR_D
from phoenix_hypervisor.profiles.open_places import open_places
from phoenix_hypervisor.profiles.parser import Parser
from phoenix_hypervisor.profiles.sources import Sources, read_sources
from phoenix_hypervisor.profiles.store import Store
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from phoenix_hypervisor.containers.runtime import Runtime
    from phoenix_hypervisor.engine.trusted import Trusted
    from phoenix_hypervisor.plan.trials import Trial
    from phoenix_hypervisor.policy.assertions import PolicyTest
    from phoenix_hypervisor.policy.evaluate import Evaluator
    from phoenix_hypervisor.profiles.prove import Proven

MAX_CONFIG = 64 * 1024 * 1024
"""Bytes; 10,000 containers take 5 MB."""


class Session:
    """Everything that one command works with."""

    def __init__(self, settings: HostSettings, host: Host | None = None, *, installs: bool = False) -> None:
        """`installs`: what is read may get into the kernel, so that it must be signed where that is asked."""
        self.settings = settings
        self.installs = installs
        self.host = Host(settings.root) if host is None else host
        self.proven: Proven = {}
        self.judges: dict[str, Evaluator] = {}
        """Compiled policy that was asked already, by profile."""
        self._store: Store | None = None

    def again(self) -> Session:
        """A session that reads everything anew, but compiles nothing that is already proven."""
        other = Session(self.settings, self.host, installs=self.installs)
        if self.trusted is None:
            other.parser = self.parser
        other.proven = self.proven
        return other

    @cached_property
    def configuration(self) -> str | None:
        """Where the configuration is on this machine; None: there is none."""
        return find_config(self.host, self.settings.config)

    def put_configuration_at(self, path: str) -> None:
        """Take `path` for the configuration's place, whether one is there or not."""
        self.configuration = path

    @property
    def config_path(self) -> str:
        """As `configuration`; raises NoConfiguration where there is none."""
        if self.configuration is None:
            raise no_configuration(self.host)
        return self.configuration

    def _belonging(self, name: str) -> str:
        """`apparmor` or `policy_tests`: beside the configuration, else those that came with Phoenix."""
        path = belonging(self.host, self.configuration, name)
        if not path:
            raise no_configuration(self.host)
        return path

    @cached_property
    def trusted(self) -> Trusted | None:
        """What holds that which is read against signatures; None: nobody asks for any."""
        given = self.settings.require_signed
        if not self.installs or (given is None and not self.host.exists(KEYRING)):
            return None
        from phoenix_hypervisor.engine.trusted import Trusted, keyring_of

        return Trusted(self.host, keyring_of(self.host, given))

    @cached_property
    def source_dir(self) -> str:
        """Where the profile sources are: a private copy of signed ones, where signatures are asked for."""
        place = self._belonging("apparmor")
        if self.trusted is None:
            return place
        require_given(place)
        others = []
        if self.configuration is not None:
            schema = beside(self.configuration, SCHEMA_NAME)
            others = [path for path in (self.configuration, schema) if os.path.isfile(path)]
        tests = self._belonging("policy_tests")
        return self.trusted.copied(place, overlay(self.configuration), tests, others)

    @cached_property
    def config_bytes(self) -> bytes:
        require_given(self.config_path)
        try:
            with open(self.config_path, "rb") as file:
                data = file.read(MAX_CONFIG + 1)
        except OSError as error:
            raise PhoenixError(f"cannot be read: {error.strerror}", where=self.config_path) from error
        if len(data) > MAX_CONFIG:
            raise PhoenixError(f"is over {MAX_CONFIG} bytes", where=self.config_path)
        if self.trusted is not None:
            self.trusted.require({self.config_path: data}, self.config_path)
        return data

    @cached_property
    def schema(self) -> Schema:
        path = beside(self.config_path, SCHEMA_NAME)
        if not os.path.isfile(path):
            return Schema(packaged_schema(), "the packaged schema")
        require_given(path)
        with open(path, "rb") as file:
            data = file.read(MAX_SCHEMA + 1)
        if self.trusted is not None:
            self.trusted.require({path: data}, path)
        return Schema(data, path)

    @cached_property
    def _plain_sources(self) -> Sources:
        require_given(self.source_dir)
        return read_sources(self.source_dir, self.overlay)

    @cached_property
    def _plain_desired(self) -> Desired:
        return load_config(
            self.config_bytes,
            self.schema,
            where=self.config_path,
            shipped=self._plain_sources.profiles,
            installed=self.installed_profiles,
        )

    @cached_property
    def _scoped(self) -> tuple[Desired, Sources]:
        """What is declared, and the sources with the variants that single containers asked for."""
        desired, sources = self._plain_desired, self._plain_sources
        if not any(spec.scope_gpus for spec in desired.containers.values()):
            return desired, sources
        from phoenix_hypervisor.engine.scoping import scoped

        return scoped(self.host, desired, sources)

    @cached_property
    def sources(self) -> Sources:
        """All profile sources.  Where the configuration has faults, without what it would add to them."""
        if self.configuration is not None:
            with suppress(PhoenixError):
                return self._scoped[1]
        return self._plain_sources

    @cached_property
    def overlay(self) -> str:
        """Where accepted rules lie, if not among the sources; empty where they do or there are none."""
        # The copy of signed sources has them among the others.
        found = overlay(self.configuration) if self.trusted is None else ""
        if found:
            require_given(found)
        return found

    @cached_property
    def declared(self) -> Desired:
        """As `desired`; where there is no configuration, nothing is declared."""
        if self.configuration is None:
            return Desired(containers={}, shipped=frozenset(self.sources.profiles))
        return self.desired

    @cached_property
    def desired(self) -> Desired:
        """What the configuration declares.  Raises ProblemsError with all its faults."""
        return self._scoped[0]

    def profiles_needed(self, specs: Iterable[ContainerSpec]) -> bool:
        """Whether our profiles have any business on this host.

        Where none was ever installed, they come with the first container that is to have one, or by
        `setup`: a configuration that declares only what stands changes nothing.
        """
        shipped = self.sources.profiles
        return bool(self.store.manifest.files) or any(spec.profile in shipped for spec in specs)

    def installed_profiles(self) -> list[str]:
        """Profiles that others installed: in the kernel, else defined in /etc/apparmor.d."""
        names = set(self.host.kernel.loaded_profiles() or ())
        directory = self.host.directory("/etc/apparmor.d")
        if directory is not None:
            with directory:
                names.update(name for name in directory.names() if name.startswith("lxc-"))
        inner = self.host.directory("/etc/apparmor.d/lxc")
        if inner is not None:
            with inner:
                # The stock files lxc/lxc-default* define lxc-container-default*.
                names.update(
                    name.replace("lxc-default", "lxc-container-default", 1) for name in inner.names()
                )
        return sorted(names)

    def policy_tests(self, *, optional: bool) -> list[PolicyTest]:
        """The policy tests; `optional`: those for parsers that take the optional sources."""
        from phoenix_hypervisor.policy.assertions import load_tests
        from phoenix_hypervisor.profiles.prove import files_of_tests

        folder = self._belonging("policy_tests")
        require_given(folder)
        files = files_of_tests(folder, optional=optional)
        if self.trusted is not None:
            self.trusted.require(dict(files), folder)
        return [test for path, data in files for test in load_tests(data, path)]

    @cached_property
    def parser(self) -> Parser:
        return self._parser(self.settings.features)

    def parser_for(self, features: str) -> Parser:
        """The parser for the shipped sources and another kernel: a feature file or a packed list."""
        return self._parser(features)

    def _parser(self, features: str | None) -> Parser:
        settings, place = self.settings, self.source_dir
        return Parser(self.host, place, executable=settings.parser, features=features, overlay=self.overlay)

    def parser_of_installed(self) -> Parser:
        """The parser for what is installed: no sources, so no configuration is needed."""
        return Parser(self.host, "", executable=self.settings.parser, features=self.settings.features)

    def kernel_argv(self) -> KernelArgv:
        """The processes that change the policy of this session's kernel."""
        parser = self.parser_of_installed()
        directory = self.host.root.locate(records.COMPILED_DIR)
        return KernelArgv(parser.load_argv(directory)[:-1], directory, parser.unload_argv())

    def forgo_records(self) -> bool:
        """Go on without our records where root alone may read them: for those who only look.

        Returns whether that is so.
        """
        if os.geteuid() == 0:
            return False
        try:
            records.read(self.host)
        except PhoenixError as error:
            if isinstance(error.__cause__, PermissionError):
                self._store = Store(self.host, self.sources, self.parser, recorded=False)
                return True
        return False

    @property
    def store(self) -> Store:
        if self._store is None:
            self._store = Store(self.host, self.sources, self.parser)
        return self._store

    @cached_property
    def runtime(self) -> Runtime:
        if self.settings.runtime is not None:
            return self.runtime_named(self.settings.runtime)
        return kind_of(self.host).build(self.host)

    @cached_property
    def no_runtime(self) -> tuple[str, ...]:
        """What could run containers, where this host has none of it."""
        return none_installed(self.host)

    def runtime_named(self, name: str) -> Runtime:
        """That runtime: the one that was asked for, or that a journal names.

        Raises PhoenixError where its containers cannot be seen.
        """
        return kind_named(name).build(self.host)

    def open_places(self) -> list[Note]:
        """Where others can write what Phoenix acts upon; asks for no configuration by itself."""
        if self._store is not None:
            found = self._store.open_places()
        else:
            files: list[str] = []
            with suppress(PhoenixError):
                files = [path for path in records.read(self.host)[0].files if path.startswith(APPARMOR_D)]
            found = open_places(self.host, files)
        with suppress(PhoenixError):
            place = self.runtime.conf_dir
            why = writable_by_others(self.host.root, place)
            if why is not None:
                data = {"why": why, "next": f"chmod o-w {place}, then check what others put there"}
                found.append(Note(Code.OPEN_TO_OTHERS, self.host.root.shown(place), data))
        return found

    @cached_property
    def trials(self) -> Mapping[str, Trial]:
        """The trials on record, by CTID; none where root alone may read them."""
        try:
            directory = self.host.directory(records.TRIALS_DIR)
        except PhoenixError as error:
            if isinstance(error.__cause__, PermissionError):
                return {}
            raise
        if directory is None:
            return {}
        found = {}
        with directory:
            for name in sorted(directory.names()):
                ctid, _, ending = name.partition(".")
                data = directory.read(name) if ending == "json" else None
                if data is not None:
                    from phoenix_hypervisor.plan.trials import read_trial

                    found[ctid] = read_trial(data, directory.where(name))
        return found

    def refuse_if_writable(self) -> None:
        """Raise Refused where `open_places` finds any."""
        found = self.open_places()
        if found:
            raise Refused(found)

    def chosen(self, pieces: tuple[str, ...]) -> tuple[str, ...]:
        """The CTIDs that a request's words mean (`plan.chosen`), by the names of declared containers and
        of those on this host.  Raises UsageError."""
        if not pieces:
            return ()
        from phoenix_hypervisor.plan.chosen import are_ctids, choose

        # No name need be known for those.
        return pieces if are_ctids(pieces) else choose(pieces, self.names())

    def names(self) -> dict[str, str]:
        """The name of each container that is declared or on this host, by CTID: as declared, else its own."""
        declared = {ctid: spec.name for ctid, spec in self.declared.containers.items()}
        nameless = [ctid for ctid in self.runtime.ctids() if not declared.get(ctid)]
        return {**declared, **self.containers.hostnames(nameless)}

    @cached_property
    def containers(self) -> Containers:
        manifest = self.store.manifest
        companion = COMPANION if self.host.exists(COMMON) else None
        return Containers(self.host, self.runtime, manifest.assigned, manifest.lines, companion)
