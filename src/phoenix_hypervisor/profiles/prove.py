"""Proving profiles before anything of them touches the host.

Owns compiling what changed, once, and judging the compiled names: what is proven here is
the very output that is loaded later.  Must not write anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from phoenix_hypervisor.errors import PhoenixError, Problem, ProblemsError
from phoenix_hypervisor.host.files import Directory
from phoenix_hypervisor.host.trust import require_given
from phoenix_hypervisor.plan.facts import Proof
from phoenix_hypervisor.plan.fault_codes import Fault
from phoenix_hypervisor.plan.model import ProfileState
from phoenix_hypervisor.profiles.includes import APPARMOR_D
from phoenix_hypervisor.profiles.records import MAX_COMPILED
from phoenix_hypervisor.profiles.sources import OPTIONAL
from phoenix_hypervisor.profiles.store import Store

if TYPE_CHECKING:
    # The policy room is imported where something is compiled: a run that changes nothing needs none of it.
    from phoenix_hypervisor.policy.assertions import PolicyTest
    from phoenix_hypervisor.policy.sockets import Asks

_PIN = "write `abi <abi/phoenix>,` as the first line of the profile (docs/internals/features.md)"

Proven = dict[tuple[str, str], tuple[bytes, list[str]]]
"""Compiled policy and warnings by (profile, closure): what need not be compiled again."""


def prove(
    store: Store,
    profiles: Iterable[ProfileState],
    tests: Sequence[PolicyTest] = (),
    known: Proven | None = None,
) -> Proof:
    """Compile each profile once with the host's parser and check what came out.

    `known` is read and filled, so that planning and applying compile a source once.
    Raises ProblemsError naming every source that fails: file, line, the parser's own words.
    """
    optional = store.optional_accepted()[0] and bool(store.sources.optional)
    known = {} if known is None else known
    blobs: dict[str, bytes] = {}
    said: list[tuple[str, str]] = []
    processes: list[tuple[str, ...]] = []
    fresh: dict[str, bytes] = {}
    problems: list[Problem] = []
    unpinned: dict[str, list[str]] = {}
    complaining: list[str] = []
    for profile in profiles:
        name, path = profile.name, profile.source
        argv = store.parser.compile_argv(path, optional=optional)
        # What is made of another source is compiled from standard input.
        processes.append(argv[:-1] if name in store.sources.made_of else argv)
        try:
            if (name, profile.closure) not in known:
                compiled = store.compile(profile)
                if len(compiled[0]) > MAX_COMPILED:
                    hint = "shorten its rules: alternations and variables multiply"
                    raise PhoenixError(f"compiles to over {MAX_COMPILED} bytes", hint=hint)
                _check_names(name, _names(compiled[0]))
                _check_kind(compiled[0])
                useless = _useless_pin(compiled[0], store.parser.asks)
                if useless is not None:
                    unpinned.setdefault(useless, []).append(path)
                    continue
                fresh[name] = compiled[0]
                known[name, profile.closure] = compiled
            blob, warnings = known[name, profile.closure]
        except PhoenixError as error:
            further = "; ".join(filter(None, (error.hint, _site_rules(store, name, path)))) or None
            problems.append(Problem(error.message, path, hint=further, code=Fault.UNPROVEN))
            continue
        blobs[name] = blob
        if _complains(blob):
            complaining.append(path)
        said += [(path, warning) for warning in warnings]
    for message, paths in unpinned.items():
        # One cause, one message: policy tests would fail by the hundred.
        problems.append(Problem(message, _together(paths), hint=_PIN, code=Fault.UNPINNED))
    problems += _changed_meanwhile(store, blobs)
    if not problems:
        problems += failed_tests(tests, fresh, store.parser.asks) if tests and fresh else []
    if problems:
        raise ProblemsError("a profile failed its checks; nothing was installed", problems)
    return Proof(
        blobs=blobs,
        warnings=tuple(said),
        complaining=tuple(complaining),
        processes=tuple(processes),
    )


def failed_tests(tests: Sequence[PolicyTest], blobs: Mapping[str, bytes], asks: Asks) -> list[Problem]:
    """What compiled policy answers otherwise than the policy tests expect, to a kernel that `asks` so."""
    from phoenix_hypervisor.policy.assertions import run_tests
    from phoenix_hypervisor.policy.reader import read_policy

    profiles = [profile for blob in blobs.values() for profile in read_policy(blob).profiles]
    compiled = {profile.name.decode("utf-8", "surrogateescape"): profile for profile in profiles}
    return [
        Problem(
            str(failure).removeprefix(f"{failure.test.where}: "),
            failure.test.where,
            code=Fault.TEST_FAILED,
        )
        for failure in run_tests(tests, compiled, asks).failures
    ]


def read_tests(directory: str, *, optional: bool) -> list[PolicyTest]:
    """The policy tests of a directory; none where there is no such directory.

    `optional`: a file below `sources.OPTIONAL` counts before that of the same name, as profiles do.
    Raises PolicyError, naming the file, for one that is not understood.
    """
    from phoenix_hypervisor.policy.assertions import load_tests

    return [
        test for path, data in files_of_tests(directory, optional=optional) for test in load_tests(data, path)
    ]


def files_of_tests(directory: str, *, optional: bool) -> list[tuple[str, bytes]]:
    """Path and bytes of the files that `read_tests` reads, by name."""
    found: dict[str, tuple[str, bytes]] = {}
    for folder in (directory, os.path.join(directory, OPTIONAL))[: 1 + optional]:
        if not os.path.isdir(folder):
            continue
        require_given(folder)
        with Directory(folder, folder, folder) as opened:
            for name in opened.names():
                data = opened.read(name) if name.endswith(".toml") and not name.startswith(".") else None
                if data is not None:
                    require_given(opened.where(name))
                    found[name] = (opened.where(name), data)
    return [found[name] for name in sorted(found)]


def _site_rules(store: Store, name: str, source: str) -> str | None:
    """Where else a fault may be: of a rule without its comma the parser names the line that follows."""
    place = f"local/{name}"
    with suppress(OSError), open(source, "rb") as file:
        included = f"<{place}>".encode() in file.read()
        if included and isinstance(store.host.content(f"{APPARMOR_D}/{place}"), bytes):
            return f"it includes {store.host.root.shown(f'{APPARMOR_D}/{place}')}: look there, too"
    return None


def _names(blob: bytes) -> list[str]:
    from phoenix_hypervisor.policy.names import profile_names

    return profile_names(blob)


def _check_names(name: str, defined: list[str]) -> None:
    repeated = sorted({other for other in defined if defined.count(other) > 1})
    if repeated:
        # Loading such a policy has crashed a 6.12 kernel (__replace_profile).
        raise PhoenixError(f"defines {repeated[0]} twice")
    tops = [other for other in defined if "//" not in other]
    if name not in defined:
        raise PhoenixError(
            f"defines {', '.join(tops) or 'nothing'} and not {name}, so assigning {name} could not work",
            hint="give the file and the profile the same name",
        )
    others = [other for other in defined if other != name and not other.startswith(f"{name}//")]
    if others:
        raise PhoenixError(f"also defines {', '.join(others)}", hint="one profile in each file")


def _check_kind(blob: bytes) -> None:
    """Refuse what would confine nothing, or processes of the host."""
    from phoenix_hypervisor.policy.profile import Mode
    from phoenix_hypervisor.policy.reader import read_policy

    for profile in read_policy(blob).profiles:
        if profile.mode is Mode.UNCONFINED:
            raise PhoenixError(
                "is a profile in unconfined mode", hint="remove the flag, or assign unconfined"
            )
        if b"//" not in profile.name and (profile.xmatch is not None or profile.attach is not None):
            text = "names programs to attach to, so it would confine programs of the host"
            raise PhoenixError(text, hint="a container's profile has a name only: `profile NAME {`")


def _complains(blob: bytes) -> bool:
    from phoenix_hypervisor.policy.profile import Mode
    from phoenix_hypervisor.policy.reader import read_policy

    return any(profile.mode is Mode.COMPLAIN for profile in read_policy(blob).profiles)


def _together(paths: Sequence[str]) -> str:
    """`DIR/one, two` for paths that lie in one directory."""
    return ", ".join([paths[0], *map(os.path.basename, paths[1:])])


def _useless_pin(blob: bytes, asks: Asks) -> str | None:
    """What the features lack that this was compiled for: the pin is missing, empty or of another kernel."""
    from phoenix_hypervisor.policy.constants import SOCKET_TYPES
    from phoenix_hypervisor.policy.evaluate import Evaluator
    from phoenix_hypervisor.policy.profile import Class
    from phoenix_hypervisor.policy.queries import NetworkQuery
    from phoenix_hypervisor.policy.reader import read_policy
    from phoenix_hypervisor.policy.sockets import AF_UNIX, Asks

    for profile in read_policy(blob).profiles:
        missing = profile.unmediated()
        if missing:
            return f"is compiled without {', '.join(missing)}: everything of it is allowed"
        if asks is not Asks.PROTOCOL or profile.start(Class.NETWORK_V7) or profile.start(Class.NETWORK_V9):
            continue
        sockets = [NetworkQuery(family=AF_UNIX, type=one) for one in SOCKET_TYPES.values()]
        meant, found = Evaluator(profile), Evaluator(profile, asks)
        if any(meant.ask(one).allowed for one in sockets) and not any(
            found.ask(one).allowed for one in sockets
        ):
            return "is compiled without network/af_unix: this kernel refuses every unix socket to it"
    return None


def _changed_meanwhile(store: Store, blobs: Mapping[str, bytes]) -> list[Problem]:
    """Sources that were edited while they were being compiled."""
    if not blobs:
        return []
    problems = []
    for path, data in store.sources.files().items():
        parent, base = os.path.split(path)
        with Directory(parent, parent, parent) as directory:
            if directory.read(base) != data:
                text = "changed while it was being proven"
                problems.append(Problem(text, path, hint="run it again", code=Fault.SOURCE_CHANGED))
    return problems
