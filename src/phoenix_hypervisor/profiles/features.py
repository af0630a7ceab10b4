"""Which features a profile is compiled for.

Owns the choice of `--base`, `--policy-features` and `--kernel-features`, and the names of the packed
kernel lists.  The parser drops whole rule classes silently, and returns 0, when it is given no features
and the kernel offers none, so every compile outside a running AppArmor kernel gets a kernel's list.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from phoenix_hypervisor.errors import PhoenixError, UsageError
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.profiles.includes import APPARMOR_D
from phoenix_hypervisor.values import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    # The policy room is imported where something is asked: a run that changes nothing needs none of it.
    from phoenix_hypervisor.policy.sockets import Asks

PARSER_CONF = "/etc/apparmor/parser.conf"
# The value is the rest of the line, blanks at its end included: so the parser reads it.
_CONF_LINE = re.compile(
    rb"^[ \t]*(policy-features|kernel-features|features-file)(?:=|[ \t])[ \t]*([^\n]+)", re.M
)
_CLASS = re.compile(rb"^(?:file|policy|domain|caps|mount)[ \t]*\{", re.M)

DUMPS = {3: "debian-12", 4: "debian-13", 5: "debian-14"}
"""The packed list by the parser's major version, where nothing else says for which kernel."""

PACKED = {
    "debian-12": "bookworm-6.1",
    "debian-13": "trixie-6.12",
    "debian-14": "forky-7.2",
    "proxmox-8-6.8": "proxmox-8-6.8",
    "proxmox-9-6.14": "proxmox-9-6.14",
    "proxmox-9-6.17": "proxmox-9-6.17",
    "proxmox-9-7.0": "proxmox-9-7.0",
}
"""Packed kernel lists: the file by the name that `--features` takes (docs/internals/features.md)."""

ALIASES = {"proxmox-8": "proxmox-8-6.8", "proxmox-9": "proxmox-9-6.17"}
"""Shorter names, for the kernel that a release is used with most."""


@dataclass(frozen=True, slots=True)
class Features:
    """Arguments that pin what a compile is for, and a sentence that says so."""

    arguments: tuple[str, ...]
    shown: str
    kernel: str | None = None
    """The file with the kernel's features; None: the running kernel's."""


@dataclass(frozen=True, slots=True)
class _Conf:
    """What parser.conf pins: paths on the host, and the option that named each."""

    policy: str | None = None
    kernel: str | None = None
    options: tuple[tuple[str, str], ...] = ()


def packed(name: str) -> str | None:
    """The path of the packed kernel list `name`; None where there is no such name."""
    file = PACKED.get(ALIASES.get(name, name))
    if file is None:
        return None
    return os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data", "features", file)


def same_lists(names: Iterable[str]) -> list[list[str]]:
    """The packed names in groups that have one and the same list: what is proven for one holds for all."""
    found: dict[bytes, list[str]] = {}
    for name in names:
        path = packed(name)
        assert path is not None
        with open(path, "rb") as file:
            found.setdefault(file.read(), []).append(name)
    return list(found.values())


def packaged_dump(major: int) -> str:
    """The path of the packed kernel list for parser version `major`."""
    path = packed(DUMPS.get(major, DUMPS[max(DUMPS)]))
    assert path is not None
    return path


def choose(host: Host, major: int, override: str | None = None) -> Features:
    """The features for `host`; `override` is the operator's `--features FILE|NAME`.

    On `/` with AppArmor nothing is passed, so that the parser does exactly what it does at
    boot.  Raises UsageError where `override` is neither a packed name nor a feature file,
    PhoenixError where the root pins what is none.
    """
    given = _given(override)
    if host.is_live and host.kernel.has_apparmor():
        if given is None:
            return Features((), f"parser.conf and the running kernel {host.kernel.release()}")
        return Features(("--kernel-features", given), f"parser.conf and {override}", given)
    conf = _read_conf(host)
    kernel = given
    shown = f"{override}"
    if given is None and conf.kernel is not None:
        kernel = host.root.locate(conf.kernel)
        shown = f"its {conf.kernel}"
    elif given is None:
        kernel = packaged_dump(major)
        shown = f"the packed list {DUMPS.get(major, DUMPS[max(DUMPS)])}"
    assert kernel is not None
    arguments = ["--kernel-features", kernel]
    if host.is_live:
        why = "" if given is not None else " (this kernel has no AppArmor)"
        return Features(tuple(arguments), f"parser.conf and {shown}{why}", kernel)
    if not os.path.isdir(host.root.locate(f"{APPARMOR_D}/tunables")):
        # The parser would say so for each profile, and then take this machine's own.
        raise PhoenixError(
            "does not exist: --root DIR must contain a host's files, at least its /etc/apparmor.d",
            where=host.root.shown(f"{APPARMOR_D}/tunables"),
            hint="copy that of the host, with tunables/ and abstractions/, or install apparmor in the root",
        )
    for option, named in conf.options:
        _require_dump(host, option, named)
    arguments = ["--config-file", "/dev/null", "--base", host.root.locate(APPARMOR_D), *arguments]
    if conf.policy is not None:
        arguments += ["--policy-features", host.root.locate(conf.policy)]
    return Features(tuple(arguments), f"the root's parser.conf and {shown}", kernel)


def asks(host: Host, override: str | None = None) -> Asks:
    """How the kernel that `choose` would compile for asks about sockets.

    Raises UsageError where `override` is neither a packed name nor a feature file.
    """
    from phoenix_hypervisor.plan.mediation import read_dump
    from phoenix_hypervisor.policy.sockets import Asks, asks

    given = _given(override)
    if given is None and host.is_live and host.kernel.has_apparmor():
        features = host.kernel.features()
        return Asks.TYPE if features is None else asks(features)
    named = _read_conf(host).kernel
    path = host.root.locate(named) if given is None and named is not None else given
    if path is None or not os.path.isfile(path):
        return Asks.TYPE  # the packed lists that stand in are Debian's
    try:
        with open(path, "rb") as file:
            return asks(read_dump(file.read(1024 * 1024)))
    except (OSError, ValueError):
        return Asks.TYPE


def kernel(host: Host, override: str | None = None, major: int | None = None) -> str:
    """The name of the kernel that `choose` and `asks` mean: a packed list's, a file's, or the running one.

    `major`: the parser's version where something was compiled.  Raises UsageError as `choose`.
    """
    given = _given(override)
    if given is not None:
        return ALIASES.get(f"{override}", f"{override}")
    if host.is_live and host.kernel.has_apparmor():
        return f"running {host.kernel.release()}"
    named = _read_conf(host).kernel
    if named is not None:
        return host.root.locate(named)
    return DUMPS.get(major, DUMPS[max(DUMPS)]) if major is not None else DUMPS[4]


def pinned(host: Host) -> bytes | None:
    """The feature file that parser.conf of `host` pins; None where it pins none that can be read."""
    named = _read_conf(host).policy
    return host.read(named) if named is not None else None


def _given(override: str | None) -> str | None:
    """The file that `--features` means.  Raises UsageError."""
    if override is None:
        return None
    path = packed(override)
    if path is not None:
        return path
    if not os.path.isfile(override):
        raise _unknown(override)
    if not _is_dump(override):
        raise UsageError("--features is not a feature file", where=override, hint="see apparmor_parser(8)")
    return override


def _unknown(name: str) -> UsageError:
    import difflib

    names = [*PACKED, *ALIASES]
    near = difflib.get_close_matches(name.lower(), names, 3, 0.5)
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    return UsageError(
        "--features is neither a file nor a packed list",
        where=name,
        hint=f"{meant}packed lists: {', '.join(names)}",
    )


def _read_conf(host: Host) -> _Conf:
    """The feature files of parser.conf as the parser counts them: the last of each kind.

    `features-file` stands for both kinds.
    """
    conf = host.read(PARSER_CONF)
    policy = kernel = None
    found: dict[str, tuple[str, str]] = {}
    for match in _CONF_LINE.finditer(conf or b""):
        option = match[1].decode()
        path = match[2].decode("utf-8", "surrogateescape")
        if option != "kernel-features":
            policy, found["policy"] = path, (option, path)
        if option != "policy-features":
            kernel, found["kernel"] = path, (option, path)
    return _Conf(policy, kernel, tuple(dict.fromkeys(found.values())))


def _require_dump(host: Host, option: str, named: str) -> None:
    """Raise PhoenixError where parser.conf names a file that is no feature list."""
    path = host.root.locate(named)
    if not os.path.isfile(path):
        raise PhoenixError(
            f"names a {option} file that does not exist: {named}",
            where=host.root.shown(PARSER_CONF),
            hint="install apparmor in that root, or correct parser.conf",
        )
    if not _is_dump(path):
        raise PhoenixError(
            "is not a feature file: with it the parser drops whole rule classes and says nothing",
            where=path,
            hint="install apparmor in that root anew, or correct parser.conf",
        )


def _is_dump(path: str) -> bool:
    """Whether it names a class that is mediated; without one, profiles compile to next to nothing."""
    try:
        with open(path, "rb") as file:
            return _CLASS.search(file.read(1024 * 1024)) is not None
    except OSError:
        return False
